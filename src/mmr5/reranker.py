"""Reranker: candidates → method → engine → ranking. It ranks exactly the pages that it is given."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, cast

from mmr5 import documents, prompt
from mmr5.engines.opening import open_engine
from mmr5.engines.protocol import Engine, LateScorer
from mmr5.errors import ConfigError, EngineError, InputError, MMR5Error, PageError
from mmr5.evidence import JOIN, Passage, find_passages
from mmr5.evidence_features import Matches, running_lines
from mmr5.languages import language
from mmr5.methods import Adjust
from mmr5.methods import method as find_method
from mmr5.methods.streaming import Once, TextCallback, at_places, for_one_list
from mmr5.models import Recipe
from mmr5.models.resolve import NONE
from mmr5.relevance import Calibration, Scope, Setting, find
from mmr5.selection import EVERYTHING, Selection
from mmr5.settings import MethodSettings, ModelSettings, check_names
from mmr5.storage.cache import Cache
from mmr5.storage.jsonl import read_json
from mmr5.types import Candidates, EvidencePassage, Issue, Page, Progress, RankedPage, Ranking, RerankResult, View
from mmr5.watching import watched

SIDE_BY_SIDE = 32
"""Most lists that are ranked at once by a server; the engine's concurrency bounds the requests."""


class Reranker:
    """A model with a method.

    Args:
        engine: what turns prompts into replies or scores.
        method: one of ``reason``, ``direct``, ``logits``, ``pointwise``, ``likelihood``, ``late-interaction``,
            ``cross-encoder``; ``auto`` takes the recipe's.
        view: ``image``, ``text`` or ``both``; ``auto`` takes the recipe's.
        recipe: what the checkpoint was made for; None takes list-wise reasoning over what the engine can see.
        calibrations: what scores mean, beside the recipe's and before them.
        settings: fields of :class:`mmr5.settings.MethodSettings` that override the recipe's, by name; None leaves one as it is.

    Raises:
        ConfigError: an unknown method, view or setting.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        method: str = "auto",
        view: View | Literal["auto"] = "auto",
        recipe: Recipe | None = None,
        calibrations: Sequence[Calibration] = (),
        **settings: Any,
    ) -> None:
        self.engine = engine
        self.recipe = recipe or Recipe(view="image" if engine.capabilities.images else "text")
        self.calibrations = (*calibrations, *self.recipe.calibrations)
        self.method = _own_method(engine, self.recipe) if method == "auto" else method
        self.view: View = self.recipe.view if view == "auto" else view
        self._method = find_method(self.method)
        if self.view not in prompt.VIEWS:
            raise ConfigError(f"view {self.view!r} is unknown: use auto or one of {', '.join(prompt.VIEWS)}")
        check_names(MethodSettings, settings, "setting")
        self._given = {name: value for name, value in settings.items() if value is not None and name != "view"}
        self.settings = MethodSettings(view=self.view, **{**self.recipe.method_settings(self.method), **self._given})

    @classmethod
    def from_pretrained(
        cls,
        model: str = "mini",
        *,
        engine: str = "transformers",
        base_url: str | None = None,
        method: str = "auto",
        view: View | Literal["auto"] = "auto",
        device: str = "auto",
        dtype: str = "auto",
        quantize: str = "none",
        cache: Cache | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Reranker:
        """Load a model by name.

        Args:
            model: ``mini`` (the embedded default), a folder with a checkpoint, a hub name such as ``i2vec/MM-R5``, or ``none``:
                no model, which leaves the first stage's order.
            engine: ``transformers`` (this process), ``openai`` (a server; where ``model`` is the served checkpoint's folder, it
                is made to read the very tokens that ``transformers`` would), ``vllm`` (this process, on a GPU), ``scripted`` (a
                dry run without a model).
            base_url: the server's address, for ``openai``.
            method: how an order is won; ``auto`` takes the checkpoint's recipe.
            view: how a page enters the prompt; ``auto`` takes the checkpoint's recipe.
            device: ``auto``, ``cpu``, ``cuda``, ``mps``.
            dtype: ``auto``, ``float32``, ``bfloat16``, ``float16``.
            quantize: ``none``, ``8bit`` or ``4bit`` (engine ``transformers``, on a GPU).
            cache: where weights are kept.
            progress: told of downloads; None shows a line where a person watches (:mod:`mmr5.watching`).
            settings: fields of :class:`mmr5.settings.MethodSettings` that override the recipe's.

        Raises:
            ModelNotFoundError: there is no such model.
            ConfigError: an unknown engine, method, view or setting.
            MissingExtraError: the extra that the engine needs is not installed.
        """
        chosen: dict[str, Any] = {
            "model": model, "engine": engine, "base_url": base_url, "method": method, "view": view, "device": device,
            "dtype": dtype,
            "quantize": quantize,
        }  # fmt: skip
        return cls.from_settings(ModelSettings(**chosen, given=settings), cache=cache, progress=progress)

    @classmethod
    def from_settings(cls, chosen: ModelSettings, *, cache: Cache | None = None, progress: Progress | None = None) -> Reranker:
        """:meth:`from_pretrained` by settings, such as the command's flags give; the same errors."""
        progress = watched(progress)
        if chosen.method != "auto":
            find_method(chosen.method)
        check_names(MethodSettings, chosen.given, "setting")
        opened, checkpoint = open_engine(
            chosen.model,
            chosen.engine,
            chosen.base_url,
            chosen.device,
            chosen.dtype,
            cache,
            progress,
            quantize=chosen.quantize,
            method=chosen.method,
            notes=int(chosen.given.get("notes") or 0),
        )
        recipe = checkpoint.recipe if checkpoint else None
        own = () if chosen.calibration is None else read_calibrations(Path(chosen.calibration))
        return cls(opened, method=chosen.method, view=chosen.view, recipe=recipe, calibrations=own, **chosen.given)

    def with_settings(self, **settings: Any) -> Reranker:
        """The same model with some settings changed (see :class:`mmr5.settings.MethodSettings`); this one stays as it is."""
        changed = copy.copy(self)
        changed.settings = dataclasses.replace(self.settings, **settings)
        return changed

    def with_view(self, view: View) -> Reranker:
        """The same model with another view of the pages; this one stays as it is, and is given back where the view is its own."""
        if view == self.view:
            return self
        changed = self.with_settings(view=view)
        changed.view = view
        return changed

    @property
    def model(self) -> str:
        """The model's name."""
        return self.engine.model

    @property
    def dtype(self) -> str | None:
        """What the model computes in, e.g. ``"bfloat16"``; None where the engine cannot know (a server)."""
        return getattr(self.engine, "dtype", None)

    @property
    def fingerprint(self) -> str:
        """Of the prompt in use; it changes when the prompt's words change."""
        if self.method not in prompt.METHODS:
            return "none"
        return prompt.fingerprint(self.method, self.view, self.settings.wording, self.settings.ids)

    def rank_many(
        self, batch: Sequence[Candidates], *, on_text: TextCallback | None = None, adjust: Adjust | None = None
    ) -> list[Ranking]:
        """Rank many candidate lists at once by the model alone; positions are within each list.

        Args:
            batch: the lists.
            on_text: called as ``on_text(position in batch, text)`` while a list-wise method writes, from the thread that runs the
                model; the texts of a position, joined, are its first sample's reply. ``pointwise`` calls it as
                ``on_text(position in batch, text, position of the page)`` while it writes notes.
            adjust: changes each ranking before notes are written on the pages on top (see :class:`mmr5.Searcher`).

        Raises:
            InputError: an empty question.
            EngineError: a list cannot be ranked; :meth:`rank_each` gives the others.
        """
        for candidates in batch:
            if not candidates.query.strip():
                raise InputError("the question is empty: say what to look for")
        rankings = self._ranked(batch, on_text, adjust)
        return [
            ranking if all(self.knows_pages(c)) else dataclasses.replace(ranking, issues=(*ranking.issues, Issue.LANGUAGE))
            for c, ranking in zip(batch, rankings, strict=True)
        ]

    def _ranked(self, batch: Sequence[Candidates], on_text: TextCallback | None, adjust: Adjust | None) -> list[Ranking]:
        """The method's rankings; lists that are told something of their own are ranked apart."""
        found: dict[int, Ranking] = {}
        for instruction in dict.fromkeys(candidates.instruction for candidates in batch):
            places = [i for i, candidates in enumerate(batch) if candidates.instruction == instruction]
            settings = dataclasses.replace(self.settings, wording=self.settings.wording.instructed(instruction))
            own = [batch[i] for i in places]
            found |= dict(
                zip(places, self._method(self.engine, own, settings, at_places(on_text, places), adjust=adjust), strict=True)
            )
        return [found[i] for i in range(len(batch))]

    def rank_each(
        self, batch: Sequence[Candidates], *, on_text: TextCallback | None = None, adjust: Adjust | None = None
    ) -> list[Ranking | MMR5Error]:
        """:meth:`rank_many`, but a list that cannot be ranked is an error in its place, and takes no other with it.

        Lists for a server are ranked side by side, within the engine's concurrency. In this process they share their batches;
        when one fails, the batch is halved until it stands alone, and no text is told twice.
        """
        told = None if on_text is None else Once(on_text)

        def ranked(places: Sequence[int]) -> list[Ranking | MMR5Error]:
            listen = None if told is None else told.attempt(places)
            try:
                return list(self.rank_many([batch[i] for i in places], on_text=listen, adjust=adjust))
            except MMR5Error as error:
                if len(places) == 1 or (isinstance(error, EngineError) and error.retryable):  # the backend is down for all
                    return [error] * len(places)
            half = len(places) // 2
            return [*ranked(places[:half]), *ranked(places[half:])]

        if len(batch) < 2 or not self.engine.capabilities.remote:
            return ranked(range(len(batch))) if batch else []
        pool = ThreadPoolExecutor(min(len(batch), SIDE_BY_SIDE), thread_name_prefix="mmr5-rank")

        def side(place: int) -> Ranking | MMR5Error:
            try:
                return ranked([place])[0]
            except Exception as error:  # an edge: a list that fails in a way of its own takes no other with it
                failed = EngineError(f"list {place} could not be ranked ({type(error).__name__})")
                failed.__cause__ = error
                return failed

        try:
            return list(pool.map(side, range(len(batch))))
        except BaseException:  # an interrupt: what is under way is dropped with its connections
            pool.shutdown(wait=False, cancel_futures=True)
            getattr(self.engine, "close", lambda: None)()
            raise
        finally:
            pool.shutdown(wait=False)

    def calibration(self, retriever: str = "none", fusion: float | None = None, *, pooled: bool = False) -> Calibration | None:
        """What scores mean in this setting, or None where nobody has fitted it.

        Args:
            retriever: the first stage whose scores are in the sum.
            fusion: weight of the model in it.
            pooled: whether the first stage chose out of several documents.
        """
        scope: Scope = "pooled" if retriever != "none" and pooled else "document"
        return find(self.calibrations, Setting(self.method, self.view, retriever, fusion, scope))

    def knows_pages(self, candidates: Candidates) -> list[bool]:
        """For each candidate, whether the model was made for its language and the question's (see :class:`mmr5.Recipe`)."""
        recipe = self.recipe
        if recipe.languages is None or not recipe.knows(language(candidates.query)):
            return [recipe.languages is None] * len(candidates)
        return [recipe.knows(page.language or language(page.text or "")) for page in candidates.pages]

    def rerank(
        self,
        query: str,
        pages: Iterable[object],
        *,
        top_n: int | None = None,
        min_relevance: float | None = None,
        max_context_tokens: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> RerankResult:
        """Rank exactly these pages.

        Args:
            query: the question.
            pages: any number of pages, as from :func:`mmr5.read_pages`, or of documents of other forms: strings, pictures (a
                ``Path``, bytes, base64, a data URI, a Pillow image), ``{"text": …, "image": …}``. Where the model looks at
                pictures and one of them has none, all are read as text; see :func:`mmr5.documents.to_pages`.
            top_n: keep only the best; None keeps all.
            min_relevance: leave out pages whose relevance is below it, in [0, 1]; needs a calibration.
            max_context_tokens: keep pages, best first, while their texts together have no more of the model's tokens.
            on_text: hears the reasoning and the answer while ``reason`` or ``direct`` writes them, piece by piece; for the notes
                of ``pointwise`` see :meth:`rank_many`.

        Raises:
            InputError: an empty question, or what is no page and no document; the error names its position and type.
            PageError: a picture that cannot be read.
            MissingExtraError: the text in a picture is needed, and the extra ``ocr`` is not installed.
        """
        return self.rerank_many(
            [(query, pages)],
            top_n=top_n,
            min_relevance=min_relevance,
            max_context_tokens=max_context_tokens,
            on_text=for_one_list(on_text),
        )[0]

    def rerank_many(
        self,
        items: Sequence[tuple[str, Iterable[object]]],
        *,
        top_n: int | None = None,
        min_relevance: float | None = None,
        max_context_tokens: int | None = None,
        on_text: TextCallback | None = None,
    ) -> list[RerankResult]:
        """:meth:`rerank` for many questions, each over its own pages; ``on_text`` as :meth:`rank_many`.

        Lists of one view share their batches; results are in the order of ``items``.
        """
        selection = Selection(min_relevance, top_n, max_context_tokens)
        batch, views = [], []
        for query, values in items:
            question = documents.clean_question(query)
            pages, view = documents.to_pages(values, self.view)
            batch.append(Candidates(question, pages))
            views.append(view)
        results: dict[int, RerankResult] = {}
        for view in dict.fromkeys(views):
            places = [i for i, other in enumerate(views) if other == view]
            found = self.with_view(view)._results([batch[i] for i in places], selection, at_places(on_text, places))
            results.update(zip(places, found, strict=True))
        return [results[i] for i in range(len(batch))]

    def _results(self, batch: Sequence[Candidates], selection: Selection, on_text: TextCallback | None) -> list[RerankResult]:
        start = time.perf_counter()
        rankings = self.rank_many(batch, on_text=on_text)
        spent = (time.perf_counter() - start) * 1000 / max(1, len(batch))
        return [
            build_result(
                self,
                candidates,
                ranking,
                n_pages=len(candidates),
                selection=selection,
                timings_ms={"model": spent},
            )
            for candidates, ranking in zip(batch, rankings, strict=True)
        ]

    async def arerank(
        self,
        query: str,
        pages: Iterable[object],
        *,
        top_n: int | None = None,
        min_relevance: float | None = None,
        max_context_tokens: int | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> RerankResult:
        """:meth:`rerank` in a worker thread; ``on_text`` is called from that thread."""
        return await asyncio.to_thread(
            self.rerank,
            query,
            pages,
            top_n=top_n,
            min_relevance=min_relevance,
            max_context_tokens=max_context_tokens,
            on_text=on_text,
        )


def _own_method(engine: Engine, recipe: Recipe) -> str:
    """The method that an engine is for, or the recipe's where it can do more than one."""
    if engine.name == NONE:
        return NONE
    if engine.capabilities.score_pairs:
        return "cross-encoder"
    return "late-interaction" if engine.capabilities.score_tokens else recipe.method


def build_result(
    reranker: Reranker,
    candidates: Candidates,
    ranking: Ranking,
    *,
    n_pages: int,
    retriever: str = "none",
    fusion: float | None = None,
    selection: Selection = EVERYTHING,
    timings_ms: dict[str, float] | None = None,
) -> RerankResult:
    """Put candidates and their ranking together.

    Args:
        reranker: what ranked.
        candidates: in first-stage order.
        ranking: over their positions.
        n_pages: pages read in all.
        retriever: the first stage's name.
        fusion: weight used, or None.
        selection: which pages are given back.
        timings_ms: wall time by part; the time of parsing, which the ranking knows, is taken out of ``model``.
    """
    first_stage = retriever != "none"
    calibration = reranker.calibration(retriever, fusion, pooled=candidates.is_pooled)
    relevance = relevance_of(calibration, ranking)
    kept = selection.of(ranking.order, relevance, [page.text for page in candidates.pages], reranker.engine.count_tokens)
    found = evidence_of(reranker, candidates, kept)
    lines = []
    for rank, position in enumerate(kept, start=1):
        page = candidates.pages[position]
        shown = tuple(placed(page, passage) for passage in found[position])
        lines.append(
            RankedPage(
                rank=rank,
                index=candidates.index_of(position),
                source=page.source,
                page=page.number,
                score=None if ranking.scores is None else ranking.scores[position],
                score_kind=ranking.score_kind,
                first_stage_rank=position + 1 if first_stage else None,
                first_stage_score=candidates.scores[position] if first_stage and candidates.scores is not None else None,
                reason=None if ranking.notes is None else ranking.notes[position],
                evidence=JOIN.join(passage.text for passage in shown) or None,
                evidence_passages=shown,
                page_label=page.label,
                relevance=None if relevance is None else relevance[position],
            )
        )
    parts = model_and_parse({"read": 0.0, "retrieve": 0.0, "model": 0.0, **(timings_ms or {})}, ranking)
    settings = {
        "view": reranker.view,
        "page_tokens": None if reranker.view == "image" else reranker.settings.page_tokens,
        "window": reranker.settings.window,
        "fusion": fusion,
        "dtype": reranker.dtype,
    }
    return RerankResult(
        candidates.query, reranker.model, reranker.method, retriever, n_pages, tuple(lines), ranking.reasoning, ranking.reply,
        ranking.issues, parts, ranking.usage, (), settings,
        None if calibration is None or ranking.scores is None else calibration.answerable(ranking.scores),
        tuple(candidates.pages[position] for position in kept),
    )  # fmt: skip


def relevance_of(calibration: Calibration | None, ranking: Ranking) -> list[float] | None:
    """The relevance of each candidate, by position; None without a calibration or scores."""
    return None if calibration is None or ranking.scores is None else [calibration.relevance(s) for s in ranking.scores]


def read_calibrations(file: Path) -> list[Calibration]:
    """The calibrations in a file that ``mmr5 calibrate`` wrote, a list or a whole recipe.

    Raises:
        ConfigError: it holds none.
        SourceNotFoundError: there is no such file.
    """
    values = read_json(file)
    found = values.get("calibrations") if isinstance(values, dict) else values
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ConfigError(f"{file} holds no calibrations: make them with mmr5 calibrate")
    return [Calibration.from_dict(one, str(file)) for one in found]


def evidence_of(reranker: Reranker | None, candidates: Candidates, positions: Sequence[int]) -> dict[int, list[Passage]]:
    """The passages that are shown of some candidates, by position.

    Args:
        reranker: whose model tells where tokens match, if it can; None weighs terms alone.
        candidates: all that were ranked; running titles of their documents are not shown.
        positions: of those that are shown.
    """
    texts: dict[str, list[str]] = {}
    for page in candidates.pages:
        texts.setdefault(page.source, []).append(page.text or "")
    running = {source: running_lines(own) for source, own in texts.items()}
    shown = [candidates.pages[position] for position in positions]
    matches: Sequence[Matches | None] = [None] * len(shown)
    if reranker is not None and reranker.engine.capabilities.score_tokens:
        matches = cast(LateScorer, reranker.engine).matches(candidates.query, [page.text or "" for page in shown])
    return {
        position: find_passages(candidates.query, page.text, matched, running[page.source])
        for position, page, matched in zip(positions, shown, matches, strict=True)
    }


def placed(page: Page, passage: Passage) -> EvidencePassage:
    """A passage of a page with its boxes; without them where nobody knows them, or the document cannot be read any more."""
    if page.boxes is None:
        return EvidencePassage(passage.text)
    try:
        return EvidencePassage(passage.text, tuple(page.boxes.of(*passage.span)))
    except PageError:  # the order stands without the document
        return EvidencePassage(passage.text)


def model_and_parse(timings_ms: dict[str, float], ranking: Ranking) -> dict[str, float]:
    """Times by part, the share of ``model`` that went into reading the reply told apart as ``parse``."""
    return {**timings_ms, "model": max(0.0, timings_ms["model"] - ranking.parse_ms), "parse": ranking.parse_ms}
