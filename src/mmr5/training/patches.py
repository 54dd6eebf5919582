"""What is mended in other libraries, each patch for the versions that it was written against.

Outside its versions, or where a private name that it needs is missing, a patch does nothing, and the library goes its own way:
the same results, later. The patches that use public names alone are for every version.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import MethodType
from typing import Any

from packaging.specifiers import SpecifierSet

from mmr5.training import fast_vision

TRL_SCORING = ">=1.16,<1.17"
"""Versions of trl whose scoring of replies asks ``trl.trainer.utils._use_triton``."""
QWEN_VISION = ">=5.24,<5.25"
"""Versions of transformers whose vision tower :mod:`mmr5.training.fast_vision` equals."""


def applies(library: str, versions: str) -> bool:
    """Whether the installed version of a library is one that a patch is for.

    Args:
        library: its name on the package index.
        versions: a version specifier, e.g. ``>=1.16,<1.17``.
    """
    try:
        return SpecifierSet(versions).contains(version(library), prereleases=True)
    except PackageNotFoundError:
        return False


def sample_as_asked(model: Any) -> None:
    """Take sampling settings out of a checkpoint's generation config, which in TRL win over the trainer's (huggingface/trl 5783).

    For every version: no setting of a checkpoint is to decide how rollouts are sampled.
    """
    from transformers import GenerationConfig

    old = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=old.eos_token_id, pad_token_id=old.pad_token_id)


def pad_prompts_left(tokenizer: Any) -> None:
    """Let the processor pad on the side on which TRL pads prompts; TRL leaves the kinds of their tokens to the processor.

    For every version: rollouts are written after prompts that end together.
    """
    tokenizer.padding_side = "left"


def score_replies_only() -> bool:
    """Let TRL put only the positions of a reply through the vocabulary on a CPU, as it does on GPUs.

    Elsewhere TRL takes every position, those of the prompt too, and masks them afterwards: on a CPU, with 400 tokens of prompt
    and 49,152 words, a third of a step. What it asks is whether the device runs Triton; in that one place the answer is now yes
    for a CPU, too (the kernel itself asks under its own name). Other devices get TRL's own answer.

    Returns:
        Whether it was applied.
    """
    if not applies("trl", TRL_SCORING):
        return False
    utils: Any = import_module("trl.trainer.utils")
    plain = getattr(utils, "_use_triton", None)
    if plain is None:
        return False
    utils._use_triton = lambda device: device.type == "cpu" or plain(device)
    return True


def quicken_vision(model: Any) -> int:
    """Give the modules of a Qwen2.5-VL vision tower the forward passes of :mod:`mmr5.training.fast_vision`.

    Other models are left alone, and so is attention that gets its windows as one packed sequence (flash attention).

    Returns:
        The number of modules changed.
    """
    if not applies("transformers", QWEN_VISION):
        return 0
    qwen: Any = import_module("transformers.models.qwen2_5_vl.modeling_qwen2_5_vl")
    packed = getattr(import_module("transformers.utils.generic"), "is_flash_attention_requested", None)
    if packed is None or not all(hasattr(qwen, name) for name in fast_vision.NAMES):
        return 0
    changed = 0
    for module in model.modules():
        if isinstance(module, qwen.Qwen2_5_VisionPatchEmbed):
            module.forward = MethodType(fast_vision.embed, module)
        elif isinstance(module, qwen.Qwen2_5_VLVisionAttention) and not packed(module.config):
            module.forward = MethodType(fast_vision.attend, module)
        else:
            continue
        changed += 1
    return changed


def write_no_model_card(trainer: Any) -> None:
    """Turn off the model card that TRL writes into the run's folder, which has its own; a trainer without one is left alone."""
    if hasattr(trainer, "create_model_card"):
        trainer.create_model_card = lambda *given, **named: None
