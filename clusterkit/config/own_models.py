"""Editing the models of `hearth.toml`: what a person wrote stays, comments and order included."""

from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import ParseError
from tomlkit.items import AoT

from clusterkit.config.catalogue import ModelSpec, OwnModel
from clusterkit.errors import ConfigFileError, HearthError
from clusterkit.storage.files import write_whole

DEFAULT_MODE = 0o600  #: of a new file; an existing one keeps its own


class OwnModelError(HearthError):
    """A person's own model cannot be added or removed; the message says why."""

    code = "own_model_refused"


def prepend_own_model(path: Path, expert: str, spec: ModelSpec) -> None:
    """Make `spec` the first choice of `expert`; an own model of the same name is replaced.

    Raises `ConfigFileError` when the file is malformed, OSError when it cannot be written.
    """
    document = _read(path)
    experts = document.setdefault("experts", tomlkit.table(is_super_table=True))
    kept = [entry for entry in _entries(path, experts, expert) if entry.get("name") != spec.name]
    first = tomlkit.table()
    written = OwnModel(url=spec.url, **spec.model_dump(exclude={"sources", "licence"}))
    first.update(written.model_dump(exclude_none=True))
    first.add(tomlkit.nl())
    experts[expert] = _array([first, *kept])
    _write(path, document)


def remove_own_model(path: Path, expert: str, name: str) -> None:
    """Take the own model `name` off `expert`'s list. Raises `OwnModelError` when it is not on it."""
    document = _read(path)
    experts = document.get("experts", {})
    entries = _entries(path, experts, expert)
    kept = [entry for entry in entries if entry.get("name") != name]
    if len(kept) == len(entries):
        names = ", ".join(str(entry.get("name")) for entry in entries) or "none"
        raise OwnModelError(f"{path}: {expert} has no own model {name!r} (own models: {names})")
    if kept:
        experts[expert] = _array(kept)
    else:
        del experts[expert]
    _write(path, document)


def _read(path: Path) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except UnicodeDecodeError as error:
        raise ConfigFileError(str(path), 1, 1, f"not UTF-8 text: {error.reason}") from error
    except ParseError as error:
        raise ConfigFileError(str(path), error.line, error.col, f"malformed TOML: {error}") from error


def _entries(path: Path, experts: Any, expert: str) -> list[Any]:
    entries = experts.get(expert, []) if isinstance(experts, dict) else None
    if not isinstance(entries, list):
        raise ConfigFileError(
            str(path), 1, 1, "must be a list of tables, [[experts.NAME]]", f"experts.{expert}"
        )
    return list(entries)


def _array(entries: list[Any]) -> AoT:
    array = tomlkit.aot()
    for entry in entries:
        array.append(entry)
    return array


def _write(path: Path, document: tomlkit.TOMLDocument) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else DEFAULT_MODE
    write_whole(path, tomlkit.dumps(document).encode(), mode=mode)
