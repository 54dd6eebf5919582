"""A Qwen2.5-VL of a few million parameters, with random weights and a vocabulary learnt from the proof's own words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5 import prompt
from mmr5.engines.loading import import_torch, import_transformers, pil_processor
from mmr5.training.loading import save_whole
from mmr5.training.proof.scenes import all_words

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Size:
    """How large the model is; every head has 32 dimensions in the language model and in the vision tower."""

    hidden: int = 192
    layers: int = 4
    vision_hidden: int = 96
    vision_layers: int = 3


def build(folder: Path, size: Size | None = None, *, seed: int = 0) -> int:
    """Make the base and save it as a checkpoint.

    Args:
        folder: where it goes.
        size: its width and depth.
        seed: of the weights.

    Returns:
        The number of parameters.
    """
    transformers, torch = import_transformers(), import_torch()
    size = size or Size()
    words = tokenizer()
    ids = {token: words.convert_tokens_to_ids(token) for token in SPECIALS}
    torch.manual_seed(seed)
    heads = size.hidden // 32
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(words),
            "hidden_size": size.hidden,
            "intermediate_size": 2 * size.hidden,
            "num_hidden_layers": size.layers,
            "num_attention_heads": heads,
            "num_key_value_heads": heads,
            "max_position_embeddings": 4096,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [8, 4, 4]},
            "eos_token_id": words.eos_token_id,
            "pad_token_id": words.pad_token_id,
            "bos_token_id": None,
        },
        vision_config={
            "depth": size.vision_layers,
            "hidden_size": size.vision_hidden,
            "intermediate_size": 2 * size.vision_hidden,
            "num_heads": size.vision_hidden // 32,
            "out_hidden_size": size.hidden,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "window_size": 112,
            "fullatt_block_indexes": [size.vision_layers - 1],
            "in_channels": 3,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = words.eos_token_id
    image = transformers.models.qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil(
        min_pixels=28 * 28, max_pixels=28 * 28 * 1280
    )
    save_whole(model, pil_processor("qwen2_5_vl", image, words, TEMPLATE), folder)
    return sum(p.numel() for p in model.parameters())


def tokenizer() -> Any:
    """Byte-level BPE learnt from the questions, notes and replies.

    The prompt's fixed sentences are tokens of their own, so that they cost nothing to read.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    transformers = import_transformers()
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    lists = [", ".join(str((i + shift) % 10 + 1) for i in range(10)) for shift in range(10)]
    replies = [f"<think>\n{note}\n</think><answer>[{ids}]</answer>" for note in _notes() for ids in lists]
    texts = [*all_words(), *replies, prompt.QUESTION]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>")  # noqa: S106
    made.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    before, _, after = prompt.QUESTION.partition("{question}")
    fixed = [prompt.SYSTEM_REASON, prompt.TASK_REASON + before, ", Image ID to image mapping:\n", after[: after.index("{n}")]]
    made.add_tokens([AddedToken(text, normalized=False, special=False) for text in fixed])
    made.chat_template = TEMPLATE
    return made


def _notes() -> list[str]:
    """Openings of notes, for every number that a page may have."""
    return [f"Image {number}: Shows a" for number in range(1, 11)]
