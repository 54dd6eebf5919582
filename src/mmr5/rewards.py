"""Replies → rewards (paper section 3.3.2), pure.

Both rewards read a reply through :mod:`mmr5.answer`, so that what is rewarded is what is served. For |G| = 1 the ranking
reward by the rank of the relevant page is 1, .125, .037, .0156, .008.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from mmr5.answer import parse


def discounted_gain(predicted: Sequence[int], relevant: Collection[int]) -> float:
    """Reciprocal-cube gain of an order, normalised by the best possible one.

    Args:
        predicted: distinct zero-based positions, best first.
        relevant: zero-based positions of the relevant pages, at least one.

    Returns:
        (Σ over ranks j with predicted[j] relevant of 1/j³) / (Σ for j = 1..|relevant| of 1/j³), in [0, 1].

    Raises:
        ValueError: ``relevant`` is empty.
    """
    wanted = set(relevant)
    if not wanted:
        raise ValueError("relevant is empty: the ranking reward needs at least one relevant page")
    gain = sum(1 / rank**3 for rank, position in enumerate(predicted, start=1) if position in wanted)
    return gain / sum(1 / rank**3 for rank in range(1, len(wanted) + 1))


def ranking_reward(reply: str, relevant: Collection[int], n: int) -> float:
    """How well the order in a reply puts the relevant pages first, in [0, 1].

    Only ids that the reply itself names count: de-duplicated, in range, in order, nothing appended. A reply without an
    answer tag earns 0.

    Args:
        reply: all that the model wrote.
        relevant: zero-based positions of the relevant pages.
        n: number of candidates.
    """
    parsed = parse(reply, n, think=False)
    if not parsed.raw_ids or "<answer>" not in reply.lower():
        return 0.0
    return discounted_gain(parsed.predicted, relevant)


def format_reward(reply: str, n: int, *, think: bool = True) -> float:
    """How well a reply keeps the format, in [0, 1].

    valid × max(0, 1 - ||Î| - n| / n) × (share of raw ids in 1..n), where Î are the de-duplicated ids, strangers
    included; so ``[3, 3, 3, 3, 3]`` for five candidates earns 0.2.

    Args:
        reply: all that the model wrote.
        n: number of candidates, at least 1.
        think: whether reasoning is part of the format.
    """
    if n < 1:
        raise ValueError(f"n is {n}: the format reward needs at least one candidate")
    parsed = parse(reply, n, think=think)
    if not parsed.well_formed or not parsed.raw_ids:
        return 0.0
    length = max(0.0, 1 - abs(len(set(parsed.raw_ids)) - n) / n)
    in_range = sum(1 <= i <= n for i in parsed.raw_ids) / len(parsed.raw_ids)
    return length * in_range
