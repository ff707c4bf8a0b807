"""Hides what a model thinks before it answers: `<think>…</think>`, however it is cut into pieces."""

_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}  #: as Qwen, DeepSeek and others write it


class HiddenReasoning:
    """One text on its way. What is between the tags, or behind one that is never closed, is not passed on.

    A tag behind a backtick is one that is spoken of.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._waiting = ""  # a part of a tag, perhaps
        self._until = ""  # the tag that ends what is hidden; empty outside of it
        self._last = ""  # the last character passed on
        self.hid_something = False

    def add(self, piece: str) -> str:
        """Take in the next piece; returns what of the text may be shown by now."""
        text, shown = self._waiting + piece, ""
        while text:
            tags = [self._until] if self._until else list(_TAGS)
            at, tag = min(((text.find(tag), tag) for tag in tags if tag in text), default=(-1, ""))
            if at < 0:
                break
            if self._until:
                self._until = ""
                text = text[at + len(tag) :]
            elif (shown + text[:at]).endswith("`") or (at == 0 and not shown and self._last == "`"):
                shown, text = shown + text[: at + len(tag)], text[at + len(tag) :]
            else:
                self.hid_something = True
                shown, text, self._until = shown + text[:at], text[at + len(tag) :], _TAGS[tag]
        held = _begun_tag(text, [self._until] if self._until else list(_TAGS))
        self._waiting = text[len(text) - held :]
        return self._show(shown if self._until else shown + text[: len(text) - held])

    def end(self) -> str:
        """What may still be shown now that nothing more comes."""
        rest, self._waiting = "" if self._until else self._waiting, ""
        return self._show(rest)

    def _show(self, text: str) -> str:
        if not self._last and self.hid_something:
            text = text.lstrip()  # the blank lines between the thought and the answer
        self._last = text[-1:] or self._last
        return text


def _begun_tag(text: str, tags: list[str]) -> int:
    """How many characters at the end of `text` may be the beginning of a tag."""
    longest = max(map(len, tags)) - 1
    ends = range(min(longest, len(text)), 0, -1)
    return next((size for size in ends if any(tag.startswith(text[-size:]) for tag in tags)), 0)
