"""``mmr5 cache``: what is kept on disk."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from mmr5.cli import options

app = typer.Typer(help="Show or empty the cache (page texts, OCR, embeddings, weights).", invoke_without_command=True)


@app.callback()
def show(context: typer.Context, as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Show what the cache holds."""
    from mmr5.storage.cache import Cache

    del debug
    if context.invoked_subcommand is not None:
        return
    cache = Cache()
    stats = cache.stats()
    if as_json:
        rows = [{"namespace": s.namespace, "entries": s.entries, "bytes": s.bytes, "evictable": s.evictable} for s in stats]
        typer.echo(json.dumps({"root": str(cache.root), "max_bytes": cache.max_bytes, "namespaces": rows}, indent=2))
        return
    typer.echo(f"{cache.root} (at most {cache.max_bytes / 1e9:.1f} GB, weights and corpora apart)")
    for row in stats:
        typer.echo(
            f"  {row.namespace:<12} {row.entries:>8} entries {row.bytes / 1e6:>10.1f} MB{'' if row.evictable else '  (kept)'}"
        )
    if not stats:
        typer.echo("  empty")


@app.command("clear")
def clear(namespace: Annotated[str | None, typer.Argument(help="Only this namespace, e.g. ocr.")] = None) -> None:
    """Remove cached entries (weights and corpora stay)."""
    from mmr5.storage.cache import Cache

    typer.echo(f"removed {Cache().clear(namespace)} entries")
