"""The evaluation of a first stage and a reranker on a corpus; it goes on after a kill."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mmr5 import __version__
from mmr5.cache import Cache
from mmr5.data.corpus import Corpus, Document, Question
from mmr5.errors import ConfigError, CorpusError, OutputError
from mmr5.evaluation.report import report_markdown
from mmr5.evaluation.runs import RUN, RunLine, RunWriter, read_first_stage, trec_qrels, trec_run
from mmr5.evaluation.statistics import summarise
from mmr5.pipeline import fuse, recipe_fusion
from mmr5.reranker import Reranker
from mmr5.retrieval import RETRIEVERS, open_retriever, top_candidates
from mmr5.types import Candidates, Page, Progress, Ranking, Usage

BASELINES = ("none", "oracle", "random")
BATCH = 8
"""Questions about one document that are ranked together, and are the most that a kill can lose."""

_LIBRARIES = ("torch", "transformers", "sentence-transformers", "bm25s", "numpy", "pypdfium2", "rapidocr", "peft")


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
        fusion: weight of the model against the first stage; None takes the recipe's.
        samples: orders over shuffled candidates.
        seed: of shuffles, sampling and the random baseline.
        limit: only the first questions, or None.
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

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ConfigError(f"candidates is {self.candidates}: give at least 1")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"limit is {self.limit}: give at least 1")


Rank = Callable[[Sequence[Candidates], Sequence[Question]], list[Ranking]]


def evaluate(
    setup: Setup,
    corpus: Corpus,
    out: Path,
    *,
    reranker: Reranker | None = None,
    resume: bool = False,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure, and write ``run.jsonl``, ``scores.json``, ``report.md``, TREC files and ``provenance.json`` into a folder.

    Args:
        setup: what is measured.
        corpus: already narrowed to the split.
        out: the folder.
        reranker: the model, unless the setup names a baseline.
        resume: go on with the run in ``out``; refused when its settings differ.
        cache: where page embeddings are kept.
        progress: told of the questions done.

    Returns:
        The content of ``scores.json``.

    Raises:
        ConfigError: there is a run in ``out`` and ``resume`` was not asked for, or its settings differ.
        OutputError: the folder cannot be written.
    """
    fusion = setup.fusion if setup.fusion is not None else recipe_fusion(reranker) if reranker is not None else None
    rank = _ranker(setup, reranker)
    facts = provenance(setup, reranker, fusion)
    _claim(out, facts, resume=resume)
    writer = RunWriter(out / RUN)
    done = {x.qid for x in writer.lines}
    todo = _todo(corpus, setup.limit)
    total = sum(len(questions) for _, questions in todo)
    given = None if setup.retriever in RETRIEVERS else read_first_stage(setup.retriever)
    finished = len(done)
    try:
        for document, questions in todo:
            left = [q for q in questions if q.qid not in done]
            if not left:
                continue
            pages = corpus.document_pages(document.doc_name)
            index = None if given is not None else open_retriever(setup.retriever, pages, cache=cache)
            for start in range(0, len(left), BATCH):
                part = left[start : start + BATCH]
                clock = time.perf_counter()
                lists = []
                for question in part:
                    if index is not None:
                        values = index.scores(question.question)
                        lists.append(top_candidates(question.question, pages, values, setup.candidates))
                    else:
                        lists.append(_from_run(given or {}, question, pages, setup.candidates))
                retrieved = time.perf_counter()
                rankings = rank(lists, part)
                ranked = time.perf_counter()
                times = {"retrieve": (retrieved - clock) * 1000 / len(part), "model": (ranked - retrieved) * 1000 / len(part)}
                writer.write(
                    _line(
                        document,
                        question,
                        candidates,
                        ranking if fusion is None else fuse(candidates.scores, ranking, fusion),
                        times,
                    )
                    for question, candidates, ranking in zip(part, lists, rankings, strict=True)
                )
                finished += len(part)
                if progress is not None:
                    progress("evaluating", finished, total)
    finally:
        writer.close()
    order = {q.qid: i for i, q in enumerate(q for _, questions in todo for q in questions)}
    lines = sorted((x for x in writer.lines if x.qid in order), key=lambda x: order[x.qid])
    scores = summarise(lines, domains=corpus.domains, seed=setup.seed)
    _write(out / "scores.json", json.dumps(scores, indent=2) + "\n")
    _write(out / "report.md", report_markdown(scores, facts))
    _write(out / "run.trec", trec_run(lines, f"mmr5-{setup.model.replace('/', '-')}"))
    _write(out / "qrels.trec", trec_qrels(lines))
    return scores


