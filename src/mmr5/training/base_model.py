"""The model of a run: base, merged adapter, new adapter, dtype."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
from pathlib import Path
from typing import Any

from mmr5.engines.chat_template import template_of
from mmr5.engines.loading import import_torch, load_model, pick_device, pick_dtype
from mmr5.errors import ConfigError, missing_extra
from mmr5.models.resolve import part_of_mini, resolve
from mmr5.storage.cache import Cache
from mmr5.storage.jsonl import write_json
from mmr5.training import passthrough, patches
from mmr5.training.config import LoraConfig, TrainingConfig
from mmr5.training.run_dir import is_main

MERGED = "base"
"""Folder within a run that holds the base with the earlier stage's adapter merged into it."""


def load_for_training(config: TrainingConfig) -> tuple[Any, Any, str]:
    """Load the base, with an adapter merged where one is named.

    Where there is something to merge, the merged weights are saved in the run's folder: the new adapter sits on top of them,
    and they are the reference of GRPO's KL term.

    Returns:
        ``(model, processor, path)``, the last being the folder or hub name of the weights in ``model``.

    Raises:
        ModelNotFoundError: there is no such model or adapter.
        ConfigError: no chat template.
    """
    from mmr5.engines.loading import dequantise

    checkpoint = resolve(part_of_mini(config.model.base, config.recipe.method))
    if checkpoint.gguf is not None:
        dequantise(checkpoint.gguf, checkpoint.path, lock=Cache().lock("mini-base"))
    device = pick_device(config.model.device)
    dtype = weights_dtype(config, device)
    adapter = config.model.adapter or None
    path = checkpoint.path
    bare = Path(path) / "adapter_config.json"
    merging = adapter is not None or (bare.is_file() and not (Path(path) / "config.json").is_file())
    merged = Path(config.run.out) / MERGED
    if merging and (merged / "complete").is_file():
        path, adapter, merging = str(merged), None, False
    model, processor = load_model(path, device=device, dtype=dtype, attention=config.model.attention, adapter=adapter)
    if not any(getattr(holder, "chat_template", None) for holder in (processor, tokenizer_of(processor))):
        raise ConfigError(f"{config.model.base} has no chat template: train a checkpoint that is made for conversation")
    if merging:
        if is_main():
            save_whole(model, processor, merged)
            (merged / "complete").touch()
        path = str(merged)
    elif (merged / "complete").is_file():
        path = str(merged)
    patches.quicken_vision(model)
    model.config._name_or_path = path
    model.name_or_path = path
    return model.train(), processor, path


def weights_dtype(config: TrainingConfig, device: Any) -> Any:
    """Frozen weights as asked or as is fastest; weights that are trained themselves stay float32 unless asked otherwise."""
    if config.model.dtype == "auto" and not config.lora.enabled:
        return import_torch().float32
    return pick_dtype(config.model.dtype, device)


def autocasts(config: TrainingConfig) -> bool:
    """Whether products are computed in bfloat16."""
    torch = import_torch()
    if config.model.autocast != "auto":
        return config.model.autocast == "bfloat16"
    return bool(pick_dtype("auto", pick_device(config.model.device)) == torch.bfloat16)


def lora(config: LoraConfig, model: Any) -> Any:
    """PEFT's configuration of an adapter on a model, or None when all weights are trained.

    Raises:
        ConfigError: ``lora.target`` names no module, or one that takes no adapter.
        MissingExtraError: peft is not installed.
    """
    if not config.enabled:
        return None
    try:
        import peft
    except ImportError as error:
        raise missing_extra("peft", "train", "train an adapter") from error
    check_target(config.target, model)
    return peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=config.target, task_type="CAUSAL_LM"
    )


def check_target(target: str, model: Any) -> None:
    """Refuse a ``lora.target`` with which no adapter can be made.

    Args:
        target: regular expression over module names, or PEFT's word ``all-linear``.
        model: the model without adapter.

    Raises:
        ConfigError: it is no regular expression, matches no module, or matches one that holds no matrix.
    """
    if target.lower() == "all-linear":
        return
    try:
        pattern = re.compile(target)
    except re.error as error:
        raise ConfigError(f"lora.target is {target!r}, which is no regular expression: {error}") from error
    nn = import_torch().nn
    kinds = (nn.Linear, nn.Embedding, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MultiheadAttention)
    modules = dict(model.named_modules())
    found = {name: module for name, module in modules.items() if pattern.fullmatch(name)}
    wrong = [name for name, module in found.items() if not isinstance(module, kinds)]
    if wrong or not found:
        said = f"matches {wrong[0]!r}, which takes no adapter" if wrong else "matches no module of the model"
        linear = sorted({re.sub(r"\d+", "N", name) for name, module in modules.items() if isinstance(module, nn.Linear)})
        raise ConfigError(f"lora.target is {target!r}, which {said}: it can name {', '.join(linear)} (N is a number)")


def wrap(model: Any, adapter: Any) -> Any:
    """The model with a new adapter on it."""
    import peft

    return peft.get_peft_model(model, adapter)


def save_whole(model: Any, processor: Any, folder: Path) -> None:
    """Save weights with tokenizer and image processor, so that the folder loads by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.redirect_stderr(io.StringIO()):  # a progress bar that no setting turns off
        model.save_pretrained(folder)
    save_processor(processor, folder)


def tokenizer_of(processor: Any) -> Any:
    """A processor's tokenizer, or the tokenizer itself."""
    return getattr(processor, "tokenizer", processor)


def save_processor(processor: Any, folder: Path, template: str | None = None) -> None:
    """Save a tokenizer, or a processor's tokenizer, image processor and settings, with a chat template.

    Args:
        processor: the tokenizer, or the processor.
        folder: where.
        template: the chat template to save; None is the processor's own.
    """
    tokenizer = tokenizer_of(processor)
    with passthrough.spoken(processor, template or template_of(processor)):
        if tokenizer is not processor:
            processor.image_processor.save_pretrained(folder)
            if settings := processor_settings(processor):
                write_json(folder / "processor_config.json", {"processor_class": type(processor).__name__, **settings})
        tokenizer.save_pretrained(folder)


def processor_settings(processor: Any) -> dict[str, Any]:
    """A processor's own settings, such as how many tokens a picture has; those of its parts are saved with them."""
    kind: Any = next(c for c in type(processor).__mro__ if c.__module__.startswith("transformers."))
    names = [name for name in inspect.signature(kind).parameters if name not in ("self", "chat_template")]
    return {name: value for name in names if isinstance(value := getattr(processor, name, None), bool | int | float | str)}


def context_of(model: Any) -> int | None:
    """Most tokens that the model reads, or None when it does not say."""
    value = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(value) if value else None
