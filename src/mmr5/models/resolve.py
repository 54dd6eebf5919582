"""A model's name → what has to be loaded, and its recipe."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from mmr5.errors import ModelNotFoundError
from mmr5.models.recipes import FILE, Recipe, load_recipe, parse_recipe
from mmr5.models.weights import MINI_BASE, obtain
from mmr5.prompt import METHODS
from mmr5.storage.cache import Cache
from mmr5.types import Progress

MINI = "mini"
MINI_LM = "mini-lm"
"""The language model of ``mini``: it writes notes, and answers to the methods that need words."""
BASE = "mini-base"
NONE = "none"
"""No model: the first stage alone."""
BASE_RECIPE = Recipe(method="likelihood", view="text", page_tokens=300, fusion=0.5, notes=0)
"""How the untrained base is best used, chosen on training documents (results/README.md)."""
NAMED = {
    MINI: "late interaction over multilingual-e5-small (MIT), trained by this project: no GPU, no account, no hub",
    MINI_LM: "SmolLM2-135M-Instruct (Apache-2.0) with this project's adapter: English, writes notes",
}
HUB_RECIPES = {"i2vec/MM-R5": Recipe(method="reason", view="image")}
"""Known checkpoints of others that carry no ``recipe.json``."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What has to be loaded.

    Attributes:
        name: how the model is called in results.
        path: a folder, or a name on the hub.
        gguf: a quantised file that has to be dequantised into ``path`` first, or None.
        adapter: folder of a LoRA adapter for it, or None.
        recipe: the settings it was made for, or None when it says none.
    """

    name: str
    path: str
    gguf: str | None = None
    adapter: str | None = None
    recipe: Recipe | None = None


def part_of_mini(name: str, method: str, notes: int = 0) -> str:
    """The name of the model that ``mini`` stands for: its language model where a method or notes need words, else itself."""
    return MINI_LM if name == MINI and (method in METHODS or (method == "auto" and notes)) else name


def resolve(name: str, *, cache: Cache | None = None, progress: Progress | None = None) -> Checkpoint:
    """Find a model: ``mini``, ``mini-lm``, a folder, or a name on the hub.

    Args:
        name: what the user said.
        cache: where the base of ``mini`` is kept.
        progress: told of downloads.

    Raises:
        ModelNotFoundError: the name looks like a path and there is nothing, or the weights cannot be obtained.
    """
    check_name(name)
    if name == MINI:
        return Checkpoint(MINI, str(_packed(MINI)), recipe=mini_recipe())
    if name in (MINI_LM, BASE):
        return _mini_lm(name, cache, progress)
    folder = Path(name).expanduser()
    if folder.is_dir():
        recipe = load_recipe(folder)
        if _rests_on_base(folder):
            return replace(_mini_lm(BASE, cache, progress), name=folder.name, adapter=str(folder), recipe=recipe)
        return Checkpoint(folder.name or str(folder), str(folder), recipe=recipe)
    return Checkpoint(name, name, recipe=HUB_RECIPES.get(name))


def _rests_on_base(folder: Path) -> bool:
    """Whether a folder holds an adapter alone, made for the base of ``mini``."""
    file = folder / "adapter_config.json"
    if not file.is_file() or (folder / "config.json").is_file():
        return False
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelNotFoundError(f"{str(file)!r} is not JSON ({error}): save the adapter again") from error
    return isinstance(said, dict) and said.get("base_model_name_or_path") == BASE


def check_name(name: str) -> None:
    """Refuse what can be no model, without fetching anything.

    Raises:
        ModelNotFoundError: the name looks like a path and there is nothing, or a folder that holds no checkpoint.
    """
    folder = Path(name).expanduser()
    if name in (*NAMED, BASE, NONE):
        return
    if folder.is_dir():
        if not (folder / "config.json").is_file() and not (folder / "adapter_config.json").is_file():
            raise ModelNotFoundError(f"{name!r} is a folder without config.json or adapter_config.json: it holds no checkpoint")
    elif folder.exists() or name.startswith((".", "/", "~")) or name.count("/") != 1:
        known = ", ".join(repr(n) for n in NAMED)
        raise ModelNotFoundError(
            f"no model {name!r}: give {known}, a folder with a checkpoint, or a hub name such as 'i2vec/MM-R5'"
        )


def mini_recipe(name: str = MINI) -> Recipe:
    """The recipe of a model in the package: the embedded default, or its language model."""
    file = _packed(name) / FILE
    return parse_recipe(file.read_text(encoding="utf-8"), str(file))


def none_recipe() -> Recipe:
    """The recipe of no model: what the scores of the default first stage mean, where that has been fitted."""
    file = resources.files("mmr5.models") / "none.json"
    return Recipe(view="text", calibrations=json.loads(file.read_text(encoding="utf-8")) if file.is_file() else ())


def _packed(name: str) -> Path:
    """The folder of a model in the package."""
    return Path(str(resources.files("mmr5.models") / name.replace("-", "_")))


def _mini_lm(name: str, cache: Cache | None, progress: Progress | None) -> Checkpoint:
    """``mini-lm`` or its base, fetched as a quantised file (:mod:`mmr5.models.weights`) unless it has been prepared before."""
    store = cache or Cache()
    (file, sha256), *_ = MINI_BASE.files.items()
    prepared = store.directory("models") / f"mini-base-{sha256[:12]}"
    gguf = None if (prepared / "config.json").is_file() else str(obtain(MINI_BASE, cache=store, progress=progress) / file)
    if name == BASE:
        return Checkpoint(BASE, str(prepared), gguf=gguf, recipe=BASE_RECIPE)
    return Checkpoint(MINI_LM, str(prepared), gguf=gguf, adapter=str(_packed(MINI_LM)), recipe=mini_recipe(MINI_LM))
