"""The chat-completions protocol: messages and pictures as it writes them, replies and refusals as servers send them.

Two habits of servers are undone, so that a reply reads as the model wrote it:

- a server drops the stop string that ended a reply. It is put back when the reply ended by itself (``finish_reason`` is not
  ``length``) and the tag that it closes is still open. A model that ends its turn inside ``<answer>`` cannot be told apart from
  one that was stopped there; its answer counts as closed.
- a server with a reasoning parser moves the thinking to ``reasoning_content``. It is put back, inside ``<think>`` tags.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from mmr5.engines.protocol import Reply, Request, Sampling
from mmr5.errors import EngineError
from mmr5.storage.lru import LRU
from mmr5.types import ImageSource, Message, Usage

LONGEST_WAIT_SECONDS = 30.0
KEPT_PICTURES = 48
"""Encoded pictures that are kept for the next question about the same pages (about 1 MB each)."""


class Pictures:
    """Pictures as PNG data URIs (nothing of a page is lost on the way); the last ones are kept."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._kept: LRU[tuple[str, tuple[int, int]]] = LRU(KEPT_PICTURES)

    def uri(self, image: ImageSource) -> str:
        """A picture, encoded once while it is kept.

        Raises:
            PageError: it cannot be decoded.
        """
        return self._encoded(image)[0]

    def size(self, image: ImageSource) -> tuple[int, int]:
        """Width and height in pixels of a picture as it is sent.

        Raises:
            PageError: it cannot be decoded.
        """
        return self._encoded(image)[1]

    def _encoded(self, image: ImageSource) -> tuple[str, tuple[int, int]]:
        return self._kept.get_or_make(image.key, lambda: self._encode(image))

    def _encode(self, image: ImageSource) -> tuple[str, tuple[int, int]]:
        buffer = io.BytesIO()
        loaded = image.load(self._max_pixels)
        loaded.save(buffer, "PNG")
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"), loaded.size


def wire_message(message: Message, pictures: Pictures) -> dict[str, Any]:
    """A message as the protocol writes it; pictures become data URIs, in place.

    Texts that follow one another are one: chat templates put nothing between them, llama.cpp a line break.
    """
    parts: list[dict[str, Any]] = []
    for part in message["content"]:
        if part["type"] == "image":
            parts.append({"type": "image_url", "image_url": {"url": pictures.uri(part["image"])}})
        elif parts and parts[-1]["type"] == "text":
            parts[-1]["text"] += part["text"]
        else:
            parts.append({"type": "text", "text": part["text"]})
    if not parts or (len(parts) == 1 and parts[0]["type"] == "text"):
        return {"role": message["role"], "content": parts[0]["text"] if parts else ""}
    return {"role": message["role"], "content": parts}


def read_reply(response: httpx.Response, request: Request, sampling: Sampling, url: str) -> Reply | EngineError:
    """A reply from a 200; what the server took out of it is put back (see the module's text).

    Else an error, not raised; another try may help, since what answers 200 with something else is a proxy or a server that fails.
    """
    try:
        found = response.json()
        choice = found["choices"][0]
        message = {"content": choice["text"]} if "text" in choice else choice["message"]
        if message.get("content") is None and not (message.get("reasoning_content") or message.get("reasoning")):
            raise KeyError("content")
        if choice.get("finish_reason") == "error":
            raise ValueError("finish_reason is error")
        text = _plain(message.get("content"))
        reasoning = _plain(message.get("reasoning_content") or message.get("reasoning"))
        usage = found.get("usage") or {}
        spent = Usage(int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        return EngineError(
            f"{url} answered 200 with something that is no chat completion ({error!r}): {response.text[:200]!r}", retryable=True
        )
    if request.prefill and text.startswith(request.prefill):
        text = text[len(request.prefill) :]  # llama.cpp says it again
    if reasoning and "<think>" not in text:
        opening = "" if request.prefill.rstrip().endswith("<think>") else "<think>\n"
        text = f"{opening}{reasoning.strip()}\n</think>{text.lstrip()}"
    elif request.think and not request.prefill and "</think>" in text and "<think>" not in text:
        text = f"<think>\n{text.lstrip()}"  # the served template has opened it
    stopped = choice.get("finish_reason") != "length"
    for stop in sampling.stop:
        if stopped and stop.startswith("</") and _open(request.prefill + text, stop):
            text += stop
    return Reply(text, "stop" if stopped else "length", spent)


@dataclass(frozen=True, slots=True)
class ServedTokens:
    """What a 200 tells of tokens, beside the reply.

    Attributes:
        read: ids of the prompt, or None.
        written: ids of the reply, or None.
        count: how many tokens the prompt had, or None.
    """

    read: list[int] | None
    written: list[int] | None
    count: int | None


def read_tokens(response: httpx.Response) -> ServedTokens:
    """The tokens of a 200, where the server tells them.

    vLLM's chat route tells the prompt's ids beside ``choices``; vLLM's completions and SGLang tell them within the choice.
    SGLang's chat route calls the reply's ids ``response_token_ids``.
    """
    found = response.json()
    choice = found["choices"][0]
    read = found.get("prompt_token_ids") or choice.get("prompt_token_ids")
    written = choice.get("token_ids") or choice.get("response_token_ids")
    count = (found.get("usage") or {}).get("prompt_tokens")
    return ServedTokens(
        read if isinstance(read, list) else None, written if isinstance(written, list) else None, int(count) if count else None
    )


def _plain(content: object) -> str:
    """The text of a message's content, which some servers send as a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_plain(part.get("text")) for part in content)
    raise TypeError(f"content is a {type(content).__name__}")


def _open(text: str, closing: str) -> bool:
    """Whether the tag that ``closing`` closes was opened and not closed since."""
    return text.rfind(f"<{closing[2:]}") > text.rfind(closing)


def server_message(response: httpx.Response) -> str:
    """What the server says went wrong, in whatever shape it says it."""
    try:
        found = response.json()
    except ValueError:
        return response.text.strip()[:300] or "(no message)"
    error = found.get("error", found) if isinstance(found, dict) else found
    said = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return str(said or found)[:300]


def retry_after(response: httpx.Response, fallback: float) -> float:
    """Seconds to wait: the server's Retry-After (seconds or a date), at most ``LONGEST_WAIT_SECONDS``."""
    value = response.headers.get("retry-after", "").strip()
    if value.replace(".", "", 1).isdigit():
        return min(LONGEST_WAIT_SECONDS, float(value))
    try:
        seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return fallback
    return min(LONGEST_WAIT_SECONDS, max(0.0, seconds))
