"""A Qwen2.5-VL with random weights, of any size, and pages to show it."""

from __future__ import annotations

import io
import random
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from mmr5 import prompt
from mmr5.engines.loading import import_torch, import_transformers, pil_processor
from mmr5.pages.images import ImageBytes
from vision_proof.base import SPECIALS, TEMPLATE

WORDS = (
    "region quarter growth northern southern revenue cost table figure annual report harbour cargo vessel page chart summary "
    "which what how many largest smallest did the of in and for was were between year month total share change"
).split()


@dataclass(frozen=True, slots=True)
class Size:
    """Shape of a model; the defaults have 13 M parameters, and 7B's proportions of depth, width and vision where they can."""

    hidden: int = 256
    intermediate: int = 1024
    layers: int = 10
    heads: int = 4
    kv_heads: int = 2
    vocabulary: int = 4096
    vision_hidden: int = 128
    vision_intermediate: int = 344
    vision_layers: int = 8
    vision_heads: int = 4


SIZES = {
    "13m": Size(),
    "80m": Size(512, 2048, 16, 8, 2, 16384, 320, 856, 12, 5),
    "7b": Size(3584, 18944, 28, 28, 4, 152064, 1280, 3420, 32, 16),
}
"""Sizes by name; ``7b`` is Qwen2.5-VL-7B's own shape."""


def tokenizer(vocabulary: int) -> Any:
    """Byte-level BPE learnt from the prompt's own words, so that a prompt has about as many tokens as with Qwen's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    transformers = import_transformers()
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    texts = [prompt.SYSTEM_REASON, prompt.TASK_REASON, prompt.SYSTEM_DIRECT, prompt.TASK_DIRECT, prompt.QUESTION,
             prompt.SYSTEM_POINTWISE, prompt.TASK_POINTWISE, prompt.TASK_LIKELIHOOD, " ".join(WORDS)] * 3  # fmt: skip
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=min(vocabulary, 4096), initial_alphabet=alphabet, show_progress=False)
    )
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>")  # noqa: S106
    made.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    made.chat_template = TEMPLATE
    return made


def build(size: Size, *, device: Any, dtype: Any, attention: str = "sdpa", seed: int = 0) -> tuple[Any, Any]:
    """The model, made where it is to run, and its processor."""
    transformers, torch = import_transformers(), import_torch()
    words = tokenizer(size.vocabulary)
    ids = {token: words.convert_tokens_to_ids(token) for token in SPECIALS}
    width = size.hidden // size.heads
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": max(size.vocabulary, len(words)), "hidden_size": size.hidden, "intermediate_size": size.intermediate,
            "num_hidden_layers": size.layers, "num_attention_heads": size.heads, "num_key_value_heads": size.kv_heads,
            "max_position_embeddings": 32768, "tie_word_embeddings": True, "bos_token_id": None,
            "eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6, "mrope_section": [width // 8, width * 3 // 16, width * 3 // 16],
            },
        },
        vision_config={
            "depth": size.vision_layers, "hidden_size": size.vision_hidden, "intermediate_size": size.vision_intermediate,
            "num_heads": size.vision_heads, "out_hidden_size": size.hidden, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "window_size": 112, "in_channels": 3,
            "fullatt_block_indexes": list(range(7, size.vision_layers, 8)),
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"], vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"], tie_word_embeddings=True, attn_implementation=attention,
    )  # fmt: skip
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            model = transformers.Qwen2_5_VLForConditionalGeneration(config).eval()
    finally:
        torch.set_default_dtype(before)
    image = transformers.models.qwen2_vl.image_processing_pil_qwen2_vl.Qwen2VLImageProcessorPil(
        min_pixels=28 * 28, max_pixels=28 * 28 * 1280
    )
    return model, pil_processor("qwen2_5_vl", image, words, TEMPLATE)


def page(seed: int, size: tuple[int, int] = (850, 1100)) -> ImageBytes:
    """A drawn page with lines and a bar chart, as JPEG; 850 by 1100 pixels are US letter at 100 dpi."""
    from PIL import Image, ImageDraw

    draw_from = random.Random(seed)  # noqa: S311 - a picture, not a secret
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for line in range(40):
        text = " ".join(draw_from.choice(WORDS) for _ in range(9))
        draw.text((60, 60 + 24 * line), text, fill="black")
    for bar in range(6):
        top = draw_from.randint(400, 900)
        draw.rectangle((480 + 50 * bar, top, 515 + 50 * bar, 950), fill=("navy", "firebrick", "darkgreen")[bar % 3])
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=85)
    return ImageBytes(data.getvalue())


def question(seed: int) -> str:
    """A question of 8 to 16 words."""
    draw_from = random.Random(f"question {seed}")  # noqa: S311 - words, not a secret
    return " ".join(draw_from.choice(WORDS) for _ in range(draw_from.randint(8, 16))) + "?"
