"""Prompts as the engine ``transformers`` reads them, without its model: chat template → text → token ids.

A served model sees the same tokens only when the same checkpoint's tokenizer, chat template and picture sizes stand behind both.
So the engines ``openai`` (given a tokenizer) and ``vllm`` render here, hand the ids over, and compare what comes back.
"""

from __future__ import annotations

import hashlib
import re
import threading
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from mmr5 import prompt
from mmr5.engines.loading import import_transformers, load_errors, load_prompting
from mmr5.engines.protocol import Reply, Request, Sampling
from mmr5.errors import ConfigError, ContextLengthError, EngineError, MMR5Warning
from mmr5.types import ImageSource, Message, Usage

FINGERPRINT_DIGITS = 16
"""Hex digits of the sha256 that name a chat template."""
LEAST_PIXELS = 28 * 28
"""Of a page image: one visual token of the Qwen-VL family."""
UNRENDERED = (TemplateError, TypeError, ValueError, KeyError, AttributeError)
"""What a chat template raises over messages that it was not written for."""
_OPENED = re.compile(r"<think>\s*(?P<closed></think>\s*)?\Z")
_REASONING = re.compile(r"[<\[|][^<>\[\]|]*(?:think|thought|reason|analysis|channel)", re.IGNORECASE)
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
        check_template(processor, images=self.images)
        token = getattr(processor, "image_token_id", None) if self.images else None
        self.image_token: int | None = getattr(config, "image_token_id", None) if self.images and token is None else token
        self.reserved = special_words(tokenizer)
        given = ends if isinstance(ends, Sequence) else [ends]
        written = last_token(tokenizer, turn_end(processor, images=self.images))
        self.end_ids = tuple(dict.fromkeys(i for i in [*given, tokenizer.eos_token_id, written] if i is not None))
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
        return template_of(self._processor)

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

    def restored(self, reply: Reply, request: Request) -> Reply:
        """A reply with what the template wrote of it (:func:`written_for`)."""
        return replace(reply, text=written_for(self.render(request), request) + reply.text)

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


def template_of(processor: Any) -> str | None:
    """The chat template of a processor or tokenizer, or None where there is none."""
    return getattr(processor, "chat_template", None) or getattr(getattr(processor, "tokenizer", None), "chat_template", None)


def render(processor: Any, request: Request, *, images: bool, template: str | None = None) -> str:
    """A prompt as one string, in a checkpoint's own chat template, prefill included; lines of text where it has no template.

    What a template writes of the reply by itself is kept where the reply begins so: a ``<think>`` that it opens where the model
    is to reason and nothing else is put into its mouth, an empty think block where it is not to reason. Else it is taken out,
    so that the reply begins with its first word. A template that takes no system message gets it before the first user message.

    Args:
        processor: the checkpoint's processor, or its tokenizer.
        request: the prompt.
        images: whether the template reads parts (a model that sees) or one string a message.
        template: to be used instead of the processor's own.

    Raises:
        ConfigError: the template takes no such messages.
    """
    template = template or template_of(processor)
    if not template:
        return "".join(_joined(m) + "\n" for m in request.messages) + request.prefill
    tokenizer = getattr(processor, "tokenizer", processor)
    options = {"chat_template": template, "tokenize": False, "add_generation_prompt": True, "enable_thinking": request.think}
    messages = [_for_template(m, images=images) for m in request.messages]
    try:
        text: str = tokenizer.apply_chat_template(messages, **options)
    except UNRENDERED as refused:
        try:
            merged = [_for_template(m, images=images) for m in _without_system(request.messages)]
            text = tokenizer.apply_chat_template(merged, **options)
        except UNRENDERED:
            raise ConfigError(
                "the checkpoint's chat template takes no prompt of a system and a user message"
                f"{' in parts' if images else ''}: {type(refused).__name__}: {refused}"
            ) from refused
    opened = _OPENED.search(text)
    if opened is not None:
        closed = opened["closed"] is not None
        if request.think if closed else (not request.think or request.prefill):
            text = text[: opened.start()]
    return text + request.prefill


def written_for(rendered: str, request: Request) -> str:
    """What the template has written of a reply that is to reason: ``<think>``, which the model will not repeat, or nothing.

    Args:
        rendered: the prompt, as :func:`render` made it.
        request: the same.
    """
    opened = _OPENED.search(rendered) if request.think and not request.prefill else None
    return "" if opened is None else opened.group()


