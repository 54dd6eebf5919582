"""The shape of the ``rerankers`` package: ``rank(query, docs, doc_ids, metadata)`` → results. It is not needed itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmr5.documents import Draft, drafts
from mmr5.errors import InputError
from mmr5.integrations.adapter import Adapter, OnResult, score_of
from mmr5.reranker import Reranker
from mmr5.types import Page, RerankResult


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it was given.

    Attributes:
        doc_id: the caller's, or its zero-based place.
        text: its text, or None.
        metadata: the caller's.
        content: what was given to ``rank``.
    """

    doc_id: str | int
    text: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    content: object = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """A ranked document.

    Attributes:
        document: the document.
        score: higher is better; it falls along the order.
        rank: one-based.
        reason: the model's own sentence on it, or None.
        relevance: calibrated probability that it answers, or None without a calibration.
    """

    document: Document
    score: float
    rank: int
    reason: str | None = None
    relevance: float | None = None

    @property
    def doc_id(self) -> str | int:
        """The document's id."""
        return self.document.doc_id

    @property
    def text(self) -> str | None:
        """The document's text."""
        return self.document.text

    @property
    def metadata(self) -> dict[str, Any]:
        """The document's metadata."""
        return self.document.metadata


@dataclass(frozen=True, slots=True)
class RankedResults:
    """All documents, best first.

    Attributes:
        results: best first.
        query: the question.
        has_scores: always true.
        reasoning: what the model wrote while thinking, or None.
    """

    results: list[Result]
    query: str
    has_scores: bool = True
    reasoning: str | None = None

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __getitem__(self, place: int) -> Result:
        return self.results[place]

    def __len__(self) -> int:
        return len(self.results)

    def results_count(self) -> int:
        """How many there are."""
        return len(self.results)

    def top_k(self, k: int) -> list[Result]:
        """The best ``k``."""
        return self.results[:k]

    def get_score_by_docid(self, doc_id: str | int) -> float | None:
        """The score of a document, or None when no document has this id."""
        return next((result.score for result in self.results if result.doc_id == doc_id), None)

    def get_result_by_docid(self, doc_id: str | int) -> Result | None:
        """The result of a document, or None when no document has this id."""
        return next((result for result in self.results if result.doc_id == doc_id), None)


class MMR5Ranker:
    """Ranks strings, pictures, both, or :class:`mmr5.Page` objects.

    Args:
        reranker: a reranker, or a model's name.
        image_root: folder below which paths to pictures must lie; None reads any path.
        on_result: told of every result.
        options: those of :meth:`mmr5.Reranker.from_pretrained`, where a name is given.
    """

    def __init__(
        self,
        reranker: Reranker | str = "mini",
        *,
        image_root: str | Path | None = None,
        on_result: OnResult | None = None,
        **options: Any,
    ) -> None:
        self._adapter = Adapter(reranker, image_root=image_root, on_result=on_result, **options)

    def rank(
        self,
        query: str,
        docs: object,
        doc_ids: Sequence[str | int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """Rank documents.

        Args:
            query: the question.
            docs: one document or a list of them: strings, pictures (``Path``, bytes, base64, Pillow), ``{"text", "image"}``,
                pages.
            doc_ids: one for each; None numbers them from 0.
            metadata: one for each; None gives none.

        Raises:
            InputError: an empty question, an unknown kind of document, or ids or metadata of another number.
        """
        given, read = _given(docs)
        return _results(query, _documents(given, read, doc_ids, metadata), self._adapter.rank(query, read))

    async def rank_async(
        self,
        query: str,
        docs: object,
        doc_ids: Sequence[str | int] | None = None,
        metadata: Sequence[dict[str, Any]] | None = None,
    ) -> RankedResults:
        """:meth:`rank` in a worker thread."""
        given, read = _given(docs)
        return _results(query, _documents(given, read, doc_ids, metadata), await self._adapter.arank(query, read))

    def score(self, query: str, doc: object) -> float:
        """The score of a single document. Methods that only order give 1 to a document that stands alone."""
        return self.rank(query, [doc])[0].score


def _given(docs: object) -> tuple[list[object], list[Draft | Page]]:
    given = list(docs) if isinstance(docs, list | tuple) else [docs]
    return given, drafts(given, "docs")


def _documents(
    given: Sequence[object],
    read: Sequence[Draft | Page],
    doc_ids: Sequence[str | int] | None,
    metadata: Sequence[dict[str, Any]] | None,
) -> list[Document]:
    for name, values in (("doc_ids", doc_ids), ("metadata", metadata)):
        if values is not None and len(values) != len(given):
            raise InputError(f"{len(values)} {name} for {len(given)} docs: give one for each")
    ids = list(doc_ids) if doc_ids is not None else list(range(len(given)))
    notes = list(metadata) if metadata is not None else [{} for _ in given]
    return [Document(ids[i], read[i].text, notes[i], given[i]) for i in range(len(given))]


def _results(query: str, documents: Sequence[Document], result: RerankResult) -> RankedResults:
    lines = [Result(documents[page.index], score_of(page), page.rank, page.reason, page.relevance) for page in result]
    return RankedResults(lines, query, reasoning=result.reasoning)
