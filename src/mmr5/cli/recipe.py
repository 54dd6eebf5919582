"""``mmr5 recipe``: what a checkpoint's ``recipe.json`` says, and whether the checkpoint can follow it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmr5.cli import options
from mmr5.cli.console import note

if TYPE_CHECKING:
    from mmr5.engines.protocol import Request
    from mmr5.models.recipes import Recipe
    from mmr5.relevance import Calibration

app = typer.Typer(help="Show or check the recipe of a checkpoint: method, view, words of the prompt, windows, read-out.")
Folder = Annotated[str, typer.Argument(help="A folder with a checkpoint, or mini.", show_default=False)]
SCOPES = {"document": "of one document", "pooled": "of several documents"}
SAMPLE_QUESTION = "Which page says it?"
SAMPLE_TEXTS = ("The first page.", "The second page.")


@app.command("show")
def show(folder: Folder, as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Show a recipe with every default filled in, and the prompt that it gives for two sample pages."""
    del debug
    recipe = _recipe(folder)
    asked = _sample(recipe)
    if as_json:
        messages = [] if asked is None else _placeholders(asked)
        shown = {"recipe": dataclasses.asdict(recipe), "fingerprint": _fingerprint(recipe), "messages": messages}
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
        return
    for name, value in dataclasses.asdict(recipe).items():
        if name == "calibrations":
            lines = [_setting(one) for one in recipe.calibrations] or ["none: relevance and answerable are null"]
            typer.echo("\n".join(f"{'' if i else name:<20} {line}" for i, line in enumerate(lines)))
            continue
        if name == "prompt":
            value = "this project's own" if value is None else {k: v for k, v in value.items() if v is not None}
        typer.echo(f"{name:<20} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}")
    typer.echo(f"{'fingerprint now':<20} {_fingerprint(recipe)}")
    if asked is None:
        typer.echo(f"\nmethod {recipe.method!r} has no prompt")
        return
    for message in asked.messages:
        typer.echo(f"\n[{message['role']}]")
        typer.echo("".join(p["text"] if p["type"] == "text" else "<image>" for p in message["content"]))
    if asked.prefill:
        typer.echo(f"\n[assistant]\n{asked.prefill}")


@app.command("check")
def check(folder: Folder, as_json: options.Json = False, debug: options.Debug = False) -> None:
    """Check that a recipe can be read, and that the checkpoint's tokenizer and chat template can follow it.

    Loads no weights. A warning says that the prompt has changed since the checkpoint was made.
    """
    del debug
    recipe = _recipe(folder)
    asked = _sample(recipe)
    found: dict[str, Any] = {"recipe": "can be read", "fingerprint": _fingerprint(recipe)}
    if recipe.stale:
        note(f"warning: the checkpoint was made with prompt {recipe.prompt_fingerprint}, and this version asks with another")
    if asked is not None and Path(folder).expanduser().is_dir():
        found |= _followed(Path(folder).expanduser(), recipe, asked)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
        return
    for name, value in found.items():
        typer.echo(f"{name:<20} {value}")


def _setting(calibration: Calibration) -> str:
    """What a calibration is for, and how it did, in a line."""
    of, figures = calibration.setting, calibration.figures
    weight = "" if of.fusion is None else f", weight {of.fusion:g}"
    words = f"{of.method}, view {of.view}, first stage {of.retriever}{weight}, candidates {SCOPES[of.scope]}"
    pages = figures.get("relevance", {}).get("all")
    held = "" if pages is None else f"; relevance ECE {pages['ece']:.3f}, Brier skill {pages['brier_skill']:+.3f}"
    told = (f"{kind} {f['auroc']:.3f}" for kind, f in figures.get("answerable", {}).items())
    return f"{words}{held}; AUROC {', '.join(told)} ({calibration.data})"


def _recipe(folder: str) -> Recipe:
    from mmr5.errors import ConfigError
    from mmr5.models.recipes import FILE, load_recipe
    from mmr5.models.resolve import MINI, MINI_LM, mini_recipe

    if folder in (MINI, MINI_LM):
        return mini_recipe(folder)
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise ConfigError(f"{folder!r} is no folder: give a checkpoint's folder, {MINI} or {MINI_LM}")
    found = load_recipe(place)
    if found is None:
        raise ConfigError(f"{folder} holds no {FILE}: write one (docs/recipes.md), or train a checkpoint, which gets its own")
    return found


