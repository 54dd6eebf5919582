"""Resolution-balanced sampling (paper section 3.3.1), pure.

The training set is parted into bins of similar picture size; rows are drawn from each without replacement. The paper says both
that rows are allotted "proportionally across all subsets" and that all sizes "contribute equally"; with bins at quantiles the two
are the same up to rounding and ties, so both are offered.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from mmr5.errors import ConfigError

BINS = 10
"""Subsets of similar picture size (paper section 3.3.1)."""
Allotment = Literal["proportional", "equal"]


def quantile_bins(sizes: Sequence[float], bins: int = BINS) -> list[list[int]]:
    """Part items into bins of similar size, cut at quantiles; equal sizes are never parted.

    Args:
        sizes: one size an item, e.g. the mean pixels of a row's pages.
        bins: most bins, at least 1; ties leave fewer.

    Returns:
        Positions by bin, smallest sizes first; none is empty.

    Raises:
        ConfigError: ``bins`` is below 1.
    """
    if bins < 1:
        raise ConfigError(f"bins is {bins}: give at least 1")
    ordered = sorted(range(len(sizes)), key=lambda i: (sizes[i], i))
    found: dict[int, list[int]] = {}
    place = -1
    for rank, i in enumerate(ordered):
        if rank == 0 or sizes[i] != sizes[ordered[rank - 1]]:
            place = rank * bins // len(ordered)
        found.setdefault(place, []).append(i)
    return list(found.values())


def balanced_sample(
    sizes: Sequence[float], n: int, *, bins: int = BINS, allotment: Allotment = "proportional", seed: int = 0
) -> list[int]:
    """Draw items without replacement, balanced over their sizes.

    Args:
        sizes: one size an item.
        n: how many to draw, 1 to all.
        bins: most bins.
        allotment: ``proportional`` gives each bin its share of the items, ``equal`` the same number, as far as it has that many;
            what a bin cannot give is drawn from the others.
        seed: of the drawing.

    Returns:
        ``n`` positions, ascending.

    Raises:
        ConfigError: an impossible number, or an unknown allotment.
    """
    if not 1 <= n <= len(sizes):
        raise ConfigError(f"{n} of {len(sizes)} rows were asked for: give 1 to {len(sizes)}")
    if allotment not in ("proportional", "equal"):
        raise ConfigError(f"allotment is {allotment!r}: use proportional or equal")
    parts = quantile_bins(sizes, bins)
    counts = [len(part) for part in parts]
    shares = _proportional(counts, n) if allotment == "proportional" else _equal(counts, n)
    draw = random.Random(f"balanced:{seed}")  # noqa: S311
    return sorted(i for part, share in zip(parts, shares, strict=True) for i in draw.sample(part, share))


def _proportional(counts: Sequence[int], n: int) -> list[int]:
    """Shares by largest remainder; they sum to n, and none exceeds its count."""
    total = sum(counts)
    shares = [n * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda i: (-(n * counts[i] % total), i))
    for i in by_remainder[: n - sum(shares)]:
        shares[i] += 1
    return shares


def _equal(counts: Sequence[int], n: int) -> list[int]:
    """The same for each bin, as far as it has that many; they sum to n."""
    shares = [0] * len(counts)
    while (left := n - sum(shares)) > 0:
        able = [i for i in range(len(counts)) if shares[i] < counts[i]]
        each, extra = divmod(left, len(able))
        for place, i in enumerate(able):
            shares[i] += min(counts[i] - shares[i], each + (place < extra))
    return shares
