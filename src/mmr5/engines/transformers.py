"""A model in this process, through Hugging Face transformers: text and vision-language checkpoints, CPU, CUDA or MPS.

Requests are sorted by length, left-padded, and run in batches bounded by tokens and pixels
(:mod:`mmr5.engines.runtime.token_batches`); a batch that does not fit in memory is halved and nothing is lost. On a CPU a
prompt that is scored is read alone: it takes no longer there, and its score is the same to the last bit in any company. Pages
seen before, and openings of prompts read before, come from caches where the model allows it
(:mod:`mmr5.engines.runtime.model_runner`). Greedy by default; the checkpoint's own generation config (sampling, repetition
penalty) never leaks in, its end-of-text ids excepted.
"""

from __future__ import annotations

import random
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from mmr5.engines.chat_template import LocalPrompts, check_context, check_pixels, pictures, pictures_for, written_for
from mmr5.engines.encoders import checkpoint_identity
from mmr5.engines.loading import dtype_name, import_torch, import_transformers, load_model, pick_device, pick_dtype
from mmr5.engines.protocol import Capabilities, ChoiceScores, OnText, Reply, Request, Sampling, TextScore, check_requests
from mmr5.engines.runtime import generation
from mmr5.engines.runtime.choices import token_paths
from mmr5.engines.runtime.constraint import AnswerTokens, Guard
from mmr5.engines.runtime.decoder import Decoder, supported
from mmr5.engines.runtime.detokenize import Detokenizer, Streamer
from mmr5.engines.runtime.head import Head
from mmr5.engines.runtime.model_runner import CachedRunner, ModelRunner, Prompt
from mmr5.engines.runtime.plain_runner import PlainRunner
from mmr5.engines.runtime.pruning import kept_count
from mmr5.engines.runtime.token_batches import Budget, batches, budget, free_memory, halving, token_bytes
from mmr5.engines.runtime.vision import PageFeatures, Tower
from mmr5.errors import ConfigError, EngineError, MMR5Warning
from mmr5.pages.images import DEFAULT_MAX_PIXELS
from mmr5.storage.cache import Cache, digest

if TYPE_CHECKING:
    import torch

KEPT_BYTES = 512_000_000
"""Memory for the features of pages, and as much for the states of shared openings, unless a tenth of the free memory is less."""
KEPT_SHARE = 0.1
A4 = 2**0.5
"""Height of a page by its width."""

T = TypeVar("T")


