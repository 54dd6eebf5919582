"""Rows → datasets of chat messages, pictures decoded only when a batch is made.

What is trained on is what inference builds: :class:`mmr5.data.conversations.Conversations` makes the messages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.corpora import load_corpus
from mmr5.data.conversations import Conversations
from mmr5.data.rows import PageRow, Row, read_rows
from mmr5.engines.chat_template import render, special_words, turn_end, written_for
from mmr5.engines.protocol import Request
from mmr5.errors import ConfigError, ContextLengthError, CorpusError, missing_extra
from mmr5.storage.lru import LRU
from mmr5.training.base_model import tokenizer_of
from mmr5.training.config import TrainingConfig
from mmr5.types import ImageSource, Message

PICTURE_BYTES = 256 * 2**20
"""Decoded pictures that are held in memory, in bytes."""
VISUAL_UNIT = 28
"""Pixels on a side that make one visual token of Qwen2.5-VL; used to bound a prompt's length."""


def read_training_rows(config: TrainingConfig, *, taught: bool) -> list[Row]:
    """The rows of a run.

    Args:
        config: names the file and the recipe that the rows must agree with.
        taught: rows with a target (SFT), or list rows for rollouts (GRPO).

    Raises:
        CorpusError: the file breaks its format, or holds no row of use.
        ConfigError: a row was made for another method or view than the recipe names.
    """
    rows = read_rows(Path(config.data.rows))
    kept: list[Row] = [r for r in rows if (r.target is not None if taught else not isinstance(r, PageRow))]
    kept = kept[: config.data.limit] if config.data.limit else kept
    if not kept:
        wanted = "listwise or pointwise" if taught else "grpo"
        raise CorpusError(f"{config.data.rows} holds no rows of kind {wanted}: make them with 'mmr5 data rows'")
    wrong = next((r for r in kept if (r.method, r.view) != (config.recipe.method, config.recipe.view)), None)
    if wrong is not None:
        raise ConfigError(
            f"{wrong.qid} was made for method {wrong.method!r} with view {wrong.view!r}, and [recipe] says "
            f"{config.recipe.method!r} with {config.recipe.view!r}: make the two agree"
        )
    return kept


def conversations(config: TrainingConfig, processor: Any) -> Conversations:
    """What turns the run's rows into messages.

    Raises:
        ConfigError: pages enter as text and the recipe gives no budget.
    """
    tokenizer = tokenizer_of(processor)
    if config.recipe.view != "image" and not config.recipe.page_tokens:
        raise ConfigError(
            f"recipe.page_tokens is not given with view {config.recipe.view!r}: give the most tokens of a page's text, e.g. 256"
        )
    return Conversations(
        load_corpus(config.data.corpus, ocr="never" if config.recipe.view == "image" else "auto"),
        count=lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),
        page_tokens=config.recipe.page_tokens or 1,
        reserved=special_words(tokenizer),
    )


def token_limit(config: TrainingConfig, context: int | None) -> int | None:
    """Most tokens of a row: the run's limit or the model's context, whichever is less; None where neither is known."""
    return min((n for n in (config.data.max_tokens, context) if n), default=None)


@dataclass(frozen=True, slots=True)
class Speech:
    """Rows → words, as inference writes them.

    Attributes:
        talk: makes the messages.
        processor: the model's processor or tokenizer.
        template: the checkpoint's own chat template.
    """

    talk: Conversations
    processor: Any
    template: str

    def prompt(self, row: Row, messages: Sequence[Message] | None = None) -> tuple[str, str]:
        """A row's rendered prompt, and what the template has written of the reply in it (``<think>``, or nothing).

        Args:
            row: the row.
            messages: its prompt, where it is known.
        """
        request = Request(self.talk.prompt(row) if messages is None else messages, think=row.method == "reason")
        rendered = render(self.processor, request, images=self.sees, template=self.template)
        return rendered, written_for(rendered, request)

    def completion(self, row: Row, opening: str) -> str:
        """What the model is to write after the prompt: the target without its opening, and the end of the turn.

        Raises:
            ConfigError: the target does not begin as the template does.
        """
        target = self.talk.target(row) or ""
        if opening:
            if not target.startswith(opening.strip()):
                raise ConfigError(
                    f"{row.qid}: the chat template opens every reply with {opening!r}, and the target begins with "
                    f"{target[:60]!r}: make the rows anew, or train a checkpoint whose template opens nothing"
                )
            target = target[len(opening.strip()) :].removeprefix(opening[len(opening.rstrip()) :])
        return target + turn_end(self.processor, images=self.sees, template=self.template)

    @property
    def sees(self) -> bool:
        """Whether the model reads pictures."""
        return hasattr(self.processor, "image_processor")


