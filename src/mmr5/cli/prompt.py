"""``mmr5 prompt``: what the model would be shown."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.flags import Only, flags
from mmr5.settings import MethodSettings, ModelSettings, ReadingSettings


@flags
def prompt(
    query: options.Query,
    sources: options.Sources,
    model: Annotated[ModelSettings, Only("view", "method")],
    reading: ReadingSettings,
    page_tokens: Annotated[int, typer.Option(min=1, help="Most words of a page's text.")] = 300,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """Show the chat messages for a question and pages, pictures as placeholders. Loads no model.

    Every page of the sources is a candidate, in order. A page's text is cut to ``--page-tokens`` words here; when a model is at
    work its own tokens count.
    """
    from mmr5.engines.scripted import ScriptedEngine
    from mmr5.errors import ConfigError
    from mmr5.methods import inputs, likelihood, listwise, pointwise
    from mmr5.pages import read_pages
    from mmr5.prompt import METHODS, placeholders
    from mmr5.types import Candidates

    del debug
    chosen: Any = "image" if model.view == "auto" else model.view
    kind = "reason" if model.method == "auto" else model.method
    if kind not in METHODS:
        raise ConfigError(f"method is {kind!r}, which has no prompt: give one of {', '.join(METHODS)}")
    engine = ScriptedEngine()
    pages = read_pages(sources, ocr="never" if chosen == "image" else reading.ocr, picture_pages=reading.picture_pages)
    settings = MethodSettings(view=chosen, page_tokens=page_tokens, window=max(2, len(pages)), overlap=1)
    inputs.check(engine, settings, kind)
    if kind in ("pointwise", "likelihood"):
        build = pointwise.request if kind == "pointwise" else likelihood.request
        prompts = [placeholders(build(engine, query, page, settings).messages) for page in pages]
    else:
        candidates = Candidates(query, tuple(pages))
        prompts = [placeholders(listwise.request(engine, candidates, settings, page_tokens, think=kind == "reason").messages)]
    if as_json:
        typer.echo(json.dumps(prompts[0] if len(prompts) == 1 else prompts, ensure_ascii=False, indent=2))
        return
    for messages in prompts:
        for message in messages:
            typer.echo(f"[{message['role']}]")
            typer.echo("".join(p["text"] if p["type"] == "text" else "<image>" for p in message["content"]))
            typer.echo()
