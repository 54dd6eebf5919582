"""``mmr5 rerank-run``: a whole run reranked by several workers, on this machine or on a Ray cluster."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import Without, flags
from mmr5.settings import EvaluationSettings, WorkerSettings


@flags
def rerank_run(
    setup: Annotated[EvaluationSettings, Without("retriever", "level")],
    run: Annotated[
        Path, typer.Argument(help="The first stage's candidates: a TREC run, a run.jsonl or its folder.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for run.jsonl and provenance.json.", show_default=False)],
    workers: WorkerSettings,
    threads: Annotated[int, typer.Option(min=1, help="Threads that each worker computes with.")] = 1,
    batch: Annotated[int, typer.Option(min=1, help="Questions of a document that a worker ranks together.")] = 8,
    resume: options.Resume = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Rerank a whole run with several workers; killed at any moment, it goes on with --resume and loses and doubles nothing.

    The result is a run as mmr5 evaluate writes it. For example:

    mmr5 rerank-run opendocs runs/bm25 --out runs/mini --workers 2
    """
    from mmr5.corpora import load_corpus
    from mmr5.errors import MMR5Error
    from mmr5.evaluation.benchmark import command_of
    from mmr5.scale.driver import FAILURES
    from mmr5.scale.driver import rerank_run as go
    from mmr5.scale.worker import Job

    del debug
    setup = dataclasses.replace(setup, retriever=str(run))
    command = command_of(setup, out)
    with progress_line() as progress:
        corpus = load_corpus(setup.corpus, ocr=setup.ocr, page_text=setup.page_text).split(setup.split)
        found = go(Job(setup, threads), corpus, out, workers, resume=resume, batch=batch, command=command, progress=progress)
    said = {"total": found.total, "present": found.present, "written": found.written, "failed": len(found.failures)}
    if as_json:
        typer.echo(json.dumps({**said, "failures": [dataclasses.asdict(f) for f in found.failures]}, ensure_ascii=False))
    else:
        typer.echo(", ".join(f"{name} {n}" for name, n in said.items()))
    note(f"wrote {out}; scores and a report: {command} --resume")
    if found.failures:
        first = found.failures[0]
        raise MMR5Error(
            f"{len(found.failures)} of {found.total} questions failed, the first ({first.qid}): {first.message} "
            f"All are in {out / FAILURES}; run again with --resume to try them again."
        )
