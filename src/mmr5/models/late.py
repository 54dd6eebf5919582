"""What a late-interaction model was made for, saved as ``config.json`` beside its weights."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.errors import ConfigError, ModelNotFoundError
from mmr5.models.e5 import NAME
from mmr5.settings import check, check_names, knob

FILE = "config.json"
KIND = "mmr5-late-interaction"
"""``model_type`` of such a file."""


@dataclass(frozen=True, slots=True)
class LateConfig:
    """The encoder that a head was trained on, and how pages are cut."""

    base: str = knob(NAME, "The encoder: multilingual-e5-small, or the folder of a BERT checkpoint of sentence-transformers.")
    layer: int = knob(8, "Layers of the encoder that are used, from below.", low=1)
    dimension: int = knob(128, "Numbers of a token's vector.", low=1)
    passage_words: int = knob(30, "Words of the passages that a page is read in, about.", low=1)

    def __post_init__(self) -> None:
        check(self)

    @staticmethod
    def read(folder: Path) -> LateConfig:
        """The configuration in a model's folder.

        Raises:
            ModelNotFoundError: there is none, or it is of another kind of model.
            ConfigError: an unknown key or an impossible value.
        """
        if not is_late(folder):
            raise ModelNotFoundError(f"{str(folder)!r} holds no late-interaction model (a {FILE} with model_type {KIND!r})")
        values = json.loads((folder / FILE).read_text(encoding="utf-8"))
        del values["model_type"]
        check_names(LateConfig, values, f"key in {folder / FILE}:")
        for name, value in values.items():
            wanted = str if name == "base" else int
            if not isinstance(value, wanted) or isinstance(value, bool):
                raise ConfigError(f"{folder / FILE}: {name} is {value!r}: it is of kind {wanted.__name__}")
        return LateConfig(**values)

    def to_json(self) -> str:
        """The text of a ``config.json``."""
        return json.dumps({"model_type": KIND, **dataclasses.asdict(self)}, indent=2) + "\n"


def is_late(folder: Path) -> bool:
    """Whether a folder holds a late-interaction model."""
    try:
        said: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(said, dict) and said.get("model_type") == KIND
