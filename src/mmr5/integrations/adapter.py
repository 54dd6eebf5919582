"""What all adapters share: documents → pages → a ranking, and what to tell about a ranked page."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from mmr5.documents import to_pages
from mmr5.errors import ConfigError, InputError
from mmr5.pipeline import Searcher
from mmr5.reranker import Reranker
from mmr5.storage.cache import Cache
from mmr5.types import Page, RankedPage, RerankResult

T = TypeVar("T")
OnResult = Callable[[RerankResult], None]
"""Told of every result: reasoning, reply, issues, timings."""


NOTES = ("relevance_score", "relevance", "score_kind", "rank", "reason", "evidence")
"""What :func:`notes_of` tells."""


class Adapter:
    """A reranker for documents of any form; :func:`mmr5.documents.to_pages` says how they are looked at.

    Args:
        reranker: ranks the pages; or a model's name.
        image_root: folder below which paths to pictures must lie; None reads any path.
        on_result: told of every result.
        cache: where recognised texts are kept, and weights where a name is given; None stands for ``Cache()``.
        options: those of :meth:`mmr5.Reranker.from_pretrained`, where a name is given.

    Raises:
        ConfigError: options beside a reranker.
    """

    def __init__(
        self,
        reranker: Reranker | str,
        *,
        image_root: str | Path | None = None,
        on_result: OnResult | None = None,
        cache: Cache | None = None,
        **options: Any,
    ) -> None:
        if options and not isinstance(reranker, str):
            raise ConfigError(f"{', '.join(options)} beside a reranker: options go with a model's name")
        self.reranker = Reranker.from_pretrained(reranker, cache=cache, **options) if isinstance(reranker, str) else reranker
        self.image_root = None if image_root is None else Path(image_root)
        self.on_result = on_result
        self._cache = cache

    def rank(
        self, query: str, documents: Iterable[object], top_n: int | None = None, min_relevance: float | None = None
    ) -> RerankResult:
        """Rank documents.

        Args:
            query: the question.
            documents: any number of documents (see :func:`mmr5.documents.draft`); none give an empty result.
            top_n: keep only the best; None keeps all.
            min_relevance: leave out documents whose relevance is below it, in [0, 1]; None keeps all.

        Returns:
            A result whose ``index`` is a document's place in ``documents``; every document is in it at most once.

        Raises:
            InputError: an empty question, or what is no document.
            PageError: a picture that cannot be read; the error names the document's place.
            ConfigError: ``top_n`` is below 1, or ``min_relevance`` is given and the model has no calibration.
        """
        return self.rank_many([(query, documents)], top_n, min_relevance)[0]

    def rank_many(
        self,
        items: Sequence[tuple[str, Iterable[object]]],
        top_n: int | None = None,
        min_relevance: float | None = None,
    ) -> list[RerankResult]:
        """:meth:`rank` for many questions, each over its own documents; lists of one view share their batches."""
        view, root = self.reranker.view, self.image_root
        ready = [(query, to_pages(given, view, image_root=root, cache=self._cache)[0]) for query, given in items]
        results = self.reranker.rerank_many(ready, top_n=top_n, min_relevance=min_relevance)
        if self.on_result is not None:
            for result in results:
                self.on_result(result)
        return results

    async def arank(
        self, query: str, documents: Iterable[object], top_n: int | None = None, min_relevance: float | None = None
    ) -> RerankResult:
        """:meth:`rank` in a worker thread."""
        return await asyncio.to_thread(self.rank, query, documents, top_n, min_relevance)


class Stored(NamedTuple):
    """A page that a stored collection gave.

    Attributes:
        page: the page.
        fields: what a framework's metadata is told: the document's own metadata, ``source``, ``page`` (one-based), and what
            :func:`notes_of` says.
    """

    page: Page
    fields: dict[str, Any]


def search_stored(
    searcher: Searcher, query: str, where: str | None, top_n: int | None, min_relevance: float | None, on_result: OnResult | None
) -> list[Stored]:
    """The pages of a searcher's collection, best first.

    Args:
        searcher: with a collection.
        query: the question.
        where: a filter, or None.
        top_n: keep only the best; None keeps all candidates.
        min_relevance: leave out pages whose relevance is below it; None keeps all.
        on_result: told of the result.

    Raises:
        ConfigError: the searcher has no collection, or a filter that cannot be read.
        InputError: an empty question or collection.
    """
    result = searcher.search(query, where=where, top_n=top_n, min_relevance=min_relevance)
    if on_result is not None:
        on_result(result)
    collection = searcher.collection
    known = {} if collection is None else {document.source: document.metadata for document in collection.documents()}
    return [
        Stored(page, {**known.get(line.source, {}), "source": line.source, "page": line.page, **notes_of(line)})
        for line, page in zip(result, result.pages, strict=True)
    ]


def check_places(query: object, documents: object) -> None:
    """Refuse a question and documents that stand in each other's place.

    Raises:
        InputError: the question is no string, or the documents are one.
    """
    if not isinstance(query, str):
        raise InputError(f"query is a {type(query).__name__}: give the question, a string, first, and then the documents")
    if isinstance(documents, str | bytes | Mapping):
        raise InputError(f"documents is a {type(documents).__name__}: give a list, e.g. [document]")


def score_of(page: RankedPage) -> float:
    """A score that falls along the order: the model's, or one over the rank where the method gives none."""
    return 1 / page.rank if page.score is None else page.score


def notes_of(page: RankedPage) -> dict[str, Any]:
    """What a framework's metadata is told about a ranked page."""
    return {
        "relevance_score": score_of(page),
        "relevance": page.relevance,
        "score_kind": page.score_kind or "reciprocal_rank",
        "rank": page.rank,
        "reason": page.reason,
        "evidence": page.evidence,
    }


def with_notes(documents: Sequence[T], result: RerankResult) -> Iterator[tuple[T, dict[str, Any]]]:
    """Each document that was ranked, best first, with what its metadata are told (see :func:`notes_of`)."""
    for page in result:
        yield documents[page.index], notes_of(page)


def jpeg(page: Page) -> bytes | None:
    """A page's picture as a JPEG of its own size, or None where it has none.

    Raises:
        PageError: the picture cannot be decoded.
    """
    if page.image is None:
        return None
    buffer = io.BytesIO()
    page.image.load().save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
