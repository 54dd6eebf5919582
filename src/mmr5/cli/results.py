"""Results on the terminal, for ``mmr5 rerank`` and ``mmr5 search``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer

from mmr5.cli.console import note
from mmr5.render.labels import ISSUES


def print_all(
    asked: Sequence[dict[str, Any]], found: Iterable[Any], finished: Callable[[Any], Any], *, as_json: bool, named: bool
) -> None:
    """Print a result a question as soon as it is there; one that fails says so, and the exit code is 1 at the end.

    Raises:
        typer.Exit: a question failed.
    """
    from mmr5.errors import MMR5Error

    failed = 0
    for number, (record, result) in enumerate(zip(asked, found, strict=True), 1):
        more = {name: value for name, value in record.items() if name != "question"}
        if isinstance(result, MMR5Error):
            failed += 1
            note(f"error: question {number} ({record['question'][:60]!r}): {result}")
            if as_json:
                typer.echo(json.dumps({**more, "query": record["question"], "error": str(result)}, ensure_ascii=False))
        elif as_json:
            typer.echo(json.dumps({**more, **finished(result).to_dict()}, ensure_ascii=False))
        else:
            note_reply(result, as_json=False, debug=False)
            print_one(result, as_json=False, named=named)
    if failed:
        note(f"{failed} of {len(asked)} questions failed")
        raise typer.Exit(1)


def note_reply(result: Any, *, as_json: bool, debug: bool) -> None:
    """Say what was wrong with a reply, and what the model thought."""
    for issue in result.issues:
        note(f"warning: {ISSUES[issue]} ({issue.value})")
    if result.reasoning and (debug or not as_json):
        note(f"reasoning:\n{result.reasoning}\n")
    if debug and result.reply:
        note(f"reply:\n{result.reply}\n")


def print_one(result: Any, *, as_json: bool, named: bool) -> None:
    """Print a result as a table, ``named`` with its documents, or as the JSON object."""
    if as_json:
        typer.echo(json.dumps(result.to_dict(), ensure_ascii=False, indent=2))
        return
    from rich.console import Console

    from mmr5.render.terminal import result_table

    console = Console()
    console.print(result_table(result, named=named, width=console.width))