class TransformersEngine:
    """An engine over a loaded model.

    Args:
        model: a causal or image-text-to-text model of transformers, in eval mode.
        processor: its tokenizer, or its processor if it sees.
        name: how the model is called in results.
        max_pixels: pixel budget of a page image, at least 784.
        batch_tokens: most prompt tokens in one forward pass; None chooses by device and free memory.
        keep_bytes: memory for features of pages, and as much for states of shared openings; 0 keeps nothing; None is 512 MB
            or a tenth of the free memory, whichever is less.
        identity: of the checkpoint; needed to keep features on disk.
        store: keeps features of pages on disk, too.
        caches: False reads every page and every prompt anew, as a model must be read that keeps no plain keys and values.
    """

    name = "transformers"

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        name: str,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        batch_tokens: int | None = None,
        keep_bytes: int | None = None,
        identity: str | None = None,
        store: Cache | None = None,
        caches: bool = True,
    ) -> None:
        self.model = name
        self.device: torch.device = model.device
        self.dtype = dtype_name(model.dtype)
        self.max_pixels = check_pixels(max_pixels)
        self.batch_tokens = batch_tokens
        self._model = model
        self._processor = processor
        self._prompts = prompts = LocalPrompts(processor, model.config, _ends(model))
        self._tokenizer = prompts.tokenizer
        if not prompts.end_ids:
            raise ConfigError("the tokenizer names no end-of-text token: replies could not end")
        self._eos = list(prompts.end_ids)
        self._pad = self._tokenizer.pad_token_id if self._tokenizer.pad_token_id is not None else self._eos[0]
        model.generation_config = import_transformers().GenerationConfig(eos_token_id=self._eos, pad_token_id=self._pad)
        self.capabilities = Capabilities(
            score_choices=True,
            score_text=True,
            prefill=True,
            images=prompts.images,
            context_tokens=prompts.context_tokens,
            constrain=True,
        )
        self.reserved = prompts.reserved
        self._lock = threading.RLock()  # the model, its output layer and the kept states are one caller's at a time
        self._scores_alone = self.device.type == "cpu"
        self._spelling: AnswerTokens | None = None
        self._token_bytes = token_bytes(model)
        free = free_memory(self.device)
        if keep_bytes is None:
            keep_bytes = KEPT_BYTES if free is None else min(KEPT_BYTES, int(free * KEPT_SHARE))
        self._reader: ModelRunner = PlainRunner(model, processor, pad=self._pad, max_pixels=max_pixels)
        if caches and supported(model) and (not self.capabilities.images or _seen_page_by_page(model, processor)):
            self._reader = self._cached_reader(keep_bytes, identity, store)
            self.capabilities = replace(self.capabilities, keep=self.capabilities.images)
        elif not self._reader.ragged:
            warnings.warn(
                f"{name} is of the kind {model.config.model_type!r}, which is not tested with unequal prompts in one batch: "
                "its prompts are read one at a time, which is slower and as exact",
                MMR5Warning,
                stacklevel=2,
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
        keep_bytes: int | None = None,
        store: Cache | None = None,
        caches: bool = True,
        quantize: str = "none",
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
            keep_bytes: memory for features of pages, and as much for states of shared openings.
            store: keeps features of pages on disk, too.
            caches: False reads every page and every prompt anew, as a model must be read that keeps no plain keys and values.
            quantize: ``none``, ``8bit`` or ``4bit``, on a GPU.

        Raises:
            ModelNotFoundError: there is no such checkpoint.
            MissingExtraError: the extra ``local`` is not installed.
        """
        place = pick_device(device)
        model, processor = load_model(
            path, device=place, dtype=pick_dtype(dtype, place), attention=attention, adapter=adapter, quantize=quantize
        )
        identity = None if store is None else digest(checkpoint_identity(path), checkpoint_identity(adapter) if adapter else "")
        return cls(
            model, processor, name=name or path, max_pixels=max_pixels, batch_tokens=batch_tokens, keep_bytes=keep_bytes,
            identity=identity, store=store, caches=caches,
        )  # fmt: skip

    def _cached_reader(self, keep_bytes: int, identity: str | None, store: Cache | None) -> CachedRunner:
        pages = None
        if self.capabilities.images:
            tower = Tower(self._model, self._processor.image_processor, self.max_pixels)
            pages = PageFeatures(
                tower, max_bytes=keep_bytes, identity=digest(identity or "", tower.settings), store=store if identity else None
            )
        return CachedRunner(
            Decoder(self._model),
            self._tokenizer,
            image_token=self._model.config.image_token_id if pages is not None else None,
            pages=pages,
            prefix_bytes=keep_bytes,
            head=Head(self._model),
        )

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone, without special tokens."""
        return self._prompts.count_tokens(text)

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None = None) -> list[Reply]:
        """One reply a request, in order; ``on_text`` hears each token as it is written."""
        streamer = None if on_text is None else Streamer(on_text, len(requests))
        names = self._draw_names(requests) if sampling.temperature else [""] * len(requests)

        def run(prompts: Sequence[Prompt], places: Sequence[int]) -> list[Reply]:
            detokenizers = [
                Detokenizer(self._tokenizer, self._eos, sampling, None if streamer is None else streamer.at(i)) for i in places
            ]
            draws = [random.Random(f"{sampling.seed}/{names[i]}") for i in places]  # noqa: S311 - sampling, not a secret
            guards = [self._guard(requests[i]) for i in places] if any(requests[i].answer_ids for i in places) else None
            return generation.generate(self._reader, prompts, detokenizers, sampling, draws, guards)

        opened = [written_for(self.render(r), r) for r in requests]
        for i, text in enumerate(opened):
            if text and on_text is not None:
                on_text(i, text)
        replies = self._in_batches(requests, [()] * len(requests), sampling.max_new_tokens, run)
        return [replace(reply, text=text + reply.text) for text, reply in zip(opened, replies, strict=True)]

    def score_choices(self, requests: Sequence[Request], choices: Sequence[Sequence[str]]) -> list[ChoiceScores]:
        """Exact constrained-decoding log-probabilities.

        At every place where the choices part, the softmax runs over the tokens that lead to a choice; a choice's
        log-probability is the sum along its path. The requests share one prefill each and one step per shared opening.
        """
        paths = [token_paths(self._prompts.encode, r.prefill, c) for r, c in zip(requests, choices, strict=True)]
        longest = max((len(p) for given in paths for p in given), default=1)

        def run(prompts: Sequence[Prompt], places: Sequence[int]) -> list[ChoiceScores]:
            measured = [self._measured(p.request) for p in prompts]
            spans, words = [span for span, _ in measured], [ids for _, ids in measured]
            return generation.score_choices(self._reader, prompts, [paths[i] for i in places], spans, words)

        return self._in_batches(requests, [()] * len(requests), longest, run, alone=self._scores_alone)

    def score_text(self, requests: Sequence[Request], texts: Sequence[str]) -> list[TextScore]:
        """Mean log-probability of each text as what the assistant says next."""
        ids = self._prompts.encode_scored(texts)
        longest = max((len(t) for t in ids), default=0)
        return self._in_batches(
            requests, ids, longest, lambda prompts, _: generation.score_text(self._reader, prompts), alone=self._scores_alone
        )

    # --- training -------------------------------------------------------------------------------------------------

    @property
    def weights(self) -> Any:
        """The model itself, for training (:mod:`mmr5.training.order_models`)."""
        return self._model

    @property
    def processor(self) -> Any:
        """Its tokenizer, or its processor if it sees."""
        return self._processor

    def prompt_ids(self, request: Request) -> list[int]:
        """Token ids of a prompt without pictures, prefill included, as they are read."""
        return self._prompts.ids(request)

    def choice_paths(self, prefill: str, choices: Sequence[str]) -> list[tuple[int, ...]]:
        """Tokens of each choice as they follow the prefill (:func:`mmr5.engines.runtime.choices.token_paths`)."""
        return token_paths(self._prompts.encode, prefill, choices)

    # --- prompts --------------------------------------------------------------------------------------------------

    def render(self, request: Request) -> str:
        """The prompt as one string, in the checkpoint's own chat template, prefill included."""
        return self._prompts.render(request)

    def _draw_names(self, requests: Sequence[Request]) -> list[str]:
        """What each request's random numbers go by: the prompt and its pictures, and which of its repetitions it is."""
        seen: Counter[str] = Counter()
        names = []
        for request in requests:
            name = digest(self.render(request), *(source.key for source in pictures(request)))
            names.append(f"{name}/{seen[name]}")
            seen[name] += 1
        return names

    def _guard(self, request: Request) -> Guard | None:
        """What watches over the reply to a request whose answer is constrained."""
        if not request.answer_ids:
            return None
        if self._spelling is None:
            self._spelling = AnswerTokens(self._tokenizer)
        return Guard(self._spelling, request.answer_ids, request.prefill)

    # --- batches --------------------------------------------------------------------------------------------------

    def _in_batches(
        self,
        requests: Sequence[Request],
        tails: Sequence[Sequence[int]],
        new_tokens: int,
        run: Callable[[Sequence[Prompt], Sequence[int]], list[T]],
        *,
        alone: bool = False,
    ) -> list[T]:
        """Run ``run(prompts, places)`` over batches of similar length, or over each alone, and put the results back in order."""
        torch = import_torch()
        check_requests(self, requests)
        with self._lock:
            return self._run_batches(requests, tails, new_tokens, run, torch, alone=alone)

    def _run_batches(
        self,
        requests: Sequence[Request],
        tails: Sequence[Sequence[int]],
        new_tokens: int,
        run: Callable[[Sequence[Prompt], Sequence[int]], list[T]],
        torch: Any,
        *,
        alone: bool,
    ) -> list[T]:
        rendered = [self.render(r) for r in requests]
        lengths = [self.count_tokens(t) + self._visual_tokens(r) for t, r in zip(rendered, requests, strict=True)]
        pixels = [len(pictures(r)) * self.max_pixels for r in requests]
        found: dict[int, T] = {}

        def part(rows: list[int]) -> list[T]:
            with torch.inference_mode():
                prompts = [self._reader.encode(rendered[i], requests[i], tails[i]) for i in rows]
                longest = max(len(p.ids) - len(p.tail) for p in prompts)
                check_context(self.model, self.capabilities.context_tokens, longest, new_tokens)
                return run(prompts, rows)

        together = batches(lengths, pixels, new_tokens, self._limit()) if requests else []
        if alone or not self._reader.ragged:
            together = [[i] for rows in together for i in rows]
        for rows in together:
            try:
                for places, results in halving(rows, part, self._free):
                    found.update(zip(places, results, strict=True))
            except MemoryError as error:
                raise EngineError(
                    f"one prompt alone does not fit in the memory of {self.device}: lower max_pixels ({self.max_pixels}), "
                    "the text budget or the number of candidates"
                ) from error
        return [found[i] for i in range(len(requests))]

    def _limit(self) -> Budget:
        """What a batch may hold, by the memory that is free now."""
        limit = budget(self.device.type, free_memory(self.device), self._token_bytes)
        return limit if self.batch_tokens is None else Budget(self.batch_tokens, limit.pixels)

    def _free(self) -> None:
        """Give memory back after a batch that did not fit."""
        if isinstance(self._reader, CachedRunner):
            self._reader.prefixes.clear()
        if self.device.type == "cuda":
            import_torch().cuda.empty_cache()

    def _visual_tokens(self, request: Request) -> int:
        """About how many visual tokens a request has, for batching: those of pages of A4 at the pixel budget."""
        n = len(pictures_for(self.model, request, images=self.capabilities.images))
        if not n:
            return 0
        processor = self._processor.image_processor
        if hasattr(processor, "merge_size"):
            unit = processor.patch_size * processor.merge_size
            return n * kept_count(request.keep, max(1, self.max_pixels // (unit * unit)))
        counted = getattr(self._processor, "_get_num_multimodal_tokens", None)
        width = max(1, int((self.max_pixels / A4) ** 0.5))
        return n * int(counted(image_sizes=[(int(width * A4), width)]).num_image_tokens[0]) if counted else 0

    def _measured(self, request: Request) -> tuple[generation.Span, list[int]]:
        """Where a request's measured words stand, and their tokens."""
        if not (places := self._prompts.measured(request)):
            return (0, 0, 0), []
        ids = self._prompts.ids(request)
        return (places.start, places.stop, len(ids)), ids[places.start : places.stop]


def _seen_page_by_page(model: Any, processor: Any) -> bool:
    """Whether pages can go through the vision tower one by one, ahead of the prompt: Qwen2-VL and Qwen2.5-VL."""
    known = model.config.model_type in ("qwen2_vl", "qwen2_5_vl")
    return known and type(processor.image_processor).__name__.startswith("Qwen2VLImageProcessor")


def _ends(model: Any) -> int | list[int] | None:
    """Ids that end a turn by the checkpoint's generation config."""
    return getattr(getattr(model, "generation_config", None), "eos_token_id", None)
