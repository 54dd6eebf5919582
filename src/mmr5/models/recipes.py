"""The settings a checkpoint was made for, saved as ``recipe.json`` beside its weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.errors import ConfigError
from mmr5.prompt import METHODS, VIEWS, fingerprint
from mmr5.types import View

FILE = "recipe.json"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a checkpoint is meant to be used; flags override it.

    Attributes:
        method: how an order is won (DESIGN: ``reason``, ``direct``, ``logits``, ``pointwise``, ``likelihood``).
        view: how a page enters the prompt.
        page_tokens: most tokens of a page's text; None derives it from the model's context.
        fusion: weight of the model's z-scored scores against the first stage's; None leaves the model's order alone.
        question_weight: of the question's log-likelihood beside the verdict (``pointwise``), at least 0.
        notes: how many top pages get a written note (``pointwise``), at least 0.
        max_pixels: pixel budget of a page image.
        prompt_fingerprint: of the prompt that the checkpoint was made with; None for a checkpoint not made here.
    """

    method: str = "reason"
    view: View = "image"
    page_tokens: int | None = None
    fusion: float | None = None
    question_weight: float = 0.0
    notes: int = 3
    max_pixels: int | None = None
    prompt_fingerprint: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method is {self.method!r}: use one of {', '.join(METHODS)}")
        if self.view not in VIEWS:
            raise ConfigError(f"view is {self.view!r}: use one of {', '.join(VIEWS)}")
        if self.page_tokens is not None and self.page_tokens < 1:
            raise ConfigError(f"page_tokens is {self.page_tokens}: give at least 1, or none to derive it")

    def to_json(self) -> str:
        """The recipe as the text of a ``recipe.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @property
    def stale(self) -> bool:
        """Whether the prompt has changed since the checkpoint was made."""
        return self.prompt_fingerprint is not None and self.prompt_fingerprint != fingerprint(self.method, self.view)


def parse_recipe(text: str, where: str) -> Recipe:
    """Read a ``recipe.json``.

    Args:
        text: its content.
        where: its place, for the error.

    Raises:
        ConfigError: it is no JSON object, or holds an unknown key or an impossible value.
    """
    try:
        values: Any = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where} is not JSON: {error}") from error
    known = [f.name for f in dataclasses.fields(Recipe)]
    unknown = sorted(set(values) - set(known)) if isinstance(values, dict) else [f"a {type(values).__name__}"]
    if unknown:
        raise ConfigError(f"{where} holds {', '.join(unknown)}: the keys of a recipe are {', '.join(known)}")
    return Recipe(**values)


def load_recipe(folder: Path) -> Recipe | None:
    """The recipe beside a checkpoint's weights, or None where there is none."""
    file = folder / FILE
    return parse_recipe(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None
