"""Replies → rewards (paper section 3.3.2), pure.

Both rewards read a reply through :mod:`mmr5.answer`, so that what is rewarded is what is served. For |G| = 1 the ranking
reward by the rank of the relevant page is 1, .125, .037, .0156, .008.

``compat="upstream"`` gives the values that the functions released with the paper give (github i2vec/MM-R5), their defects
included: repeated ids are not punished, the two rewards read a reply differently, the first of several answers counts, and
a list that is too long earns less than 0. It is for comparing runs; nothing else asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal

from mmr5.answer import VERDICTS, parse, parse_verdict
from mmr5.errors import ConfigError

Compat = Literal["paper", "upstream"]
COMPATS = ("paper", "upstream")

_UPSTREAM_RANKING = re.compile(r"<answer>\s*\[([\d, ]+)\]\s*</answer>")
_UPSTREAM_FORMAT = re.compile(r"</think>\s*<answer>\[(\d+(?:,\s*\d+)*)\]</answer>")
"""Behind the first ``<think>``."""
_UPSTREAM_DIGITS = 4300
"""Python's own limit on a number in source text: the released functions read none that is longer."""


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


def ranking_reward(reply: str, relevant: Collection[int], n: int, *, compat: Compat = "paper") -> float:
    """How well the order in a reply puts the relevant pages first, in [0, 1].

    Only ids that the reply itself names count: de-duplicated, in range, in order, nothing appended. A reply whose answer lacks
    one of its tags, or whose square brackets do not balance, earns 0.

    Args:
        reply: all that the model wrote.
        relevant: zero-based positions of the relevant pages.
        n: number of candidates.
        compat: ``upstream`` for the value of the released function.

    Raises:
        ConfigError: an unknown ``compat``.
    """
    if _is_upstream(compat):
        return _upstream_ranking(reply, relevant)
    parsed = parse(reply, n, think=False)
    return discounted_gain(parsed.predicted, relevant) if parsed.enclosed else 0.0


def format_reward(reply: str, n: int, *, think: bool = True, compat: Compat = "paper") -> float:
    """How well a reply keeps the format, in [0, 1] (with ``compat="upstream"`` it has no lower bound).

    valid × max(0, 1 - max(||Î| - n|, |raw| - n) / n) × (share of raw ids in 1..n), where raw are the ids as written and Î the
    de-duplicated ones, strangers included; so for five candidates ``[3, 1, 2, 4, 5, 3, 3]`` earns 0.6, ``[5, 1, 2, 3, 4, 5]``
    0.8, and ``[3, 3, 3, 3, 3]`` 0.2. Valid is 1 for a well-formed reply (:func:`mmr5.answer.well_formed`), else 0.

    Args:
        reply: all that the model wrote.
        n: number of candidates, at least 1.
        think: whether reasoning is part of the format; the released function always asks for it.
        compat: ``upstream`` for the value of the released function.

    Raises:
        ValueError: ``n`` is below 1.
        ConfigError: an unknown ``compat``.
    """
    if n < 1:
        raise ValueError(f"n is {n}: the format reward needs at least one candidate")
    if _is_upstream(compat):
        return _upstream_format(reply, n)
    parsed = parse(reply, n, think=think)
    if not parsed.well_formed or not parsed.raw_ids:
        return 0.0
    written = len(parsed.raw_ids)
    length = max(0.0, 1 - max(abs(len(set(parsed.raw_ids)) - n), written - n) / n)
    in_range = sum(1 <= i <= n for i in parsed.raw_ids) / written
    return length * in_range


def verdict_format_reward(reply: str, *, ended: bool) -> float:
    """Whether a reply about one page keeps the format of method ``pointwise``: 1 or 0.

    It begins with a verdict and its full stop, goes on with a sentence of at least three words on the same line, and was ended by
    the model.

    Args:
        reply: all that the model wrote.
        ended: False when it was cut off at its token limit.
    """
    verdict, note = parse_verdict(reply)
    opened = reply.lstrip()[:4].startswith(tuple(f"{word}." for word in VERDICTS))
    whole = note is not None and len(note.split()) >= 3 and "\n" not in reply.strip()
    return float(ended and verdict is not None and opened and whole)


def _is_upstream(compat: str) -> bool:
    if compat not in COMPATS:
        raise ConfigError(f"compat is {compat!r}: use one of {', '.join(COMPATS)}")
    return compat == "upstream"


def _upstream_ranking(reply: str, relevant: Collection[int]) -> float:
    """First answer on one line, wherever it stands; every relevant page counts at its first mention, strangers hold ranks."""
    match = _UPSTREAM_RANKING.search(reply)
    if match is None or not relevant:
        return 0.0
    items = [item.strip() for item in match[1].split(",")]
    if not all(item.isdigit() and len(item) <= _UPSTREAM_DIGITS for item in items):
        return 0.0
    ids = [int(item) for item in items]
    gain = sum(1 / (ids.index(i + 1) + 1) ** 3 for i in set(relevant) if i + 1 in ids)
    return gain / sum(1 / rank**3 for rank in range(1, len(set(relevant)) + 1))


def _upstream_format(reply: str, n: int) -> float:
    """The released function evaluates the list as Python: one id alone, a leading zero or a line break is an error, so 0."""
    thought = reply.find("<think>")
    match = None if thought < 0 else _UPSTREAM_FORMAT.search(reply, thought + len("<think>"))
    if match is None or "\n" in match[1]:
        return 0.0
    items = [item.strip() for item in match[1].split(",")]
    if len(items) < 2 or any((item[0] == "0" and item.strip("0")) or len(item) > _UPSTREAM_DIGITS for item in items):
        return 0.0
    length = 1 - abs(len(items) - n) / n
    return length * sum(1 <= int(item) <= n for item in items) / len(items)
