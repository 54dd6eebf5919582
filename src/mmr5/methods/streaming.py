"""What is heard of a method while its model writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class TextCallback(Protocol):
    """Hears what a model writes about the lists of a batch.

    Called as ``on_text(position in batch, text)`` where the text is about a whole list, and as
    ``on_text(position in batch, text, page)`` where it is about one page; ``page`` is its position in the list. The texts of one
    page, joined, are its note as it was written; texts of several pages come interleaved. It is called from the thread that
    writes, one call at a time, and should return at once.
    """

    def __call__(self, position: int, text: str, page: int | None = None, /) -> None:
        """Take a piece."""


def for_one_list(on_text: Callable[[str], None] | None) -> TextCallback | None:
    """For a single list: passes on what is about the whole list, and leaves out what is about one page."""
    if on_text is None:
        return None

    def hear(_: int, text: str, page: int | None = None, /) -> None:
        if page is None:
            on_text(text)

    return hear


def at_places(on_text: TextCallback | None, places: Sequence[int]) -> TextCallback | None:
    """For a part of a batch: passes on what is about its list ``i`` as about the list ``places[i]`` of the batch."""
    if on_text is None or list(places) == list(range(len(places))):
        return on_text

    def hear(position: int, text: str, page: int | None = None, /) -> None:
        if page is None:
            on_text(places[position], text)
        else:
            on_text(places[position], text, page)

    return hear


class Once:
    """Lets a batch be ranked again in parts: what was told of a list is not told twice.

    Args:
        on_text: hears about the lists of the whole batch.
    """

    def __init__(self, on_text: TextCallback) -> None:
        self._on_text = on_text
        self._told: dict[tuple[int, int | None], int] = {}

    def attempt(self, places: Sequence[int]) -> TextCallback:
        """What hears one attempt at the lists at these places; each tells its texts from their beginning."""
        heard: dict[tuple[int, int | None], int] = {}

        def hear(position: int, text: str, page: int | None = None, /) -> None:
            key = (places[position], page)
            start = heard.get(key, 0)
            heard[key] = start + len(text)
            fresh = text[max(0, self._told.get(key, 0) - start) :]
            if not fresh:
                return
            self._told[key] = heard[key]
            if page is None:
                self._on_text(places[position], fresh)
            else:
                self._on_text(places[position], fresh, page)

        return hear