def provenance(setup: Setup, reranker: Reranker | None, fusion: float | None) -> dict[str, Any]:
    """Where a result comes from: version, commit, settings, seed, libraries, prompt fingerprint, hardware."""
    config = dataclasses.asdict(setup)
    if reranker is not None:
        settings = dataclasses.asdict(reranker.settings)
        config.update(method=reranker.method, view=reranker.view, fusion=fusion, settings=settings)
    return {
        "mmr5": __version__,
        "commit": _commit(),
        "config": config,
        "prompt_fingerprint": None if reranker is None else reranker.fingerprint,
        "libraries": {name: found for name in _LIBRARIES if (found := _version(name)) is not None},
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "device": str(getattr(reranker.engine, "device", "")) if reranker is not None else "",
            "python": platform.python_version(),
        },
    }


def _ranker(setup: Setup, reranker: Reranker | None) -> Rank:
    """What gives the rankings: a model, or a baseline that knows the answers or nothing."""
    if setup.model not in BASELINES:
        if reranker is None:
            raise ConfigError(f"model {setup.model!r} is no baseline ({', '.join(BASELINES)}): open a Reranker for it")
        return lambda lists, _: reranker.rank_many(lists)

    def baseline(lists: Sequence[Candidates], questions: Sequence[Question]) -> list[Ranking]:
        found = []
        for candidates, question in zip(lists, questions, strict=True):
            order = list(range(len(candidates)))
            if setup.model == "oracle":
                order.sort(key=lambda i: candidates.index_of(i) not in question.page_ids)
            elif setup.model == "random":
                random.Random(f"{setup.seed}/{question.qid}").shuffle(order)  # noqa: S311 - a seeded baseline
            found.append(Ranking(tuple(order), usage=Usage()))
        return found

    return baseline


def _todo(corpus: Corpus, limit: int | None) -> list[tuple[Document, tuple[Question, ...]]]:
    """Documents with their questions, the first ``limit`` questions of the corpus only."""
    wanted = {q.qid for q in corpus.questions[:limit]}
    kept = [(d, tuple(q for q in questions if q.qid in wanted)) for d, questions in corpus.by_document()]
    return [(d, questions) for d, questions in kept if questions]


def _from_run(given: dict[str, list[tuple[int, float]]], question: Question, pages: Sequence[Page], n: int) -> Candidates:
    """The candidates of a run file: its first n pages for the question."""
    ranked = given.get(question.qid)
    if ranked is None:
        raise CorpusError(f"the run has no ranking for {question.qid!r}: it must hold every question that is evaluated")
    strangers = [page for page, _ in ranked if not 0 <= page < len(pages)]
    if strangers:
        raise CorpusError(
            f"the run names page {strangers[0]} for {question.qid!r}, whose document has {len(pages)} pages (ids from 0)"
        )
    top = ranked[:n]
    return Candidates(question.question, tuple(pages[p] for p, _ in top), tuple(s for _, s in top), tuple(p for p, _ in top))


def _line(document: Document, question: Question, candidates: Candidates, ranking: Ranking, times: dict[str, float]) -> RunLine:
    ids = [candidates.index_of(i) for i in range(len(candidates))]
    return RunLine(
        qid=question.qid,
        doc_name=question.doc_name,
        domain=document.domain,
        question=question.question,
        relevant=question.page_ids,
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
    )


def _claim(out: Path, facts: dict[str, Any], *, resume: bool) -> None:
    """Make the folder ours, or check that the run in it is the same one."""
    file = out / "provenance.json"
    if (out / RUN).exists():
        if not resume:
            raise ConfigError(f"{out} holds a run already: add --resume to go on with it, or name another folder")
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read ({error}): the run cannot be resumed; name another folder") from error
        theirs, ours = before.get("config", {}), json.loads(json.dumps(facts["config"]))
        differ = sorted(k for k in set(theirs) | set(ours) if theirs.get(k) != ours.get(k))
        if differ or before.get("prompt_fingerprint") != facts["prompt_fingerprint"]:
            raise ConfigError(
                f"the run in {out} was made with other settings ({', '.join(differ) or 'another prompt'}): name another folder"
            )
        return
    _write(file, json.dumps(facts, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        staging = path.with_name(f".{path.name}.tmp")
        staging.write_text(text, encoding="utf-8")
        staging.replace(path)
    except OSError as error:
        raise OutputError(
            f"cannot write {str(path)!r}: {error.strerror or error}. Name a folder that you may write to."
        ) from error


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this code runs from, or None outside one."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
