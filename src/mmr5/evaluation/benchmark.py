"""The evaluation of a first stage and a reranker on a corpus; it goes on after a kill."""

from __future__ import annotations

import dataclasses
import itertools
import shlex
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.cache import Cache
from mmr5.corpora import Corpus, Document, Question
from mmr5.errors import ConfigError, CorpusError
from mmr5.evaluation.provenance import claim, provenance
from mmr5.evaluation.rankers import BASELINES, Task, ranker
from mmr5.evaluation.report import report_markdown
from mmr5.evaluation.report_page import report_html
from mmr5.evaluation.runs import RUN, FirstStage, RunLine, open_run, read_first_stage, trec_qrels, trec_run
from mmr5.evaluation.statistics import summarise
from mmr5.evaluation.units import LEVELS, Units, units_of
from mmr5.fusion import fuse
from mmr5.pipeline import recipe_fusion
from mmr5.render.html import write_html
from mmr5.reranker import Reranker
from mmr5.retrieval import Retriever, is_retriever, open_retriever, top_candidates
from mmr5.storage.atomic import write_text
from mmr5.storage.jsonl import write_json
from mmr5.types import Candidates, Page, Progress, Ranking

__all__ = ["BASELINES", "BATCH", "Setup", "evaluate"]

BATCH = 8
"""Questions that are ranked together, and are the most that a kill can lose, unless told otherwise."""
LATER: Mapping[str, object] = {"constrain": False, "keep": 1.0}
"""Settings that runs of before did not have, and their values when they are off."""
SETUP_LATER: Mapping[str, object] = {**LATER, "temperature": 0.0}
"""The same of a :class:`Setup`; the method's settings always had a temperature."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What is measured.

    Attributes:
        corpus: name or folder.
        split: of the corpus, or None for all questions.
        retriever: name of a first stage, or path of a run.
        model: name of a model, or ``none``, ``oracle``, ``random``.
        method: how the order is won (``auto``: the recipe's).
        view: how a page enters the prompt (``auto``: the recipe's).
        candidates: pages that the first stage hands on, at least 1.
        fusion: weight of the model against the first stage, at least 0; None takes the recipe's.
        samples: orders over shuffled candidates.
        seed: of shuffles, sampling, the random baseline and the bootstrap.
        limit: only the first questions, or None.
        level: ``page``, or ``layout`` where the corpus has layouts (MMDocIR).
        ocr: how pages without a text layer are read: ``auto``, ``never``, ``always``.
        think_tokens: most tokens of reasoning before the answer is asked for, or None.
        constrain: while an answer is written, only ids that it has not named yet are possible.
        keep: share of each page's visual tokens that is read, in (0, 1].
        temperature: sampling temperature of replies; 0 decodes greedily.
        page_text: where the corpus has more than one text of a page (MMDocIR): ``ocr`` or ``vlm``; None takes ``ocr``.
    """

    corpus: str
    split: str | None = None
    retriever: str = "hybrid"
    model: str = "mini"
    method: str = "auto"
    view: str = "auto"
    candidates: int = 10
    fusion: float | None = None
    samples: int = 1
    seed: int = 0
    limit: int | None = None
    level: str = "page"
    ocr: str = "auto"
    think_tokens: int | None = None
    constrain: bool = False
    keep: float = 1.0
    temperature: float = 0.0
    page_text: str | None = None

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ConfigError(f"candidates is {self.candidates}: give at least 1")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}: give at least 1")
        if self.fusion is not None and self.fusion < 0:
            raise ConfigError(f"fusion is {self.fusion}: the weight of the model is at least 0")
        if self.level not in LEVELS:
            raise ConfigError(f"level is {self.level!r}: use one of {', '.join(LEVELS)}")

    def command(self, out: Path | str, **how: str | None) -> str:
        """The command that measures this.

        Args:
            out: the folder.
            how: flags that say how the model runs, e.g. ``base_url``; those left at their default are not shown.
        """
        words = ["mmr5", "evaluate", self.corpus]
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default or field.name in ("retriever", "model"):
                words += [f"--{field.name.replace('_', '-')}", *([] if value is True else [str(value)])]
        for name, value in how.items():
            if value not in (None, "auto", "transformers"):
                words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join([*words, "--out", str(out)])


