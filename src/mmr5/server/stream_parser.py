"""Reasoning and notes out of a reply while it is written, and their transfer from the model's thread to the event loop."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

_TAGS = {False: re.compile(r"<think>", re.IGNORECASE), True: re.compile(r"</think>", re.IGNORECASE)}
_TAG_BEGUN = re.compile(r"<[/a-z]{0,6}\Z", re.IGNORECASE)
_TAG_START = len("<think>") - 1
_WORD_OR_GAP = re.compile(r"\S+|\s+")

SendText = Callable[[str, int | None], None]
"""Called with words and the position of the page that they are about, None where they are about the whole list."""


class ReasoningParser:
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
        found, done = "", 0
        while (tag := _TAGS[self._inside].search(self._rest, done)) is not None:
            if self._inside:
                found += self._words(self._rest[done : tag.start()].rstrip())
            done = tag.end()
            self._inside, self._block_empty = not self._inside, True
        self._rest = self._rest[done:]
        if not self._inside:
            self._rest = self._rest[-_TAG_START:]
            return found
        # What may turn out not to be reasoning waits: the beginning of a tag, and white space before it or before the end.
        begun = _TAG_BEGUN.search(self._rest, max(0, len(self._rest) - _TAG_START - 1))
        words = self._rest[: begun.start() if begun else None].rstrip()
        self._rest = self._rest[len(words) :]
        return found + self._words(words)

    def _words(self, text: str) -> str:
        words = text.lstrip() if self._block_empty else text
        if not words:
            return ""
        opening = "\n\n" if self._block_empty and self._any else ""
        self._block_empty, self._any = False, True
        return opening + words


class NoteParser:
    """Folds white space as :func:`mmr5.answer.fold` does; the texts that :meth:`push` gives, joined, are the folded note."""

    def __init__(self) -> None:
        self._gap = ""
        self._any = False

    def push(self, text: str) -> str:
        """Take the next piece of a note; gives what is certain of it."""
        found = ""
        for part in _WORD_OR_GAP.findall(text):
            if part.isspace():
                self._gap = " " if self._any else ""
            else:
                found += self._gap + part
                self._gap, self._any = "", True
        return found


class TextRelay:
    """Takes text in the model's thread and sends reasoning and notes in the event loop; it never blocks or raises."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reasoning = ReasoningParser()
        self._notes: dict[int, NoteParser] = {}
        self._pending: list[tuple[str, int | None]] = []
        self._send: SendText | None = None

    def __call__(self, text: str, page: int | None = None) -> None:
        """Take a piece of the reply on the list, or of the note on the page at a position; called from the model's thread."""
        words = self._reasoning.push(text) if page is None else self._notes.setdefault(page, NoteParser()).push(text)
        if not words:
            return
        try:
            self._loop.call_soon_threadsafe(self._deliver, words, page)
        except RuntimeError:  # the loop is closed: there is no connection any more
            return

    def connect(self, send: SendText) -> None:
        """Send from now on, beginning with what is pending; called in the event loop."""
        self._send = send
        pending, self._pending = self._pending, []
        for words, page in pending:
            send(words, page)

    def _deliver(self, words: str, page: int | None) -> None:
        if self._send is None:
            self._pending.append((words, page))
        else:
            self._send(words, page)
