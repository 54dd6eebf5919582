"""Haystack: a ranker component (extra ``haystack``)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from mmr5.errors import ConfigError, InputError, missing_extra

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.dataclasses import ByteStream
except ImportError as error:
    raise missing_extra(error.name or "haystack", "haystack", "rerank in Haystack") from error

from mmr5.documents import Draft, below, pdf_page
from mmr5.integrations.adapter import Adapter, OnResult, jpeg, with_notes
from mmr5.pages.files import picture_kind
from mmr5.reranker import Reranker
from mmr5.types import Page, RerankResult


@component
class MMR5Ranker:
    """Ranks documents, each a page: ``content``, and its picture in ``blob`` or in the file that its metadata name.

    Every document comes back (unless ``top_k`` or ``score_threshold`` leave some out), best first, as a copy with the new
    ``score`` and with ``relevance_score``, ``relevance``, ``score_kind``, ``rank``, ``reason`` and ``evidence`` in its ``meta``;
    ``id`` stays.

    Args:
        model: name of the model, loaded with the first run or by ``warm_up``.
        top_k: keep only the best; None keeps all.
        score_threshold: leave out documents whose ``relevance``, a calibrated probability, is below it; None keeps all.
        root_path: folder of the files that ``meta["file_path"]`` names, as for Haystack's ``DocumentToImageContent``: images,
            and PDFs with the one-based ``meta["page_number"]``. None reads none.
        file_path_meta_field: where the file is named.
        reranker: an own reranker instead of ``model``; such a component cannot be serialised.
        on_result: told of every result, with the whole reasoning; it is not serialised.
        options: for :meth:`mmr5.Reranker.from_pretrained`, such as ``{"engine": "openai", "base_url": "…"}``.
    """

    def __init__(
        self,
        model: str = "mini",
        *,
        top_k: int | None = None,
        score_threshold: float | None = None,
        root_path: str | None = None,
        file_path_meta_field: str = "file_path",
        reranker: Reranker | None = None,
        on_result: OnResult | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        if top_k is not None and top_k < 1:
            raise ConfigError(f"top_k is {top_k}: give at least 1, or None for all")
        if score_threshold is not None and not 0 <= score_threshold <= 1:
            raise ConfigError(f"score_threshold is {score_threshold}: it is a probability, in [0, 1]")
        self.model = model
        self.top_k = top_k
        self.score_threshold = score_threshold
        self.root_path = root_path
        self.file_path_meta_field = file_path_meta_field
        self.options = dict(options or {})
        self.on_result = on_result
        self._own = reranker is not None
        self._adapter = None if reranker is None else Adapter(reranker, on_result=on_result)

    def warm_up(self) -> None:
        """Load the model, once."""
        self._loaded()

    def to_dict(self) -> dict[str, Any]:
        """For Haystack's YAML.

        Raises:
            ConfigError: the component was given a reranker, which has no name to load it by.
        """
        if self._own:
            raise ConfigError(
                "this ranker was given a reranker object, which cannot be serialised: give model and options instead"
            )
        found: dict[str, Any] = default_to_dict(
            self,
            model=self.model,
            top_k=self.top_k,
            score_threshold=self.score_threshold,
            root_path=self.root_path,
            file_path_meta_field=self.file_path_meta_field,
            options=self.options,
        )
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MMR5Ranker:
        """From Haystack's YAML."""
        made: MMR5Ranker = default_from_dict(cls, data)
        return made

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None, score_threshold: float | None = None
    ) -> dict[str, list[Document]]:
        """Rank documents.

        Args:
            query: the question.
            documents: any number; none give none.
            top_k: overrides the component's own.
            score_threshold: overrides the component's own.
        """
        kept = self.top_k if top_k is None else top_k
        least = self.score_threshold if score_threshold is None else score_threshold
        result = self._loaded().rank(query, [self._draft(i, d) for i, d in enumerate(documents)], kept, least)
        return {"documents": _told(documents, result)}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None, score_threshold: float | None = None
    ) -> dict[str, list[Document]]:
        """:meth:`run` in a worker thread."""
        return await asyncio.to_thread(self.run, query, documents, top_k, score_threshold)

    def _loaded(self) -> Adapter:
        if self._adapter is None:
            self._adapter = Adapter(Reranker.from_pretrained(self.model, **self.options), on_result=self.on_result)
        return self._adapter

    def _draft(self, place: int, document: Document) -> Draft:
        source = str(document.meta.get(self.file_path_meta_field) or f"documents[{place}]")
        return Draft(source, place + 1, document.content, partial(self._picture, document))

    def _picture(self, document: Document) -> object:
        """The blob that is an image, or the file that the metadata name, or None."""
        blob = document.blob
        if blob is not None and (blob.mime_type is None or blob.mime_type.startswith("image/")):
            return blob.data
        named = document.meta.get(self.file_path_meta_field)
        if self.root_path is None or not named:
            return None
        path = below(named, Path(self.root_path))
        try:
            kind = picture_kind(path)
        except InputError:
            if document.content:  # the file is where the text came from, and is no picture or is gone
                return None
            raise
        number = document.meta.get("page_number")
        if kind != "pdf":
            return path
        return None if number is None else pdf_page(path, int(number))


def to_documents(pages: list[Page]) -> list[Document]:
    """Pages of :func:`mmr5.read_pages` as documents: text, a JPEG in ``blob``, ``file_path`` and ``page_number``."""
    found = []
    for page in pages:
        picture = jpeg(page)
        blob = None if picture is None else ByteStream(picture, mime_type="image/jpeg")
        found.append(Document(content=page.text, blob=blob, meta={"file_path": page.source, "page_number": page.number}))
    return found


def _told(documents: list[Document], result: RerankResult) -> list[Document]:
    """Copies of the documents in the result's order; ids stay."""
    return [
        replace(document, score=notes["relevance_score"], meta={**document.meta, **notes})
        for document, notes in with_notes(documents, result)
    ]
