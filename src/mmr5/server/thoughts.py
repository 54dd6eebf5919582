"""Reasoning and notes out of what a model writes, while it writes, and their way from the model's thread to a connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

_TAGS = {False: re.compile(r"<think>", re.IGNORECASE), True: re.compile(r"</think>", re.IGNORECASE)}
_TAG_BEGUN = re.compile(r"<[/a-z]{0,6}\Z", re.IGNORECASE)
_TAG_START = len("<think>") - 1
_WORD_OR_GAP = re.compile(r"\S+|\s+")

Tell = Callable[[str, int | None], None]
"""Called with words and the position of the page that they are about, None where they are about the whole list."""


class Thoughts:
    """Keeps what stands inside think blocks; blocks (the windows of a long list) are parted by an empty line.

    The texts that :meth:`push` gives, joined, are the reasoning of the finished reply when its think blocks are well formed.
    """

    def __init__(self) -> None:
        self._rest = ""
        self._inside = False
        self._block_empty = True
        self._any = False

    def push(self, text: str) -> str:
        """Take the next piece of a reply; gives the new reasoning in it, often nothing."""
        self._rest += text
        told, done = "", 0
        while (tag := _TAGS[self._inside].search(self._rest, done)) is not None:
            if self._inside:
                told += self._words(self._rest[done : tag.start()].rstrip())
            done = tag.end()
            self._inside, self._block_empty = not self._inside, True
        self._rest = self._rest[done:]
        if not self._inside:
            self._rest = self._rest[-_TAG_START:]
            return told
        # What may turn out not to be reasoning waits: the beginning of a tag, and white space before it or before the end.
        begun = _TAG_BEGUN.search(self._rest, max(0, len(self._rest) - _TAG_START - 1))
        words = self._rest[: begun.start() if begun else None].rstrip()
        self._rest = self._rest[len(words) :]
        return told + self._words(words)

    def _words(self, text: str) -> str:
        words = text.lstrip() if self._block_empty else text
        if not words:
            return ""
        opening = "\n\n" if self._block_empty and self._any else ""
        self._block_empty, self._any = False, True
        return opening + words


class Note:
    """Folds white space as :func:`mmr5.answer.fold` does; the texts that :meth:`push` gives, joined, are the folded note."""

    def __init__(self) -> None:
        self._gap = ""
        self._any = False

    def push(self, text: str) -> str:
        """Take the next piece of a note; gives what can be told of it."""
        told = ""
        for part in _WORD_OR_GAP.findall(text):
            if part.isspace():
                self._gap = " " if self._any else ""
            else:
                told += self._gap + part
                self._gap, self._any = "", True
        return told


class Ear:
    """Hears a model in its own thread and tells reasoning and notes in the loop that made it; it never blocks or raises."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thoughts = Thoughts()
        self._notes: dict[int, Note] = {}
        self._early: list[tuple[str, int | None]] = []
        self._tell: Tell | None = None

    def __call__(self, text: str, page: int | None = None) -> None:
        """Take a piece of the reply on the list, or of the note on the page at a position; called from the model's thread."""
        words = self._thoughts.push(text) if page is None else self._notes.setdefault(page, Note()).push(text)
        if not words:
            return
        try:
            self._loop.call_soon_threadsafe(self._pass, words, page)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return

    def to(self, tell: Tell) -> None:
        """Tell from now on, beginning with what was heard already; called in the loop."""
        self._tell = tell
        early, self._early = self._early, []
        for words, page in early:
            tell(words, page)

    def _pass(self, words: str, page: int | None) -> None:
        if self._tell is None:
            self._early.append((words, page))
        else:
            self._tell(words, page)
