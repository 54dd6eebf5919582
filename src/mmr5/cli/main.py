"""The tree of commands. It imports nothing heavy: a verb loads what it needs when it runs.

stdout is the result; reasoning, progress and warnings go to stderr. Exit codes: 0 ok, 1 failed, 2 usage, 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from mmr5 import __version__
from mmr5.cli import cache, compare, data, doctor, evaluate, models, prompt, rerank, rerank_run, serve, table, train
from mmr5.errors import ConfigError, MMR5Error, MMR5Warning

UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""Parent of all of typer's usage errors: ClickException, whether typer brings its own click or uses the installed one."""

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
app.command("serve")(serve.serve)
app.command("evaluate")(evaluate.evaluate)
app.command("rerank-run")(rerank_run.rerank_run)
app.command("compare")(compare.compare)
app.command("table")(table.table)
app.command("prompt")(prompt.prompt)
app.command("models")(models.models)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(cache.app, name="cache")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    warnings.showwarning = _warn(warnings.showwarning)
    try:
        code = app(given, standalone_mode=False)
    except UsageProblem as error:
        error.show(sys.stderr)  # type: ignore[attr-defined]
        raise SystemExit(2) from None
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted", err=True)
        raise SystemExit(130) from None
    except MMR5Error as error:
        if debug:
            traceback.print_exc()
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
    except BrokenPipeError:
        sys.stderr.close()
        raise SystemExit(1) from None
    except Exception as error:  # the outermost edge: a bug must not show as a traceback unless asked for
        if debug:
            raise
        typer.echo(
            f"internal error: {type(error).__name__}: {error}\nRun again with --debug for the traceback, and report it.", err=True
        )
        raise SystemExit(1) from None
    raise SystemExit(code if isinstance(code, int) else 0)


def _warn(fallback: Callable[..., None]) -> Callable[..., None]:
    """Show our own warnings as one plain line."""

    def show(message: Warning | str, category: type[Warning], *rest: object, **named: object) -> None:
        if issubclass(category, MMR5Warning):
            typer.echo(f"warning: {message}", err=True)
        else:
            fallback(message, category, *rest, **named)

    return show


if __name__ == "__main__":
    main()
