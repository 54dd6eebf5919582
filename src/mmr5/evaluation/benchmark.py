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

from mmr5.corpora import Corpus, Document, Question
from mmr5.corpora.records import Layout, question_hash
from mmr5.errors import ConfigError, CorpusError, EngineError, MMR5Error
from mmr5.evaluation.granularity import Units, units_of
from mmr5.evaluation.provenance import claim, provenance
from mmr5.evaluation.rankers import BASELINES, Task, ranker
from mmr5.evaluation.report import report_markdown
from mmr5.evaluation.report_page import report_html
from mmr5.evaluation.runs import RUN, FirstStage, RunLine, open_run, read_first_stage, trec_qrels, trec_run
from mmr5.evaluation.statistics import summarise
from mmr5.evidence import JOIN, Passage
from mmr5.pipeline import Searcher
from mmr5.render.html import write_html
from mmr5.reranker import Reranker, evidence_of, model_and_parse, placed, relevance_of
from mmr5.retrieval import Retriever, find_candidates, is_retriever, open_retriever
from mmr5.settings import EvaluationSettings, knobs
from mmr5.storage.atomic import write_text
from mmr5.storage.cache import Cache
from mmr5.storage.jsonl import write_json
from mmr5.types import Box, Candidates, Page, Progress, Ranking, union

__all__ = ["BASELINES", "BATCH", "command_of", "evaluate"]

BATCH = 8
"""Questions that are ranked together, and are the most that a kill can lose, unless told otherwise."""


FAILURES = 20
"""Questions that may fail before an evaluation stops asking."""


def command_of(setup: EvaluationSettings, out: Path | str) -> str:
    """The command that measures this into the folder ``out``; flags that are left at their default are not shown."""
    words = ["mmr5", "evaluate", setup.corpus]
    shown = [(name, getattr(setup, name)) for name, knob in knobs(EvaluationSettings).items() if not knob.argument]
    defaults = {f.name: f.default for f in dataclasses.fields(setup)}
    asked = [(name, value) for name, value in shown if value != defaults[name] or name in ("retriever", "model")]
    for name, value in [*asked, *sorted(setup.given.items())]:
        if value is not None:
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join([*words, "--out", str(out)])


