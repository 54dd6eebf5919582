"""vLLM in this process: continuous batching on a GPU, without a server between.

A thin layer over ``vllm.LLM.generate``: prompts are rendered here (:mod:`mmr5.engines.chat_template`) and go in as token ids
with the pictures, so that the model reads what the engine ``transformers`` would give it; what vLLM read is compared with that.
Written against the signatures of vLLM 0.32 and 0.33, which ``tests/engines/vllm_signatures.json`` pins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmr5.engines.chat_template import LocalPrompts, check_context, check_pixels, pictures_for
from mmr5.engines.protocol import Capabilities, ChoiceScores, OnText, Reply, Request, Sampling, TextScore, check_requests
from mmr5.engines.runtime.choices import crossings, path_logprobs, token_paths
from mmr5.errors import ConfigError, EngineError, missing_extra
from mmr5.pages.images import DEFAULT_MAX_PIXELS
from mmr5.types import Usage

MOST_TOKENS_WEIGHED = 128
"""vLLM's bound on ``SamplingParams.logprob_token_ids``."""


class VLLMEngine:
    """An engine over ``vllm.LLM``.

    Args:
        llm: a ``vllm.LLM``.
        prompts: the checkpoint's tokenizer and chat template.
        name: how the model is called in results.
        max_pixels: pixel budget of a page image, at least 784.
    """

    name = "vllm"

    def __init__(self, llm: Any, prompts: LocalPrompts, *, name: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> None:
        self.model = name
        self.reserved = prompts.reserved
        self._llm, self._prompts, self._max_pixels = llm, prompts, check_pixels(max_pixels)
        self.capabilities = Capabilities(
            score_choices=True,
            score_text=True,
            prefill=True,
            images=prompts.images,
            context_tokens=int(llm.model_config.max_model_len),
        )

    @classmethod
    def from_pretrained(
        cls, path: str, *, name: str | None = None, dtype: str = "auto", max_pixels: int = DEFAULT_MAX_PIXELS, **options: Any
    ) -> VLLMEngine:
        """Load a checkpoint from a folder or the hub.

        Args:
            path: a folder or a name on the hub.
            name: how the model is called in results; the path by default.
            dtype: ``auto``, ``float32``, ``bfloat16``, ``float16``.
            max_pixels: pixel budget of a page image.
            options: further arguments of ``vllm.LLM``, e.g. ``max_model_len``, ``gpu_memory_utilization``, ``quantization``.

        Raises:
            MissingExtraError: vLLM is not installed.
            ModelNotFoundError: there is no such checkpoint.
            EngineError: vLLM cannot load it.
        """
        vllm = import_vllm()
        prompts = LocalPrompts.from_pretrained(path)
        try:
            llm = vllm.LLM(model=path, **{"dtype": dtype, "generation_config": "vllm", "seed": 0, **options})
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"vLLM cannot load {path!r}: {error}") from error
        return cls(llm, prompts, name=name or path, max_pixels=max_pixels)

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone, without special tokens."""
        return self._prompts.count_tokens(text)

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None = None) -> list[Reply]:
        """One reply a request, in order; ``on_text`` is called once a reply."""
        check_requests(self, requests)
        settings = self._settings(
            max_tokens=sampling.max_new_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            stop=list(sampling.stop),
            stop_token_ids=list(self._prompts.end_ids),
            include_stop_str_in_output=True,
        )
        outputs = self._run([self._prompt(r, sampling.max_new_tokens) for r in requests], [settings] * len(requests))
        replies = [self._prompts.reply(list(o.outputs[0].token_ids), len(o.prompt_token_ids), sampling) for o in outputs]
        replies = [self._prompts.restored(reply, request) for reply, request in zip(replies, requests, strict=True)]
        for position, reply in enumerate(replies):
            if on_text is not None and reply.text:
                on_text(position, reply.text)
        return replies

    def score_choices(self, requests: Sequence[Request], choices: Sequence[Sequence[str]]) -> list[ChoiceScores]:
        """Exact constrained-decoding log-probabilities: one step of one token at every place where the choices part."""
        check_requests(self, requests)
        paths = [token_paths(self._prompts.encode, r.prefill, c) for r, c in zip(requests, choices, strict=True)]
        jobs = [(i, opening, tokens) for i, given in enumerate(paths) for opening, tokens in crossings(given).items()]
        most = max((len(tokens) for _, _, tokens in jobs), default=0)
        if most > MOST_TOKENS_WEIGHED:
            raise ConfigError(
                f"{most} tokens are to be weighed at once, and vLLM weighs {MOST_TOKENS_WEIGHED}: use a smaller window"
            )
        spans = [self._prompts.measured(r) for r in requests]
        settings = []
        for n, (i, _, tokens) in enumerate(jobs):
            first = n == 0 or jobs[n - 1][0] != i
            also = {"prompt_logprobs": 0} if first and spans[i] else {}
            settings.append(self._settings(max_tokens=1, temperature=0.0, logprob_token_ids=tokens, **also))
        outputs = self._run([self._prompt(requests[i], 1, opening) for i, opening, _ in jobs], settings)
        weighed: list[dict[tuple[int, ...], dict[int, float]]] = [{} for _ in requests]
        read = [0] * len(requests)
        words: list[TextScore | None] = [None] * len(requests)
        for (i, opening, tokens), output in zip(jobs, outputs, strict=True):
            found = output.outputs[0].logprobs[0]
            weighed[i][opening] = {t: float(found[t].logprob) for t in tokens}
            if not read[i]:
                read[i] = len(output.prompt_token_ids) - len(opening)
                words[i] = _likelihood(output, spans[i])
        rows = zip(paths, weighed, read, words, strict=True)
        return [ChoiceScores(path_logprobs(p, known), Usage(n, 1), score) for p, known, n, score in rows]

    def score_text(self, requests: Sequence[Request], texts: Sequence[str]) -> list[TextScore]:
        """Mean log-probability of each text as what the assistant says next."""
        ids = self._prompts.encode_scored(texts)
        settings = self._settings(max_tokens=1, temperature=0.0, prompt_logprobs=0)
        outputs = self._run([self._prompt(r, 1, t) for r, t in zip(requests, ids, strict=True)], [settings] * len(requests))
        found = []
        for tokens, output in zip(ids, outputs, strict=True):
            end = len(output.prompt_token_ids)
            score = _likelihood(output, range(end - len(tokens), end))
            found.append(TextScore(0.0 if score is None else score.mean_logprob, len(tokens), Usage(end, 0)))
        return found

    def _settings(self, **values: Any) -> Any:
        return import_vllm().SamplingParams(**values)

    def _prompt(self, request: Request, new_tokens: int, further: Sequence[int] = ()) -> dict[str, Any]:
        """A prompt as vLLM takes it, and under ``"meant"`` the ids that the model should read."""
        sources = pictures_for(self.model, request, images=self._prompts.images)
        ids = [*self._prompts.ids(request), *further]
        loaded = [source.load(self._max_pixels) for source in sources]
        meant = self._prompts.expanded(ids, [image.size for image in loaded])
        check_context(self.model, self.capabilities.context_tokens, len(meant), new_tokens)
        prompt: dict[str, Any] = {"prompt_token_ids": ids}
        if loaded:
            prompt["multi_modal_data"] = {"image": loaded}
        return {**prompt, "meant": meant}

    def _run(self, prompts: list[dict[str, Any]], settings: list[Any]) -> list[Any]:
        if not prompts:
            return []
        meant = [prompt.pop("meant") for prompt in prompts]
        try:
            outputs = self._llm.generate(prompts, settings, use_tqdm=False)
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"vLLM failed: {error}") from error
        for ids, output in zip(meant, outputs, strict=True):
            if list(output.prompt_token_ids) != ids:
                raise EngineError(
                    f"vLLM read {len(output.prompt_token_ids)} tokens where {len(ids)} were meant: its image processor sizes "
                    "pictures in another way than the checkpoint's own; set mm_processor_kwargs"
                )
        return list(outputs)


def _likelihood(output: Any, places: range) -> TextScore | None:
    """How likely the prompt's tokens at the given places were, or None where there are none."""
    if not places:
        return None
    total = sum(float(output.prompt_logprobs[i][output.prompt_token_ids[i]].logprob) for i in places)
    return TextScore(total / len(places), len(places), Usage(len(output.prompt_token_ids), 0))


def import_vllm() -> Any:
    """The ``vllm`` module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import vllm
    except ImportError as error:
        raise missing_extra("vllm", "vllm", "run a model with vLLM in this process") from error
    return vllm
