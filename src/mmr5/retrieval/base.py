"""What a first stage is, and how its scores become candidates."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from mmr5.errors import ConfigError
from mmr5.fusion import standardise
from mmr5.retrieval.names import find_encoding
from mmr5.storage.cache import Cache
from mmr5.types import Candidates, Page, Progress

if TYPE_CHECKING:
    import numpy as np

    from mmr5.retrieval.vectors import Unknown

    Vectors = np.ndarray[Any, Any]


class Retriever(Protocol):
    """A first stage over a fixed list of pages."""

    @property
    def name(self) -> str:
        """Its name, as on the command line."""

    @property
    def scale(self) -> float | None:
        """Log-odds of relevance that one unit of its scores is worth; None where they compare within a list only."""

    def scores(self, query: str) -> list[float]:
        """One score a page, in page order; higher is better."""


class PageEncoder(Protocol):
    """Pages and questions as vectors; a page scores by MaxSim: the sum over the question's vectors of the page's best match."""

    @property
    def name(self) -> str:
        """Of the first stage, as on the command line."""

    @property
    def identity(self) -> str:
        """Digest of checkpoint and settings; vectors of another identity do not compare."""

    def pages(self, pages: Sequence[Page], progress: Progress | None = None) -> list[Vectors | None]:
        """The vectors of each page, (one or more, dimension); None for a page that has none."""

    def known(self, pages: Sequence[Page]) -> list[Vectors | Unknown | None]:
        """:meth:`pages` as far as it is kept in the cache; nothing is embedded."""

    def question(self, query: str) -> Vectors:
        """The vectors of a question, (one or more, dimension), float32."""


def open_encoder(name: str, *, cache: Cache | None = None, progress: Progress | None = None) -> PageEncoder:
    """The encoder of a first stage that embeds pages: ``dense``, ``minilm``, or one that names a checkpoint.

    Raises:
        ConfigError: the first stage embeds nothing, or is several.
        MissingExtraError: without the extra ``local``.
        ModelNotFoundError: there is no such checkpoint, or it is of another kind.
    """
    from mmr5.retrieval.dense import BUNDLED, PassageEncoder

    if name in BUNDLED:
        return PassageEncoder(name=name, cache=cache, progress=progress)
    encoding = find_encoding(name)
    if encoding.kind == "text":
        return PassageEncoder(model=encoding.checkpoint, name=name, cache=cache, progress=progress)
    if encoding.kind == "image":
        from mmr5.retrieval.image import PictureEncoder

        return PictureEncoder(encoding, name=name, cache=cache)
    from mmr5.retrieval.late import TokenEncoder

    return TokenEncoder(encoding, name=name, cache=cache)


def open_retriever(
    name: str, pages: Sequence[Page], *, cache: Cache | None = None, progress: Progress | None = None
) -> Retriever:
    """Index pages for a first stage.

    Args:
        name: ``bm25`` (words), ``dense`` (multilingual sentence embeddings), ``minilm`` (English ones), ``hybrid`` (all three,
            see :mod:`mmr5.retrieval.hybrid`), ``none`` (page order), or one that embeds pages (see
            :func:`mmr5.retrieval.names.find_encoding`); ``A+B`` sums z-scores.
        pages: the pages; for first stages that read, a page whose text is unknown counts as empty.
        cache: where page embeddings are kept.
        progress: told of the embedding.

    Raises:
        ConfigError: an unknown name.
        MissingExtraError: an embedding first stage without the extra ``local``.
        ModelNotFoundError: there is no such checkpoint, or it is of another kind.
    """
    from mmr5.retrieval.bm25 import BM25Retriever
    from mmr5.retrieval.dense import BUNDLED, DenseRetriever
    from mmr5.retrieval.hybrid import HybridRetriever

    if name == "hybrid":
        return HybridRetriever(pages, cache=cache, progress=progress)
    if "+" in name:
        parts = (open_retriever(part, pages, cache=cache, progress=progress) for part in name.split("+"))
        return SumRetriever(*parts, name=name)
    if name == "none":
        return NoRetriever(len(pages))
    if name == "bm25":
        return BM25Retriever(pages)
    if name in BUNDLED:
        return DenseRetriever(pages, name=name, cache=cache, progress=progress)
    encoding = find_encoding(name)
    if encoding.kind == "text":
        return DenseRetriever(pages, model=encoding.checkpoint, name=name, cache=cache, progress=progress)
    if encoding.kind == "image":
        from mmr5.retrieval.image import ImageRetriever

        return ImageRetriever(pages, encoding, name=name, cache=cache, progress=progress)
    from mmr5.retrieval.late import LateRetriever

    return LateRetriever(pages, encoding, name=name, cache=cache, progress=progress)


def release_models() -> None:
    """Let go of the first stages' models, so that another model has the memory."""
    for module in ("dense", "image", "late"):
        loaded = sys.modules.get(f"mmr5.retrieval.{module}")
        if loaded is not None:
            loaded.release()


class NoRetriever:
    """Every page counts the same: candidates come in page order."""

    name = "none"
    scale = None

    def __init__(self, n: int) -> None:
        self._n = n

    def scores(self, query: str) -> list[float]:
        """Zeros."""
        del query
        return [0.0] * self._n


class SumRetriever:
    """The sum of first stages, each z-scored over the pages for each question."""

    scale = None

    def __init__(self, *parts: Retriever, name: str) -> None:
        self.name = name
        self._parts = parts

    def scores(self, query: str) -> list[float]:
        """Sum of the z-scores of all parts."""
        parts = [standardise(part.scores(query)) for part in self._parts]
        return [sum(values) for values in zip(*parts, strict=True)]


def find_candidates(query: str, pages: Sequence[Page], index: Retriever, n: int | None) -> Candidates:
    """The candidates that a first stage over these pages gives; without scores for ``none``."""
    scored = index.name != "none"
    return top_candidates(query, pages, index.scores(query), n, scored=scored, scale=index.scale)


def top_candidates(
    query: str,
    pages: Sequence[Page],
    scores: Sequence[float],
    n: int | None,
    *,
    scored: bool = True,
    scale: float | None = None,
) -> Candidates:
    """The first stage's best n pages as candidates, ties in page order.

    Args:
        query: the question.
        pages: all pages.
        scores: one score a page.
        n: how many candidates; None takes all.
        scored: False leaves the scores out (there was no first stage).
        scale: log-odds that one unit of the scores is worth, or None.

    Raises:
        ConfigError: ``n`` is below 1.
    """
    if n is not None and n < 1:
        raise ConfigError(f"candidates is {n}: give at least 1")
    if len(scores) != len(pages):
        raise ValueError(f"{len(scores)} scores for {len(pages)} pages: give one for each")
    order = sorted(range(len(pages)), key=lambda i: (-scores[i], i))[:n]
    kept = tuple(scores[i] for i in order) if scored else None
    pooled = len({page.source for page in pages}) > 1
    return Candidates(query, tuple(pages[i] for i in order), kept, tuple(order), scale if scored else None, pooled=pooled)
