"""LangChain: a document compressor, a retriever that reranks what another one finds, and one over a stored collection.

Extra ``langchain``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mmr5.errors import missing_extra

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise missing_extra(error.name or "langchain_core", "langchain", "rerank in LangChain") from error
from pydantic import ConfigDict, PrivateAttr

from mmr5.documents import Draft
from mmr5.integrations.adapter import Adapter, OnResult, search_stored, with_notes
from mmr5.pipeline import Searcher
from mmr5.reranker import Reranker
from mmr5.types import Page, RerankResult

IMAGE_KEYS = ("image", "image_path", "image_base64")
"""Metadata that hold a document's picture: a path, bytes, base64, a data URI, a Pillow image or an ``ImageSource``."""


class MMR5Rerank(BaseDocumentCompressor):
    """Ranks documents, each a page: its ``page_content`` and, in its metadata, perhaps its picture.

    Every document comes back (unless ``top_n`` or ``score_threshold`` leave some out) as a copy, best first, with
    ``relevance_score``, ``relevance``, ``score_kind``, ``rank``, ``reason`` and ``evidence`` in its metadata.

    Attributes:
        reranker: ranks the pages.
        top_n: keep only the best; None keeps all.
        score_threshold: leave out documents whose ``relevance``, a calibrated probability, is below it; None keeps all.
        picture_of: gives a document's picture, or None, instead of the keys ``image``, ``image_path`` and ``image_base64``.
        image_root: folder below which paths to pictures must lie; None reads any path.
        on_result: told of every result, with the whole reasoning.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    reranker: Reranker
    top_n: int | None = None
    score_threshold: float | None = None
    picture_of: Callable[[Document], Any] | None = None
    image_root: Path | None = None
    on_result: OnResult | None = None
    _adapter: Adapter = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Build what ranks."""
        super().model_post_init(context)
        self._adapter = Adapter(self.reranker, image_root=self.image_root, on_result=self.on_result)

    @classmethod
    def from_pretrained(
        cls, model: str = "mini", *, top_n: int | None = None, score_threshold: float | None = None, **options: Any
    ) -> MMR5Rerank:
        """Load a model by name; ``options`` are those of :meth:`mmr5.Reranker.from_pretrained`."""
        return cls(reranker=Reranker.from_pretrained(model, **options), top_n=top_n, score_threshold=score_threshold)

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The documents, best first. ``callbacks`` are LangChain's; ranking runs nothing that they could watch."""
        del callbacks
        return _told(documents, self._adapter.rank(query, self._drafts(documents), self.top_n, self.score_threshold))

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """:meth:`compress_documents` in a worker thread."""
        del callbacks
        drafts = self._drafts(documents)
        return _told(documents, await self._adapter.arank(query, drafts, self.top_n, self.score_threshold))

    def _drafts(self, documents: Sequence[Document]) -> list[Draft]:
        picture_of = self.picture_of or picture_in_metadata
        return [
            Draft(str(d.metadata.get("source", f"documents[{i}]")), i + 1, d.page_content, partial(picture_of, d))
            for i, d in enumerate(documents)
        ]


class MMR5Retriever(BaseRetriever):
    """A retriever that asks another one and ranks what it finds.

    Attributes:
        base_retriever: finds the candidates.
        compressor: ranks them.
    """

    base_retriever: BaseRetriever
    compressor: BaseDocumentCompressor

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        callbacks = run_manager.get_child()
        found = self.base_retriever.invoke(query, config={"callbacks": callbacks})
        return list(self.compressor.compress_documents(found, query, callbacks=callbacks))

    async def _aget_relevant_documents(self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun) -> list[Document]:
        callbacks = run_manager.get_child()
        found = await self.base_retriever.ainvoke(query, config={"callbacks": callbacks})
        return list(await self.compressor.acompress_documents(found, query, callbacks=callbacks))


class MMR5IndexRetriever(BaseRetriever):
    """A retriever over a stored collection: the first stage that it holds, and the reranker.

    Its documents are pages, best first: ``page_content``, and in their metadata the fields of their document, ``source``,
    ``page`` (one-based), ``relevance_score``, ``relevance``, ``score_kind``, ``rank``, ``reason`` and ``evidence``.

    Attributes:
        searcher: first stage and reranker, ``Searcher(reranker, index=Index.open(…))``.
        where: only documents and pages for which this holds, such as ``"year >= 2020"``.
        top_n: keep only the best; None keeps all candidates.
        score_threshold: leave out pages whose ``relevance``, a calibrated probability, is below it; None keeps all.
        on_result: told of every result.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    searcher: Searcher
    where: str | None = None
    top_n: int | None = None
    score_threshold: float | None = None
    on_result: OnResult | None = None

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        del run_manager
        found = search_stored(self.searcher, query, self.where, self.top_n, self.score_threshold, self.on_result)
        return [Document(page_content=page.text or "", metadata=fields) for page, fields in found]


def picture_in_metadata(document: Document) -> object:
    """The picture under the first of :data:`IMAGE_KEYS` that the metadata hold, or None."""
    return next((document.metadata[key] for key in IMAGE_KEYS if document.metadata.get(key) is not None), None)


def to_documents(pages: Sequence[Page]) -> list[Document]:
    """Pages of :func:`mmr5.read_pages` as documents: text, ``source``, ``page`` (one-based) and ``image``."""
    return [
        Document(page_content=page.text or "", metadata={"source": page.source, "page": page.number, "image": page.image})
        for page in pages
    ]


def _told(documents: Sequence[Document], result: RerankResult) -> list[Document]:
    """Copies of the documents in the result's order, told what the result says of them."""
    return [
        document.model_copy(update={"metadata": {**document.metadata, **notes}})
        for document, notes in with_notes(documents, result)
    ]
