"""Whether a run fits a card's memory, from its settings alone: the model is built without weights, and bytes are counted.

An estimate: what the allocator, kernels and fragmentation add is a flat tenth.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.engines.loading import import_torch, import_transformers
from mmr5.errors import ConfigError
from mmr5.training.base_model import lora, wrap
from mmr5.training.config import Stage, TrainingConfig

GIB = 2**30
MARGIN = 0.1
"""Share that is added for what is not counted."""
LOGIT_ROWS = 256
"""Positions whose logits TRL holds at a time when it computes a loss."""

_QWEN_VISION = {
    "depth": 32, "hidden_size": 1280, "num_heads": 16, "intermediate_size": 3420, "patch_size": 14, "spatial_merge_size": 2,
    "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    },
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""Published shapes of bases, so that no hub is needed to ask."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes at the peak of a step, on one card.

    Attributes:
        weights: all weights, in the dtypes that they are held in.
        gradients: of the trained weights.
        optimizer: AdamW's two moments.
        reference: a second copy of the model, where GRPO's KL term needs one.
        activations: what the backward pass keeps.
        generation: keys and values of the rollouts in writing.
        parameters: of the model, adapter included.
        trained: parameters that learn.
        tokens: of the longest sequence that was assumed.
    """

    weights: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    generation: int
    parameters: int
    trained: int
    tokens: int

    @property
    def total(self) -> int:
        """Bytes, margin included; activations and rollouts do not live at the same time."""
        held = self.weights + self.gradients + self.optimizer + self.reference
        return round((held + max(self.activations, self.generation)) * (1 + MARGIN))

    def fits(self, gib: float) -> bool:
        """Whether a card of so many GiB holds it."""
        return self.total <= gib * GIB

    def to_dict(self) -> dict[str, int]:
        """Plain numbers, the total among them."""
        return {**dataclasses.asdict(self), "total": self.total}


def estimate(
    config: TrainingConfig, stage: Stage, *, pages: int = 5, reply_tokens: int = 512, prompt_tokens: int = 400
) -> Estimate:
    """Count what one optimizer step of a run holds.

    Args:
        config: the run.
        stage: ``sft`` or ``grpo``.
        pages: of a prompt, each at the run's pixel budget (text view: at its token budget).
        reply_tokens: of a target (SFT); GRPO counts ``grpo.max_new_tokens``.
        prompt_tokens: of the words around the pages.

    Raises:
        ConfigError: the shape of the base is not known here.
    """
    model = empty_model(config)
    text = model.config.get_text_config()
    seeing = config.recipe.view != "text"
    visual = config.data.max_pixels // 28**2
    page = (visual if seeing else 0) + (config.recipe.page_tokens or 0 if config.recipe.view != "image" else 0)
    prompt = prompt_tokens + pages * (page + 6)
    tokens = prompt + (reply_tokens if stage == "sft" else config.grpo.max_new_tokens)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    trained = sum(n for n, learns in sizes if learns)
    frozen = sum(n for n, _ in sizes) - trained
    half = config.model.dtype != "float32" and config.lora.enabled
    compute = 4 if config.model.autocast == "float32" else 2
    rows = config.optim.batch_size
    activations = _activations(text, tokens * rows, tokens, config.model.gradient_checkpointing, compute)
    activations += 3 * min(LOGIT_ROWS, tokens) * rows * text.vocab_size * 4
    if seeing:
        activations += _vision(model.config.vision_config, visual * 4 * pages * rows, compute)
    rollouts = rows * config.optim.accumulation if stage == "grpo" else 0
    width = text.num_key_value_heads * (text.hidden_size // text.num_attention_heads)
    whole_copy = stage == "grpo" and config.grpo.beta > 0 and not config.lora.enabled
    return Estimate(
        weights=frozen * (2 if half else 4) + trained * 4,
        gradients=trained * 4,
        optimizer=trained * 8,
        reference=(frozen + trained) * 4 if whole_copy else 0,
        activations=activations,
        generation=rollouts * tokens * text.num_hidden_layers * 2 * width * compute,
        parameters=frozen + trained,
        trained=trained,
        tokens=tokens,
    )


def empty_model(config: TrainingConfig) -> Any:
    """The run's model with its adapter, without weights (on torch's ``meta`` device).

    Raises:
        ConfigError: the base is neither a folder nor a model whose shape is known here.
    """
    transformers, torch = import_transformers(), import_torch()
    found = _shape(transformers, config.model.base)
    seeing = type(found) in transformers.models.auto.modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    maker = transformers.AutoModelForImageTextToText if seeing else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        model = maker.from_config(found)
        adapter = lora(config.lora, model)
        return model if adapter is None else wrap(model, adapter)


def _shape(transformers: Any, base: str) -> Any:
    if base in SHAPES:
        text = SHAPES[base]
        tied, size = text["tie_word_embeddings"], text["hidden_size"]
        vision = {**_QWEN_VISION, "out_hidden_size": size}
        return transformers.Qwen2_5_VLConfig(text_config=dict(text), vision_config=vision, tie_word_embeddings=tied)
    if (Path(base) / "config.json").is_file():
        return transformers.AutoConfig.from_pretrained(base)
    raise ConfigError(f"the shape of {base!r} is not known: give a folder with config.json, or one of {', '.join(SHAPES)}")


def _activations(text: Any, tokens: int, row: int, checkpointing: bool, size: int) -> int:
    """Bytes that the language model's backward pass needs: every layer's, or with checkpointing their inputs and one layer."""
    hidden, inner, layers = int(text.hidden_size), int(text.intermediate_size), int(text.num_hidden_layers)
    share = text.num_key_value_heads / text.num_attention_heads
    layer = int(tokens * size * (hidden * (8 + 2 * share) + 4 * inner))
    if not checkpointing:
        return layers * layer
    return layers * tokens * hidden * size + 2 * layer


def _vision(vision: Any, patches: int, size: int) -> int:
    """Bytes of one layer of the vision tower, forward alone: it is frozen."""
    return int(patches * size * (6 * vision.hidden_size + 3 * vision.intermediate_size))


def table(found: Estimate, memory_gib: float) -> str:
    """The estimate in lines, with a verdict."""
    parts = ("weights", "gradients", "optimizer", "reference", "activations", "generation")
    lines = [f"{name:12} {getattr(found, name) / GIB:8.2f} GiB" for name in parts]
    lines.append(f"{'total':12} {found.total / GIB:8.2f} GiB, {MARGIN:.0%} added for what is not counted")
    lines.append(f"{found.trained:,} of {found.parameters:,} parameters learn; sequences of {found.tokens:,} tokens")
    verdict = "fits" if found.fits(memory_gib) else "does not fit"
    return "\n".join([*lines, f"{verdict} a card of {memory_gib:g} GiB"])
