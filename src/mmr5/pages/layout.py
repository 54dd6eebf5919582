"""The order in which boxes of text in a picture are read. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

MAX_COLUMNS = 4
_MIN_COLUMN_LINES = 6
_MAX_SPANNING_SHARE = 0.25
_MIN_COLUMN_FILL = 0.6
_MAX_WIDTH_RATIO = 1.5
_MAX_GAPS = 9


@dataclass(frozen=True, slots=True)
class TextBox:
    """An upright box in a picture, in pixels from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


def reading_order(boxes: Sequence[TextBox]) -> list[list[int]]:
    """Group boxes into lines, and put these in the order in which they are read.

    Lines go from top to bottom, boxes in a line from left to right. Columns of prose, up to :data:`MAX_COLUMNS` of about
    the same width, are read one after the other; what spans several of them, such as a title, is read where it stands.

    Args:
        boxes: N boxes in any order.

    Returns:
        Lines of positions in ``boxes``; together they hold 0..N-1 once each.
    """
    gutters = _gutters(boxes)
    order: list[list[int]] = []
    columns: list[list[int]] = [[] for _ in range(len(gutters) + 1)]

    def read_columns() -> None:
        for column in columns:
            order.extend(_lines(boxes, column))
            column.clear()

    for line in _lines(boxes, range(len(boxes))):
        if gutters and any(boxes[i].left < gutter < boxes[i].right for i in line for gutter in gutters):
            read_columns()
            order.append(line)
            continue
        for i in line:
            columns[sum(boxes[i].right > gutter for gutter in gutters)].append(i)
    read_columns()
    return order


def _lines(boxes: Sequence[TextBox], positions: Sequence[int]) -> list[list[int]]:
    """Boxes whose vertical middle lies within the first box of a line, or the other way round, share that line."""
    lines: list[list[int]] = []
    for i in sorted(positions, key=lambda i: (boxes[i].top + boxes[i].bottom, boxes[i].left)):
        if lines and _side_by_side(boxes[lines[-1][0]], boxes[i]):
            lines[-1].append(i)
        else:
            lines.append([i])
    return [sorted(line, key=lambda i: boxes[i].left) for line in lines]


def _side_by_side(first: TextBox, second: TextBox) -> bool:
    overlap = min(first.bottom, second.bottom) - max(first.top, second.top)
    return overlap > 0.5 * min(first.bottom - first.top, second.bottom - second.top)


def _gutters(boxes: Sequence[TextBox]) -> tuple[float, ...]:
    """Where the gaps between columns of prose are; none for a single column and for a table."""
    if len(boxes) < 2 * _MIN_COLUMN_LINES:
        return ()
    gaps = _gaps(boxes)
    for count in range(min(MAX_COLUMNS - 1, len(gaps)), 0, -1):
        for gutters in combinations(gaps, count):
            if _are_columns(boxes, gutters):
                return gutters
    return ()


def _gaps(boxes: Sequence[TextBox]) -> list[float]:
    """The middles of the vertical strips that few boxes reach into, from left to right."""
    start, end = min(box.left for box in boxes), max(box.right for box in boxes)
    found: list[tuple[int, float]] = []
    run: list[tuple[int, float]] = []
    for share in range(10, 92):
        x = start + (end - start) * share / 100
        spanning = sum(box.left < x < box.right for box in boxes)
        if spanning <= _MAX_SPANNING_SHARE * len(boxes) and share < 91:
            run.append((spanning, x))
        elif run:
            fewest = [x for spanning, x in run if spanning == min(run)[0]]
            found.append((min(run)[0], fewest[len(fewest) // 2]))
            run = []
    return sorted(x for _, x in sorted(found)[:_MAX_GAPS])


def _are_columns(boxes: Sequence[TextBox], gutters: Sequence[float]) -> bool:
    """Whether the boxes between gaps are columns of prose: of like width, with lines that fill it, few boxes across.

    The cells of a table seldom fill their width.
    """
    columns: list[list[TextBox]] = [[] for _ in range(len(gutters) + 1)]
    spanning = 0
    for box in boxes:
        if any(box.left < gutter < box.right for gutter in gutters):
            spanning += 1
        else:
            columns[sum(box.right > gutter for gutter in gutters)].append(box)
    if spanning > _MAX_SPANNING_SHARE * len(boxes) or min(map(len, columns)) < _MIN_COLUMN_LINES:
        return False
    starts = [min(box.left for box in column) for column in columns]
    ends = [*starts[1:], max(box.right for box in columns[-1])]
    widths = [end - start for start, end in zip(starts, ends, strict=True)]
    if max(widths) > _MAX_WIDTH_RATIO * min(widths):
        return False
    return all(
        sorted(box.right - box.left for box in column)[len(column) // 2] >= _MIN_COLUMN_FILL * width
        for column, width in zip(columns, widths, strict=True)
    )
