"""Any OpenAI-compatible server: vLLM, SGLang, llama.cpp, or a hosted model.

Requests go out concurrently over one HTTP client that all calls of an engine share, each try with a time-out, and each request
with a bounded number of tries: time-outs, lost connections and the statuses that pass (408, 409, 425, 429, 5xx) are tried again
after an exponential back-off with jitter, or after the server's Retry-After (within bounds); any other refusal is final. All
requests are finished before an error is raised, and no reply is lost: see :meth:`OpenAIEngine.generate_each`. An interrupt
(Ctrl-C) drops what is under way at once. What the served model reads: :mod:`mmr5.engines.openai.prompt_transport`.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

import httpx

from mmr5.engines.chat_template import LocalPrompts
from mmr5.engines.openai.client import HttpClient
from mmr5.engines.openai.prompt_transport import Call, PromptTransport
from mmr5.engines.openai.wire import LONGEST_WAIT_SECONDS, Pictures, retry_after, server_message
from mmr5.engines.protocol import Capabilities, ChoiceScores, OnText, Reply, Request, Sampling, TextScore, check_requests, require
from mmr5.errors import ConfigError, ContextLengthError, EngineError, MMR5Error
from mmr5.pages.images import DEFAULT_MAX_PIXELS

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which another try may help; every 5xx is one too."""
BACKOFF_SECONDS = 0.5
CHARACTERS_PER_TOKEN = 3.5

RESERVED = (
    "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>", "<end_of_utterance>",
    "<fake_token_around_image>", "<global-img>", *(f"<row_{i}_col_{j}>" for i in range(1, 7) for j in range(1, 7)),
    "<IMG_CONTEXT>", "<img>", "</img>", "<box>", "</box>", "<ref>", "</ref>", "<quad>", "</quad>", "<image>", "<video>",
    "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]",
    "[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[THINK]", "[/THINK]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "<<SYS>>", "<</SYS>>",
    "<s>", "</s>", "<bos>", "<eos>", "<pad>", "<unk>", "<mask>",
)  # fmt: skip
"""Special tokens of the families that are usually served (Gemma, Idefics and SmolVLM, InternVL, LLaVA, Llama 2, Mistral and
Pixtral), where the one that is served is not known; those between bars (``<|im_end|>``, ``<｜User｜>``) are always broken."""

_VERSIONED = re.compile(r"/v\d\w*(/|$)")


