"""Long lists → windows that a model can read at once, pure.

As in list-wise text reranking with sliding windows: the last window is ranked first, and its best pages move up into the
next one, so that a page can travel from the tail to the top.
"""

from __future__ import annotations

from collections.abc import Sequence


def spans(n: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Half-open spans over 0..n-1, from the tail to the head.

    Neighbours share ``overlap`` positions; the last span starts at 0 and is as long as the others (it may share more).

    Args:
        n: length of the list, at least 0.
        size: pages in a window, at least 1.
        overlap: positions that neighbours share, 0 ≤ overlap < size.

    Raises:
        ValueError: ``size`` or ``overlap`` is out of range.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(f"window size {size} with overlap {overlap}: needs size ≥ 1 and 0 ≤ overlap < size")
    found: list[tuple[int, int]] = []
    stop = n
    while stop > 0:
        start = max(0, stop - size)
        found.append((start, min(n, start + size)))
        if start == 0:
            break
        stop = start + overlap
    return found


def reorder(order: Sequence[int], span: tuple[int, int], local: Sequence[int]) -> list[int]:
    """Put the positions of ``span`` into the order a model gave for them.

    Args:
        order: the current permutation.
        span: half-open span of places in ``order``.
        local: a permutation of 0..(length of span - 1), best first.

    Raises:
        ValueError: ``local`` is no permutation of the span.
    """
    start, stop = span
    if sorted(local) != list(range(stop - start)):
        raise ValueError(f"{list(local)} is not a permutation of 0..{stop - start - 1}")
    return [*order[:start], *(order[start + i] for i in local), *order[stop:]]


def borda(orders: Sequence[Sequence[int]]) -> list[float]:
    """Merge several orders of the same n items by Borda count.

    Returns:
        n scores in [0, 1] by item: 1 for an item that is first in every order, 0 for one that is last in every order
        (1 when n is 1).

    Raises:
        ValueError: the orders are not permutations of the same items, or there is none.
    """
    if not orders or any(sorted(o) != list(range(len(orders[0]))) for o in orders):
        raise ValueError(f"{len(orders)} orders to merge: needs at least one, each a permutation of the same items")
    n = len(orders[0])
    points = [0] * n
    for order in orders:
        for place, item in enumerate(order):
            points[item] += n - 1 - place
    return [p / (len(orders) * (n - 1)) if n > 1 else 1.0 for p in points]
