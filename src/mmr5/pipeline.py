"""Searcher: documents and a question → first stage → Reranker → fusion. What the command, the server and evaluation call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from mmr5 import documents
from mmr5.cache import Cache
from mmr5.errors import ConfigError, InputError
from mmr5.fusion import fuse
from mmr5.methods.hearing import OnWriting, of_one
from mmr5.reranker import Reranker, build_result
from mmr5.retrieval import Retriever, open_retriever, top_candidates
from mmr5.types import Candidates, Page, Problem, Progress, Ranking, RerankResult

DEFAULT_CANDIDATES = 10


class Searcher:
    """A first stage and a reranker.

    Args:
        reranker: ranks the candidates.
        retriever: name of the first stage: ``hybrid``, ``bm25``, ``dense``, ``none``.
        candidates: how many of the first stage's best pages are reranked; None takes 10, or every page when there is
            no first stage.
        fusion: weight of the model against the first stage (see :func:`fuse`); None takes the recipe's for the method that it was
            made for, and else the model's order alone; 0 is the first stage alone.
        cache: where page embeddings are kept.
        progress: told of long work.
    """

    def __init__(
        self,
        reranker: Reranker,
        retriever: str = "hybrid",
        *,
        candidates: int | None = None,
        fusion: float | None = None,
        cache: Cache | None = None,
        progress: Progress | None = None,
    ) -> None:
        if candidates is not None and candidates < 1:
            raise ConfigError(f"candidates is {candidates}: give at least 1")
        if fusion is not None and fusion < 0:
            raise ConfigError(f"fusion is {fusion}: the weight of the model is at least 0")
        self.fusion = fusion if fusion is not None else recipe_fusion(reranker)
        self.reranker = reranker.with_settings(fusion=self.fusion)
        self.retriever = retriever
        self.candidates = candidates if candidates is not None or retriever == "none" else DEFAULT_CANDIDATES
        self._cache = cache
        self._progress = progress

    def search(
        self,
        query: str,
        pages: Iterable[object],
        *,
        top_n: int | None = None,
        read_ms: float = 0.0,
        problems: Sequence[Problem] = (),
        on_text: Callable[[str], None] | None = None,
    ) -> RerankResult:
        """The pages that answer a question best.

        Args:
            query: the question.
            pages: every page to look through, or documents of other forms, as for :meth:`Reranker.rerank`.
            top_n: keep only the best.
            read_ms: time spent on reading them, for the result's timings.
            problems: pages passed over while reading, for the result.
            on_text: hears the reasoning while it is written (see :meth:`Reranker.rerank`).

        Raises:
            InputError: an empty question, no pages, or what is no page and no document.
        """
        heard = of_one(on_text)
        return self.search_many([query], pages, top_n=top_n, read_ms=read_ms, problems=problems, on_text=heard)[0]

    def search_many(
        self,
        queries: Sequence[str],
        pages: Iterable[object],
        *,
        top_n: int | None = None,
        read_ms: float = 0.0,
        problems: Sequence[Problem] = (),
        on_text: OnWriting | None = None,
    ) -> list[RerankResult]:
        """:meth:`search` for several questions about the same pages, in shared batches; ``on_text`` as in its ``rank_many``."""
        queries = [documents.clean_question(query) for query in queries]
        own = self.reranker.view
        pages, _ = documents.to_pages(pages, "both" if own == "image" and self.retriever != "none" else own, cache=self._cache)
        if not pages:
            raise InputError("there are no pages to look through")
        reranker = self.reranker.with_view(documents.common_view(own, pages))
        start = time.perf_counter()
        index = open_retriever(self.retriever, pages, cache=self._cache, progress=self._progress)
        batch = [self.first_stage(query, pages, index) for query in queries]
        retrieved = time.perf_counter()
        if self._progress is not None:
            self._progress(f"reading {sum(len(c) for c in batch)} candidate pages with {self.reranker.model}", 0, None)
        rankings = reranker.rank_many(batch, on_text=on_text)
        ranked = time.perf_counter()
        share = 1000 / max(1, len(queries))
        timings = {"read": read_ms, "retrieve": (retrieved - start) * share, "model": (ranked - retrieved) * share}
        return [self._result(reranker, c, r, len(pages), top_n, timings, problems) for c, r in zip(batch, rankings, strict=True)]

    def first_stage(self, query: str, pages: Sequence[Page], index: Retriever) -> Candidates:
        """The candidates for a question: exactly the first stage's best."""
        return top_candidates(query, pages, index.scores(query), self.candidates, scored=self.retriever != "none")

    def _result(
        self,
        reranker: Reranker,
        candidates: Candidates,
        ranking: Ranking,
        n_pages: int,
        top_n: int | None,
        timings: dict[str, float],
        problems: Sequence[Problem],
    ) -> RerankResult:
        start = time.perf_counter()
        used = self.fusion if candidates.scores is not None else None
        fused = ranking if used is None else fuse(candidates.scores, ranking, used)
        result = build_result(
            reranker,
            candidates,
            fused,
            n_pages=n_pages,
            retriever=self.retriever,
            fusion=used,
            top_n=top_n,
            problems=problems,
        )
        return replace(result, timings_ms={**timings, "parse": (time.perf_counter() - start) * 1000})


def recipe_fusion(reranker: Reranker) -> float | None:
    """The recipe's fusion weight, where it applies: the method is the recipe's own, and is not list-wise decoding."""
    same = reranker.method == reranker.recipe.method
    return reranker.recipe.fusion if same and reranker.method not in ("reason", "direct") else None
