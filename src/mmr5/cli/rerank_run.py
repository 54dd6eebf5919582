"""``mmr5 rerank-run``: a whole run reranked by several workers, on this machine or on a Ray cluster."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line


def rerank_run(
    corpus: Annotated[str, typer.Argument(help="A corpus folder, opendocs or mmdocir.", show_default=False)],
    run: Annotated[
        Path, typer.Argument(help="The first stage's candidates: a TREC run, a run.jsonl or its folder.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for run.jsonl and provenance.json.", show_default=False)],
    workers: Annotated[int, typer.Option(min=1, help="Processes with a model each.")] = 1,
    address: Annotated[
        str | None, typer.Option(help="An existing Ray cluster: auto, HOST:6379 or ray://HOST:10001. [default: this machine]")
    ] = None,
    cpus: Annotated[float, typer.Option(min=0.01, help="Cores that each worker is promised.")] = 1.0,
    gpus: Annotated[float, typer.Option(min=0.0, help="GPUs that each worker is promised; a fraction shares one.")] = 0.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads that each worker computes with.")] = 1,
    split: Annotated[str | None, typer.Option(help="Split of the corpus. [default: all questions]")] = None,
    model: options.Model = "mini",
    engine: options.EngineOption = options.Engine.TRANSFORMERS,
    base_url: options.BaseUrl = None,
    method: options.MethodOption = options.Method.AUTO,
    view: options.ViewOption = options.View.AUTO,
    candidates: Annotated[int, typer.Option(min=1, help="Pages of the run's rankings that are reranked.")] = 10,
    fusion: options.Fusion = None,
    samples: options.Samples = 1,
    seed: options.Seed = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions.")] = None,
    ocr: options.OcrOption = options.Ocr.AUTO,
    page_text: options.PageTextOption = None,
    think_tokens: options.ThinkTokens = None,
    constrain: options.Constrain = False,
    keep: options.Keep = 1.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a list-wise reply.")] = 2048,
    batch: Annotated[int, typer.Option(min=1, help="Questions of a document that a worker ranks together.")] = 8,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Rerank a whole run with several workers; killed at any moment, it goes on with --resume and loses and doubles nothing.

    The result is a run as mmr5 evaluate writes it. For example:

    mmr5 rerank-run opendocs runs/bm25 --out runs/mini --workers 2
    """
    from mmr5.corpora import load_corpus
    from mmr5.errors import MMR5Error
    from mmr5.evaluation.benchmark import Setup
    from mmr5.scale.cluster import Workers
    from mmr5.scale.driver import FAILURES
    from mmr5.scale.driver import rerank_run as go
    from mmr5.scale.worker import Job

    del debug
    setup = Setup(
        corpus,
        split=split,
        retriever=str(run),
        model=model,
        method=method.value,
        view=view.value,
        candidates=candidates,
        fusion=fusion,
        samples=samples,
        seed=seed,
        limit=limit,
        ocr=ocr.value,
        think_tokens=think_tokens,
        constrain=constrain,
        keep=keep,
        page_text=None if page_text is None else page_text.value,
    )
    job = Job(setup, engine.value, base_url, device, dtype, max_new_tokens, threads)
    how = {"engine": engine.value, "base_url": base_url, "device": device, "dtype": dtype}
    longest = None if max_new_tokens == 2048 else str(max_new_tokens)
    command = setup.command(out, **how, max_new_tokens=longest)
    with progress_line() as progress:
        loaded = load_corpus(corpus, ocr=ocr.value, page_text=setup.page_text).split(split)
        found = go(
            job,
            loaded,
            out,
            Workers(workers, address, cpus, gpus),
            resume=resume,
            batch=batch,
            command=command,
            progress=progress,
        )
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
