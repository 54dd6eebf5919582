"""A model's name and an engine's → the engine, loaded, and what is known of the checkpoint. Nothing heavy is imported before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from mmr5.engines.absent import AbsentEngine
from mmr5.engines.protocol import Engine
from mmr5.errors import ConfigError
from mmr5.models.hub import check_hub
from mmr5.models.late import is_late
from mmr5.models.resolve import HUB_RECIPES, NONE, Checkpoint, check_name, none_recipe, part_of_mini, resolve
from mmr5.prompt import METHODS
from mmr5.settings import ENGINES
from mmr5.storage.cache import Cache, digest
from mmr5.types import Progress

MAX_MERGED_BYTES = 1_000_000_000
"""Largest base that is kept in the cache a second time, with an adapter merged into it."""


def open_engine(
    model: str,
    engine: str = "transformers",
    base_url: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    cache: Cache | None = None,
    progress: Progress | None = None,
    *,
    quantize: str = "none",
    method: str = "auto",
    notes: int = 0,
    **options: Any,
) -> tuple[Engine, Checkpoint | None]:
    """The engine, and what is known of the checkpoint.

    Args:
        model: ``mini``, a folder with a checkpoint, a hub name, or the served model's name.
        engine: one of :data:`ENGINES`.
        base_url: the server's address, for ``openai``.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``; for ``transformers`` and ``cross-encoder``.
        dtype: ``auto``, ``float32``, ``bfloat16``, ``float16``; for an engine in this process.
        quantize: ``none``, ``8bit`` or ``4bit``; for ``transformers`` on a GPU.
        cache: where weights are kept.
        progress: told of downloads and of the loading.
        method: the ranking method that the engine is for, which says what ``mini`` stands for
            (:func:`mmr5.models.resolve.part_of_mini`).
        notes: how many notes it is to write, likewise.
        options: further arguments of the engine's own loader; one that is None is left out.

    The model ``none`` is no model: an engine that can do nothing, for the first stage alone.

    Returns:
        The engine; and the checkpoint, None for ``scripted`` and ``cross-encoder``.

    Raises:
        ModelNotFoundError: there is no such model.
        ConfigError: an unknown engine, a missing address, or one for an engine without a server.
        MissingExtraError: the extra that the engine needs is not installed.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine {engine!r} is unknown: use one of {', '.join(ENGINES)}")
    if base_url is not None and engine != "openai":
        raise ConfigError(f"base_url is {base_url!r} with engine {engine!r}: it goes with engine 'openai'")
    if quantize != "none" and engine != "transformers":
        raise ConfigError(f"quantize is {quantize!r} with engine {engine!r}: it goes with engine 'transformers'")
    given = {name: value for name, value in options.items() if value is not None}
    if model == NONE:
        return AbsentEngine(), Checkpoint(NONE, NONE, recipe=none_recipe())
    if engine == "scripted":
        from mmr5.engines.scripted import ScriptedEngine

        return ScriptedEngine(**given), None
    if engine == "openai":
        return _served(model, base_url, given)
    if engine == "cross-encoder":
        from mmr5.engines.cross_encoder import CrossEncoderEngine

        check_name(model)
        check_hub(model)
        _loading(progress, model)
        return CrossEncoderEngine(model, device=device, dtype=dtype, **given), None
    checkpoint = _prepared(part_of_mini(model, method if engine == "transformers" else METHODS[0], notes), cache, progress)
    if is_late(Path(checkpoint.path)):
        return _late(checkpoint, engine, quantize, device, dtype, cache, progress), checkpoint
    given = {"name": checkpoint.name, "dtype": dtype, **_pixels(checkpoint), **given}
    if engine == "vllm":
        from mmr5.engines.vllm import VLLMEngine

        if checkpoint.adapter is not None:
            raise ConfigError(f"engine 'vllm' loads no adapter on its own: merge {model!r} first (mmr5 train merge)")
        return VLLMEngine.from_pretrained(checkpoint.path, **given), checkpoint
    from mmr5.engines.transformers import TransformersEngine

    if quantize == "none":
        checkpoint = _merged(checkpoint, device, dtype, cache)
    given = {"device": device, "quantize": quantize, **given}
    return TransformersEngine.from_pretrained(checkpoint.path, adapter=checkpoint.adapter, **given), checkpoint


