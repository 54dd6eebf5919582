"""Progress and messages on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from mmr5.types import Progress


def note(text: str) -> None:
    """One line to stderr."""
    typer.echo(text, err=True)


@contextmanager
def progress_line() -> Iterator[Progress]:
    """A progress callback: a live bar on a terminal, one line a stage elsewhere."""
    if not sys.stderr.isatty():
        yield _Stages()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(stage: str, done: int, total: int | None) -> None:
            bar.update(task, description=stage, completed=done, total=total)

        yield show


class _Stages:
    """Says each stage once."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        del done
        if stage != self._said:
            self._said = stage
            note(f"{stage} ({total})" if total is not None else stage)
