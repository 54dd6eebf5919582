"""What lies over the picture of a page: marks of the evidence, and its words, to be selected and copied."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from mmr5.errors import PageError
from mmr5.pages.word_boxes import words_of
from mmr5.types import Box, Page

UNITS = 1000
"""A page is so many units wide and so many high."""
MARGIN = 0.004
"""By how much a mark is larger than its box, as a share of the page."""
_SVG = Markup('<svg class="{}" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="{}">{}</svg>')
_MARK = Markup('<rect x="{}" y="{}" width="{}" height="{}" rx="3"/>')
_LINE = Markup("<text>{}</text>")
_WORD = Markup('<tspan x="{}" y="{}" font-size="{}" textLength="{}" lengthAdjust="spacingAndGlyphs">{} </tspan>')


def marks(boxes: Iterable[Box]) -> Markup:
    """Marks over boxes of a page; nothing where there are none."""
    found = [
        _MARK.format(*(round(UNITS * x) for x in (x0 - MARGIN, y0 - MARGIN, x1 - x0 + 2 * MARGIN, y1 - y0 + 2 * MARGIN)))
        for x0, y0, x1, y1 in boxes
    ]
    return _svg("marks", found, hidden=True)


def words(page: Page) -> Markup:
    """The words of a page, unseen, where they stand; nothing where that is not known."""
    try:
        placed = words_of(page)
    except PageError:  # the picture stands without them
        return Markup("")
    text = page.text or ""
    lines: list[list[Markup]] = []
    ended = 0
    for start, end, (x0, y0, x1, y1) in placed:
        if not lines or "\n" in text[ended:start]:
            lines.append([])
        place = (round(UNITS * x) for x in (x0, y1 - 0.2 * (y1 - y0), y1 - y0, x1 - x0))
        lines[-1].append(_WORD.format(*place, _plain(text[start:end])))
        ended = end
    return _svg("words", [_LINE.format(Markup("").join(line)) for line in lines], hidden=False)


def _svg(name: str, parts: list[Markup], *, hidden: bool) -> Markup:
    said = "true" if hidden else "false"
    return _SVG.format(name, UNITS, UNITS, said, Markup("").join(parts)) if parts else Markup("")


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
