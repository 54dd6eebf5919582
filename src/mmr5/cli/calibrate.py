"""``mmr5 calibrate``: what a model's scores mean, fitted on a corpus."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import Only, flags
from mmr5.settings import ModelSettings, ReadingSettings, SearchSettings

CORPUS_HELP = "A corpus folder, opendocs or mmdocir; best with questions that no page answers."


@flags
def calibrate(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="A folder with a checkpoint, mini, none, or a hub name.")],
    model: Annotated[ModelSettings, Only("engine", "base_url", "method", "view", "device", "dtype")],
    search: SearchSettings,
    reading: Annotated[ReadingSettings, Only("ocr")],
    corpus: Annotated[str, typer.Option(help=CORPUS_HELP)],
    split: Annotated[str | None, typer.Option(help="Split of the corpus.", show_default="all questions")] = None,
    pool: Annotated[bool, typer.Option("--pool", help="Candidates come from the pages of all documents.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of what is measured, and of calibration.json.")] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Fit what the scores of a model mean: the relevance of a page, and whether any page answers.

    Each document is asked its own questions and three of another one. Use documents that the model was not trained on. What is
    fitted holds for this method, view, first stage and weight alone. It is written into the recipe of a checkpoint's folder; of
    other models give calibration.json to --calibration. A killed run goes on where it was. For example:

    mmr5 calibrate runs/mine --corpus my-corpus
    """
    from mmr5.corpora import load_corpus
    from mmr5.errors import ConfigError
    from mmr5.evaluation.calibration import collect, fit
    from mmr5.models.recipes import FILE, Recipe, load_recipe
    from mmr5.pipeline import Searcher
    from mmr5.relevance import Setting
    from mmr5.reranker import Reranker
    from mmr5.storage.atomic import write_text
    from mmr5.storage.cache import digest
    from mmr5.storage.jsonl import write_json

    del debug
    folder = Path(name).expanduser()
    if out is None and not folder.is_dir():
        raise ConfigError(f"{name!r} is no folder, so that its recipe cannot be written: name a folder for the result (--out)")
    place = folder / "calibration" if out is None else out
    with progress_line() as progress:
        loaded = load_corpus(corpus, ocr=reading.ocr).split(split)
        reranker = Reranker.from_settings(dataclasses.replace(model, model=name), progress=progress)
        searcher = Searcher(reranker, search.retriever, candidates=search.candidates, fusion=search.fusion, progress=progress)
        setting = Setting(reranker.method, reranker.view, search.retriever, searcher.fusion, "pooled" if pool else "document")
        told = digest(repr(setting), corpus, split or "", str(searcher.n_candidates), reading.ocr)[:8]
        rows = collect(loaded, searcher, place / f"scores-{setting.scope}-{told}.jsonl", pool=pool, progress=progress)
    said = f"{corpus}{f', split {split}' if split else ''}, {datetime.now(UTC):%Y-%m-%d}"
    found = fit(rows, setting, said)
    write_json(place / "calibration.json", [found.to_dict()])
    note(f"wrote {place / 'calibration.json'}")
    if folder.is_dir():
        recipe = load_recipe(folder) or Recipe(method=reranker.method, view=reranker.view)
        kept = [one for one in recipe.calibrations if one.setting != setting]
        write_text(folder / FILE, dataclasses.replace(recipe, calibrations=(*kept, found)).to_json())
        note(f"wrote {folder / FILE}")
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    for label, values in (*found.figures["relevance"].items(), *found.figures["answerable"].items()):
        typer.echo(f"{label:<12} " + ", ".join(f"{key} {value}" for key, value in values.items()))
