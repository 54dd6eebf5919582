"""What orders the candidates: a model, or a baseline that needs none."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from mmr5.errors import ConfigError, MMR5Error
from mmr5.pipeline import Searcher
from mmr5.types import Candidates, Ranking

BASELINES = ("none", "oracle", "random")
"""``none`` keeps the first stage's order, ``oracle`` puts the relevant candidates first, ``random`` shuffles by seed."""

Task = tuple[str, Candidates, Mapping[int, float]]
"""A question's id, its candidates, and the gain of each relevant unit (by id), which the oracle alone may see."""
Rank = Callable[[Sequence[Task]], list[Ranking | MMR5Error]]
"""One ranking a task, or the error that stands in its way."""


def ranker(model: str, searcher: Searcher | None, seed: int) -> Rank:
    """What ranks for a setup.

    Raises:
        ConfigError: the model is no baseline, and no searcher is given.
    """
    if model in BASELINES:
        return lambda tasks: [Ranking(_baseline(model, seed, *task)) for task in tasks]
    if searcher is None:
        raise ConfigError(f"model {model!r} is no baseline ({', '.join(BASELINES)}): open a Reranker for it")
    return lambda tasks: searcher.rank_each([candidates for _, candidates, _ in tasks])


def _baseline(model: str, seed: int, qid: str, candidates: Candidates, gains: Mapping[int, float]) -> tuple[int, ...]:
    order = list(range(len(candidates)))
    if model == "oracle":
        order.sort(key=lambda i: -gains.get(candidates.index_of(i), 0.0))
    elif model == "random":
        random.Random(f"{seed}/{qid}").shuffle(order)  # noqa: S311 - a seeded baseline
    return tuple(order)