def evaluate(
    setup: EvaluationSettings,
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
        command: what provenance says was run; None takes :func:`command_of`.
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
    searcher = None if reranker is None else searcher_of(setup, reranker)
    rank = ranker(setup.model, searcher, setup.seed)
    given = first_stage
    if given is None and not is_retriever(setup.retriever):
        given = read_first_stage(setup.retriever)
    config = run_config(setup, searcher)
    facts = provenance(config, command or command_of(setup, out), corpus, None if given is None else given.path, reranker)
    facts = claim(out, facts, resume=resume)
    todo = _todo(corpus, setup.limit)
    total = sum(len(questions) for _, questions in todo)
    failed: list[tuple[str, MMR5Error]] = []
    with open_run(out / RUN) as run:
        found = _found(setup, corpus, todo, run.values.keys(), given, cache)
        while part := list(itertools.islice(found, batch)):
            clock = time.perf_counter()
            rankings = rank([_task(x.units, x.question, x.candidates) for x in part])
            model_ms = (time.perf_counter() - clock) * 1000 / len(part)
            ranked = [(x, r) for x, r in zip(part, rankings, strict=True) if isinstance(r, Ranking)]
            failed += [(x.question.qid, r) for x, r in zip(part, rankings, strict=True) if isinstance(r, MMR5Error)]
            run.append(
                run_line(
                    x.document,
                    x.question,
                    x.candidates,
                    r,
                    x.units,
                    {"read": x.read_ms, "retrieve": x.retrieve_ms, "model": model_ms},
                    searcher,
                ).to_json()
                for x, r in ranked
            )
            if len(failed) >= FAILURES:
                break
            if progress is not None:
                progress("evaluating", len(run.values), total)
    if failed:
        qid, error = failed[0]
        raise EngineError(
            f"{len(failed)} of {total} questions failed, the first {qid}: {error}. The {len(run.values)} that were ranked "
            f"are kept in {out / RUN}: mend the cause and go on with --resume"
        ) from error
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
    setup: EvaluationSettings,
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


def _candidates(
    setup: EvaluationSettings, first_stage: Retriever | FirstStage, question: Question, pages: Sequence[Page]
) -> Candidates:
    if isinstance(first_stage, FirstStage):
        return candidates_from_run(first_stage, question, pages, setup.candidates)
    return find_candidates(question.question, pages, first_stage, setup.candidates)


def searcher_of(setup: EvaluationSettings, reranker: Reranker) -> Searcher:
    """What ranks for a setup: the model and, by its weight, the first stage."""
    return Searcher(reranker, setup.retriever, candidates=setup.candidates, fusion=setup.fusion)


def binding(setup: EvaluationSettings) -> dict[str, Any]:
    """The settings that a measurement depends on, flat; where the model runs is none of them."""
    config = dataclasses.asdict(setup)
    given = config.pop("given")
    return {name: value for name, value in {**config, **given, "seed": setup.seed}.items() if name not in ("base_url", "device")}


def run_config(setup: EvaluationSettings, searcher: Searcher | None) -> dict[str, Any]:
    """Every setting of a run, as provenance keeps it: what the setup leaves to the recipe is filled in."""
    if searcher is None:
        return binding(setup)
    reranker = searcher.reranker
    return {
        **binding(dataclasses.replace(setup, given={})),
        "seed": reranker.settings.seed,
        "method": reranker.method,
        "view": reranker.view,
        "fusion": searcher.fusion,
        "engine": reranker.engine.name,
        "settings": dataclasses.asdict(reranker.settings),
    }


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
    if (asked := given.documents[question.qid]) != question.doc_name:
        raise CorpusError(
            f"the run ranks pages of {asked!r} for {question.qid!r}, which asks {question.doc_name!r}: "
            "candidates come from the question's own document"
        )
    said = given.questions.get(question.qid, question.question)
    if question_hash(said) != question_hash(question.question):
        raise CorpusError(
            f"the run asks {said!r} as {question.qid!r}, and the corpus {question.question!r}: ids have shifted, or the words "
            "have changed; run the first stage again"
        )
    strangers = [page for page, _ in ranked if not 0 <= page < len(pages)]
    if strangers:
        raise CorpusError(
            f"the run names page {strangers[0]} for {question.qid!r}, whose document has {len(pages)} pages (ids from 0)"
        )
    top = ranked[:n]
    shown, scores, ids = tuple(pages[p] for p, _ in top), tuple(s for _, s in top), tuple(p for p, _ in top)
    return Candidates(question.question, shown, scores, ids, given.scale)


def run_line(
    document: Document,
    question: Question,
    candidates: Candidates,
    ranking: Ranking,
    units: Units,
    times: dict[str, float],
    searcher: Searcher | None = None,
) -> RunLine:
    """A question's line of ``run.jsonl``: positions of the ranking become ids of the document's units.

    ``searcher`` is what ranked, and knows what its scores mean; None for a baseline.
    """
    meaning = None if searcher is None or ranking.scores is None else searcher.calibration(candidates)
    relevance = relevance_of(meaning, ranking)
    answers = None if meaning is None or ranking.scores is None else meaning.answerable(ranking.scores)
    ids = [candidates.index_of(i) for i in range(len(candidates))]
    areas = units.areas(question)
    quotes, layouts = (question.quotes, question.layouts) if areas is None else ({}, ())
    reranker = None if searcher is None else searcher.reranker
    passages = evidence_of(reranker, candidates, ranking.order)
    found = {ids[i]: own for i, own in passages.items()}
    annotated = sorted({*quotes, *(layout.page_id for layout in layouts)})
    unranked = [page for page in annotated if page not in found]
    others = Candidates(question.question, tuple(units.pages[page] for page in unranked))
    found |= {unranked[i]: own for i, own in evidence_of(reranker, others, range(len(unranked))).items()}
    shown = {page: JOIN.join(passage.text for passage in own) or None for page, own in found.items()}
    gold = gold_boxes(layouts)
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
        first_stage_scale=candidates.scale,
        kind=question.kind,
        reply=ranking.reply,
        notes=None if ranking.notes is None else tuple(ranking.notes[i] for i in ranking.order),
        issues=tuple(issue.value for issue in ranking.issues),
        latency_ms=model_and_parse(times, ranking),
        tokens=dataclasses.asdict(ranking.usage),
        type=question.type,
        areas=None if areas is None else tuple(areas[i] for i in ids),
        language=question.language,
        page_language=document.language or question.language,
        evidence=tuple(shown[ids[i]] for i in ranking.order),
        relevance=None if relevance is None else tuple(relevance[i] for i in ranking.order),
        answerable=None if answers is None else dataclasses.asdict(answers),
        quotes=dict(quotes),
        quote_evidence={page: shown[page] for page in quotes},
        gold_boxes=gold,
        evidence_boxes={
            page: shown_boxes(units.pages[page], found[page]) for page in gold if units.pages[page].boxes is not None
        },
    )


def gold_boxes(layouts: Sequence[Layout]) -> dict[int, tuple[Box, ...]]:
    """The annotated boxes of each page, in shares of its width and height; those of pages of unknown size are left out."""
    found: dict[int, tuple[Box, ...]] = {}
    for layout in layouts:
        if layout.page_size is not None:
            (width, height), (x0, y0, x1, y1) = layout.page_size, layout.bbox
            own = found.get(layout.page_id, ())
            found[layout.page_id] = (*own, (x0 / width, y0 / height, x1 / width, y1 / height))
    return found


def shown_boxes(page: Page, passages: Sequence[Passage]) -> tuple[Box, ...]:
    """A box around each passage of a page whose place is known."""
    boxes = [placed(page, passage).boxes for passage in passages]
    return tuple(union(own) for own in boxes if own)
