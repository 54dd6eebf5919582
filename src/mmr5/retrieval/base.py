"""What a first stage is, and how its scores become candidates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from mmr5.cache import Cache
from mmr5.errors import ConfigError
from mmr5.types import Candidates, Page, Progress

RETRIEVERS = ("hybrid", "bm25", "dense", "none")


class Retriever(Protocol):
    """A first stage over a fixed list of pages."""

    @property
    def name(self) -> str:
        """Its name, as on the command line."""

    def scores(self, query: str) -> list[float]:
        """One score a page, in page order; higher is better."""


def open_retriever(
    name: str, pages: Sequence[Page], *, cache: Cache | None = None, progress: Progress | None = None
) -> Retriever:
    """Index pages for a first stage.

    Args:
        name: ``bm25`` (words), ``dense`` (sentence embeddings), ``hybrid`` (the sum of both, z-scored) or ``none`` (page order).
        pages: the pages; their text is what is searched, and a page whose text is unknown counts as empty.
        cache: where page embeddings are kept.
        progress: told of the embedding.

    Raises:
        ConfigError: an unknown name.
        MissingExtraError: ``dense`` and ``hybrid`` without the extra ``local``.
    """
    from mmr5.retrieval.bm25 import BM25Retriever
    from mmr5.retrieval.dense import DenseRetriever

    if name == "none":
        return NoRetriever(len(pages))
    if name == "bm25":
        return BM25Retriever(pages)
    if name == "dense":
        return DenseRetriever(pages, cache=cache, progress=progress)
    if name == "hybrid":
        return HybridRetriever(BM25Retriever(pages), DenseRetriever(pages, cache=cache, progress=progress))
    raise ConfigError(f"retriever {name!r} is unknown: use one of {', '.join(RETRIEVERS)}")


class NoRetriever:
    """Every page counts the same: candidates come in page order."""

    name = "none"

    def __init__(self, n: int) -> None:
        self._n = n

    def scores(self, query: str) -> list[float]:
        """Zeros."""
        del query
        return [0.0] * self._n


class HybridRetriever:
    """The sum of two first stages, each z-scored over the pages for each question."""

    name = "hybrid"

    def __init__(self, first: Retriever, second: Retriever) -> None:
        self._parts = (first, second)

    def scores(self, query: str) -> list[float]:
        """Sum of the z-scores of both parts."""
        parts = [standardise(part.scores(query)) for part in self._parts]
        return [sum(values) for values in zip(*parts, strict=True)]


def standardise(values: Sequence[float]) -> list[float]:
    """Z-scores: mean 0 and (population) standard deviation 1; zeros where all values are equal."""
    n = len(values)
    if not n:
        return []
    mean = sum(values) / n
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / n)
    return [(v - mean) / deviation if deviation > 1e-12 else 0.0 for v in values]


def top_candidates(
    query: str, pages: Sequence[Page], scores: Sequence[float], n: int | None, *, scored: bool = True
) -> Candidates:
    """The first stage's best n pages as candidates, ties in page order.

    Args:
        query: the question.
        pages: all pages.
        scores: one score a page.
        n: how many candidates; None takes all.
        scored: False leaves the scores out (there was no first stage).

    Raises:
        ConfigError: ``n`` is below 1.
    """
    if n is not None and n < 1:
        raise ConfigError(f"candidates is {n}: give at least 1")
    if len(scores) != len(pages):
        raise ValueError(f"{len(scores)} scores for {len(pages)} pages: give one for each")
    order = sorted(range(len(pages)), key=lambda i: (-scores[i], i))[:n]
    return Candidates(query, tuple(pages[i] for i in order), tuple(scores[i] for i in order) if scored else None, tuple(order))
