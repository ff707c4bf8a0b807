"""By which words a text is found again, and what a fact is about. Pure functions."""

import re
from collections.abc import Sequence, Set

#: Words that say nothing about what a text is about.
_EMPTY = frozenset(
    [
        "a", "an", "the", "my", "our", "your", "his", "her", "its", "their", "this", "that", "these",
        "those", "i", "me", "we", "us", "you", "he", "she", "it", "they", "is", "are", "am", "was",
        "were", "be", "been", "will", "would", "do", "does", "did", "done", "have", "has", "had", "in",
        "on", "at", "of", "to", "for", "from", "with", "by", "and", "or", "as", "if", "then", "about",
        "what", "where", "when", "who", "whom", "whose", "which", "how", "why", "again", "please", "tell",
        "told", "know", "knew", "say", "said", "remember", "recall", "kept", "keep", "remind", "there",
        "here", "s", "m", "re", "ve", "ll", "d", "not", "just", "also", "so",
    ]
)  # fmt: skip
_WORD = re.compile(r"[^\W_]+")
_JOINED = re.compile(r"(?<=\w)[-'\u2019](?=\w)")  # `wi-fi` is found as `wifi`
_COPULA = re.compile(r"\s(is|are|was|were|am|will be|equals)\s|(?<=\w)['\u2019](s|re)\s", re.IGNORECASE)
_PLACE = re.compile(
    r"(?:in|on|at|under|behind|beside|inside|near|next to|above|below|with|underneath|over|between|outside"
    r"|upstairs|downstairs|here|there)\b(?!.*(?:\d|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b))",
    re.IGNORECASE,
)
WHERE, WHAT = "=where", "=what"  #: kinds of subject; no keyword has such a sign
KINDS = frozenset({WHERE, WHAT})
_YOURS = {
    "my": "your", "our": "your", "mine": "yours", "ours": "yours", "i": "you", "we": "you", "me": "you",
    "us": "you", "myself": "yourself", "am": "are", "i'm": "you're", "we're": "you're", "i've": "you've",
    "i'll": "you'll",
}  # fmt: skip


def keywords(text: str) -> frozenset[str]:
    """The words of a text that say what it is about, in lower case and the singular."""
    words = _WORD.findall(_JOINED.sub("", text.lower()))
    return frozenset(_singular(word) for word in words if word not in _EMPTY)


def subject(fact: str) -> str:
    """What a fact is about, so that a corrected one replaces the old: `password wifi =where`.

    A place and another property of one thing are two subjects. A fact without a verb that says what something
    is has its words for a subject: only the same fact replaces it.
    """
    match = _COPULA.search(fact)
    before = keywords(fact[: match.start()]) if match else frozenset()
    if match is None or not before:
        return " ".join(sorted(keywords(fact)))
    kind = WHERE if _PLACE.match(fact[match.end() :].strip()) else WHAT
    return " ".join([*sorted(before), kind])


def is_statement(text: str) -> bool:
    """Whether a text says of something how it is: `the key is under the mat`."""
    match = _COPULA.search(text)
    return match is not None and bool(keywords(text[: match.start()])) and "?" not in text


def similarity(asked: Set[str], text: str) -> float:
    """The share of the words of a question that a text has, from 0 to 1; 0 for a question without words."""
    return len(asked & keywords(text)) / len(asked) if asked else 0.0


def to_you(fact: str) -> str:
    """A fact as it is told to whoever told it: `my key` becomes `your key`."""
    return re.sub(
        r"[A-Za-z]+(?:['\u2019][a-z]+)?",
        lambda match: _YOURS.get(match[0].lower().replace("\u2019", "'"), match[0]),
        fact,
    )


def split_items(text: str) -> Sequence[str]:
    """The things of an enumeration: `milk, eggs and two loaves of bread`."""
    return [item for part in re.split(r",|;|\band\b", text) if (item := part.strip(" ."))]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    return (
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word
    )
