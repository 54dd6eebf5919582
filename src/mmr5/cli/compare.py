"""``mmr5 compare``: two runs of the same questions → the paired difference, and what was won and lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line

RunA = Annotated[Path, typer.Argument(help="A folder that mmr5 evaluate wrote.", show_default=False)]
RunB = Annotated[Path, typer.Argument(help="Another one; differences are B minus A.", show_default=False)]


def compare(
    run_a: RunA,
    run_b: RunB,
    seed: Annotated[int, typer.Option(help="Of the bootstrap over documents.")] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page with every question in both orders, worst losses first.")
    ] = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Compare two runs of mmr5 evaluate on the questions that they share.

    Prints both, the difference B minus A with its 95 % interval (paired bootstrap over documents), and who won which question.
    """
    from mmr5.errors import CorpusError, DocumentError
    from mmr5.evaluation.comparison import compare as measure
    from mmr5.evaluation.comparison import comparison_html, comparison_markdown, pair, run_pages
    from mmr5.render.html import write_html

    del debug
    pairing = pair(run_a, run_b)
    found = measure(pairing, seed=seed)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        typer.echo(comparison_markdown(pairing, found), nl=False)
    if html is None:
        return
    with progress_line() as progress:
        try:
            page = comparison_html(pairing, found, run_pages(pairing.facts_b), progress=progress)
        except (CorpusError, DocumentError) as error:
            note(f"warning: the page has no pictures: {error}")
            page = comparison_html(pairing, found, None)
    write_html(html, page)
    note(f"wrote {html}")