def _sample(recipe: Recipe) -> Request | None:
    """The request that the recipe's method makes of two sample pages; of the first where pages are read one by one.

    None where the method has no prompt.
    """
    from mmr5.engines.scripted import ScriptedEngine
    from mmr5.methods import likelihood, listwise, pointwise
    from mmr5.prompt import ANSWER_PREFILL, METHODS
    from mmr5.settings import MethodSettings
    from mmr5.types import Candidates, Page

    if recipe.method not in METHODS:
        return None
    settings = MethodSettings(view=recipe.view, **recipe.method_settings(recipe.method))
    pages = tuple(Page("sample.pdf", i, text, _SamplePicture(str(i))) for i, text in enumerate(SAMPLE_TEXTS, 1))
    engine = ScriptedEngine()
    if recipe.method in ("pointwise", "likelihood"):
        build = pointwise.request if recipe.method == "pointwise" else likelihood.request
        return build(engine, SAMPLE_QUESTION, pages[0], settings)
    own = settings.wording.prefill
    opening = (ANSWER_PREFILL if own is None else own) if recipe.method == "logits" else ""
    think = recipe.method == "reason"
    asked = Candidates(SAMPLE_QUESTION, pages)
    return listwise.request(engine, asked, settings, settings.page_tokens or 1024, think=think, prefill=opening)


def _followed(folder: Path, recipe: Recipe, asked: Request) -> dict[str, Any]:
    """How the checkpoint's tokenizer and chat template take the sample.

    Raises:
        ConfigError: what is to be weighed cannot be told apart in tokens, or the template changes the prompt.
        ModelNotFoundError: there is no tokenizer.
    """
    from mmr5.answer import VERDICTS
    from mmr5.engines.chat_template import LocalPrompts
    from mmr5.engines.runtime.choices import token_paths
    from mmr5.errors import ConfigError
    from mmr5.methods.logits import choices
    from mmr5.settings import MethodSettings

    prompts = LocalPrompts.from_pretrained(folder)
    if recipe.view != "text" and not prompts.images:
        raise ConfigError(
            f"the recipe's view is {recipe.view!r}, and the checkpoint in {folder} reads text only: use view 'text'"
        )
    rendered = prompts.render(asked)
    found: dict[str, Any] = {"chat template": "keeps the words", "ends with": repr(rendered[-60:])}
    settings = MethodSettings(view=recipe.view, **recipe.method_settings(recipe.method))
    weighed: list[str] = []
    if recipe.method == "pointwise":
        weighed = list(settings.wording.verdicts or VERDICTS)
    elif recipe.method == "logits":
        weighed = choices(settings.window, settings)
    if weighed:
        paths = token_paths(prompts.encode, asked.prefill, weighed)
        longest = max(len(path) for path in paths)
        found["read-out"] = f"{len(weighed)} choices, {weighed[0]!r} to {weighed[-1]!r}, of 1 to {longest} tokens"
    unknown = [token for token in recipe.reserved if token not in prompts.reserved]
    if unknown:
        found["reserved"] = f"{len(unknown)} beside the tokenizer's own: {', '.join(unknown[:5])}"
    return found


def _fingerprint(recipe: Recipe) -> str:
    from mmr5.prompt import METHODS, fingerprint

    if recipe.method not in METHODS:
        return "none"
    return fingerprint(recipe.method, recipe.view, recipe.wording, recipe.ids)


def _placeholders(asked: Request) -> list[dict[str, Any]]:
    from mmr5.prompt import placeholders

    prefill = [{"role": "assistant", "content": [{"type": "text", "text": asked.prefill}]}] if asked.prefill else []
    return [*placeholders(asked.messages), *prefill]


class _SamplePicture:
    """A white page."""

    def __init__(self, key: str) -> None:
        self.key = key

    def load(self, max_pixels: int | None = None) -> Any:
        """A small white picture."""
        from PIL import Image

        del max_pixels
        return Image.new("RGB", (84, 112), "white")
