"""Prompts as the engine ``transformers`` reads them, without its model: chat template → text → token ids.

A served model sees the same tokens only when the same checkpoint's tokenizer, chat template and picture sizes stand behind both.
So the engines ``openai`` (given a tokenizer) and ``vllm`` render here, hand the ids over, and compare what comes back.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmr5.engines.loading import import_transformers, load_errors, load_prompting
from mmr5.engines.protocol import Reply, Request, Sampling
from mmr5.errors import ConfigError, ContextLengthError, EngineError
from mmr5.types import ImageSource, Message, Usage

FINGERPRINT_DIGITS = 16
"""Hex digits of the sha256 that name a chat template."""
LEAST_PIXELS = 28 * 28
"""Of a page image: one visual token of the Qwen-VL family."""
COUNTED = 4096
"""Texts whose length in tokens is remembered: excerpts are cut from the same passages for every question about a document."""


class LocalPrompts:
    """A checkpoint's tokenizer, chat template and, where it sees, image processor.

    Args:
        processor: the checkpoint's processor, or its tokenizer.
        config: the checkpoint's configuration.
        ends: ids that end a turn by the checkpoint's generation config: one, a list, or None.

    Attributes:
        tokenizer: the checkpoint's.
        images: whether the checkpoint reads pictures.
        image_token: id that stands for a picture in :meth:`ids`, or None.
        reserved: its special tokens, to be neutralised in page text.
        end_ids: ids that end a turn, the checkpoint's own and the tokenizer's.
        context_tokens: most tokens of prompt and reply together, or None when the checkpoint does not say.
    """

    def __init__(self, processor: Any, config: Any, ends: int | Sequence[int] | None = None) -> None:
        self._processor = processor
        self.tokenizer = tokenizer = getattr(processor, "tokenizer", processor)
        self._lock = lock = threading.Lock()  # a fast tokenizer may be used by one thread at a time
        self.images = hasattr(processor, "image_processor")
        token = getattr(processor, "image_token_id", None) if self.images else None
        self.image_token: int | None = getattr(config, "image_token_id", None) if self.images and token is None else token
        self.reserved = special_words(tokenizer)
        given = ends if isinstance(ends, Sequence) else [ends]
        self.end_ids = tuple(dict.fromkeys(i for i in [*given, tokenizer.eos_token_id] if i is not None))
        context = getattr(config.get_text_config(), "max_position_embeddings", None)
        self.context_tokens = int(context) if context else None

        @lru_cache(COUNTED)
        def count(text: str) -> int:
            with lock:
                return len(tokenizer(text, add_special_tokens=False)["input_ids"])

        self._count = count

    @classmethod
    def from_pretrained(cls, path: str | Path) -> LocalPrompts:
        """Those of a folder (its weights are not read), or of a name on the hub.

        Raises:
            ModelNotFoundError: there is no such checkpoint.
            MissingExtraError: the extra ``local`` is not installed.
        """
        transformers = import_transformers()
        with load_errors(str(path), "tokenizer"):
            config, processor = load_prompting(str(path))
        try:
            ends = transformers.GenerationConfig.from_pretrained(str(path)).eos_token_id
        except OSError:
            ends = getattr(config.get_text_config(), "eos_token_id", None)
        return cls(processor, config, ends)

    @property
    def template(self) -> str | None:
        """The chat template's text, or None where the checkpoint has none."""
        return getattr(self._processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)

    @property
    def template_fingerprint(self) -> str | None:
        """First digits of the sha256 of the chat template (UTF-8), or None where there is none."""
        return None if self.template is None else template_fingerprint(self.template)

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone, without special tokens; those of the last :data:`COUNTED` texts are remembered."""
        return self._count(text)

    def encode(self, text: str) -> list[int]:
        """Token ids of ``text`` alone, without special tokens."""
        return self._tokenize(text, special=False)

    def encode_scored(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of texts whose likelihood is wanted.

        Raises:
            ConfigError: a text has no tokens.
        """
        ids = [tuple(self.encode(text)) for text in texts]
        empty = next((i for i, tokens in enumerate(ids) if not tokens), None)
        if empty is not None:
            raise ConfigError(f"text {empty} to score is {texts[empty]!r}: it has no tokens")
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens dropped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _tokenize(self, text: str, *, special: bool) -> list[int]:
        with self._lock:
            return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def _adds_special(self, rendered: str) -> bool:
        return adds_special(self.tokenizer, rendered, images=self.images)

    def reply(self, written: Sequence[int], prompt_tokens: int, sampling: Sampling) -> Reply:
        """The reply that token ids spell: up to the end of the turn, or to the end of the first stop string.

        Args:
            written: all that the model wrote, the end of its turn included where it ended.
            prompt_tokens: how many tokens it read.
            sampling: how it was asked.
        """
        ends = [i for i, t in enumerate(written) if t in self.end_ids]
        kept = written[: ends[0]] if ends else written
        text, stopped = self.decode(kept), bool(ends)
        for stop in sampling.stop:
            if stop in text:
                text, stopped = text[: text.index(stop) + len(stop)], True
        return Reply(text, "stop" if stopped else "length", Usage(prompt_tokens, len(kept)))

    def render(self, request: Request) -> str:
        """The prompt as one string, in the checkpoint's own chat template, prefill included."""
        return render(self._processor, request, images=self.images)

    def ids(self, request: Request) -> list[int]:
        """Token ids of the prompt; a picture stands as one ``image_token``."""
        rendered = self.render(request)
        return self._tokenize(rendered, special=self._adds_special(rendered))

    def measured(self, request: Request) -> range:
        """Places, within :meth:`ids`, of the request's ``measured`` words; none where it names none.

        Raises:
            EngineError: the prompt holds pictures.
        """
        if not request.measured:
            return range(0)
        if pictures(request):
            raise EngineError("words of a prompt with pictures cannot be measured: their places shift as the pictures expand")
        rendered = self.render(request)
        with self._lock:
            special = self._adds_special(rendered)
            encoded = self.tokenizer(rendered, add_special_tokens=special, return_offsets_mapping=True)
        return range(*question_tokens(rendered, request.measured, encoded["offset_mapping"]))

    def expanded(self, ids: Sequence[int], sizes: Sequence[tuple[int, int]]) -> list[int]:
        """Token ids as the model reads them: each ``image_token`` as often as its picture has visual tokens.

        Args:
            ids: as :meth:`ids` gives them.
            sizes: (width, height) in pixels of the pictures as they are handed to the image processor, in order.
        """
        if not sizes:
            return list(ids)
        counted = self._processor._get_num_multimodal_tokens(image_sizes=[(height, width) for width, height in sizes])
        counts = iter(counted.num_image_tokens)
        return [t for i in ids for t in ([i] * next(counts, 1) if i == self.image_token else [i])]


