"""The driver of ``mmr5 rerank-run``: work that is left → workers → one append-only file. It goes on after any kill.

The driver alone writes, whole lines, synced to the disk, each question once. So a worker that dies loses nothing (its shards are
done again), and a driver that dies loses at most what its workers had not handed over: the next run does that again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mmr5.errors
from mmr5.corpora import Corpus
from mmr5.errors import ConfigError, EngineError, MMR5Error
from mmr5.evaluation.benchmark import run_config
from mmr5.evaluation.provenance import claim, provenance
from mmr5.evaluation.runs import RUN, open_qids, read_first_stage
from mmr5.scale import cluster
from mmr5.scale.shards import Failure, Outcome, Shard, shards
from mmr5.scale.worker import Job, differing
from mmr5.settings import WorkerSettings
from mmr5.storage.journal import FAILURES_IN_A_ROW, Journal
from mmr5.storage.jsonl import write_jsonl
from mmr5.types import Progress

BATCH = 8
"""Questions about one document that a worker ranks together, unless told otherwise."""
FAILURES = "failures.jsonl"

Source = Callable[[Job, Sequence[Shard], WorkerSettings], Iterator[Outcome]]


@dataclass
class Tally:
    """What a run did.

    Attributes:
        total: questions that the run is to hold.
        present: those that were there before.
        written: those that were added.
        failures: those that could not be ranked.
    """

    total: int = 0
    present: int = 0
    written: int = 0
    failures: list[Failure] = field(default_factory=list)


def rerank_run(
    job: Job,
    corpus: Corpus,
    out: Path,
    workers: WorkerSettings,
    *,
    resume: bool = False,
    batch: int = BATCH,
    command: str = "",
    progress: Progress | None = None,
    source: Source | None = None,
) -> Tally:
    """Rerank every question of a run, and keep the result as ``run.jsonl`` with its ``provenance.json``.

    Questions that cannot be ranked are listed in ``failures.jsonl``; a further run with ``resume`` tries them again.

    Args:
        job: what each worker does; its setup's ``retriever`` is the run.
        corpus: already narrowed to the split.
        out: the folder of the result.
        workers: who does it.
        resume: go on with the result in ``out``; refused when its settings differ.
        batch: most questions about one document that are ranked together, at least 1.
        command: what provenance says was run.
        progress: told of the questions done.
        source: what turns shards into outcomes; Ray unless told otherwise.

    Raises:
        ConfigError: there is a result in ``out`` and ``resume`` was not asked for, or its settings differ.
        CorpusError: the run does not fit the corpus.
        EngineError: everything fails, or Ray gave up.
        OutputError: the folder cannot be written.
    """
    if batch < 1:
        raise ConfigError(f"batch is {batch}: give at least 1")
    setup = job.setup
    given = read_first_stage(setup.retriever)
    job = dataclasses.replace(job, scale=given.scale)
    if not resume and (out / RUN).exists() and (out / RUN).stat().st_size:
        raise ConfigError(f"{out} holds a run already: add --resume to go on with it, or name another folder")
    facts = provenance(run_config(setup, None), command, corpus, given.path, None)
    with open_qids(out / RUN) as run:
        wanted = [q.qid for q in corpus.questions[: setup.limit]]
        left = shards(corpus, given.rankings, run.values, candidates=setup.candidates, size=batch, limit=setup.limit)
        work = list(left)
        tally = Tally(total=len(wanted), present=sum(qid in run.values for qid in wanted))
        if work:
            _collect((source or _on_ray)(job, work, workers), run, tally, _Claim(out, facts, resume), progress)
    _list_failures(out / FAILURES, tally.failures)
    return tally


def _on_ray(job: Job, work: Sequence[Shard], workers: WorkerSettings) -> Iterator[Outcome]:
    with cluster.cluster(workers) as ray:
        yield from cluster.outcomes(ray, job, work, workers)


def _collect(found: Iterator[Outcome], run: Journal[None], tally: Tally, owner: _Claim, progress: Progress | None) -> None:
    row = 0
    with _closing(found):
        for outcome in found:
            if outcome.fatal is not None:
                raise _as_raised(*outcome.fatal)
            owner.check(dict(outcome.facts))
            tally.written += run.append(outcome.lines.values())
            tally.failures += outcome.failures
            row = 0 if outcome.lines else row + len(outcome.failures)
            if row >= FAILURES_IN_A_ROW:
                last = tally.failures[-1]
                raise EngineError(
                    f"{row} questions failed one after the other, the last ({last.qid}): {last.message}. "
                    "What was ranked is kept: run again with --resume to go on from here"
                )
            if progress is not None:
                progress("reranking", tally.present + tally.written, tally.total)


class _Claim:
    """Makes the folder ours with the first outcome, which says how workers rank; later ones must say the same."""

    def __init__(self, out: Path, facts: dict[str, Any], resume: bool) -> None:
        self._out, self._facts, self._resume = out, facts, resume
        self._first: dict[str, Any] | None = None

    def check(self, now: dict[str, Any]) -> None:
        if self._first is None:
            hardware = {**self._facts["hardware"], "device": now["device"]}
            facts = {
                **self._facts,
                "config": now["config"],
                "prompt_fingerprint": now["prompt_fingerprint"],
                "hardware": hardware,
            }
            claim(self._out, json.loads(json.dumps(facts)), resume=self._resume)
            self._first = now
        differ = differing(self._first, now)
        if differ:
            raise ConfigError(f"the workers do not rank alike ({', '.join(differ)}): give them the same version and model")


@contextmanager
def _closing(found: Iterator[Outcome]) -> Iterator[None]:
    """Close a generator at once when the block ends early, so that its cluster ends with it."""
    try:
        yield
    finally:
        close = getattr(found, "close", None)
        if close is not None:
            close()


def _list_failures(path: Path, failures: Sequence[Failure]) -> None:
    if failures:
        write_jsonl(path, map(dataclasses.asdict, failures))
    else:
        path.unlink(missing_ok=True)


def _as_raised(kind: str, message: str) -> MMR5Error:
    """A worker's error, as it would be raised here."""
    found = getattr(mmr5.errors, kind, MMR5Error)
    return found(message) if isinstance(found, type) and issubclass(found, MMR5Error) else MMR5Error(message)
