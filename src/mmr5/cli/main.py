"""The tree of commands. It imports nothing heavy: a verb loads what it needs when it runs.

stdout is the result; reasoning, progress and warnings go to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import IO, Annotated, Any, Protocol, runtime_checkable

INTERRUPTED = 130
"""Exit code behind Ctrl-C."""

try:
    import typer

    from mmr5 import __version__
    from mmr5.cli import (
        cache,
        calibrate,
        compare,
        data,
        doctor,
        evaluate,
        index,
        mcp,
        models,
        prompt,
        recipe,
        rerank,
        rerank_run,
        search,
        serve,
        table,
        train,
    )
    from mmr5.cli.console import guarded_streams, note
    from mmr5.errors import ConfigError, MMR5Error, MMR5Warning
    from mmr5.watching import silence
except KeyboardInterrupt:
    sys.stderr.write("interrupted\n")
    raise SystemExit(INTERRUPTED) from None

app = typer.Typer(
    name="mmr5",
    help="MM-R5: a multimodal reasoning reranker for document pages.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmr5 {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """MM-R5: a multimodal reasoning reranker for document pages."""


app.command("rerank")(rerank.rerank)
app.command("search")(search.search)
app.command("serve")(serve.serve)
app.command("mcp")(mcp.mcp)
app.command("evaluate")(evaluate.evaluate)
app.command("rerank-run")(rerank_run.rerank_run)
app.command("calibrate")(calibrate.calibrate)
app.command("compare")(compare.compare)
app.command("table")(table.table)
app.command("prompt")(prompt.prompt)
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.add_typer(index.app, name="index")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(cache.app, name="cache")
app.add_typer(recipe.app, name="recipe")


@runtime_checkable
class UsageProblem(Protocol):
    """An error in the arguments: click's ``ClickException``, whether typer brings its own click or uses the installed one."""

    exit_code: int

    def show(self, file: IO[Any] | None = None) -> None:
        """Say what is wrong."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    silence()
    warnings.showwarning = _warn(warnings.showwarning)
    with guarded_streams():
        code = _run(given, debug="--debug" in given)
    raise SystemExit(code)


def _run(given: Sequence[str], *, debug: bool) -> int:
    """The exit code of a command; what went wrong is said."""
    try:
        code = app(given, standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except MMR5Error as error:
        if debug:
            traceback.print_exc()
        note(f"error: {error}")
        return 2 if isinstance(error, ConfigError) else 1
    except Exception as error:  # the outermost edge: a bug must not show as a traceback unless asked for
        if isinstance(error, UsageProblem):
            error.show(sys.stderr)
            return 2
        if debug:
            raise
        note(f"internal error: {type(error).__name__}: {error}\nRun again with --debug for the traceback, and report it.")
        return 1
    if code == INTERRUPTED:
        note("interrupted")
    return code if isinstance(code, int) else 0


def _warn(fallback: Callable[..., None]) -> Callable[..., None]:
    """Show our own warnings as one plain line."""

    def show(message: Warning | str, category: type[Warning], *rest: object, **named: object) -> None:
        if issubclass(category, MMR5Warning):
            note(f"warning: {message}")
        else:
            fallback(message, category, *rest, **named)

    return show


if __name__ == "__main__":
    main()