def evaluate(
    setup: Setup,
    corpus: Corpus,
    out: Path,
    *,
    reranker: Reranker | None = None,
    resume: bool = False,
    cache: Cache | None = None,
    progress: Progress | None = None,
    command: str | None = None,
    batch: int = BATCH,
    first_stage: FirstStage | None = None,
    html: bool = True,
) -> dict[str, Any]:
    """Measure, and write ``run.jsonl``, ``scores.json``, ``report.md``, ``report.html``, TREC files and ``provenance.json``.

    Args:
        setup: what is measured.
        corpus: already narrowed to the split.
        out: the folder that they are written into.
        reranker: the model, unless the setup names a baseline.
        resume: go on with the run in ``out``; refused when its settings differ.
        cache: where page embeddings are kept.
        progress: told of the questions done.
        command: what provenance says was run; None takes :meth:`Setup.command`.
        batch: questions, of one document or several, that the model is given together; a kill loses no more.
        first_stage: the setup's first stage, run before; None runs it now.
        html: write ``report.html``, too.

    Returns:
        The content of ``scores.json``.

    Raises:
        ConfigError: there is a run in ``out`` and ``resume`` was not asked for, or its settings differ; or ``batch`` is below 1.
        CorpusError: a document is missing, or a run given as first stage does not fit the corpus.
        OutputError: the folder cannot be written.
    """
    if batch < 1:
        raise ConfigError(f"batch is {batch}: give at least 1")
    fusion = setup.fusion if setup.fusion is not None else recipe_fusion(reranker) if reranker is not None else None
    rank = ranker(setup.model, reranker, setup.seed)
    given = first_stage
    if given is None and not is_retriever(setup.retriever):
        given = read_first_stage(setup.retriever)
    config = run_config(setup, reranker, fusion)
    facts = provenance(config, command or setup.command(out), corpus, None if given is None else given.path, reranker)
    facts = claim(out, facts, resume=resume)
    todo = _todo(corpus, setup.limit)
    total = sum(len(questions) for _, questions in todo)
    with open_run(out / RUN) as run:
        found = _found(setup, corpus, todo, run.values.keys(), given, cache)
        while part := list(itertools.islice(found, batch)):
            clock = time.perf_counter()
            rankings = rank([_task(x.units, x.question, x.candidates) for x in part])
            model_ms = (time.perf_counter() - clock) * 1000 / len(part)
            run.append(
                run_line(
                    x.document,
                    x.question,
                    x.candidates,
                    r if fusion is None else fuse(x.candidates.scores, r, fusion),
                    x.units,
                    {"read": x.read_ms, "retrieve": x.retrieve_ms, "model": model_ms},
                ).to_json()
                for x, r in zip(part, rankings, strict=True)
            )
            if progress is not None:
                progress("evaluating", len(run.values), total)
    order = {q.qid: i for i, q in enumerate(q for _, questions in todo for q in questions)}
    lines = sorted((x for x in run.values.values() if x.qid in order), key=lambda x: order[x.qid])
    scores = summarise(lines, domains=corpus.domains, seed=setup.seed)
    write_json(out / "scores.json", scores)
    write_text(out / "report.md", report_markdown(scores, facts))
    write_text(out / "run.trec", trec_run(lines, f"mmr5-{setup.model.replace('/', '-')}"))
    write_text(out / "qrels.trec", trec_qrels(lines))
    documents = {document.doc_name: document for document, _ in todo}

    def pages(doc_name: str) -> Sequence[Page]:
        return units_of(corpus, documents[doc_name], setup.level).pages

    if html:
        write_html(out / "report.html", report_html(lines, scores, facts, pages, cache=cache, progress=progress))
    return scores


@dataclass(frozen=True, slots=True)
class _Found:
    """A question with what the first stage hands on. Times are milliseconds a question."""

    document: Document
    units: Units
    question: Question
    candidates: Candidates
    read_ms: float
    retrieve_ms: float


