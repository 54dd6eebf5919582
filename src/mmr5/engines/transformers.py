"""A model in this process, through Hugging Face transformers: text and vision-language checkpoints, CPU, CUDA or MPS.

Requests are sorted by length, left-padded, and run in batches bounded by a token budget; a batch that does not fit in
memory is halved and nothing is lost. Greedy by default; the checkpoint's own generation config (sampling, repetition
penalty) never leaks in, its end-of-text ids excepted.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from mmr5.engines.base import Capabilities, ChoiceScores, Message, OnText, Reply, Request, Sampling, TextScore
from mmr5.engines.loading import import_torch, import_transformers, load_model, pick_device, pick_dtype
from mmr5.engines.spans import question_tokens
from mmr5.engines.writing import Teller, Writer
from mmr5.errors import ConfigError, ContextLengthError, EngineError
from mmr5.types import Usage

if TYPE_CHECKING:
    import torch

DEFAULT_MAX_PIXELS = 1_003_520
"""Pixel budget of a page image: 1,280 visual tokens of 28 × 28 pixels."""

BATCH_TOKENS = {"cpu": 8_192, "mps": 16_384, "cuda": 65_536}
"""Most prompt tokens, padding included, that one forward pass reads."""

T = TypeVar("T")


class TransformersEngine:
    """An engine over a loaded model.

    Args:
        model: a causal or image-text-to-text model of transformers, in eval mode.
        processor: its tokenizer, or its processor if it sees.
        name: how the model is called in results.
        max_pixels: pixel budget of a page image, at least 784.
        batch_tokens: most prompt tokens in one forward pass; None chooses by device.
    """

    name = "transformers"

    def __init__(
        self, model: Any, processor: Any, *, name: str, max_pixels: int = DEFAULT_MAX_PIXELS, batch_tokens: int | None = None
    ) -> None:
        if max_pixels < 784:
            raise ConfigError(f"max_pixels is {max_pixels}: a page image needs at least 784 pixels (28 x 28)")
        self.model = name
        self.device: torch.device = model.device
        self.max_pixels = max_pixels
        self.batch_tokens = batch_tokens or BATCH_TOKENS.get(self.device.type, BATCH_TOKENS["cpu"])
        self._model = model
        self._processor = processor
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._eos = _end_ids(model, self._tokenizer)
        self._pad = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._eos[0]
        model.generation_config = import_transformers().GenerationConfig(eos_token_id=self._eos, pad_token_id=self._pad)
        self._cache_name = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        self._rope = next((m for m in model.modules() if hasattr(m, "rope_deltas")), None)
        self.capabilities = Capabilities(
            score_choices=True,
            score_text=True,
            prefill=True,
            images=hasattr(processor, "image_processor"),
            context_tokens=_context(model),
        )
        self.reserved = tuple(
            sorted({t for t in self._tokenizer.all_special_tokens if t} | set(self._tokenizer.get_added_vocab()))
        )

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        name: str | None = None,
        adapter: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        attention: str = "auto",
        max_pixels: int = DEFAULT_MAX_PIXELS,
        batch_tokens: int | None = None,
    ) -> TransformersEngine:
        """Load a checkpoint from a folder or the hub.

        Args:
            path: a folder or a name on the hub.
            name: how the model is called in results; the path by default.
            adapter: a LoRA adapter to merge into it.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
            dtype: ``auto``, ``float32``, ``bfloat16``, ``float16``.
            attention: ``auto`` or transformers' name of an implementation.
            max_pixels: pixel budget of a page image.
            batch_tokens: most prompt tokens in one forward pass.

        Raises:
            ModelNotFoundError: there is no such checkpoint.
            MissingExtraError: the extra ``local`` is not installed.
        """
        place = pick_device(device)
        model, processor = load_model(path, device=place, dtype=pick_dtype(dtype, place), attention=attention, adapter=adapter)
        return cls(model, processor, name=name or path, max_pixels=max_pixels, batch_tokens=batch_tokens)

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone, without special tokens."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None = None) -> list[Reply]:
        """One reply a request, in order; ``on_text`` hears each token as it is written."""
        teller = None if on_text is None else Teller(on_text, len(requests))

        def writer(i: int) -> Writer:
            return Writer(self._tokenizer, self._eos, sampling, None if teller is None else teller.at(i))

        return self._in_batches(
            requests,
            sampling.max_new_tokens,
            lambda rows, places: self._generate(rows, sampling, [writer(i) for i in places]),
            range(len(requests)),
        )

    def score_choices(self, requests: Sequence[Request], choices: Sequence[Sequence[str]]) -> list[ChoiceScores]:
        """Exact constrained-decoding log-probabilities.

        At every place where the choices part, the softmax runs over the tokens that lead to a choice; a choice's
        log-probability is the sum along its path. The requests share one prefill each and one step per shared opening.
        """
        paths = [self._paths(r.prefill, c) for r, c in zip(requests, choices, strict=True)]
        longest = max((len(p) for given in paths for p in given), default=1)
        return self._in_batches(requests, longest, self._score_choices, paths)

    def score_text(self, requests: Sequence[Request], texts: Sequence[str]) -> list[TextScore]:
        """Mean log-probability of each text as what the assistant says next."""
        ids = [tuple(self._tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts]
        empty = [i for i, tokens in enumerate(ids) if not tokens]
        if empty:
            raise ConfigError(f"text {empty[0]} to score is {texts[empty[0]]!r}: it has no tokens")
        return self._in_batches(requests, max((len(t) for t in ids), default=0), self._score_text, ids)

    # --- prompts --------------------------------------------------------------------------------------------------

    def render(self, request: Request) -> str:
        """The prompt as one string, in the checkpoint's own chat template, prefill included."""
        template = self._processor if getattr(self._processor, "chat_template", None) else self._tokenizer
        if not getattr(template, "chat_template", None):
            return "".join(_joined(m) + "\n" for m in request.messages) + request.prefill
        messages = [_for_template(m, images=self.capabilities.images) for m in request.messages]
        text: str = template.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text + request.prefill

    def _encode(self, rendered: Sequence[str], requests: Sequence[Request]) -> dict[str, torch.Tensor]:
        """Left-padded tensors of a batch; image placeholders expanded, pictures in page order."""
        pictures = [
            p["image"].load(self.max_pixels) for r in requests for m in r.messages for p in m["content"] if p["type"] == "image"
        ]
        options = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.convert_ids_to_tokens(self._pad)
        if self.capabilities.images:
            batch = self._processor(text=list(rendered), images=pictures or None, **options)
        else:
            batch = self._tokenizer(list(rendered), add_special_tokens=False, **options)
        return {k: v.to(self.device) for k, v in batch.items() if k != "token_type_ids"}

    # --- batches --------------------------------------------------------------------------------------------------

    def _in_batches(
        self, requests: Sequence[Request], new_tokens: int, run: Callable[..., list[T]], *extras: Sequence[Any]
    ) -> list[T]:
        """Run ``run(rows, *extras)`` over batches of similar length, and put the results back in order."""
        rendered = [self.render(r) for r in requests]
        lengths = [self.count_tokens(t) + self._visual_tokens(r) for t, r in zip(rendered, requests, strict=True)]
        self._check_context(max(lengths, default=0), new_tokens)
        found: list[T | None] = [None] * len(requests)
        for rows in _batches(lengths, new_tokens, self.batch_tokens):
            for part, results in self._halving(
                rows, lambda ids: run([(rendered[i], requests[i]) for i in ids], *([e[i] for i in ids] for e in extras))
            ):
                for i, result in zip(part, results, strict=True):
                    found[i] = result
        return [r for r in found if r is not None]

    def _halving(self, rows: list[int], run: Callable[[list[int]], list[T]]) -> Iterator[tuple[list[int], list[T]]]:
        """Run rows at once; when memory runs out, run each half."""
        torch = import_torch()
        try:
            with torch.inference_mode():
                yield rows, run(rows)
            return
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise EngineError(
                    f"one prompt alone does not fit in the memory of {self.device}: lower max_pixels ({self.max_pixels}), "
                    "the text budget or the number of candidates"
                ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        yield from self._halving(rows[: len(rows) // 2], run)
        yield from self._halving(rows[len(rows) // 2 :], run)

    def _visual_tokens(self, request: Request) -> int:
        """Upper bound of the visual tokens of a request, for batching and the context check."""
        n = sum(p["type"] == "image" for m in request.messages for p in m["content"])
        if not n:
            return 0
        if not self.capabilities.images:
            raise EngineError(f"{self.model} reads text only, and a prompt holds {n} pictures: use view 'text'")
        processor = self._processor.image_processor
        unit = getattr(processor, "patch_size", 14) * getattr(processor, "merge_size", 2)
        return int(n * max(1, self.max_pixels // (unit * unit)))

    def _check_context(self, prompt_tokens: int, new_tokens: int) -> None:
        context = self.capabilities.context_tokens
        if context is not None and prompt_tokens + new_tokens > context:
            raise ContextLengthError(
                f"the prompt has up to {prompt_tokens} tokens and the reply up to {new_tokens}, together more than the "
                f"{context} of {self.model}: use fewer candidates in a window, "
                "a smaller text budget or max_pixels, or fewer new tokens"
            )

    # --- work on one batch ----------------------------------------------------------------------------------------

    def _generate(self, rows: Sequence[tuple[str, Request]], sampling: Sampling, writers: Sequence[Writer]) -> list[Reply]:
        torch, transformers = import_torch(), import_transformers()
        batch = self._encode(*_columns(rows))
        sample = sampling.temperature > 0
        config = transformers.GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=sample,
            eos_token_id=self._eos,
            pad_token_id=self._pad,
            **({"temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0} if sample else {}),
        )
        self._forget_positions()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(sampling.seed)
            self._model.generate(**batch, generation_config=config, stopping_criteria=[_listen(writers)])
        prompt = batch["attention_mask"].sum(-1).tolist()
        return [writer.reply(n) for writer, n in zip(writers, prompt, strict=True)]

    def _score_choices(self, rows: Sequence[tuple[str, Request]], paths: Sequence[list[tuple[int, ...]]]) -> list[ChoiceScores]:
        torch = import_torch()
        batch = self._encode(*_columns(rows))
        self._forget_positions()
        width = batch["input_ids"].shape[1]
        spans = [self._measured(text, request) for text, request in rows]
        keep = sorted({width - 1, *(width - end + i for first, past, end in spans for i in range(first - 1, past - 1))})
        kept = torch.tensor(keep, device=self.device)
        out = self._model(**self._with_positions(batch), use_cache=True, logits_to_keep=kept)
        totals = [[0.0] * len(given) for given in paths]
        _add_level(totals, paths, {(i, ()): out.logits[i, -1] for i in range(len(rows))})
        deltas = None if self._rope is None else self._rope.rope_deltas
        opened = sorted(
            {(i, node) for i, given in enumerate(paths) for node in _branchings(given) if node}, key=lambda n: len(n[1])
        )
        for length in sorted({len(node) for _, node in opened}):
            nodes = [n for n in opened if len(n[1]) == length]
            logits = self._continue(batch["attention_mask"], out.past_key_values, deltas, nodes)
            _add_level(totals, paths, dict(zip(nodes, logits, strict=True)))
        prompt = batch["attention_mask"].sum(-1).tolist()
        places = {place: i for i, place in enumerate(keep)}
        found = []
        for row, (first, past, end) in enumerate(spans):
            columns = [places[width - end + i - 1] for i in range(first, past)]
            words = batch["input_ids"][row, width - end + first : width - end + past]
            found.append(_text_score(out.logits[row, columns], words, prompt[row]) if columns else None)
        return [ChoiceScores(tuple(t), Usage(p, 1), m) for t, p, m in zip(totals, prompt, found, strict=True)]

    def _measured(self, rendered: str, request: Request) -> tuple[int, int, int]:
        """First token of a request's measured words, one past their last, and the prompt's length; three zeros for none."""
        if not request.measured:
            return 0, 0, 0
        if any(p["type"] == "image" for m in request.messages for p in m["content"]):
            raise EngineError("words of a prompt with pictures cannot be measured: their places shift as the pictures expand")
        offsets = self._tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return (*question_tokens(rendered, request.measured, offsets), len(offsets))

    def _continue(
        self, mask: torch.Tensor, cache: Any, deltas: Any, nodes: Sequence[tuple[int, tuple[int, ...]]]
    ) -> torch.Tensor:
        """Last logits, (len(nodes), vocabulary), after each node's tokens on top of its row's prefill; the cache is kept."""
        torch = import_torch()
        rows = torch.tensor([i for i, _ in nodes], device=self.device)
        tokens = torch.tensor([list(path) for _, path in nodes], device=self.device)
        branch = copy.deepcopy(cache)
        branch.batch_select_indices(rows)
        chosen = mask[rows]
        places = chosen.sum(-1, keepdim=True) + torch.arange(tokens.shape[1], device=self.device)
        if deltas is not None:
            places = (places + deltas.to(self.device)[rows]).unsqueeze(0).expand(3, -1, -1)
        full = torch.cat([chosen, torch.ones_like(tokens)], dim=1)
        inputs = {"input_ids": tokens, "attention_mask": full, "position_ids": places, self._cache_name: branch}
        out = self._model(**inputs, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1]  # type: ignore[no-any-return]

    def _score_text(self, rows: Sequence[tuple[str, Request]], texts: Sequence[tuple[int, ...]]) -> list[TextScore]:
        torch = import_torch()
        batch = self._encode(*_columns(rows))
        prompt = batch["attention_mask"].sum(-1).tolist()
        joined = _append(batch, texts, self._pad)
        longest = max(len(t) for t in texts)
        self._forget_positions()
        logits = self._model(**self._with_positions(joined), use_cache=False, logits_to_keep=longest + 1).logits
        found = []
        for i, tokens in enumerate(texts):
            found.append(_text_score(logits[i, -len(tokens) - 1 : -1], torch.tensor(tokens, device=logits.device), prompt[i]))
        return found

    # --- details --------------------------------------------------------------------------------------------------

    def _paths(self, prefill: str, choices: Sequence[str]) -> list[tuple[int, ...]]:
        """Tokens of each choice as they follow the prefill."""
        if len(set(choices)) != len(choices) or not all(choices):
            raise ConfigError(f"choices {list(choices)!r}: give distinct, non-empty strings")
        opening = self._tokenizer(prefill, add_special_tokens=False)["input_ids"]
        paths = []
        for choice in choices:
            whole = self._tokenizer(prefill + choice, add_special_tokens=False)["input_ids"]
            aligned = whole[: len(opening)] == opening and len(whole) > len(opening)
            paths.append(
                tuple(whole[len(opening) :] if aligned else self._tokenizer(choice, add_special_tokens=False)["input_ids"])
            )
        for a in paths:
            if any(a is not b and b[: len(a)] == a for b in paths):
                raise ConfigError(
                    f"choices {list(choices)!r}: one is the beginning of another in tokens; close each with a terminator"
                )
        return paths

    def _with_positions(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Positions that ignore the left padding; a prompt with pictures has its own (multimodal RoPE) from the model."""
        if "pixel_values" in batch:
            return batch
        mask = batch["attention_mask"]
        return {**batch, "position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}

    def _forget_positions(self) -> None:
        """Drop the multimodal RoPE offsets of the last batch; stale ones would shift a prompt without pictures."""
        if self._rope is not None:
            self._rope.rope_deltas = None


def _listen(writers: Sequence[Writer]) -> Callable[..., torch.Tensor]:
    """A stopping criterion that hands each row's new token to its writer."""
    torch = import_torch()

    def done(input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        del scores, kwargs
        new = input_ids[:, -1].tolist()
        return torch.tensor([w.push(t) for w, t in zip(writers, new, strict=True)], device=input_ids.device)

    return done


def _text_score(logits: torch.Tensor, tokens: torch.Tensor, read: int) -> TextScore:
    """Mean log-probability of tokens, (n,), by the logits before each of them, (n, vocabulary)."""
    picked = logits.float().log_softmax(-1).gather(-1, tokens.unsqueeze(-1))
    return TextScore(float(picked.mean()), len(tokens), Usage(read + len(tokens), 0))


def _columns(rows: Sequence[tuple[str, Request]]) -> tuple[list[str], list[Request]]:
    return [text for text, _ in rows], [request for _, request in rows]


def _joined(message: Message) -> str:
    return "".join(part["text"] for part in message["content"] if part["type"] == "text")


def _for_template(message: Message, *, images: bool) -> dict[str, Any]:
    """A message as chat templates read it: structured for a model that sees, one string for a model that does not."""
    if not images:
        return {"role": message["role"], "content": _joined(message)}
    parts = [{"type": "image"} if p["type"] == "image" else {"type": "text", "text": p["text"]} for p in message["content"]]
    return {"role": message["role"], "content": parts}


def _batches(lengths: Sequence[int], new_tokens: int, budget: int) -> list[list[int]]:
    """Indices by falling length, in batches whose padded size (longest row times rows) keeps within the budget."""
    found: list[list[int]] = []
    current: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[current[0]] if current else lengths[i]
        if current and (longest + new_tokens) * (len(current) + 1) > budget:
            found.append(current)
            current = []
        current.append(i)
    return [*found, current] if current else found


def _branchings(paths: Sequence[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Openings after which at least two different tokens lead on."""
    following: dict[tuple[int, ...], set[int]] = {}
    for path in paths:
        for depth in range(len(path)):
            following.setdefault(path[:depth], set()).add(path[depth])
    return [node for node, tokens in following.items() if len(tokens) > 1]


def _add_level(
    totals: list[list[float]], paths: Sequence[list[tuple[int, ...]]], logits: dict[tuple[int, tuple[int, ...]], torch.Tensor]
) -> None:
    """Add the log-probability of each choice's next token at the given nodes, among the tokens that lead to a choice."""
    for (row, node), values in logits.items():
        depth = len(node)
        passing = [k for k, path in enumerate(paths[row]) if len(path) > depth and path[:depth] == node]
        tokens = sorted({paths[row][k][depth] for k in passing})
        if len(tokens) < 2:
            continue
        shares = dict(zip(tokens, values[tokens].float().log_softmax(-1).tolist(), strict=True))
        for k in passing:
            totals[row][k] += shares[paths[row][k][depth]]


def _append(batch: dict[str, torch.Tensor], texts: Sequence[tuple[int, ...]], pad: int) -> dict[str, torch.Tensor]:
    """Append each row's own tokens, keeping the batch left-padded."""
    torch = import_torch()
    ids, mask = batch["input_ids"], batch["attention_mask"]
    longest = max(len(t) for t in texts)
    width = ids.shape[1] + longest
    out: dict[str, Any] = {k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask", "mm_token_type_ids")}
    new_ids = torch.full((len(texts), width), pad, dtype=ids.dtype, device=ids.device)
    new_mask = torch.zeros((len(texts), width), dtype=mask.dtype, device=mask.device)
    kinds = batch.get("mm_token_type_ids")
    new_kinds = None if kinds is None else torch.zeros((len(texts), width), dtype=kinds.dtype, device=kinds.device)
    for i, tokens in enumerate(texts):
        end = width - len(tokens)
        new_ids[i, end:] = torch.tensor(tokens, device=ids.device)
        new_ids[i, end - ids.shape[1] : end] = ids[i]
        new_mask[i, end:] = 1
        new_mask[i, end - ids.shape[1] : end] = mask[i]
        if new_kinds is not None and kinds is not None:
            new_kinds[i, end - ids.shape[1] : end] = kinds[i]
    out.update(input_ids=new_ids, attention_mask=new_mask)
    if new_kinds is not None:
        out["mm_token_type_ids"] = new_kinds
    return out


def _end_ids(model: Any, tokenizer: Any) -> list[int]:
    """Every id that ends a turn: the checkpoint's own and the tokenizer's."""
    given = model.generation_config.eos_token_id if getattr(model, "generation_config", None) is not None else None
    ids = given if isinstance(given, list) else [given]
    found = [i for i in [*ids, tokenizer.eos_token_id] if i is not None]
    if not found:
        raise ConfigError("the tokenizer names no end-of-text token: replies could not end")
    return list(dict.fromkeys(found))


def _context(model: Any) -> int | None:
    config = model.config.get_text_config()
    value = getattr(config, "max_position_embeddings", None)
    return int(value) if value else None
