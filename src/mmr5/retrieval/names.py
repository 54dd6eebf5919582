"""The names of first stages: what ``--retriever`` takes, and which checkpoint and prompt each stands for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from mmr5.engines.encoders import Prompts
from mmr5.errors import ConfigError
from mmr5.pages.images import DEFAULT_MAX_PIXELS

Kind = Literal["text", "image", "late"]

BASIC = ("hybrid", "bm25", "dense", "minilm", "none")
"""First stages that need no further checkpoint."""
SCALES = {"hybrid": 1.0, "bm25": 28.3, "dense": 76.8, "minilm": 19.0}
"""First stage → log-odds of relevance that one unit of its scores is worth; those of others compare within a list only."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """A first stage that embeds pages.

    Attributes:
        kind: ``text`` (passages of the page's text, one vector each), ``image`` (the picture, one vector) or ``late`` (one
            vector a token of the picture, or of the text where the checkpoint sees no pictures; MaxSim).
        checkpoint: a folder, or a name on the hub.
        prompts: for a checkpoint that is a plain vision-language model; None where sentence-transformers knows how to ask.
        max_pixels: pixel budget of a page's picture; the checkpoint's own processor may make it smaller.
    """

    kind: Kind
    checkpoint: str
    prompts: Prompts | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS


_E5V = "<|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n \n"
_QWEN = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<|endoftext|>"
_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"
_HELPFUL = "You are a helpful assistant."

NAMED: dict[str, Encoding] = {
    "clip": Encoding("image", "openai/clip-vit-large-patch14"),
    "e5-v": Encoding(
        "image",
        "royokong/e5-v",
        Prompts(
            _E5V.format("<image>\nSummary above image in one word: "),
            _E5V.format("{query}\nSummary above sentence in one word: "),
        ),
    ),
    "dse": Encoding(
        "image",
        "MrLight/dse-qwen2-2b-mrl-v1",
        Prompts(
            _QWEN.format(_HELPFUL, _PICTURE + "What is shown in this image?"),
            _QWEN.format(_HELPFUL, _PICTURE + "Query: {query}"),
            blank="<|image_pad|>",
        ),
        max_pixels=2560 * 28 * 28,
    ),
    "gme": Encoding(
        "image",
        "Alibaba-NLP/gme-Qwen2-VL-2B-Instruct",
        Prompts(_QWEN.format(_HELPFUL, _PICTURE), _QWEN.format("Find an image that matches the given text.", "{query}")),
    ),
    "colqwen": Encoding("late", "vidore/colqwen2-v1.0"),
    "colpali": Encoding("late", "vidore/colpali-v1.3"),
}
"""The first stages of the paper's tables. The paper names no checkpoints; these are the published ones of each name."""

KINDS: tuple[Kind, ...] = ("text", "image", "late")
SPELLINGS = f"{', '.join((*BASIC, *NAMED))}, or {', '.join(f'{k}:CHECKPOINT' for k in KINDS)}"
"""What may be said, in words."""


def is_retriever(name: str) -> bool:
    """Whether a name is that of a first stage (and not, say, the path of a run)."""
    parts = name.split("+")
    return all(part in BASIC or part.partition(":")[0] in (*NAMED, *KINDS) for part in parts)


def find_encoding(name: str) -> Encoding:
    """The first stage of a name that is not one of :data:`BASIC`.

    Args:
        name: ``clip`` and the other names; ``clip:CHECKPOINT`` for another checkpoint that is asked the same way;
            ``text:CHECKPOINT``, ``image:CHECKPOINT``, ``late:CHECKPOINT`` for any other that sentence-transformers loads.

    Raises:
        ConfigError: an unknown name, or a kind without a checkpoint.
    """
    base, _, checkpoint = name.partition(":")
    if base in NAMED:
        return replace(NAMED[base], checkpoint=checkpoint) if checkpoint else NAMED[base]
    for kind in KINDS:
        if base == kind and checkpoint:
            return Encoding(kind, checkpoint)
    raise ConfigError(f"retriever {name!r} is unknown: use one of {SPELLINGS}")


def check_retriever(name: str) -> None:
    """Refuse what can be no first stage, without loading anything.

    Raises:
        ConfigError: an unknown name, or a kind without a checkpoint.
    """
    for part in name.split("+"):
        if part not in BASIC:
            find_encoding(part)
