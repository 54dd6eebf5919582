"""Where the words of a page stand, as plain numbers that another process can hand over."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmr5.pages.pdf import lines_of
from mmr5.types import Box, Page

Word = tuple[int, int, Box]
"""Start and end of a word, or of its part on one line, in the page's text, and its box."""
_WORD = re.compile(r"\S{1,40}")
"""A run without white space, as of Chinese, is taken in pieces."""


def words_of(page: Page) -> list[Word]:
    """The words of a page with their boxes; empty where nobody knows where its text stands.

    Raises:
        PageError: the document cannot be read any more.
    """
    if page.boxes is None or not page.text:
        return []
    spans = [found.span() for found in _WORD.finditer(page.text)]
    return [(*span, box) for span, boxes in zip(spans, page.boxes.each(spans), strict=True) for box in boxes]


@dataclass(frozen=True, slots=True)
class WordBoxes:
    """Where the text of a page stands, by its words.

    Attributes:
        words: in the order of the text.
    """

    words: tuple[Word, ...]

    def of(self, start: int, end: int) -> list[Box]:
        """Boxes of the words that have characters from ``start`` to before ``end``, one a line."""
        return lines_of([box for first, last, box in self.words if first < end and last > start], lambda box: box)

    def each(self, spans: Sequence[tuple[int, int]]) -> list[list[Box]]:
        """:meth:`of` for each start and end."""
        return [self.of(start, end) for start, end in spans]
