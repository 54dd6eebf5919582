"""``mmr5 train``: supervised fine-tuning, reinforcement learning, merging an adapter, late interaction."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line

if TYPE_CHECKING:
    from mmr5.training.config import Stage, TrainingConfig

app = typer.Typer(
    help="Train a checkpoint: sft, then grpo or order; merge its adapter; or a late-interaction reranker.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config = Annotated[
    str, typer.Argument(help="A TOML file, or the name of one that is shipped, e.g. paper-7b/sft.", show_default=False)
]
Set = Annotated[list[str] | None, typer.Option("--set", help="table.key=value over the file's; may be given again.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in its folder, from its last checkpoint.")]
Check = Annotated[bool, typer.Option("--check", help="Train nothing: estimate a step's memory, and fail when it does not fit.")]
Memory = Annotated[float, typer.Option("--memory", min=0, help="With --check: GiB of one card.")]


@app.command("sft")
def sft(
    config: Config,
    set_: Set = None,
    resume: Resume = False,
    check: Check = False,
    memory: Memory = 80.0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Supervised fine-tuning on rows with targets (stage one)."""
    from mmr5.training.sft import train_sft

    del debug
    _stage(train_sft, "sft", config, set_, resume=resume, memory=memory if check else None, as_json=as_json)


@app.command("grpo")
def grpo(
    config: Config,
    set_: Set = None,
    resume: Resume = False,
    check: Check = False,
    memory: Memory = 80.0,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Reinforcement learning by the ranking and the format reward (stage two)."""
    from mmr5.training.grpo import train_grpo

    del debug
    _stage(train_grpo, "grpo", config, set_, resume=resume, memory=memory if check else None, as_json=as_json)


@app.command("late")
def late(
    config: Config,
    set_: Set = None,
    resume: Resume = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Train a late-interaction reranker, such as mini, beside a first stage."""
    from mmr5.training.late_config import load_late_config
    from mmr5.training.late_interaction import train_late

    del debug
    _train(train_late, load_late_config(find(config), set_ or ()), resume=resume, as_json=as_json)


@app.command("order")
def order(
    config: Config,
    set_: Set = None,
    resume: Resume = False,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Reinforcement learning of a model's order by its scores: late interaction, pointwise, logits or a cross-encoder."""
    from mmr5.training.order_config import load_order_config
    from mmr5.training.order_policy import train_order

    del debug
    _train(train_order, load_order_config(find(config), set_ or ()), resume=resume, as_json=as_json)


@app.command("merge")
def merge(config: Config, set_: Set = None, debug: options.Debug = False) -> None:
    """Merge a finished run's adapter into its base, and print the folder."""
    from mmr5.training.config import load_config
    from mmr5.training.merge import merge as run

    del debug
    typer.echo(str(run(load_config(find(config), set_ or ()))))


def find(name: str) -> Path:
    """A TOML file by its path, or a shipped one by its name."""
    from importlib import resources

    path = Path(name)
    if path.exists() or path.suffix == ".toml":
        return path
    shipped = Path(str(resources.files("mmr5"))) / "configs" / f"{name}.toml"
    return shipped if shipped.is_file() else path


def _stage(
    train: Callable[..., dict[str, object]],
    stage: Stage,
    config: str,
    set_: list[str] | None,
    *,
    resume: bool,
    memory: float | None,
    as_json: bool,
) -> None:
    """Train, or with ``memory`` only say whether a step fits into so many GiB."""
    from mmr5.training.config import load_config

    loaded = load_config(find(config), set_ or ())
    if memory is not None:
        _check(loaded, stage, memory, as_json=as_json)
        return
    _train(train, loaded, resume=resume, as_json=as_json)


def _train(train: Callable[..., dict[str, object]], config: Any, *, resume: bool, as_json: bool) -> None:
    """Train with progress, and print what came of it."""
    with progress_line() as progress:
        facts = train(config, resume=resume, progress=progress)
    _report(facts, config.run.out, as_json=as_json)


def _check(config: TrainingConfig, stage: Stage, memory: float, *, as_json: bool) -> None:
    from mmr5.training.memory_estimate import estimate, table

    found = estimate(config, stage)
    fits = found.fits(memory)
    typer.echo(json.dumps({**found.to_dict(), "memory_gib": memory, "fits": fits}, indent=2) if as_json else table(found, memory))
    if not fits:
        raise typer.Exit(1)


def _report(facts: dict[str, object], out: str, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"out": out, **facts}, indent=2))
    else:
        typer.echo("\n".join([out, *(f"  {name}: {value}" for name, value in facts.items())]))
    note(f"wrote {out}")
