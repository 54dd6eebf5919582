"""Any OpenAI-compatible server: vLLM, SGLang, llama.cpp, or a hosted model.

Requests go out concurrently, each with a time-out and a bounded number of retries (exponential back-off with jitter) on
time-outs, lost connections and the statuses that pass (408, 409, 425, 429, 5xx); a server's Retry-After is honoured within
bounds. Every request is finished before an error is raised, and no reply is lost: see :meth:`OpenAIEngine.generate_each`.
"""

from __future__ import annotations

import base64
import io
import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from mmr5.engines.base import Capabilities, ChoiceScores, Message, Reply, Request, Sampling, TextScore, require
from mmr5.errors import ConfigError, ContextLengthError, EngineError
from mmr5.types import ImageSource, Usage

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
BACKOFF_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 30.0
CHARACTERS_PER_TOKEN = 3.5
DEFAULT_MAX_PIXELS = 1_003_520

RESERVED = (
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
    "<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<start_of_turn>", "<end_of_turn>",
    "<start_of_image>", "<end_of_image>", "[INST]", "[/INST]", "[IMG]", "[IMG_BREAK]", "[IMG_END]",
)  # fmt: skip
"""Special tokens of the families that are usually served; which one is served is not known here."""


class OpenAIEngine:
    """An engine behind HTTP.

    Args:
        model: the served model's name.
        base_url: the server's address, with or without ``/v1``.
        api_key: sent as a bearer token; by default ``MMR5_API_KEY``, else ``OPENAI_API_KEY``, else none.
        concurrency: requests under way at once, at least 1.
        timeout_s: seconds for one try of one request.
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
        if concurrency < 1 or retries < 0 or timeout_s <= 0:
            raise ConfigError(
                f"concurrency {concurrency}, retries {retries}, timeout_s {timeout_s}: need at least 1, 0 and more than 0"
            )
        root = base_url.rstrip("/")
        self.model = model
        self.url = (root if root.endswith("/v1") else f"{root}/v1") + "/chat/completions"
        self.capabilities = Capabilities(images=True, prefill=prefill, context_tokens=context_tokens)
        self._key = api_key or os.environ.get("MMR5_API_KEY") or os.environ.get("OPENAI_API_KEY")
        self._concurrency, self._timeout, self._retries, self._max_pixels = concurrency, timeout_s, retries, max_pixels

    def count_tokens(self, text: str) -> int:
        """An estimate: the server's tokenizer is out of reach; 3.5 characters count as one token."""
        return round(len(text) / CHARACTERS_PER_TOKEN + 0.5)

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply]:
        """One reply a request, in order.

        Raises:
            EngineError: a request failed for good; all others were finished first.
        """
        found = self.generate_each(requests, sampling)
        failures = [f for f in found if not isinstance(f, Reply)]
        if failures:
            if isinstance(failures[0], ContextLengthError):
                raise failures[0]
            first = failures[0]
            said = str(first) if len(failures) == 1 else f"{len(failures)} of {len(requests)} requests failed; the first: {first}"
            raise EngineError(said, retryable=isinstance(first, EngineError) and first.retryable)
        return [f for f in found if isinstance(f, Reply)]

    def generate_each(self, requests: Sequence[Request], sampling: Sampling) -> list[Reply | EngineError | ContextLengthError]:
        """One reply or one error a request, in order; never raises for a request that failed."""
        if any(r.prefill for r in requests):
            require(self, "prefill", "a request with an opening of the assistant's turn")
        bodies = [self._body(r, sampling) for r in requests]
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        limits = httpx.Limits(max_connections=self._concurrency)
        pool = ThreadPoolExecutor(min(self._concurrency, max(1, len(bodies))))
        with httpx.Client(timeout=self._timeout, headers=headers, limits=limits) as client:
            try:
                return list(pool.map(lambda body: self._ask(client, body, sampling), bodies))
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

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

    def _body(self, request: Request, sampling: Sampling) -> dict[str, Any]:
        messages = [_wire(m, self._max_pixels) for m in request.messages]
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

    def _ask(self, client: httpx.Client, body: dict[str, Any], sampling: Sampling) -> Reply | EngineError | ContextLengthError:
        """Try one request until it succeeds, fails for good, or the tries are spent."""
        tries = self._retries + 1
        failure = EngineError("no try was made")
        for number in range(1, tries + 1):
            wait = min(LONGEST_WAIT_SECONDS, BACKOFF_SECONDS * 2 ** (number - 1)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            try:
                response = client.post(self.url, json=body)
            except httpx.TimeoutException:
                failure = EngineError(
                    f"{self.url} gave no answer within {self._timeout:g} s ({_tries(number)}): raise timeout_s or lower the load",
                    retryable=True,
                )
            except httpx.HTTPError as error:
                failure = EngineError(
                    f"{self.url} cannot be reached ({_tries(number)}): {error}. Is the server running there?", retryable=True
                )
            else:
                if response.status_code == httpx.codes.OK:
                    return _read(response, sampling, self.url)
                failed = self._refused(response, number)
                if not isinstance(failed, EngineError) or not failed.retryable:
                    return failed
                failure, wait = failed, _retry_after(response, wait)
            if number < tries:
                time.sleep(wait)
        return failure

    def _refused(self, response: httpx.Response, number: int) -> EngineError | ContextLengthError:
        said = _server_message(response)
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
        return EngineError(f"{self.url} answered {status} ({_tries(number)}): {said} — {way_out}", retryable=status in PASSING)


def _wire(message: Message, max_pixels: int) -> dict[str, Any]:
    """A message as the protocol writes it; pictures become PNG data URIs, in place."""
    parts = [
        _picture(p["image"], max_pixels) if p["type"] == "image" else {"type": "text", "text": p["text"]}
        for p in message["content"]
    ]
    if all(p["type"] == "text" for p in parts):
        return {"role": message["role"], "content": "".join(p["text"] for p in parts)}
    return {"role": message["role"], "content": parts}


def _picture(image: ImageSource, max_pixels: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    image.load(max_pixels).save(buffer, "PNG")
    return {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")},
    }


def _read(response: httpx.Response, sampling: Sampling, url: str) -> Reply | EngineError:
    """A reply from a 200; reasoning that the server split off is put back, and so is the stop string that it dropped."""
    try:
        found = response.json()
        choice = found["choices"][0]
        message = choice["message"]
        text = message.get("content") or ""
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        usage = found.get("usage") or {}
        spent = Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return EngineError(f"{url} answered 200 with something that is no chat completion ({error!r}): {response.text[:200]!r}")
    if reasoning and "<think>" not in text:
        text = f"<think>\n{reasoning.strip()}\n</think>{text.lstrip()}"
    stopped = choice.get("finish_reason") != "length"
    for stop in sampling.stop:
        if stopped and stop.startswith("</") and stop not in text and text.rfind(f"<{stop[2:]}") >= 0:
            text += stop
    return Reply(text, "stop" if stopped else "length", spent)


def _server_message(response: httpx.Response) -> str:
    """What the server says went wrong, in whatever shape it says it."""
    try:
        found = response.json()
    except ValueError:
        return response.text.strip()[:300] or "(no message)"
    error = found.get("error", found) if isinstance(found, dict) else found
    said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return str(said or found)[:300]


def _retry_after(response: httpx.Response, fallback: float) -> float:
    value = response.headers.get("retry-after", "")
    return min(LONGEST_WAIT_SECONDS, float(value)) if value.replace(".", "", 1).isdigit() else fallback


def _tries(number: int) -> str:
    return "first try" if number == 1 else f"try {number}"
