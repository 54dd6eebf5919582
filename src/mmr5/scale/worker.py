"""What one worker does: it opens the corpus and the model once, and ranks shards. It knows nothing of Ray."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.corpora import Corpus, Document, Question, load_corpus
from mmr5.errors import MMR5Error
from mmr5.evaluation.benchmark import candidates_from_run, run_config, run_line, searcher_of
from mmr5.evaluation.granularity import Units, units_of
from mmr5.evaluation.provenance import device_of
from mmr5.evaluation.runs import FirstStage
from mmr5.reranker import Reranker
from mmr5.scale.shards import Failure, Outcome, Shard
from mmr5.settings import EvaluationSettings
from mmr5.types import Candidates


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run does; it travels to the workers' machines.

    Attributes:
        setup: what is ranked, and how; its ``retriever`` is the run's path.
        threads: threads that a worker computes with, at least 1.
        scale: log-odds that one unit of the run's scores is worth, or None; the driver reads it from the run.
    """

    setup: EvaluationSettings
    threads: int = 1
    scale: float | None = None


class Worker:
    """Ranks shards; one document is kept open.

    Args:
        job: what to do.

    Raises:
        MMR5Error: the corpus or the model cannot be opened.
    """

    def __init__(self, job: Job) -> None:
        _use_threads(job.threads)
        setup = job.setup
        self._setup, self._scale = setup, job.scale
        loaded = load_corpus(setup.corpus, ocr=setup.ocr, page_text=setup.page_text)
        self._corpus: Corpus = loaded.split(setup.split)
        self._documents = {document.doc_name: document for document in self._corpus.documents}
        self._questions = {question.qid: question for question in self._corpus.questions}
        reranker = Reranker.from_settings(setup)
        self._searcher = searcher_of(setup, reranker)
        self._open: tuple[str, Units] | None = None
        self.facts: dict[str, Any] = {
            "config": run_config(setup, self._searcher),
            "prompt_fingerprint": reranker.fingerprint,
            "device": device_of(reranker),
        }

    def run(self, piece: Shard) -> Outcome:
        """Rank a piece; a question that cannot be ranked takes no other with it."""
        document = self._documents[piece.doc_name]
        try:
            clock = time.perf_counter()
            units = self._units(document)
            read = (time.perf_counter() - clock) * 1000
        except MMR5Error as error:
            return Outcome(self.facts, {}, tuple(_failure(qid, error) for qid in piece.qids))
        lines, failures = self._lines(document, units, piece, read)
        return Outcome(self.facts, lines, failures)

    def _units(self, document: Document) -> Units:
        if self._open is None or self._open[0] != document.doc_name:
            self._open = document.doc_name, units_of(self._corpus, document, self._setup.level)
        return self._open[1]

    def _lines(
        self, document: Document, units: Units, piece: Shard, read_ms: float
    ) -> tuple[dict[str, str], tuple[Failure, ...]]:
        questions = [self._questions[qid] for qid in piece.qids]
        ranked = dict(zip(piece.qids, piece.ranked, strict=True))
        given = FirstStage(Path(self._setup.retriever), ranked, dict.fromkeys(piece.qids, piece.doc_name), self._scale)
        failures: list[Failure] = []
        found: list[tuple[Question, Candidates]] = []
        for question in questions:
            try:
                found.append((question, candidates_from_run(given, question, units.pages, self._setup.candidates)))
            except MMR5Error as error:
                failures.append(_failure(question.qid, error))
        clock = time.perf_counter()
        rankings = self._searcher.rank_each([candidates for _, candidates in found])
        share = 1 / len(questions)
        times = {"read": read_ms * share, "retrieve": 0.0, "model": (time.perf_counter() - clock) * 1000 * share}
        lines: dict[str, str] = {}
        for (question, candidates), ranking in zip(found, rankings, strict=True):
            if isinstance(ranking, MMR5Error):
                failures.append(_failure(question.qid, ranking))
            else:
                lines[question.qid] = run_line(document, question, candidates, ranking, units, times, self._searcher).to_json()
        return lines, tuple(failures)


def run_fatal(error: MMR5Error) -> Outcome:
    """The outcome of any piece for a worker that could not be opened."""
    return Outcome({}, {}, fatal=(type(error).__name__, str(error)))


def differing(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names of the settings in which two workers' facts differ; the device may."""
    first, second = ({**facts["config"], "prompt": facts["prompt_fingerprint"]} for facts in (before, now))
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def _failure(qid: str, error: MMR5Error) -> Failure:
    return Failure(qid, type(error).__name__, str(error))


def _use_threads(n: int) -> None:
    """Compute with ``n`` threads, here and in what is loaded later."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(n)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(n)
