"""A Qwen2.5-VL of a few million parameters, with random weights and a vocabulary learnt from the proof's own words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5 import prompt
from mmr5.engines.loading import import_torch, import_transformers, pil_processor
from mmr5.training.base_model import save_whole
from vision_proof.scenes import all_words

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Size:
    """How large the model is; every head has 32 dimensions in the language model and in the vision tower.

    Attributes:
        hidden: width of the language model.
        layers: its depth.
        vision_hidden: width of the vision tower.
        vision_layers: its depth.
        patch: pixels on a side of a patch.
        merge: patches on a side of a visual token. Within a token places are known; between tokens they must be learnt.
    """

    hidden: int = 192
    layers: int = 4
    vision_hidden: int = 96
    vision_layers: int = 3
    patch: int = 14
    merge: int = 2


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
            "patch_size": size.patch,
            "spatial_merge_size": size.merge,
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
    _spread(model, size)
    model.generation_config.eos_token_id = words.eos_token_id
    image = transformers.models.qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil(
        min_pixels=28 * 28, max_pixels=28 * 28 * 1280, patch_size=size.patch, merge_size=size.merge,
        image_mean=[1.0] * 3, image_std=[0.5] * 3,  # white paper is 0, so that only what is drawn speaks
    )  # fmt: skip
    save_whole(model, pil_processor("qwen2_5_vl", image, words, TEMPLATE), folder)
    return sum(p.numel() for p in model.parameters())


def _spread(model: Any, size: Size) -> None:
    """Draw every weight matrix with a deviation of 1/sqrt(inputs), smaller where it ends in the residual stream.

    The deviation of .02 that large models start with makes layers of a hundred inputs nearly silent: seeing then takes twice
    as many steps.
    """
    torch = import_torch()
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            ends = name.endswith(("o_proj.weight", "attn.proj.weight", "down_proj.weight"))
            layers = size.vision_layers if "visual" in name else size.layers
            torch.nn.init.normal_(weight, std=(weight[0].numel() * (2 * layers if ends else 1)) ** -0.5)


PIECES = (
    r"Image [0-9]+: ", r"<think>\n", r"\n?</think><answer>\[", r"\]</answer>", r"(?:system|user|assistant)\n", r",? ?[0-9]+",
    r" \((?:as|not) asked\)", r", so (?:yes|no)\.\n?", r"Shows(?: an?)?", r" (?:left|right) of", r" ?\w+", r"[,.?]",
)  # fmt: skip
"""What becomes one token where it is frequent: a page's label, or an attribute's value, is the same token in prompt and reply."""


def tokenizer() -> Any:
    """Byte-level BPE learnt from the questions, notes and replies.

    The prompt's fixed sentences are tokens of their own, so that they cost nothing to read.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    transformers = import_transformers()
    inner = Tokenizer(models.BPE())
    pieces = pre_tokenizers.Split(Regex("|".join(PIECES)), behavior="isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([pieces, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(_texts(), trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, show_progress=False))
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>")  # noqa: S106
    made.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    before, _, after = prompt.QUESTION.partition("{question}")
    fixed = [prompt.SYSTEM_REASON, prompt.TASK_REASON + before, *after.split("{n}")]
    made.add_tokens([AddedToken(text, normalized=False, special=False) for text in fixed])
    made.chat_template = TEMPLATE
    return made


def _texts() -> list[str]:
    """What the tokenizer learns from: turns, questions, notes, and replies with every number that a page may have."""
    lists = [", ".join(str((i + shift) % 10 + 1) for i in range(10)) for shift in range(10)]
    replies = [
        f"<think>\nImage {n}: Shows a red (as asked) circle (not asked), so no.\n</think><answer>[{ids}]</answer>"
        for n in range(1, 11)
        for ids in lists
    ]
    words = all_words()
    return ["system\nuser\nassistant\n", *words, *(f"{text}\n" for text in words), *replies]