def _late(
    checkpoint: Checkpoint, engine: str, quantize: str, device: str, dtype: str, cache: Cache | None, progress: Progress | None
) -> Engine:
    from mmr5.engines.late_interaction import LateInteractionEngine

    if engine != "transformers" or quantize != "none":
        wrong = f"engine {engine!r}" if engine != "transformers" else f"quantize {quantize!r}"
        raise ConfigError(f"{checkpoint.name!r} is a late-interaction model, and {wrong} is for language models: leave it out")
    return LateInteractionEngine(
        checkpoint.path, name=checkpoint.name, device=device, dtype=dtype, cache=cache, progress=progress
    )


def _prepared(model: str, cache: Cache | None, progress: Progress | None) -> Checkpoint:
    """A checkpoint whose folder is there."""
    from mmr5.engines.loading import dequantise, import_torch

    checkpoint = resolve(model, cache=cache, progress=progress)
    if is_late(Path(checkpoint.path)):
        import_torch()  # the extra is missed before anything is fetched
    elif checkpoint.gguf is None:
        check_hub(checkpoint.path)
    else:
        dequantise(checkpoint.gguf, checkpoint.path, lock=(cache or Cache()).lock("mini-base"))
    _loading(progress, checkpoint.name)
    return checkpoint


def _merged(checkpoint: Checkpoint, device: str, dtype: str, cache: Cache | None) -> Checkpoint:
    """A small checkpoint with its adapter merged, which is kept in the cache; a larger one is merged when it is loaded."""
    from mmr5.engines.encoders import checkpoint_identity
    from mmr5.engines.loading import dtype_name, pick_device, pick_dtype, store_merged

    base = Path(checkpoint.path)
    if checkpoint.adapter is None or not base.is_dir() or not Path(checkpoint.adapter).is_dir():
        return checkpoint
    if sum(file.stat().st_size for file in base.glob("*.safetensors")) > MAX_MERGED_BYTES:
        return checkpoint
    kind = pick_dtype(dtype, pick_device(device))
    store = cache or Cache()
    key = digest(checkpoint_identity(checkpoint.path), checkpoint_identity(checkpoint.adapter), dtype_name(kind))
    target = store.directory("models") / f"{checkpoint.name}-{key[:12]}"
    if not (target / "config.json").is_file():
        store_merged(checkpoint.path, checkpoint.adapter, target, dtype=kind, lock=store.lock(target.name))
    return replace(checkpoint, path=str(target), adapter=None)


def _served(model: str, base_url: str | None, options: dict[str, Any]) -> tuple[Engine, Checkpoint]:
    """An engine behind a server; a folder is the served checkpoint, whose tokenizer and recipe are then used."""
    from mmr5.engines.openai.engine import OpenAIEngine

    if base_url is None:
        raise ConfigError(
            f"engine 'openai' needs the address of the server of {model!r}: give base_url (--base-url), "
            "e.g. http://localhost:8000/v1"
        )
    if not Path(model).is_dir():
        return OpenAIEngine(model, base_url, **options), Checkpoint(model, model, recipe=HUB_RECIPES.get(model))
    checkpoint = resolve(model)
    return OpenAIEngine(model, base_url, **{"tokenizer": checkpoint.path, **_pixels(checkpoint), **options}), checkpoint


def _pixels(checkpoint: Checkpoint) -> dict[str, Any]:
    """The recipe's pixel budget, where it has one."""
    budget = None if checkpoint.recipe is None else checkpoint.recipe.max_pixels
    return {} if budget is None else {"max_pixels": budget}


def _loading(progress: Progress | None, name: str) -> None:
    if progress is not None:
        progress(f"loading {name}", 0, None)
