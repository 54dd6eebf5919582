"""``mmr5 table``: every row of a paper's table that can be measured here, beside the published numbers."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import flags
from mmr5.settings import TableSettings


@flags
def table(
    config: Annotated[str, typer.Argument(help="paper-table1, paper-table2, or a TOML file.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for the rows and the table.", show_default=False)],
    how: TableSettings,
    corpus: Annotated[str | None, typer.Option(help="A corpus folder, opendocs or mmdocir. [default: the table's]")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the corpus. [default: the table's, or all questions]")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Measure this row only; may be given more than once.")] = None,
    use: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CHECKPOINT: take a folder or hub name in place of a model's name, or of colqwen, clip, ..."),
    ] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Measure the rows of a table, and print it beside the published numbers.

    Rows that this machine cannot measure are shown with the reason. Give the same command again to go on: what is done is not
    done again. For example:

    mmr5 table paper-table1 --corpus opendocs --split dev --only bm25 --only hybrid --out runs/table1
    """
    from mmr5.corpora import load_corpus
    from mmr5.errors import ConfigError
    from mmr5.evaluation.table_run import run_table
    from mmr5.evaluation.tables import load_table

    del debug
    pairs = [item.partition("=") for item in use or []]
    if bad := [name for name, sign, checkpoint in pairs if not (name and sign and checkpoint)]:
        raise ConfigError(f"--use {bad[0]!r} is no pair: give NAME=CHECKPOINT, e.g. colqwen=/models/colqwen2")
    asked = load_table(config).using({name: checkpoint for name, _, checkpoint in pairs})
    asked.only(only or ())
    where = corpus or asked.corpus
    part = split if split is not None or corpus is not None else asked.split
    with progress_line() as progress:
        loaded = load_corpus(where, ocr=how.ocr, page_text=how.page_text, progress=progress).split(part)
        found = run_table(
            asked,
            loaded,
            out,
            only=only or (),
            how=how,
            split=part,
            name=where,
            progress=progress,
            command=shlex.join(["mmr5", *sys.argv[1:]]),
        )
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        typer.echo((out / "table.md").read_text(encoding="utf-8"), nl=False)
    note(f"wrote {out}")
