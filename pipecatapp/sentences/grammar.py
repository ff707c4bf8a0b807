"""Finding the command that a text is, among sentence templates. Decides only; `load.py` reads the files."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hassil.expression import Group
from hassil.intents import Intents
from hassil.recognize import RecognizeResult, recognize_all

from pipecatapp.sentences.slots import FREE_KINDS, SLOT_KINDS

MAX_TEXT = 500  #: characters; a longer text is no command, and bounds what matching may cost
MAX_READINGS = 1_000  #: ways to read one text that are looked at

#: Typographic quotes and dashes. A dash may be a minus; hassil takes one that stands alone for punctuation.
_SAME = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014\u2212", "''\"\"---")
_BARE_FRACTION = re.compile(
    r"(?<![\d.])\.(?=\d)"
)  # of `.5`; hassil takes that point for the end of a sentence


@dataclass(frozen=True)
class Command:
    """A tool and what to give it."""

    tool: str
    args: Mapping[str, Any]


class Grammar:
    """The sentences of one language."""

    def __init__(self, *groups: Mapping[str, Any]) -> None:
        """`groups`: checked sentences in hassil's form; a later group goes before the earlier ones."""
        kinds = {kind: {"wildcard": True} for kind in SLOT_KINDS}
        self._groups = [
            Intents.from_dict({**group, "lists": {**group.get("lists", {}), **kinds}})
            for group in reversed(groups)
        ]

    def recognise(self, text: str) -> Command | None:
        """The command that the whole of `text` is, or None."""
        plain = " ".join(text.translate(_SAME).split())
        if not plain or len(plain) > MAX_TEXT:
            return None
        plain = _BARE_FRACTION.sub("0.", plain)
        for group in self._groups:
            if command := _best(plain, group):
                return command
        return None


def _best(text: str, intents: Intents) -> Command | None:
    """Of all ways to read `text` the one that leaves the least to slots of any text, and to slots at all."""
    found: list[tuple[tuple[int, int, str], Command]] = []
    for result in islice(recognize_all(text, intents), MAX_READINGS):
        slots = _slots(result, text, intents)
        if slots is None:
            continue
        free = sum(len(value) for kind, value in slots.values() if kind in FREE_KINDS)
        every = sum(len(value) for kind, value in slots.values() if kind)
        args = {name: value for name, (_, value) in slots.items()}
        tool = result.intent.name
        found.append(((free, every, tool), Command(tool, args)))
    return min(found, key=lambda one: one[0])[1] if found else None


def _slots(result: RecognizeResult, text: str, intents: Intents) -> Mapping[str, tuple[str, Any]] | None:
    """Slot → its kind, '' for one of written-out values, and its value; None when one does not fit."""
    slots: dict[str, tuple[str, Any]] = {}
    for entity in result.entities_list:
        if not entity.is_wildcard or entity.text_span is None:
            slots[entity.name] = "", entity.value
            continue
        start, end = entity.text_span
        kind, value = _kind(result, entity.name, intents), text[start:end].strip(" ,")
        if not SLOT_KINDS[kind](value):
            return None
        slots[entity.name] = kind, value
    return slots


def _kind(result: RecognizeResult, slot: str, intents: Intents) -> str:
    sentence = result.intent_sentence
    assert sentence is not None, "hassil names the sentence of each of its results"
    assert isinstance(sentence.expression, Group), "and parses it into a group"
    references = sentence.expression.list_references(intents.expansion_rules)
    return next(one.list_name for one in references if one.slot_name == slot)