class OpenAIEngine:
    """An engine behind HTTP.

    Args:
        model: the served model's name.
        base_url: the server's address; ``/v1`` is added unless its path names a version already.
        api_key: sent as a bearer token; by default ``MMR5_API_KEY``, else ``OPENAI_API_KEY``, else none. It appears in no
            message, not even where the server repeats it.
        concurrency: requests under way at once over all callers of this engine, at least 1.
        timeout_s: seconds for one try of one request, as a whole.
        retries: further tries of one request, at least 0.
        max_pixels: pixel budget of a page image.
        prefill: whether the server goes on from an opening of the assistant's turn (vLLM's ``continue_final_message``).
        context_tokens: the served model's context, where known.
        tokenizer: folder (or name on the hub) of the served checkpoint. With it the model reads exactly the tokens that the
            engine ``transformers`` would give it, prefill included, or the request fails and says where they part
            (:mod:`mmr5.engines.openai.prompt_transport`). It needs the extra ``local``.

    Raises:
        ConfigError: an address or number that cannot be.
        ModelNotFoundError: there is no tokenizer.
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        api_key: str | None = None,
        concurrency: int = 8,
        timeout_s: float = 120.0,
        retries: int = 4,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        prefill: bool = False,
        context_tokens: int | None = None,
        tokenizer: str | Path | None = None,
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url is {base_url!r}: give an address such as http://localhost:8000/v1")
        if concurrency < 1 or retries < 0 or timeout_s <= 0 or max_pixels < 1:
            raise ConfigError(
                f"concurrency {concurrency}, retries {retries}, timeout_s {timeout_s}, max_pixels {max_pixels}: "
                "need at least 1, at least 0, more than 0 and at least 1"
            )
        root = httpx.URL(base_url.rstrip("/"))
        self._root = root.copy_with(path=root.path.rstrip("/") + ("" if _VERSIONED.search(root.path) else "/v1"))
        self.model = model
        self.url = self._shown("chat/completions")
        self._key = api_key or os.environ.get("MMR5_API_KEY") or os.environ.get("OPENAI_API_KEY")
        self._timeout, self._retries = timeout_s, retries
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = HttpClient(concurrency=concurrency, timeout_s=timeout_s, headers=headers)
        self._prompts = LocalPrompts.from_pretrained(tokenizer) if tokenizer is not None else None
        self._handover = PromptTransport(model, Pictures(max_pixels), self._prompts)
        self.reserved: tuple[str, ...] = RESERVED if self._prompts is None else self._prompts.reserved
        known = self._prompts.context_tokens if self._prompts is not None else None
        self.capabilities = Capabilities(
            images=self._prompts is None or self._prompts.images,
            prefill=prefill or self._prompts is not None,
            remote=True,
            context_tokens=context_tokens or known,
        )

    def close(self) -> None:
        """Close the connections; the next call opens them again."""
        self._client.close()

    def count_tokens(self, text: str) -> int:
        """Tokens of ``text`` alone; without a tokenizer an estimate: 3.5 characters count as one token."""
        if self._prompts is not None:
            return self._prompts.count_tokens(text)
        return round(len(text) / CHARACTERS_PER_TOKEN + 0.5)

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None = None) -> list[Reply]:
        """One reply a request, in order; ``on_text`` is called once a reply.

        Raises:
            EngineError: a request failed for good; all others were finished first.
            ContextLengthError: a prompt is too long for the served model.
            PageError: a page's picture cannot be decoded.
        """
        found = self.generate_each(requests, sampling)
        for position, reply in enumerate(found):
            if on_text is not None and isinstance(reply, Reply) and reply.text:
                on_text(position, reply.text)
        failures = [f for f in found if isinstance(f, MMR5Error)]
        if failures:
            first = failures[0]
            if len(failures) == 1 or not isinstance(first, EngineError):
                raise first
            raise EngineError(
                f"{len(failures)} of {len(requests)} requests failed; the first: {first}",
                retryable=any(isinstance(f, EngineError) and f.retryable for f in failures),
            )
        return [f for f in found if isinstance(f, Reply)]

    def generate_each(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply | MMR5Error]:
        """One reply or one error a request, in order; a request that fails takes no other with it."""
        if any(r.prefill for r in requests):
            require(self, "prefill", "a request with an opening of the assistant's turn")
        check_requests(self, requests)
        if not requests:
            return []

        async def work(client: httpx.AsyncClient, gate: asyncio.Semaphore) -> list[Reply | MMR5Error]:
            return list(await asyncio.gather(*(self._one(client, gate, r, sampling) for r in requests)))

        return self._client.run(work)

    def score_choices(self, requests: Sequence[Request], choices: Sequence[Sequence[str]]) -> list[ChoiceScores]:
        """Not to be had over this protocol."""
        del requests, choices
        require(self, "score_choices", "scoring choices")
        return []

    def score_text(self, requests: Sequence[Request], texts: Sequence[str]) -> list[TextScore]:
        """Not to be had over this protocol."""
        del requests, texts
        require(self, "score_text", "scoring a text")
        return []

    async def _one(
        self, client: httpx.AsyncClient, gate: asyncio.Semaphore, request: Request, sampling: Sampling
    ) -> Reply | MMR5Error:
        """One request, made anew when its refusal teaches what the server takes."""
        async with gate:
            while True:
                try:
                    call = await asyncio.to_thread(self._handover.call, request, sampling)
                except MMR5Error as error:
                    return error
                found = await self._ask(client, call, request, sampling)
                if found is not None:
                    return found

    async def _ask(self, client: httpx.AsyncClient, call: Call, request: Request, sampling: Sampling) -> Reply | MMR5Error | None:
        """Try one call until it succeeds, fails for good, or the tries are spent; None when it should be made anew."""
        tries = self._retries + 1
        failure = EngineError("no try was made")
        url = self._root.copy_with(path=f"{self._root.path}/{call.route}")
        shown = self._shown(call.route)
        for number in range(1, tries + 1):
            wait = min(LONGEST_WAIT_SECONDS, BACKOFF_SECONDS * 2 ** (number - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            try:
                async with asyncio.timeout(self._timeout):
                    response = await client.post(url, json=call.body)
            except (TimeoutError, httpx.TimeoutException):
                failure = EngineError(
                    f"{shown} gave no answer within {self._timeout:g} s ({_tries(number)}): raise timeout_s or lower the load",
                    retryable=True,
                )
            except httpx.HTTPError as error:
                failure = EngineError(
                    f"{shown} cannot be reached ({_tries(number)}): {error or type(error).__name__}. "
                    "Is the server running there?",
                    retryable=True,
                )
            else:
                if response.status_code == httpx.codes.OK:
                    found = self._handover.read(call, response, request, sampling, shown)
                    if not isinstance(found, EngineError) or not found.retryable:
                        return found
                    failure = found
                    if number < tries:
                        await asyncio.sleep(wait)
                    continue
                if self._handover.adapt(call, response.status_code, server_message(response)):
                    return None
                failed = self._refused(response, number, shown)
                if not isinstance(failed, EngineError) or not failed.retryable:
                    return failed
                failure, wait = failed, retry_after(response, wait)
            if number < tries:
                await asyncio.sleep(wait)
        return failure

    def _shown(self, route: str) -> str:
        """An address without its password."""
        return str(self._root.copy_with(path=f"{self._root.path}/{route}", username=None, password=None))

    def _refused(self, response: httpx.Response, number: int, url: str) -> EngineError | ContextLengthError:
        said = server_message(response)
        if self._key:
            said = said.replace(self._key, "***")
        status = response.status_code
        if status == httpx.codes.BAD_REQUEST and "context" in said.lower():
            return ContextLengthError(f"{url} refused the prompt as too long: {said}. Use fewer candidates or smaller pages")
        way_out = {
            401: "set MMR5_API_KEY or OPENAI_API_KEY to a key that this server knows",
            403: "this key may not use this model",
            404: f"is {self.model!r} the name of the served model, and the address right?",
            413: "the pages are too large: lower max_pixels or the number of candidates",
            429: "the server is busy: lower the concurrency",
        }.get(status, "see the server's log")
        passing = status in PASSING or status >= httpx.codes.INTERNAL_SERVER_ERROR
        return EngineError(f"{url} answered {status} ({_tries(number)}): {said} — {way_out}", retryable=passing)


def _tries(number: int) -> str:
    return "first try" if number == 1 else f"try {number}"
