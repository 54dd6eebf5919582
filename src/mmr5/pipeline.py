"""Searcher: documents and a question → candidates → fused ranking → result. The only such path.

The command, the server, evaluation and ``rerank-run`` call :meth:`Searcher.candidates`, :meth:`Searcher.rank` and
:meth:`Searcher.result`, as :meth:`Searcher.search` does.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mmr5 import documents
from mmr5.errors import ConfigError, InputError, MMR5Error
from mmr5.fusion import fuse
from mmr5.methods.streaming import TextCallback, at_places, for_one_list
from mmr5.relevance import Calibration
from mmr5.reranker import Reranker, build_result
from mmr5.retrieval import Retriever, find_candidates, open_retriever
from mmr5.selection import EVERYTHING, Selection
from mmr5.settings import SearchSettings
from mmr5.storage.cache import Cache
from mmr5.types import Candidates, Issue, Page, Progress, Ranking, RerankResult, View
from mmr5.watching import watched

if TYPE_CHECKING:
    from mmr5.retrieval.index import Index
    from mmr5.retrieval.index.snapshot import Snapshot

DEFAULT_CANDIDATES = 10
DEFAULT_RETRIEVER = SearchSettings.retriever
_SCORING = frozenset({"pointwise", "logits", "likelihood"})
"""Methods that give scores, and no words but notes."""


class Searcher:
    """A first stage and a reranker.

    Args:
        reranker: ranks the candidates.
        retriever: name of the first stage: ``hybrid`` (the default), ``bm25``, ``dense``, ``none``, ….
        candidates: how many of the first stage's best pages are reranked; None takes 10, or every page when there is
            no first stage.
        index: a stored collection that is searched where no pages are given; its own first stage is then the default.
        fusion: weight of the model against the first stage (see :func:`fuse`); None takes the recipe's for the method that it was
            made for, and else the model's order alone; 0 is the first stage alone.
        cache: where page embeddings are kept.
        progress: told of long work; None shows a line where a person watches (:mod:`mmr5.watching`).
    """

    def __init__(
        self,
        reranker: Reranker,
        retriever: str | None = None,
        *,
        candidates: int | None = None,
        index: Index | None = None,
        fusion: float | None = None,
        cache: Cache | None = None,
        progress: Progress | None = None,
    ) -> None:
        retriever = retriever or (DEFAULT_RETRIEVER if index is None else index.retriever)
        SearchSettings(retriever, candidates, fusion)  # refuses impossible values
        if index is not None:
            index.check(retriever)
        self.reranker = reranker
        self.collection = index
        self.fusion = fusion if fusion is not None else reranker.recipe.fusion_for(reranker.method)
        self.retriever = retriever
        self.n_candidates = candidates if candidates is not None or retriever == "none" else DEFAULT_CANDIDATES
        self._cache = cache
        self._progress = watched(progress)

    def with_view(self, view: View) -> Searcher:
        """The same searcher with another view of the pages; see :meth:`mmr5.Reranker.with_view`."""
        changed = copy.copy(self)
        changed.reranker = self.reranker.with_view(view)
        return changed

    def search(
        self,
        query: str,
        pages: Iterable[object] | None = None,
        *,
        where: str | None = None,
        top_n: int | None = None,
        min_relevance: float | None = None,
        max_context_tokens: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> RerankResult:
        """The pages that answer a question best.

        Args:
            query: the question.
            pages: every page to look through, or documents of other forms, as for :meth:`Reranker.rerank`; None searches the
                collection of this searcher.
            where: look only through pages of the collection that this filter lets through, such as ``"year >= 2020"``.
            top_n: keep only the best.
            min_relevance: leave out pages whose relevance is below it, in [0, 1]; needs a calibration (see
                :meth:`Reranker.calibration`).
            max_context_tokens: keep pages, best first, while their texts together have no more of the model's tokens.
            on_text: hears the reasoning while it is written (see :meth:`Reranker.rerank`).

        Raises:
            InputError: an empty question, no pages and no collection, or what is no page and no document.
            ConfigError: a filter without a collection, or one that cannot be read.
        """
        return self.search_many(
            [query],
            pages,
            where=where,
            top_n=top_n,
            min_relevance=min_relevance,
            max_context_tokens=max_context_tokens,
            on_text=for_one_list(on_text),
        )[0]

    def search_many(
        self,
        queries: Sequence[str],
        pages: Iterable[object] | None = None,
        *,
        where: str | None = None,
        top_n: int | None = None,
        min_relevance: float | None = None,
        max_context_tokens: int | None = None,
        on_text: TextCallback | None = None,
    ) -> list[RerankResult]:
        """:meth:`search` for several questions about the same pages, in shared batches; ``on_text`` as in its ``rank_many``."""
        selection = Selection(min_relevance, top_n, max_context_tokens)
        queries = [documents.clean_question(query) for query in queries]
        start = time.perf_counter()
        n_pages, find = self._source(pages, where)
        batch = [find(query) for query in queries]
        searcher = self.with_view(documents.common_view(self.reranker.view, [page for own in batch for page in own.pages]))
        retrieved = time.perf_counter()
        if self._progress is not None:
            self._progress(f"reading {sum(len(c) for c in batch)} candidate pages with {self.reranker.model}", 0, None)
        rankings = searcher.rank(batch, on_text=on_text)
        share = 1000 / max(1, len(queries))
        timings = {"retrieve": (retrieved - start) * share, "model": (time.perf_counter() - retrieved) * share}
        rows = zip(batch, rankings, strict=True)
        return [searcher.result(c, r, n_pages, selection=selection, timings_ms=timings) for c, r in rows]

    def search_each(
        self,
        queries: Sequence[str],
        pages: Iterable[object] | None = None,
        *,
        where: str | None = None,
        top_n: int | None = None,
        min_relevance: float | None = None,
        max_context_tokens: int | None = None,
    ) -> Iterator[RerankResult | MMR5Error]:
        """:meth:`search` for many questions about the same pages, one after the other; what fails is an error in its place.

        Raises:
            InputError: there are no pages.
        """
        selection = Selection(min_relevance, top_n, max_context_tokens)
        n_pages, find = self._source(pages, where)
        for query in queries:
            try:
                start = time.perf_counter()
                candidates = find(documents.clean_question(query))
                searcher = self.with_view(documents.common_view(self.reranker.view, candidates.pages))
                retrieved = time.perf_counter()
                [ranking] = searcher.rank([candidates])
                timings = {"retrieve": (retrieved - start) * 1000, "model": (time.perf_counter() - retrieved) * 1000}
                yield searcher.result(candidates, ranking, n_pages, selection=selection, timings_ms=timings)
            except MMR5Error as error:
                yield error

    def _source(self, pages: Iterable[object] | None, where: str | None) -> tuple[int, Callable[[str], Candidates]]:
        """How many pages are looked through, and what finds the candidates of a question among them."""
        if pages is None:
            if self.collection is None:
                raise InputError("documents is None: give a list of pages, or a collection, Searcher(…, index=Index.open(…))")
            at = self.collection.snapshot()
            if not at.n_pages:
                raise InputError(f"there are no pages to look through: the index at {self.collection.place!r} is empty")
            return at.n_pages, lambda query: self.stored(query, where, at)
        if where is not None:
            raise ConfigError("a filter is for a collection: leave where out, or leave the pages out")
        own = self.reranker.view
        found, _ = documents.to_pages(pages, "both" if own == "image" and self.retriever != "none" else own, cache=self._cache)
        if not found:
            raise InputError("there are no pages to look through")
        index = self.index(found)
        return len(found), lambda query: self.candidates(query, found, index)

    def stored(self, query: str, where: str | None = None, at: Snapshot | None = None) -> Candidates:
        """The candidates of the collection; ``at`` is a snapshot of it, None takes it as it stands now.

        Raises:
            ConfigError: there is no collection, or a filter that cannot be read.
        """
        if self.collection is None:
            raise ConfigError("this searcher has no collection: give Searcher(…, index=Index.open(…))")
        at = at or self.collection.snapshot()
        return at.candidates(query, self.n_candidates or at.n_pages, where=where, retriever=self.retriever)

    def index(self, pages: Sequence[Page]) -> Retriever:
        """The first stage over these pages."""
        return open_retriever(self.retriever, pages, cache=self._cache, progress=self._progress)

    def candidates(self, query: str, pages: Sequence[Page], index: Retriever | None = None) -> Candidates:
        """The candidates for a question: exactly the first stage's best; ``index`` is that of :meth:`index`, None makes it."""
        return find_candidates(query, pages, self.index(pages) if index is None else index, self.n_candidates)

    def rank(self, batch: Sequence[Candidates], *, on_text: TextCallback | None = None) -> list[Ranking]:
        """Rank candidate lists by the model and, where they have first-stage scores, fuse both (see :func:`mmr5.fusion.fuse`).

        Notes are written on the pages on top of the fused order; ``on_text`` as for :meth:`mmr5.Reranker.rank_many`. A list in
        languages that the model counts nothing in is put in the first stage's order without it.
        """
        read, rankings = self._read_and_others(batch)
        found = self.reranker.rank_many([batch[i] for i in read], on_text=at_places(on_text, read), adjust=self._fused)
        rankings.update(zip(read, found, strict=True))
        return [rankings[i] for i in range(len(batch))]

    def rank_each(self, batch: Sequence[Candidates], *, on_text: TextCallback | None = None) -> list[Ranking | MMR5Error]:
        """:meth:`rank`, but a list that cannot be ranked is an error in its place (:meth:`mmr5.Reranker.rank_each`)."""
        read, others = self._read_and_others(batch)
        found = self.reranker.rank_each([batch[i] for i in read], on_text=at_places(on_text, read), adjust=self._fused)
        rankings: dict[int, Ranking | MMR5Error] = {**others, **dict(zip(read, found, strict=True))}
        return [rankings[i] for i in range(len(batch))]

    def _read_and_others(self, batch: Sequence[Candidates]) -> tuple[list[int], dict[int, Ranking]]:
        """Positions of the lists that the model reads, and the rankings of those that need none of it."""
        others = {
            i: self._fused(candidates, Ranking(tuple(range(len(candidates))), issues=(Issue.LANGUAGE,)))
            for i, candidates in enumerate(batch)
            if self._goes_without_model(candidates)
        }
        return [i for i in range(len(batch)) if i not in others], others

    def _goes_without_model(self, candidates: Candidates) -> bool:
        """Whether the model counts nothing for any page, since it knows none of the languages, and is to write nothing."""
        recipe, method = self.reranker.recipe, self.reranker.method
        return (
            self.fusion is not None
            and candidates.scores is not None
            and recipe.other_fusion == 0
            and method in _SCORING
            and (method != "pointwise" or self.reranker.settings.notes == 0)
            and bool(candidates.query.strip())
            and not any(self.reranker.knows_pages(candidates))
        )

    def calibration(self, candidates: Candidates) -> Calibration | None:
        """What the scores of a list mean, or None where nobody has fitted it for this setting."""
        fusion = self.fusion if candidates.scores is not None else None
        return self.reranker.calibration(self.retriever, fusion, pooled=candidates.is_pooled)

    def result(
        self,
        candidates: Candidates,
        ranking: Ranking,
        n_pages: int,
        *,
        selection: Selection = EVERYTHING,
        timings_ms: dict[str, float] | None = None,
    ) -> RerankResult:
        """Candidates and their ranking of :meth:`rank` as a result.

        Args:
            candidates: in first-stage order.
            ranking: over their positions.
            n_pages: pages that were looked through.
            selection: which pages are given back.
            timings_ms: wall time by part, ``retrieve`` and ``model`` at least.
        """
        return build_result(
            self.reranker,
            candidates,
            ranking,
            n_pages=n_pages,
            retriever=self.retriever,
            fusion=self.fusion if candidates.scores is not None else None,
            selection=selection,
            timings_ms=timings_ms,
        )

    def _fused(self, candidates: Candidates, ranking: Ranking) -> Ranking:
        if self.fusion is None:
            return ranking
        knows = self.reranker.knows_pages(candidates)
        other = min(self.fusion, self.reranker.recipe.other_fusion)
        return fuse(candidates, ranking, [self.fusion if known else other for known in knows])
