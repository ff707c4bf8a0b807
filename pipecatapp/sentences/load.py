"""Sentence files: checked when they are read, so that a slip is told with its line and column.

They are in the form of hassil (https://github.com/OHF-Voice/hassil), an intent being a tool: `(a|b)` is one
of both, `[a]` is with or without, `<rule>` an expansion rule, `{kind:argument}` a slot.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hassil.expression import Expression, Group, ListReference, RuleReference, Sentence
from hassil.parse_expression import parse_sentence
from hassil.parser import ParseError
from pydantic import BaseModel, ConfigDict, Field

from clusterkit.config.suggest import suggest
from clusterkit.config.yaml_file import Location, YamlDocument, read_yaml, validate
from clusterkit.errors import ConfigFileError
from pipecatapp.sentences.grammar import Grammar
from pipecatapp.sentences.slots import FREE_KINDS, SLOT_KINDS
from pipecatapp.tools.base import ToolError
from pipecatapp.tools.registry import ToolRegistry

SHIPPED = Path(__file__).parent  #: a folder for each language


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Block(_Model):
    """Sentences that mean the same."""

    sentences: list[str] = Field(min_length=1)
    slots: dict[str, Any] = {}  #: further arguments of the tool


class Blocks(_Model):
    """All sentences of a tool."""

    data: list[Block] = Field(min_length=1)


class Value(_Model):
    """What may be said for a value, a template, and the value."""

    said: str = Field(alias="in")
    out: Any


class Values(_Model):
    """A list of what a slot may hold."""

    values: list[str | Value] = Field(min_length=1)


class SentenceFile(_Model):
    """One file."""

    language: str
    intents: dict[str, Blocks]
    expansion_rules: dict[str, str] = {}
    lists: dict[str, Values] = {}


@dataclass(frozen=True)
class Sentences:
    """The grammars by language, and why files of a person's own are not in them."""

    grammars: Mapping[str, Grammar]
    broken: Sequence[ConfigFileError] = ()


def load_sentences(own: Path, tools: ToolRegistry) -> Sentences:
    """Every language that there is. Blocks on the disk.

    `own` holds a folder for each language with files of a person's own, which go before the shipped ones and
    may use their expansion rules; it may be missing. A broken file of these is left out and told in the
    result; of the shipped ones it raises `ConfigFileError`.
    """
    grammars: dict[str, Grammar] = {}
    broken: list[ConfigFileError] = []
    for folder in sorted(path for path in SHIPPED.iterdir() if list(path.glob("*.yaml"))):
        shipped = _Group(folder.name, tools, {})
        for file in sorted(folder.glob("*.yaml")):
            shipped.add(read_yaml(file))
        added = _Group(folder.name, tools, shipped.rules)
        for file in sorted((own / folder.name).glob("*.yaml")):
            try:
                added.add(read_yaml(file))
            except ConfigFileError as error:
                broken.append(error)
        grammars[folder.name] = grammar = Grammar(shipped.data(), added.data())
        grammar.recognise("hearth")  # hassil parses its templates when they are first used
    return Sentences(grammars, tuple(broken))


class _Group:
    """Files that are matched together."""

    def __init__(self, language: str, tools: ToolRegistry, rules: Mapping[str, str]) -> None:
        self._language, self._tools = language, tools
        self.rules = dict(rules)
        self._intents: dict[str, list[Any]] = {}
        self._lists: dict[str, Any] = {}

    def data(self) -> Mapping[str, Any]:
        """All files together, in hassil's form."""
        return {
            "language": self._language,
            "intents": {tool: {"data": blocks} for tool, blocks in self._intents.items()},
            "expansion_rules": self.rules,
            "lists": self._lists,
        }

    def add(self, document: YamlDocument) -> None:
        """Take in one file, wholly or not at all. Raises `ConfigFileError`."""
        file = validate(SentenceFile, document)
        if file.language != self._language:
            problem = f"the folder is {self._language!r}, so the language must be too"
            raise document.error(("language",), problem)
        rules = {**self.rules, **file.expansion_rules}
        check = _Check(document, rules, {*self._lists, *file.lists, *SLOT_KINDS})
        check.rules(file.expansion_rules)
        for name in file.lists:
            if name in SLOT_KINDS:
                raise document.error(("lists", name), f"{name!r} is a kind of slot already")
        for tool, blocks in file.intents.items():
            for index, block in enumerate(blocks.data):
                self._check_block(check, tool, block, ("intents", tool, "data", index))
        self.rules = rules
        lists = {name: one.model_dump(by_alias=True) for name, one in file.lists.items()}
        self._lists.update(lists)
        for tool, blocks in file.intents.items():
            self._intents.setdefault(tool, []).extend(block.model_dump() for block in blocks.data)

    def _check_block(self, check: "_Check", tool: str, block: Block, at: Location) -> None:
        try:
            arguments = self._tools.get(tool).Arguments.model_fields
        except ToolError as error:
            raise check.document.error(at[:2], str(error)) from error
        for name in block.slots:
            check.argument(tool, name, arguments, (*at, "slots", name))
        for index, text in enumerate(block.sentences):
            check.sentence(tool, text, arguments, (*at, "sentences", index))


@dataclass(frozen=True)
class _Check:
    """Checks templates. Everything raises `ConfigFileError`."""

    document: YamlDocument
    known_rules: Mapping[str, str]
    known_lists: set[str]

    @cached_property
    def parsed_rules(self) -> dict[str, Sentence]:
        return {name: parse_sentence(body) for name, body in self.known_rules.items()}

    def rules(self, rules: Mapping[str, str]) -> None:
        for name, body in rules.items():
            list(self._expanded(body, ("expansion_rules", name), (name,)))

    def argument(self, tool: str, name: str, arguments: Mapping[str, Any], at: Location) -> None:
        if name not in arguments:
            problem = f"tool {tool!r} has no argument {name!r}{suggest(name, arguments)}"
            raise self.document.error(at, problem)

    def sentence(self, tool: str, text: str, arguments: Mapping[str, Any], at: Location) -> None:
        references = list(self._expanded(text, at, ()))
        for reference in references:
            self.argument(tool, reference.slot_name, arguments, at)
        takes_any_text = any(one.list_name in FREE_KINDS for one in references)
        if takes_any_text and not parse_sentence(text).get_required_clauses(self.parsed_rules):
            raise self.document.error(at, f"{text!r} needs words of its own: any text would match it")

    def _expanded(self, text: str, at: Location, within: tuple[str, ...]) -> Iterator[ListReference]:
        """The slots of a template and of the rules in it."""
        for part in _parts(self._parsed(text, at).expression):
            if isinstance(part, ListReference):
                if not part.is_inline_range and part.list_name not in self.known_lists:
                    problem = f"unknown list {part.list_name!r}{suggest(part.list_name, self.known_lists)}"
                    raise self.document.error(at, problem)
                yield part
            elif isinstance(part, RuleReference):
                name = part.rule_name
                if name not in self.known_rules:
                    raise self.document.error(at, f"unknown rule {name!r}{suggest(name, self.known_rules)}")
                if name in within:
                    raise self.document.error(at, f"rule {name!r} stands within itself")
                yield from self._expanded(self.known_rules[name], at, (*within, name))

    def _parsed(self, text: str, at: Location) -> Sentence:
        try:
            return parse_sentence(text)
        except (ParseError, ValueError) as error:
            raise self.document.error(at, f"{text!r} is no sentence template: {error}") from error


def _parts(expression: Expression) -> Iterator[Expression]:
    yield expression
    if isinstance(expression, Group):
        for item in expression.items:
            yield from _parts(item)
