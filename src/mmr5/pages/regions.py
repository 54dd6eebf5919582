"""The parts of a page that pictures cover and that may hold words. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

from mmr5.captions import caption_kind
from mmr5.pages.layer import Picture, Rect
from mmr5.types import Box, union

MIN_SHARE = 0.01
"""Least share of a page that a region covers: smaller pictures are signs, letters and rules."""
MIN_PIXELS = 40
"""Fewest pixels of a region's shorter side."""
MAX_REGIONS = 12
"""Most regions of a page, the largest ones."""
_MAX_PICTURES = 64
_GAP = 2.0
"""Points between pictures that are parts of one, such as the strips that a printer driver makes."""

CAPTION_GAP = 0.06
"""Of a page's height, at most, between a picture and the caption below it."""


class Region(NamedTuple):
    """A part of a page that pictures cover.

    Attributes:
        left: in [0, 1] of the page as shown; so are the other three.
        top: of its upper edge.
        right: of its right edge.
        bottom: of its lower edge.
        density: pixels a point that its pictures have.
        line: how many lines of the page's text are read before what stands in it.
    """

    left: float
    top: float
    right: float
    bottom: float
    density: float
    line: int = 0

    @property
    def box(self) -> Box:
        """Where it lies."""
        return self[:4]


def regions(pictures: Sequence[Picture], shown: Callable[[Rect], Box], box: Rect) -> list[Region]:
    """Where pictures lie on a page, those that touch each other as one, from top to bottom.

    Args:
        pictures: of the page.
        shown: from points of the page to shares of what is shown, as :class:`mmr5.pages.layer.PageFrame` gives them.
        box: what is shown of the page, in points.
    """
    area = (box[2] - box[0]) * (box[3] - box[1])
    inside = [(rect, picture) for picture in pictures if (rect := _clipped(picture.rect, box)) is not None]
    largest = sorted(inside, key=lambda pair: -_area(pair[0]))[:_MAX_PICTURES]
    parts = [(rect, (picture.width * picture.height / _area(picture.rect)) ** 0.5) for rect, picture in largest]
    found = []
    for rect, density in _merged(parts):
        short = min(rect[2] - rect[0], rect[3] - rect[1])
        if _area(rect) >= MIN_SHARE * area and short * density >= MIN_PIXELS:
            found.append((rect, density))
    found = sorted(found, key=lambda part: -_area(part[0]))[:MAX_REGIONS]
    placed = []
    for rect, density in found:
        left, top, right, bottom = (round(value, 5) for value in shown(rect))
        placed.append(Region(left, top, right, bottom, round(density, 3)))
    return sorted(placed, key=lambda region: (region.top, region.left))


def line_before(region: Box, lines: Sequence[str], boxes: Sequence[Sequence[Box]]) -> int:
    """How many of a page's lines are read before what stands in a picture.

    It is read before a caption that is right below it, else behind the lines that lie on it, else behind the nearest line
    above it in its column.

    Args:
        region: where the picture lies, in [0, 1] of the page as shown.
        lines: N lines of the page's text.
        boxes: N lists of boxes, those of each line.
    """
    hulls = [(i, union(parts)) for i, parts in enumerate(boxes) if parts]
    beside = [(i, hull) for i, hull in hulls if hull[0] < region[2] and hull[2] > region[0]]
    below = [(hull[1], i) for i, hull in beside if _middle(hull) > region[3]]
    if below and min(below)[0] - region[3] < CAPTION_GAP and caption_kind(lines[min(below)[1]]):
        return min(below)[1]
    on = [i for i, hull in beside if region[1] <= _middle(hull) <= region[3]]
    if on:
        return max(on) + 1
    above = [(hull[3], i) for i, hull in beside if _middle(hull) < region[1]]
    if above:
        return max(above)[1] + 1
    if below:
        return min(below)[1]
    return max((i + 1 for i, hull in hulls if _middle(hull) < region[1]), default=0)


def _middle(box: Box) -> float:
    return (box[1] + box[3]) / 2


def _area(rect: Rect) -> float:
    return max(1e-9, (rect[2] - rect[0]) * (rect[3] - rect[1]))


def _clipped(rect: Rect, box: Rect) -> Rect | None:
    """The part of a rectangle that lies in a box, or None where there is none."""
    left, bottom, right, top = max(rect[0], box[0]), max(rect[1], box[1]), min(rect[2], box[2]), min(rect[3], box[3])
    return (left, bottom, right, top) if right > left and top > bottom else None


def _merged(parts: Sequence[tuple[Rect, float]]) -> list[tuple[Rect, float]]:
    """Rectangles that touch as one around them, with the higher number of pixels a point."""
    left = list(parts)
    while True:
        pair = next((pair for pair in combinations(range(len(left)), 2) if _touch(*(left[i][0] for i in pair))), None)
        if pair is None:
            return left
        (first, a), (second, b) = (left[i] for i in pair)
        left = [part for i, part in enumerate(left) if i not in pair] + [(union([first, second]), max(a, b))]


def _touch(a: Rect, b: Rect) -> bool:
    return a[0] <= b[2] + _GAP and b[0] <= a[2] + _GAP and a[1] <= b[3] + _GAP and b[1] <= a[3] + _GAP