def render(processor: Any, request: Request, *, images: bool) -> str:
    """A prompt as one string, in a checkpoint's own chat template, prefill included; lines of text where it has no template.

    Args:
        processor: the checkpoint's processor, or its tokenizer.
        request: the prompt.
        images: whether the template reads parts (a model that sees) or one string a message.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    template = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
    if not template:
        return "".join(_joined(m) + "\n" for m in request.messages) + request.prefill
    messages = [_for_template(m, images=images) for m in request.messages]
    text: str = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
    return text + request.prefill


def adds_special(tokenizer: Any, rendered: str, *, images: bool) -> bool:
    """Whether a tokenizer is to add its special tokens to a rendered prompt, as ``apply_chat_template`` decides it.

    Those of a text model never: its template writes them. Those of a model that sees, unless the template has written the
    beginning of the sequence, which would then stand twice.

    Args:
        tokenizer: of the checkpoint.
        rendered: the whole prompt.
        images: whether the checkpoint sees.
    """
    bos = tokenizer.bos_token
    return images and not (bos is not None and rendered.startswith(bos))


def check_pixels(max_pixels: int) -> int:
    """The pixel budget of a page image.

    Raises:
        ConfigError: it is too small for one visual token.
    """
    if max_pixels < LEAST_PIXELS:
        raise ConfigError(f"max_pixels is {max_pixels}: a page image needs at least {LEAST_PIXELS} pixels (28 x 28)")
    return max_pixels


def check_context(model: str, context: int | None, prompt_tokens: int, new_tokens: int) -> None:
    """Refuse a prompt that leaves no room for its reply.

    Args:
        model: its name.
        context: most tokens of prompt and reply together, or None when unknown.
        prompt_tokens: of the prompt, or an upper bound.
        new_tokens: most tokens of the reply.

    Raises:
        ContextLengthError: both together are more than the context.
    """
    if context is not None and prompt_tokens + new_tokens > context:
        raise ContextLengthError(
            f"the prompt has up to {prompt_tokens} tokens and the reply up to {new_tokens}, together more than the {context} of "
            f"{model}: use fewer candidates in a window, a smaller text budget or max_pixels, or fewer new tokens"
        )


def pictures_for(model: str, request: Request, *, images: bool) -> list[ImageSource]:
    """The pictures of a prompt, in page order.

    Raises:
        EngineError: there are some, and the model does not see.
    """
    found = pictures(request)
    if found and not images:
        raise EngineError(f"{model} reads text only, and a prompt holds {len(found)} pictures: use view 'text'")
    return found


def template_fingerprint(template: str) -> str:
    """What names a chat template: the first digits of its sha256."""
    return hashlib.sha256(template.encode("utf-8")).hexdigest()[:FINGERPRINT_DIGITS]


def special_words(tokenizer: Any) -> tuple[str, ...]:
    """Strings with a meaning of their own to a tokenizer, sorted: its special tokens and all that were added to it."""
    return tuple(sorted({t for t in tokenizer.all_special_tokens if t} | set(tokenizer.get_added_vocab())))


def pictures(request: Request) -> list[ImageSource]:
    """The pictures of a prompt, in page order."""
    return [p["image"] for m in request.messages for p in m["content"] if p["type"] == "image"]


def _joined(message: Message) -> str:
    return "".join(str(p["text"]) for p in message["content"] if p["type"] == "text")


def _for_template(message: Message, *, images: bool) -> dict[str, Any]:
    """A message as chat templates read it: structured for a model that sees, one string for a model that does not."""
    if not images:
        return {"role": message["role"], "content": _joined(message)}
    parts = [{"type": "image"} if p["type"] == "image" else {"type": "text", "text": p["text"]} for p in message["content"]]
    return {"role": message["role"], "content": parts}


def question_tokens(rendered: str, question: str, offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Tokens of the question in a rendered prompt, by its last occurrence.

    Args:
        rendered: the whole prompt.
        question: its words, as they stand in it.
        offsets: first character and one past the last of every token.

    Returns:
        Index of the first token that holds a character of the question (at least 1), and one past the last.

    Raises:
        EngineError: the question does not stand in the prompt, or at its very beginning.
    """
    start = rendered.rfind(question)
    if start < 0:
        raise EngineError(f"the prompt does not hold the question {question[:80]!r} word for word, so it cannot be measured")
    stop = start + len(question)
    inside = [i for i, (first, past) in enumerate(offsets) if first < stop and past > start]
    if not inside or inside[0] == 0:
        raise EngineError(f"no token before the question {question[:80]!r}: its likelihood has nothing to rest on")
    return inside[0], inside[-1] + 1