def dataset(rows: Sequence[Row], speech: Speech, config: TrainingConfig, *, taught: bool, context: int | None) -> Any:
    """A ``datasets.Dataset`` as TRL's trainers read it: ``prompt``, ``completion`` (taught), ``images``, and columns for rewards.

    Args:
        rows: what :func:`read_training_rows` gave.
        speech: makes their words.
        config: pixel budget and length limit.
        taught: with completions.
        context: most tokens that the model reads, or None.

    Raises:
        MissingExtraError: the extra ``train`` is not installed.
        ContextLengthError: a text row is too long (rows with pictures are measured as they are read).
    """
    try:
        import datasets
    except ImportError as error:
        raise missing_extra("datasets", "train", "train a model") from error
    seeing = config.recipe.view != "text"
    limit = token_limit(config, context)
    maker = RowMaker(rows, speech, config.data.max_pixels, limit, taught=taught, seeing=seeing)
    if not seeing:
        return datasets.Dataset.from_list([maker(i) for i in range(len(rows))])
    indices = datasets.Dataset.from_dict({"row": list(range(len(rows)))})
    indices.set_transform(maker.batch)
    return indices


class RowMaker:
    """One training example of a row, by its number."""

    def __init__(
        self, rows: Sequence[Row], speech: Speech, max_pixels: int, max_tokens: int | None, *, taught: bool, seeing: bool
    ) -> None:
        self._rows, self._speech = rows, speech
        self._max_pixels, self._max_tokens = max_pixels, max_tokens
        self._taught, self._seeing = taught, seeing
        self._load = picture_loader(max_pixels)

    def __call__(self, number: int) -> dict[str, Any]:
        """The example: one message with the rendered prompt, and the pictures in order."""
        row = self._rows[number]
        messages = self._speech.talk.prompt(row)
        pictures = [self._load(p["image"]) for m in messages for p in m["content"] if p["type"] == "image"]
        rendered, opening = self._speech.prompt(row, messages)
        example: dict[str, Any] = {"prompt": [said("user", rendered, pictures=len(pictures), parts=self._seeing)]}
        if self._taught:
            example["completion"] = [said("assistant", self._speech.completion(row, opening), parts=self._seeing)]
        else:
            example |= {"row": number, "n": len(row.page_ids), "relevant": _relevant(row), "think": row.method == "reason"}
            example["opening"] = opening
        if self._seeing:
            example["images"] = pictures
        self._measure(row, example, pictures)
        return example

    def batch(self, asked: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """Examples by column, as ``datasets`` asks for them."""
        made = [self(number) for number in asked["row"]]
        return {key: [example[key] for example in made] for key in made[0]} if made else {}

    def _measure(self, row: Row, example: Mapping[str, Any], pictures: Sequence[Any]) -> None:
        if self._max_tokens is None:
            return
        spoken = [_text(m) for m in (*example["prompt"], *example.get("completion", []))]
        seen = sum(math.ceil(p.width / VISUAL_UNIT) * math.ceil(p.height / VISUAL_UNIT) for p in pictures)
        if sum(len(text.encode()) for text in spoken) + seen <= self._max_tokens:
            return  # a token is a byte at least
        tokenizer = tokenizer_of(self._speech.processor)
        words = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in spoken)
        if words + seen > self._max_tokens:
            raise ContextLengthError(
                f"{row.qid} has about {words + seen} tokens, more than {self._max_tokens}: lower data.max_pixels "
                f"({self._max_pixels}) or recipe.page_tokens, or raise data.max_tokens; nothing is cut"
            )


def picture_loader(max_pixels: int) -> Callable[[ImageSource], Any]:
    """Decodes pictures within a pixel budget; small ones are kept by content."""
    held: LRU[Any] = LRU(PICTURE_BYTES)
    return lambda source: held.get_or_make(source.key, lambda: source.load(max_pixels), lambda p: 3 * p.width * p.height)


def said(role: str, text: str, *, pictures: int = 0, parts: bool = False) -> dict[str, Any]:
    """A message that says a text as it stands, as TRL reads it; one with parts has empty slots for its pictures before."""
    slots = [{"type": "image"} for _ in range(pictures)]
    return {"role": role, "content": [*slots, {"type": "text", "text": text}] if parts else text}


def _relevant(row: Row) -> list[int]:
    return [0] if isinstance(row, PageRow) else list(row.relevant)


def _text(message: Mapping[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(p.get("text", "") for p in content)
