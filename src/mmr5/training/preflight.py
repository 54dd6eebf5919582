"""Before a run trains: what the trainer is about to learn is what the rows teach, after the prompt that inference builds.

One row goes through the trainer's own reading; what comes out is compared token by token. A run that would learn something else
is refused, and the difference is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from mmr5.data.rows import PageRow, Row
from mmr5.engines.chat_template import adds_special
from mmr5.errors import ConfigError
from mmr5.training.trainer import Run

HANDED_ON = frozenset(
    {
        "input_ids", "attention_mask", "pixel_values", "image_grid_thw", "pixel_attention_mask", "image_sizes", "token_type_ids",
        "mm_token_type_ids", "image_position_ids", "spatial_shapes",
    }
)  # fmt: skip
"""What TRL's GRPO trainer passes on of a processor's output."""
AROUND = 6
"""Tokens shown before and after the first difference."""


def check_sft(run: Run, trainer: Any) -> None:
    """Compare what TRL's trainer learns from the run's first row with its target, and its context with the inference prompt.

    Raises:
        ConfigError: they differ.
    """
    try:
        batch = trainer.data_collator([trainer.train_dataset[0]])
    except (AttributeError, TypeError, ValueError, RuntimeError, KeyError) as error:
        raise ConfigError(
            f"TRL's trainer cannot read {run.rows[0].qid} for this kind of model ({type(error).__name__}: {error}): install "
            "torchvision, or train another family"
        ) from error
    ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
    learnt = [i for i, label in enumerate(labels) if label != -100]
    rendered, opening = run.speech.prompt(run.rows[0])
    said = run.tokenizer.decode([ids[i] for i in learnt], skip_special_tokens=False)
    target = run.speech.completion(run.rows[0], opening)
    if _plain(said) != _plain(target):
        raise ConfigError(f"{run.rows[0].qid}: the target is {_shown(target)}, and the trainer would learn {_shown(said)}")
    mask = batch["attention_mask"][0].tolist()
    context = [i for i, kept in zip(ids[: learnt[0]], mask, strict=False) if kept]
    _same(run, context, inference_ids(run, rendered, run.rows[0]))


def check_grpo(run: Run, trainer: Any, rows: Sequence[Row]) -> None:
    """Compare the prompt that TRL's trainer samples replies to with the inference prompt, for the dataset's first row.

    Args:
        run: what the trainer was made of.
        trainer: TRL's.
        rows: those of its dataset, in order; some of the run's may have been left out.

    Raises:
        ConfigError: they differ.
    """
    prompt = trainer.train_dataset[0]["prompt"]
    if run.speech.sees:
        _check_pictures(run, trainer, rows[0])
        return
    read = trainer.processing_class.apply_chat_template([prompt], add_generation_prompt=True, tokenize=True, return_dict=True)
    rendered = prompt[0]["content"]
    special = adds_special(run.tokenizer, rendered, images=False)
    _same(run, list(read["input_ids"][0]), list(run.tokenizer(rendered, add_special_tokens=special)["input_ids"]))


def _check_pictures(run: Run, trainer: Any, row: Row) -> None:
    """Refuse what TRL would not hand to the model with a prompt's pictures, and prompts that it reads in another way."""
    from trl.data_utils import prepare_multimodal_messages

    example = trainer.train_dataset[0]
    rendered = "".join(part.get("text", "") for part in example["prompt"][0]["content"])
    try:
        chat = prepare_multimodal_messages(example["prompt"], images=list(example["images"]))
        read = trainer.processing_class.apply_chat_template([chat], add_generation_prompt=True, tokenize=True, return_dict=True)
    except (AttributeError, TypeError, ValueError, RuntimeError, KeyError) as error:
        raise ConfigError(
            f"TRL's trainer cannot read pictures for this kind of model ({type(error).__name__}: {error}): install "
            "torchvision, or train another family"
        ) from error
    strange = sorted(set(read) - HANDED_ON)
    if strange:
        raise ConfigError(
            f"TRL does not hand {', '.join(strange)} to the model, which it needs for its pictures: train another family"
        )
    _same(run, list(read["input_ids"][0]), inference_ids(run, rendered, row))


def inference_ids(run: Run, rendered: str, row: Row) -> list[int]:
    """Token ids of a rendered prompt as the engine reads them, pictures expanded."""
    special = adds_special(run.tokenizer, rendered, images=run.speech.sees)
    if not run.speech.sees:
        return list(run.tokenizer(rendered, add_special_tokens=special)["input_ids"])
    pixels = run.config.data.max_pixels
    shown = [p["image"].load(pixels) for m in run.talk.prompt(row) for p in m["content"] if p["type"] == "image"]
    images = {"images": [shown]} if shown else {}
    return list(run.processor(text=[rendered], add_special_tokens=special, **images)["input_ids"][0])


def check_pages(run: Run, encoded: Any, row: PageRow) -> None:
    """The same for pages judged one by one, whose tokens are made here: what is learnt spells the target."""
    rendered, opening = run.speech.prompt(row)
    said = run.tokenizer.decode(list(encoded.ids[encoded.verdict + 1 :]), skip_special_tokens=False)
    target = run.speech.completion(row, opening)
    if _plain(said) != _plain(target):
        raise ConfigError(f"{row.qid}: the target is {_shown(target)}, and the trainer would learn {_shown(said)}")
    _same(run, list(encoded.ids[: encoded.verdict + 1]), inference_ids(run, rendered, row))


def _same(run: Run, trained: Sequence[int], asked: Sequence[int]) -> None:
    place = next((i for i, (a, b) in enumerate(zip_longest(trained, asked)) if a != b), None)
    if place is not None:
        parts = [run.tokenizer.decode(list(ids[max(0, place - AROUND) : place + AROUND])) for ids in (trained, asked)]
        raise ConfigError(
            f"the trainer reads {len(trained)} tokens before the reply and inference {len(asked)}; they part at token {place}: "
            f"{parts[0]!r} against {parts[1]!r}. The checkpoint's processor reads the same prompt in two ways"
        )


def _plain(text: str) -> str:
    """A text without the blanks that a tokenizer's decoder may add or drop at its ends."""
    return text.strip()


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:100]} … {text[-100:]}")
