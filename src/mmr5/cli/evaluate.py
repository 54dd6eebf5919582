"""``mmr5 evaluate``: a first stage and a model on a corpus → scores with intervals."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line


class Level(StrEnum):
    """Values of ``--level``."""

    PAGE = "page"
    LAYOUT = "layout"


def evaluate(
    corpus: Annotated[str, typer.Argument(help="A corpus folder, opendocs or mmdocir.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the run, the scores and the report.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="Split of the corpus. [default: all questions]")] = None,
    retriever: Annotated[
        str, typer.Option(help="First stage as for rerank (first-stages.md), or a run file (TREC or run.jsonl).")
    ] = "hybrid",
    model: Annotated[str, typer.Option(help="A model as for rerank, or none, oracle, random.")] = "mini",
    engine: options.EngineOption = options.Engine.TRANSFORMERS,
    base_url: options.BaseUrl = None,
    method: options.MethodOption = options.Method.AUTO,
    view: options.ViewOption = options.View.AUTO,
    candidates: Annotated[int, typer.Option(min=1, help="Pages that the first stage hands on.")] = 10,
    fusion: options.Fusion = None,
    samples: options.Samples = 1,
    seed: options.Seed = 0,
    level: Annotated[Level, typer.Option(help="What is ranked: pages, or the layouts on them (mmdocir).")] = Level.PAGE,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first questions.")] = None,
    ocr: options.OcrOption = options.Ocr.AUTO,
    page_text: options.PageTextOption = None,
    think_tokens: options.ThinkTokens = None,
    constrain: options.Constrain = False,
    keep: options.Keep = 1.0,
    temperature: options.Temperature = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of a list-wise reply.")] = 2048,
    batch: Annotated[int, typer.Option(min=1, help="Questions given to the model together.")] = 8,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure a first stage and a model on a corpus.

    Candidates are exactly the first stage's best; relevant pages are never added. For example:

    mmr5 evaluate opendocs --split dev --retriever bm25 --model none --out runs/bm25
    """
    from mmr5.corpora import load_corpus
    from mmr5.evaluation.benchmark import BASELINES, Setup
    from mmr5.evaluation.benchmark import evaluate as run
    from mmr5.models.resolve import check_name
    from mmr5.reranker import Reranker

    del debug
    setup = Setup(
        corpus,
        split=split,
        retriever=retriever,
        model=model,
        method=method.value,
        view=view.value,
        candidates=candidates,
        fusion=fusion,
        samples=samples,
        seed=seed,
        limit=limit,
        level=level.value,
        ocr=ocr.value,
        think_tokens=think_tokens,
        constrain=constrain,
        keep=keep,
        temperature=temperature,
        page_text=None if page_text is None else page_text.value,
    )
    if model not in BASELINES and engine is options.Engine.TRANSFORMERS:
        check_name(model)
    with progress_line() as progress:
        loaded = load_corpus(corpus, ocr=ocr.value, page_text=setup.page_text, progress=progress).split(split)
        reranker = None
        if model not in BASELINES:
            reranker = Reranker.from_pretrained(
                model,
                engine=engine.value,
                base_url=base_url,
                method=method.value,
                view=view.value,
                device=device,
                dtype=dtype,
                progress=progress,
                samples=samples,
                seed=seed,
                think_tokens=think_tokens,
                constrain=constrain,
                keep=keep,
                temperature=temperature,
                max_new_tokens=max_new_tokens,
            )
        longest = None if max_new_tokens == 2048 else str(max_new_tokens)
        how = {"engine": engine.value, "base_url": base_url, "device": device, "dtype": dtype, "max_new_tokens": longest}
        command = setup.command(out, **how)
        scores = run(setup, loaded, out, reranker=reranker, resume=resume, progress=progress, command=command, batch=batch)
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
    else:
        typer.echo((out / "report.md").read_text(encoding="utf-8"), nl=False)
    note(f"wrote {out}")
