"""The settings a checkpoint was made for, saved as ``recipe.json`` beside its weights."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from mmr5.errors import ConfigError
from mmr5.prompt import METHODS, OWN, VIEWS, Ids, Wording, check_wording, fingerprint
from mmr5.relevance import Calibration
from mmr5.settings import MethodSettings, SearchSettings, check, check_names, knob, same
from mmr5.types import View

FILE = "recipe.json"
RECIPE_METHODS = (*METHODS, "late-interaction")
"""Methods that a checkpoint can be made for."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a checkpoint is meant to be used; flags override it. It holds every setting that the scores depend on."""

    method: str = knob("reason", "Ranking method that the checkpoint was made for.")
    view: View = knob("image", "How a page enters the prompt.")
    page_tokens: int | None = same(MethodSettings, "page_tokens")
    fusion: float | None = same(SearchSettings, "fusion")
    languages: tuple[str, ...] | None = knob(None, "Languages (ISO 639-1) that the model was made for; null for any.")
    other_fusion: float = knob(0.0, "Weight where the question or the page is in none of these languages.", low=0)
    question_weight: float = same(MethodSettings, "question_weight")
    notes: int = same(MethodSettings, "notes")
    window: int | None = same(MethodSettings, "window", None)
    overlap: int | None = same(MethodSettings, "overlap", None)
    max_new_tokens: int | None = same(MethodSettings, "max_new_tokens", None)
    ids: Ids = same(MethodSettings, "ids")
    prompt: Wording | None = knob(None, "Words of the prompt where they are not this project's; see docs/recipes.md.")
    reserved: tuple[str, ...] = knob((), "Special tokens of the model beside its tokenizer's, neutralised in texts.")
    max_pixels: int | None = knob(None, "Pixel budget of a page image.", low=784)
    calibrations: tuple[Calibration, ...] = ()
    """What its scores mean, by setting; ``mmr5 calibrate`` writes them."""
    prompt_fingerprint: str | None = knob(None, "Of the prompt that the checkpoint was made with; null for one not made here.")

    def __post_init__(self) -> None:
        if self.method not in RECIPE_METHODS:
            raise ConfigError(f"method is {self.method!r}: use one of {', '.join(RECIPE_METHODS)}")
        if self.view not in VIEWS:
            raise ConfigError(f"view is {self.view!r}: use one of {', '.join(VIEWS)}")
        if self.languages is not None:
            said: Any = self.languages
            if not isinstance(said, list | tuple) or not all(isinstance(one, str) for one in said):
                raise ConfigError(f'languages is {said!r}: give a list of ISO 639-1 codes, such as ["en"]')
            object.__setattr__(self, "languages", tuple(said))
        if self.ids not in get_args(Ids):
            raise ConfigError(f"ids is {self.ids!r}: use one of {', '.join(get_args(Ids))}")
        own: Any = self.prompt
        if own is not None and not isinstance(own, Wording):
            if not isinstance(own, dict):
                raise ConfigError(f"prompt is {own!r}: give an object of texts")
            check_names(Wording, own, "key in prompt:")
            object.__setattr__(self, "prompt", Wording(**own))
        tokens: Any = self.reserved
        if not isinstance(tokens, list | tuple) or not all(isinstance(one, str) and len(one) > 1 for one in tokens):
            raise ConfigError(f'reserved is {tokens!r}: give a list of texts of two characters or more, such as ["<|user|>"]')
        object.__setattr__(self, "reserved", tuple(tokens))
        object.__setattr__(self, "calibrations", _calibrations(self.calibrations))
        _check_numbers(self)
        if self.method in METHODS:
            check_wording(self.method, self.wording)
        check(self)

    def method_settings(self, method: str) -> dict[str, Any]:
        """What the recipe says of :class:`mmr5.settings.MethodSettings` for a method; weights go with its own method alone."""
        said: dict[str, Any] = {"page_tokens": self.page_tokens, "notes": self.notes, "reserved": self.reserved}
        optional = {"window": self.window, "overlap": self.overlap, "max_new_tokens": self.max_new_tokens}
        said |= {name: value for name, value in optional.items() if value is not None}
        if self.window is not None and self.overlap is None:
            said["overlap"] = min(MethodSettings().overlap, self.window // 2)
        if method == self.method:
            said |= {"question_weight": self.question_weight, "ids": self.ids, "wording": self.wording}
        return said

    def fusion_for(self, method: str) -> float | None:
        """The fusion weight, where it applies: the method is the recipe's own, and is not list-wise decoding."""
        return self.fusion if method == self.method and method not in ("reason", "direct") else None

    def knows(self, spoken: str | None) -> bool:
        """Whether the model was made for a language; one that is not known (None) counts as known."""
        return self.languages is None or spoken is None or spoken in self.languages

    def to_json(self) -> str:
        """The recipe as the text of a ``recipe.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @property
    def wording(self) -> Wording:
        """The words of the prompt."""
        return self.prompt or OWN

    @property
    def stale(self) -> bool:
        """Whether the prompt has changed since the checkpoint was made."""
        return self.prompt_fingerprint is not None and self.prompt_fingerprint != fingerprint(
            self.method, self.view, self.wording, self.ids
        )


def _calibrations(values: Any) -> tuple[Calibration, ...]:
    if not isinstance(values, list | tuple) or not all(isinstance(one, Calibration | dict) for one in values):
        raise ConfigError(f"calibrations is {values!r}: it is a list that mmr5 calibrate writes")
    return tuple(one if isinstance(one, Calibration) else Calibration.from_dict(one, "calibrations") for one in values)


_WHOLE = ("page_tokens", "window", "overlap", "max_new_tokens", "notes", "max_pixels")
_REAL = ("fusion", "other_fusion", "question_weight")
_OPTIONAL = frozenset({"page_tokens", "window", "overlap", "max_new_tokens", "max_pixels", "fusion"})


def _check_numbers(recipe: Recipe) -> None:
    """Refuse what is no number where one belongs; a file may hold anything.

    Raises:
        ConfigError: there is one.
    """
    for names, kind, words in ((_WHOLE, int, "a whole number"), (_REAL, (int, float), "a number")):
        for name in names:
            value: Any = getattr(recipe, name)
            if value is None and name in _OPTIONAL:
                continue
            if isinstance(value, bool) or not isinstance(value, kind) or not math.isfinite(value):
                raise ConfigError(f"{name} is {value!r}: give {words}")


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
    if not isinstance(values, dict):
        raise ConfigError(f"{where} holds a {type(values).__name__}: a recipe is a JSON object")
    check_names(Recipe, values, f"key in {where}:")
    return Recipe(**values)


def load_recipe(folder: Path) -> Recipe | None:
    """The recipe beside a checkpoint's weights, or None where there is none."""
    file = folder / FILE
    return parse_recipe(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None
