"""Any OpenAI-compatible server: vLLM, SGLang, llama.cpp, or a hosted model.

Requests go out concurrently, each try with a time-out, and each request with a bounded number of tries: time-outs, lost
connections and the statuses that pass (408, 409, 425, 429, 5xx) are tried again after an exponential back-off with jitter, or
after the server's Retry-After (within bounds); any other refusal is final. All requests are finished before an error is raised,
and no reply is lost: see :meth:`OpenAIEngine.generate_each`. An interrupt (Ctrl-C) drops what is under way at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx

from mmr5.engines.base import Capabilities, ChoiceScores, OnText, Reply, Request, Sampling, TextScore, require
from mmr5.engines.wire import LONGEST_WAIT_SECONDS, Pictures, read_reply, retry_after, server_message, wire_message
from mmr5.errors import ConfigError, ContextLengthError, EngineError, MMR5Error

PASSING = frozenset({408, 409, 425, 429})
"""Statuses below 500 after which another try may help; every 5xx is one too."""
BACKOFF_SECONDS = 0.5
CHARACTERS_PER_TOKEN = 3.5
DEFAULT_MAX_PIXELS = 1_003_520

RESERVED = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
    "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<end_of_turn>",
    "<start_of_image>", "<end_of_image>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]",
)  # fmt: skip
"""Special tokens of the families that are usually served; which one is served is not known here."""

_VERSIONED = re.compile(r"/v\d\w*(/|$)")
T = TypeVar("T")


class OpenAIEngine:
    """An engine behind HTTP.

    Args:
        model: the served model's name.
        base_url: the server's address; ``/v1`` is added unless its path names a version already.
        api_key: sent as a bearer token; by default ``MMR5_API_KEY``, else ``OPENAI_API_KEY``, else none. It appears in no
            message, not even where the server repeats it.
        concurrency: requests under way at once, at least 1.
        timeout_s: seconds for one try of one request, as a whole.
        retries: further tries of one request, at least 0.
        max_pixels: pixel budget of a page image.
        prefill: whether the server goes on from an opening of the assistant's turn (vLLM's ``continue_final_message``).
        context_tokens: the served model's context, where known.

    Raises:
        ConfigError: an address or number that cannot be.
    """

    name = "openai"
    reserved: tuple[str, ...] = RESERVED

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
    ) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigError(f"base_url is {base_url!r}: give an address such as http://localhost:8000/v1")
        if concurrency < 1 or retries < 0 or timeout_s <= 0 or max_pixels < 1:
            raise ConfigError(
                f"concurrency {concurrency}, retries {retries}, timeout_s {timeout_s}, max_pixels {max_pixels}: "
                "need at least 1, at least 0, more than 0 and at least 1"
            )
        root = httpx.URL(base_url.rstrip("/"))
        path = root.path.rstrip("/") + ("" if _VERSIONED.search(root.path) else "/v1") + "/chat/completions"
        self.model = model
        self.capabilities = Capabilities(images=True, prefill=prefill, context_tokens=context_tokens)
        self._url = root.copy_with(path=path)
        self.url = str(self._url.copy_with(username=None, password=None))
        self._key = api_key or os.environ.get("MMR5_API_KEY") or os.environ.get("OPENAI_API_KEY")
        self._concurrency, self._timeout, self._retries = concurrency, timeout_s, retries
        self._pictures = Pictures(max_pixels)

    def count_tokens(self, text: str) -> int:
        """An estimate: the server's tokenizer is out of reach; 3.5 characters count as one token."""
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
        return _run(lambda: self._all(requests, sampling)) if requests else []

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

    async def _all(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply | MMR5Error]:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=self._concurrency, max_keepalive_connections=self._concurrency)
        gate = asyncio.Semaphore(self._concurrency)

        async with httpx.AsyncClient(timeout=self._timeout, headers=headers, limits=limits) as client:

            async def one(request: Request) -> Reply | MMR5Error:
                async with gate:
                    try:
                        body = await asyncio.to_thread(self._body, request, sampling)
                    except MMR5Error as error:
                        return error
                    return await self._ask(client, body, request, sampling)

            return list(await asyncio.gather(*(one(r) for r in requests)))

    def _body(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        messages = [wire_message(m, self._pictures) for m in request.messages]
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if request.prefill:
            messages.append({"role": "assistant", "content": request.prefill})
            body.update(continue_final_message=True, add_generation_prompt=False)
        return body

    async def _ask(
        self, client: httpx.AsyncClient, body: dict[str, Any], request: Request, sampling: Sampling
    ) -> Reply | MMR5Error:
        """Try one request until it succeeds, fails for good, or the tries are spent."""
        tries = self._retries + 1
        failure = EngineError("no try was made")
        for number in range(1, tries + 1):
            wait = min(LONGEST_WAIT_SECONDS, BACKOFF_SECONDS * 2 ** (number - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            try:
                async with asyncio.timeout(self._timeout):
                    response = await client.post(self._url, json=body)
            except (TimeoutError, httpx.TimeoutException):
                failure = EngineError(
                    f"{self.url} gave no answer within {self._timeout:g} s ({_tries(number)}): raise timeout_s or lower the load",
                    retryable=True,
                )
            except httpx.HTTPError as error:
                failure = EngineError(
                    f"{self.url} cannot be reached ({_tries(number)}): {error or type(error).__name__}. "
                    "Is the server running there?",
                    retryable=True,
                )
            else:
                if response.status_code == httpx.codes.OK:
                    return read_reply(response, request, sampling, self.url)
                failed = self._refused(response, number)
                if not isinstance(failed, EngineError) or not failed.retryable:
                    return failed
                failure, wait = failed, retry_after(response, wait)
            if number < tries:
                await asyncio.sleep(wait)
        return failure

    def _refused(self, response: httpx.Response, number: int) -> EngineError | ContextLengthError:
        said = server_message(response)
        if self._key:
            said = said.replace(self._key, "***")
        status = response.status_code
        if status == httpx.codes.BAD_REQUEST and "context" in said.lower():
            return ContextLengthError(f"{self.url} refused the prompt as too long: {said}. Use fewer candidates or smaller pages")
        way_out = {
            401: "set MMR5_API_KEY or OPENAI_API_KEY to a key that this server knows",
            403: "this key may not use this model",
            404: f"is {self.model!r} the name of the served model, and the address right?",
            413: "the pages are too large: lower max_pixels or the number of candidates",
            429: "the server is busy: lower the concurrency",
        }.get(status, "see the server's log")
        passing = status in PASSING or status >= httpx.codes.INTERNAL_SERVER_ERROR
        return EngineError(f"{self.url} answered {status} ({_tries(number)}): {said} — {way_out}", retryable=passing)


def _run(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run to the end in a thread with an event loop of its own (the caller may be inside one); an interrupt cancels the work."""
    result: Future[T] = Future()
    running: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = []

    async def main() -> T:
        task = asyncio.current_task()
        if task is not None:
            running.append((asyncio.get_running_loop(), task))
        return await work()

    def target() -> None:
        try:
            result.set_result(asyncio.run(main()))
        except BaseException as error:  # handed to the thread that waits
            result.set_exception(error)

    thread = threading.Thread(target=target, name="mmr5-openai", daemon=True)
    thread.start()
    try:
        return result.result()
    finally:
        if not result.done():
            for loop, task in running:
                loop.call_soon_threadsafe(task.cancel)
            thread.join(2)


def _tries(number: int) -> str:
    return "first try" if number == 1 else f"try {number}"
