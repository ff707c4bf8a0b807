"""TOML with lines: a complaint about a file names the line of the table or key it is about."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterkit.config.yaml_file import Location
from clusterkit.errors import ConfigFileError


@dataclass(frozen=True)
class TomlDocument:
    """Parsed TOML and its text; tomllib gives values without positions."""

    source: str
    text: str
    data: dict[str, Any]

    def error(self, where: Location, problem: str) -> ConfigFileError:
        """A `ConfigFileError` pointing at `where`."""
        return ConfigFileError(self.source, self.line(where), 1, problem, ".".join(map(str, where)))

    def line(self, where: Location) -> int:
        """The line of `where`, or of its table."""
        table = [str(part) for part in where[:2]]
        index = where[2] if len(where) > 2 and isinstance(where[2], int) else 0
        header = re.compile(r"\s*\[\[?\s*" + r"\s*\.\s*".join(rf"[\"']?{re.escape(p)}[\"']?" for p in table))
        lines = self.text.splitlines()
        starts = [number for number, line in enumerate(lines) if header.match(line)]
        if index >= len(starts):
            return 1
        key = str(where[3]) if len(where) > 3 else None
        for number in range(starts[index] + 1, len(lines)):
            if lines[number].lstrip().startswith("["):
                break
            if key is not None and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", lines[number]):
                return number + 1
        return starts[index] + 1


def read_toml(path: Path) -> TomlDocument:
    """Read and parse a file. Raises `ConfigFileError`, also when it is missing or not UTF-8."""
    source = str(path)
    try:
        text = path.read_text(encoding="utf-8")
        return TomlDocument(source, text, tomllib.loads(text))
    except UnicodeDecodeError as error:
        raise ConfigFileError(source, 1, 1, f"not UTF-8 text: {error.reason}") from error
    except OSError as error:
        raise ConfigFileError(source, 1, 1, f"cannot be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        at = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        line, column = (int(at[1]), int(at[2])) if at else (max(1, len(text.splitlines())), 1)
        problem = str(error)[: at.start()] if at else str(error)
        raise ConfigFileError(source, line, column, f"malformed TOML: {problem}") from error
