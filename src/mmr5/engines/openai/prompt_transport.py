"""How a prompt reaches a server: as chat messages, or, where the served checkpoint's tokenizer is at hand, as its token ids.

Without a tokenizer the server renders the prompt: it sees what its own chat template makes of the messages. With one, a prompt
of text goes out as the very token ids that the engine ``transformers`` reads; a prompt with pictures goes out as messages (the
protocol has no ids for pictures), and what the server says it read is compared with what was meant, token by token where it tells
the ids (vLLM, SGLang), else by their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from mmr5.engines.chat_template import LocalPrompts, pictures
from mmr5.engines.openai.wire import Pictures, read_reply, read_tokens, wire_message
from mmr5.engines.protocol import Reply, Request, Sampling
from mmr5.errors import EngineError

OWN_SAMPLING = {"top_k": -1, "repetition_penalty": 1.0}
"""Switches off what vLLM and SGLang would take from the checkpoint's generation config."""
TELL_IDS = {"return_token_ids": True}
REFUSALS = frozenset({400, 404, 405, 422, 501})
"""Statuses by which a server says that it has no such route or field."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request on the wire.

    Attributes:
        route: ``chat/completions`` or ``completions``.
        body: its JSON.
        meant: token ids that the model should read, or None where they are not known here.
    """

    route: Literal["chat/completions", "completions"]
    body: dict[str, Any]
    meant: Sequence[int] | None = None


class PromptTransport:
    """Makes calls, and learns what the server takes.

    Args:
        model: the served model's name.
        encoder: encodes pictures.
        prompts: the served checkpoint's tokenizer and chat template, or None.
    """

    def __init__(self, model: str, encoder: Pictures, prompts: LocalPrompts | None) -> None:
        self._model, self._encoder, self._prompts = model, encoder, prompts
        self._ids = prompts is not None
        self._fields = prompts is not None

    def call(self, request: Request, sampling: Sampling) -> Call:
        """A request on the wire.

        Raises:
            PageError: a page's picture cannot be decoded.
        """
        settings: dict[str, Any] = {
            "model": self._model,
            "max_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        if self._fields:
            settings.update(OWN_SAMPLING | TELL_IDS)
        if sampling.stop:
            settings["stop"] = list(sampling.stop)
        if self._prompts is None:
            return Call("chat/completions", {**settings, **self._chat(request)})
        ids, images = self._prompts.ids(request), pictures(request)
        if self._ids and not images:
            return Call("completions", {**settings, "prompt": ids}, ids)
        sizes = [self._encoder.size(image) for image in images]
        meant = self._prompts.expanded(ids, sizes)
        return Call("chat/completions", {**settings, **self._chat(request)}, meant)

    def adapt(self, call: Call, status: int, said: str) -> bool:
        """Learn from a refusal; True when the same request should be made anew.

        A server that does not know a field is asked without such fields; one that takes no ids is sent messages.
        """
        if status not in REFUSALS or "context" in said.lower():
            return False
        fields = [name for name in (*OWN_SAMPLING, *TELL_IDS) if name in call.body]
        unknown = any(name in said for name in fields) or any(
            word in said.lower() for word in ("unexpected", "unrecognized", "extra")
        )
        if fields and unknown:
            self._fields = False
            return True
        if call.route == "completions":
            self._ids = False
            return True
        return False

    def read(self, call: Call, response: httpx.Response, request: Request, sampling: Sampling, url: str) -> Reply | EngineError:
        """The reply of a 200, or an error: it is no completion, or the server read another prompt than was meant.

        Where the server tells the reply's token ids, they are spelt here, by the checkpoint's own tokenizer.
        """
        reply = read_reply(response, request, sampling, url)
        if self._prompts is None or call.meant is None or isinstance(reply, EngineError):
            return reply
        told = read_tokens(response)
        if told.read is None and told.count is None:
            return EngineError(
                f"{url} says neither which tokens it read nor how many: what the model saw cannot be checked; "
                "leave out the tokenizer to do without the check"
            )
        place = None if told.read is None else _first_difference(call.meant, told.read, self._prompts.image_token)
        number = told.count if told.read is None else len(told.read)
        if place is not None or number != len(call.meant):
            return EngineError(
                f"{url} read another prompt than the engine 'transformers' would: {number} tokens instead of {len(call.meant)}"
                + (f", the first difference at token {place} ({self._around(call.meant, place)})" if place is not None else "")
                + ". Serve the same checkpoint with its own chat template and the same pixel budget: see docs/serving-backends.md"
            )
        if told.written is None:
            return reply
        return self._prompts.restored(self._prompts.reply(told.written, len(call.meant), sampling), request)

    def _chat(self, request: Request) -> dict[str, Any]:
        messages = [wire_message(m, self._encoder) for m in request.messages]
        template = None if self._prompts is None else self._prompts.template
        said = {"chat_template_kwargs": {"enable_thinking": request.think}} if template and "enable_thinking" in template else {}
        if not request.prefill:
            return {"messages": messages, **said}
        messages.append({"role": "assistant", "content": request.prefill})
        return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False, **said}

    def _around(self, meant: Sequence[int], place: int) -> str:
        if self._prompts is None or place >= len(meant):
            return "at the end"
        before, after = meant[max(0, place - 8) : place], meant[place : place + 8]
        return f"meant {self._prompts.decode(before)!r}, then {self._prompts.decode(after)!r}"


def _first_difference(meant: Sequence[int], read: Sequence[int], image_token: int | None) -> int | None:
    """Where two lists of ids part (what stands for a picture may be called anything), or None."""
    for place, (a, b) in enumerate(zip(meant, read, strict=False)):
        if a not in (b, image_token):
            return place
    return None if len(meant) == len(read) else min(len(meant), len(read))
