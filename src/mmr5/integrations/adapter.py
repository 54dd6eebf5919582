"""What all adapters share: drafts → pages that the model can see → a ranking, and what to tell about a ranked page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mmr5.cache import Cache
from mmr5.errors import ConfigError, EngineError, InputError, MMR5Error
from mmr5.integrations.documents import Draft, open_picture
from mmr5.pages.ocr import read_picture
from mmr5.reranker import Reranker
from mmr5.types import ImageSource, Page, RankedPage, RerankResult, View

OnResult = Callable[[RerankResult], None]
"""Told of every result: reasoning, reply, issues, timings."""


class Adapter:
    """A reranker for documents of any kind.

    When every document has a picture (or the model reads text), the reranker's own view is used. When the model wants
    pictures and one document has none, all are read as text, so that they are compared alike. Text that a picture came
    without is recognised by OCR where text is needed. This is what the server does, too.

    Args:
        reranker: ranks the pages.
        image_root: folder below which paths to pictures must lie; None reads any path.
        on_result: told of every result.
        cache: where recognised texts are kept; None stands for ``Cache()``.
    """

    def __init__(
        self,
        reranker: Reranker,
        *,
        image_root: str | Path | None = None,
        on_result: OnResult | None = None,
        cache: Cache | None = None,
    ) -> None:
        self.reranker = reranker
        self.image_root = None if image_root is None else Path(image_root)
        self.on_result = on_result
        self._cache = cache
        self._as_text: Reranker | None = None

    def rank(self, query: str, drafts: Sequence[Draft], top_n: int | None = None) -> RerankResult:
        """Rank documents.

        Args:
            query: the question.
            drafts: any number of documents; none give an empty result.
            top_n: keep only the best; None keeps all.

        Returns:
            A result whose ``index`` is a document's place in ``drafts``; every document is in it exactly once.

        Raises:
            InputError: an empty question.
            PageError: a picture that cannot be read; the error names the document's place.
            ConfigError: ``top_n`` is below 1.
        """
        return self.rank_many([(query, drafts)], top_n)[0]

    def rank_many(self, items: Sequence[tuple[str, Sequence[Draft]]], top_n: int | None = None) -> list[RerankResult]:
        """:meth:`rank` for many questions, each over its own documents; lists of one view share their batches."""
        if top_n is not None and top_n < 1:
            raise ConfigError(f"top_n is {top_n}: give at least 1, or None for all")
        ready = [(query, *self.pages(drafts)) for query, drafts in items]
        results: dict[int, RerankResult] = {}
        for view in dict.fromkeys(view for _, _, view in ready):
            places = [i for i, (_, _, v) in enumerate(ready) if v == view]
            found = self._reranker(view).rerank_many([(ready[i][0], ready[i][1]) for i in places], top_n=top_n)
            results.update(zip(places, found, strict=True))
        ordered = [results[i] for i in range(len(ready))]
        if self.on_result is not None:
            for result in ordered:
                self.on_result(result)
        return ordered

    async def arank(self, query: str, drafts: Sequence[Draft], top_n: int | None = None) -> RerankResult:
        """:meth:`rank` in a worker thread."""
        return await asyncio.to_thread(self.rank, query, drafts, top_n)

    def pages(self, drafts: Sequence[Draft]) -> tuple[list[Page], View]:
        """The documents as pages, and the view in which all of them can be read.

        Raises:
            PageError: a picture that is needed cannot be read.
        """
        view = self.reranker.view
        pages: list[Page] = []
        for place, item in enumerate(drafts):
            wanted = view != "text" or not item.text
            image = self._open(place, item) if wanted and item.picture is not None else None
            text = item.text if item.text or image is None else None
            pages.append(Page(item.source, item.number, text, image, None if text is None else "given"))
        if view != "text" and any(page.image is None for page in pages):
            view = "text"
        if view != "image":
            pages = [self._with_text(place, page) for place, page in enumerate(pages)]
        return pages, view

    def _open(self, place: int, item: Draft) -> ImageSource | None:
        try:
            value = item.picture() if item.picture is not None else None
            return None if value is None else open_picture(value, self.image_root)
        except MMR5Error as error:
            raise type(error)(f"document {place} ({item.source}): {error}") from error

    def _with_text(self, place: int, page: Page) -> Page:
        """The page with its text; one that holds nothing at all has the text ``""``."""
        if page.text is not None:
            return page
        if page.image is None:
            return replace(page, text="", text_kind="given")
        picture: Any = page.image
        if not hasattr(picture, "decode"):
            raise InputError(
                f"document {place} ({page.source}) has a picture of type {type(page.image).__name__}, which OCR cannot read, "
                "and no text: give its text, or a path, bytes, base64 or a Pillow image"
            )
        try:
            return replace(page, text=read_picture(picture, self._cache or Cache()), text_kind="ocr")
        except EngineError:
            raise
        except MMR5Error as error:
            raise type(error)(f"document {place} ({page.source}): {error}") from error

    def _reranker(self, view: View) -> Reranker:
        """The reranker itself, or its twin that reads text."""
        if view == self.reranker.view:
            return self.reranker
        if self._as_text is None:
            base = self.reranker
            knobs = {name: value for name, value in asdict(base.settings).items() if name != "view"}
            self._as_text = Reranker(base.engine, method=base.method, view=view, recipe=base.recipe, **knobs)
        return self._as_text


def score_of(page: RankedPage) -> float:
    """A score that falls along the order: the model's, or one over the rank where the method gives none."""
    return 1 / page.rank if page.score is None else page.score


def notes_of(page: RankedPage) -> dict[str, Any]:
    """What a framework's metadata is told about a ranked page."""
    return {
        "relevance_score": score_of(page),
        "score_kind": page.score_kind or "reciprocal_rank",
        "rank": page.rank,
        "reason": page.reason,
        "evidence": page.evidence,
    }