def _found(
    setup: Setup,
    corpus: Corpus,
    todo: Sequence[tuple[Document, Sequence[Question]]],
    done: Collection[str],
    given: FirstStage | None,
    cache: Cache | None,
) -> Iterator[_Found]:
    """The first stage's best for every question that is not done, and nothing else; a document is opened once."""
    for document, questions in todo:
        left = [q for q in questions if q.qid not in done]
        if not left:
            continue
        clock = time.perf_counter()
        units = units_of(corpus, document, setup.level)
        read = time.perf_counter()
        first_stage = given if given is not None else open_retriever(setup.retriever, units.pages, cache=cache)
        share = 1000 / len(left)
        read_ms, index_ms = (read - clock) * share, (time.perf_counter() - read) * share
        for question in left:
            clock = time.perf_counter()
            candidates = _candidates(setup, first_stage, question, units.pages)
            retrieve_ms = index_ms + (time.perf_counter() - clock) * 1000
            yield _Found(document, units, question, candidates, read_ms, retrieve_ms)


def _candidates(setup: Setup, first_stage: Retriever | FirstStage, question: Question, pages: Sequence[Page]) -> Candidates:
    if isinstance(first_stage, FirstStage):
        return candidates_from_run(first_stage, question, pages, setup.candidates)
    scores = first_stage.scores(question.question)
    return top_candidates(question.question, pages, scores, setup.candidates, scored=first_stage.name != "none")


def run_config(setup: Setup, reranker: Reranker | None, fusion: float | None) -> dict[str, Any]:
    """Every setting of a run, as provenance keeps it: what the setup leaves to the recipe is filled in.

    Settings of ``LATER`` and ``SETUP_LATER`` are left out while they are off, so that runs begun before there were any can
    be gone on with.
    """
    config = _without(SETUP_LATER, dataclasses.asdict(setup))
    if reranker is not None:
        config.update(
            method=reranker.method,
            view=reranker.view,
            fusion=fusion,
            engine=reranker.engine.name,
            settings=_without(LATER, dataclasses.asdict(reranker.settings)),
        )
    return config


def _without(later: Mapping[str, object], config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in later or value != later[name]}


def _todo(corpus: Corpus, limit: int | None) -> list[tuple[Document, tuple[Question, ...]]]:
    """Documents with their questions, the first ``limit`` questions of the corpus only."""
    wanted = {q.qid for q in corpus.questions[:limit]}
    kept = [(d, tuple(q for q in questions if q.qid in wanted)) for d, questions in corpus.by_document()]
    return [(d, questions) for d, questions in kept if questions]


def _task(units: Units, question: Question, candidates: Candidates) -> Task:
    areas = units.areas(question)
    gains: Mapping[int, float] = dict.fromkeys(question.page_ids, 1.0) if areas is None else dict(enumerate(areas))
    return question.qid, candidates, gains


def candidates_from_run(given: FirstStage, question: Question, pages: Sequence[Page], n: int) -> Candidates:
    """The candidates of a run: its first n pages for the question."""
    ranked = given.rankings.get(question.qid)
    if ranked is None:
        raise CorpusError(f"the run has no ranking for {question.qid!r}: it must hold every question that is evaluated")
    strangers = [page for page, _ in ranked if not 0 <= page < len(pages)]
    if strangers:
        raise CorpusError(
            f"the run names page {strangers[0]} for {question.qid!r}, whose document has {len(pages)} pages (ids from 0)"
        )
    top = ranked[:n]
    return Candidates(question.question, tuple(pages[p] for p, _ in top), tuple(s for _, s in top), tuple(p for p, _ in top))


def run_line(
    document: Document, question: Question, candidates: Candidates, ranking: Ranking, units: Units, times: dict[str, float]
) -> RunLine:
    """A question's line of ``run.jsonl``: positions of the ranking become ids of the document's units."""
    ids = [candidates.index_of(i) for i in range(len(candidates))]
    areas = units.areas(question)
    return RunLine(
        qid=question.qid,
        doc_name=question.doc_name,
        domain=document.domain,
        question=question.question,
        relevant=units.relevant(question),
        candidates=tuple(ids),
        ranking=tuple(ids[i] for i in ranking.order),
        scores=None if ranking.scores is None else tuple(ranking.scores[i] for i in ranking.order),
        first_stage_scores=candidates.scores,
        reply=ranking.reply,
        notes=None if ranking.notes is None else tuple(ranking.notes[i] for i in ranking.order),
        issues=tuple(issue.value for issue in ranking.issues),
        latency_ms=times,
        tokens=dataclasses.asdict(ranking.usage),
        type=question.type,
        areas=None if areas is None else tuple(areas[i] for i in ids),
    )
