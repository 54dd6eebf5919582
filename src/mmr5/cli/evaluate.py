"""``mmr5 evaluate``: a first stage and a model on a corpus → scores with intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import flags
from mmr5.settings import EvaluationSettings


@flags
def evaluate(
    setup: EvaluationSettings,
    out: Annotated[Path, typer.Option("--out", help="Folder for the run, the scores and the report.", show_default=False)],
    batch: Annotated[int, typer.Option(min=1, help="Questions given to the model together.")] = 8,
    resume: options.Resume = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure a first stage and a model on a corpus.

    Candidates are exactly the first stage's best; relevant pages are never added. For example:

    mmr5 evaluate opendocs --split dev --retriever bm25 --model none --out runs/bm25
    """
    from mmr5.corpora import load_corpus
    from mmr5.evaluation.benchmark import BASELINES
    from mmr5.evaluation.benchmark import evaluate as run
    from mmr5.models.resolve import check_name
    from mmr5.reranker import Reranker

    del debug
    if setup.model not in BASELINES and setup.engine == "transformers":
        check_name(setup.model)
    with progress_line() as progress:
        corpus = load_corpus(setup.corpus, ocr=setup.ocr, page_text=setup.page_text, progress=progress).split(setup.split)
        reranker = None if setup.model in BASELINES else Reranker.from_settings(setup, progress=progress)
        scores = run(setup, corpus, out, reranker=reranker, resume=resume, progress=progress, batch=batch)
    if as_json:
        typer.echo(json.dumps(scores, indent=2))
    else:
        typer.echo((out / "report.md").read_text(encoding="utf-8"), nl=False)
    note(f"wrote {out}")
