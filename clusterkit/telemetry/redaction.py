"""Removes secrets from what is stored or shown: by the name of the key, and by the look of the value."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[hidden]"
MAX_TEXT = 16_384  #: characters kept of one text; the rest is cut and counted
MAX_DEPTH = 48  #: nesting kept of one value; far above what a person writes, far below what breaks a parser
_MARGIN = 4_096  #: characters looked at beyond the cut, so that no half of a credential is left before it

_NAMES = (
    r"pass(?:word|wd|phrase)?|secret|token|(?:api|access|private|signing|secret)[_-]?key|authorization|cookie"
    r"|credential|session[_-]?id"
)
_SECRET_KEY = re.compile(rf"(?i)(?:^|[_\-.])(?:{_NAMES}|otp|totp|pin)s?$")
_COUNT = re.compile(r"(?i)(?:^|_)tokens$")  #: `max_tokens`, `tokens`: numbers of tokens, not tokens
_CAMEL_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

#: Public formats of well-known credentials, and the ways secrets are usually written into text.
#: Repetitions are bounded, so that no text can make a search take long.
_SECRET_VALUES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?s)-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
        r"(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
        r"\b(?:sk|rk|pk)[-_](?:ant-|proj-|live_|test_)?[A-Za-z0-9_-]{16,}",
        r"\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}",
        r"\bglpat-[A-Za-z0-9_-]{16,}",
        r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"\bAIza[A-Za-z0-9_-]{30,}|\bGOCSPX-[A-Za-z0-9_-]{16,}|\bya29\.[A-Za-z0-9_-]{16,}",
        r"\bhf_[A-Za-z0-9]{20,}|\bnpm_[A-Za-z0-9]{20,}|\bpypi-[A-Za-z0-9_-]{20,}",
        r"\bhvs\.[A-Za-z0-9_-]{20,}|\bSG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}",
        r"\bey[JK][A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
        r"(?i)\bbearer\s{1,8}[A-Za-z0-9._~+/=-]{12,}",
        r"(?i)\bbasic\s{1,8}[A-Za-z0-9+/]{12,}={0,2}",
        r"(?i)\b(?:set-)?cookie:[^\r\n]{1,4096}",
        r"(?<=://)[^\s:/@]{0,256}:[^\s/@]{1,256}(?=@)",
        rf"(?i)(?<![a-z])(?:[a-z0-9]{{0,32}}[_-]){{0,4}}[a-z]{{0,16}}(?:{_NAMES})(?:(?<!token)s)?"
        r"(?:[\"']?\s{0,8}[=:]\s{0,8}|(?<=word)\s{1,8}(?=\S{0,99}\d))"
        r"(?:\"[^\"\n]{1,4096}\"?|'[^'\n]{1,4096}'?|[^\s\"',;&]{4,})",
    )
)


def redact(value: Any, *, depth: int = 0) -> Any:
    """A copy of JSON-like `value` without secrets, with over-long texts and over-deep nesting cut."""
    if isinstance(value, str):
        return redact_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth >= MAX_DEPTH:
        return f"[nested deeper than {MAX_DEPTH} levels]"
    if isinstance(value, Mapping):
        return {redact_text(str(key)): _entry(str(key), item, depth) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth=depth + 1) for item in value]
    return redact_text(str(value))


def _entry(key: str, item: Any, depth: int) -> Any:
    secret = _SECRET_KEY.search(_CAMEL_HUMP.sub("_", key)) and item is not None
    counted = isinstance(item, int | float) and _COUNT.search(key)
    return HIDDEN if secret and not counted else redact(item, depth=depth + 1)


def redact_text(text: str) -> str:
    """`text` without anything that looks like a credential, at most `MAX_TEXT` characters of it.

    What UTF-8 cannot hold becomes a question mark.
    """
    # Bounded first, so that the patterns run over little; cut only after them.
    cut = len(text) - MAX_TEXT
    kept = text[: MAX_TEXT + _MARGIN].encode("utf-8", "replace").decode("utf-8")
    for pattern in _SECRET_VALUES:
        kept = pattern.sub(HIDDEN, kept)
    return f"{kept[:MAX_TEXT]}… [{cut} more characters]" if cut > 0 else kept