def check_template(processor: Any, *, images: bool) -> None:
    """Refuse a chat template that changes what is asked, drops pictures, or opens the reply in a way that is not known.

    Raises:
        ConfigError: it does; the difference is shown.
    """
    if not template_of(processor):
        return
    for think in (True, False):
        messages = prompt.listwise("Which page says it?", view="text", think=think, texts=["The first page.", "The second."])
        rendered, place = render(processor, Request(messages, think=think), images=images), 0
        for text in (_joined(message).strip() for message in messages):
            found = rendered.find(text, place)
            if found < 0 or rendered[max(0, found - 30) : found].rstrip().endswith(("'text': '", "'text': \"")):
                raise ConfigError(
                    f"the checkpoint's chat template does not write {text[-80:]!r} as it stands; it writes "
                    f"{rendered[place : place + 120]!r} …: give the checkpoint a template that keeps the words of a message"
                )
            place = found + len(text)
        tail = _OPENED.sub("", rendered[place:])
        if _REASONING.search(tail) or tail[-1:].isalnum():
            raise ConfigError(
                f"the checkpoint's chat template opens the reply with {rendered[place:]!r}, a way that is not known here: known "
                "are templates that open <think>, write an empty think block, or end the assistant's header"
            )
    if images:
        _check_pictures(processor)


def _check_pictures(processor: Any) -> None:
    """Refuse a template that drops pictures; warn of one that parts them from their labels."""
    shown: list[Any] = [_Blank(), _Blank()]
    messages = prompt.listwise("q", view="image", think=True, images=shown)
    bare = [{**m, "content": [p for p in m["content"] if p["type"] == "text"]} for m in messages]
    seeing, blind = (render(processor, Request(m, think=True), images=True) for m in (messages, bare))
    if len(seeing) <= len(blind):
        raise ConfigError("the checkpoint's chat template writes no place for pictures: give it one that does")
    between = seeing.partition("Image 1:")[2].partition("Image 2:")[0]
    if not between.strip():
        warnings.warn(
            "the checkpoint's chat template writes all pictures before the words: pages are told apart by their order alone",
            MMR5Warning,
            stacklevel=4,
        )


class _Blank:
    """A picture that is not looked at."""

    key = "blank"


def turn_end(processor: Any, *, images: bool, template: str | None = None) -> str:
    """What a model writes to end its turn: the special tokens that the chat template puts after a reply, else the end of text.

    Of several, all up to the tokenizer's own end of text, or else to the last.
    """
    tokenizer, template = getattr(processor, "tokenizer", processor), template or template_of(processor)
    mark = "@@"
    says = [{"type": "text", "text": mark}] if images else mark
    asks = [{"type": "text", "text": "?"}] if images else "?"
    end = str(tokenizer.eos_token)
    if not template:
        return end
    chat = [{"role": "user", "content": asks}, {"role": "assistant", "content": says}]
    try:
        after = str(tokenizer.apply_chat_template(chat, chat_template=template, tokenize=False)).rpartition(mark)[2]
    except UNRENDERED:
        return end
    special, written = sorted(special_words(tokenizer), key=len, reverse=True), ""
    while (word := next((w for w in special if after.startswith(w)), None)) is not None:
        written, after = written + word, after[len(word) :]
        if word == end:
            break
    return written or end


def last_token(tokenizer: Any, written: str) -> int | None:
    """Id of the last token of what ends a turn, or None for no text."""
    ids = tokenizer(written, add_special_tokens=False)["input_ids"] if written else []
    return ids[-1] if ids else None


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


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """The messages with the system's words at the beginning of the first user message."""
    system = [p for m in messages if m["role"] == "system" for p in m["content"]]
    others = [dict(m) for m in messages if m["role"] != "system"]
    if system and others:
        others[0]["content"] = [*system, {"type": "text", "text": "\n\n"}, *others[0]["content"]]
    return others


def _for_template(message: Message, *, images: bool) -> dict[str, Any]:
    """A message as chat templates read it: structured for a model that sees, one string for a model that does not."""
    if not images:
        return {"role": message["role"], "content": _joined(message)}
    parts: list[dict[str, Any]] = []
    for part in message["content"]:
        if part["type"] == "image":
            parts.append({"type": "image"})
        elif parts and parts[-1]["type"] == "text":  # templates that strip each part would glue them
            parts[-1]["text"] += part["text"]
        else:
            parts.append({"type": "text", "text": part["text"]})
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
