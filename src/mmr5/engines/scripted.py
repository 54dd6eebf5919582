"""A public test double: an engine that says what it is told to say.

Use it to test a program that calls mmr5 without a model::

    engine = ScriptedEngine(["<think>…</think><answer>[2, 1]</answer>"])
    engine = ScriptedEngine(lambda request: "...")

Without a script it writes a well-formed reply that keeps the first-stage order, with one honest sentence a page; its scores
are the share of the question's words that stand in the text it is given. So ``mmr5 rerank --engine scripted`` is a dry run.
"""

from __future__ import annotations

import math
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from mmr5.answer import VERDICTS, format_reply, format_verdict
from mmr5.engines.protocol import Capabilities, ChoiceScores, OnText, Reply, Request, Sampling, TextScore, check_requests
from mmr5.errors import EngineError
from mmr5.excerpts import best_passage
from mmr5.languages import ENGLISH, forms, language, terms
from mmr5.types import Usage

Script = Callable[[Request], str] | Sequence[str]

QUOTED_WORDS = 15
"""Words of the page that a dry run's note on it quotes."""
_PIECE = re.compile(r"\s*\S+|\s+$")
REMEMBERED = 64
"""Requests that are kept to be looked at; an engine that serves for days must not keep them all."""


class ScriptedEngine:
    """An engine without a model.

    Args:
        script: the replies in order (it is an error to run out of them), or a function from a request to its reply, or None for
            the dry run described above.
        model: the model's name, as shown in results.
        capabilities: what the engine says it can; everything by default.
    """

    name = "scripted"
    reserved: tuple[str, ...] = ("<|im_start|>", "<|im_end|>", "<|image_pad|>")

    def __init__(
        self, script: Script | None = None, *, model: str = "scripted", capabilities: Capabilities | None = None
    ) -> None:
        self.model = model
        self.capabilities = capabilities or Capabilities(True, True, True, True, True, None)
        self._seen: deque[Request] = deque(maxlen=REMEMBERED)
        self._lock = threading.Lock()
        self._function: Callable[[Request], str]
        if script is None:
            self._function = _dry_reply
        elif callable(script):
            self._function = script
        else:
            replies: Iterator[str] = iter(list(script))
            self._function = lambda request: _next(replies, len(script))

    @property
    def requests(self) -> list[Request]:
        """The last :data:`REMEMBERED` requests that were seen, in order."""
        with self._lock:
            return list(self._seen)

    def count_tokens(self, text: str) -> int:
        """Words of ``text``."""
        return len(text.split())

    def generate(self, requests: Sequence[Request], sampling: Sampling, on_text: OnText | None = None) -> list[Reply]:
        """The scripted replies, cut at the token limit (words) and after the first stop string; told word by word."""
        check_requests(self, requests)
        replies: list[Reply] = []
        for request in requests:
            with self._lock:
                self._seen.append(request)
                text = self._function(request)
            reply = _finish(text, request, sampling)
            if on_text is not None:
                for piece in _PIECE.findall(reply.text):
                    on_text(len(replies), piece)
            replies.append(reply)
        return replies

    def score_choices(self, requests: Sequence[Request], choices: Sequence[Sequence[str]]) -> list[ChoiceScores]:
        """Choices in their given order, each half as likely as the one before; by shared words for a verdict."""
        found = []
        for request, given in zip(requests, choices, strict=True):
            with self._lock:
                self._seen.append(request)
            if tuple(given) == VERDICTS:
                share = min(max(_overlap(request), 0.01), 0.99)
                weights = [share, 1 - share]
            else:
                weights = [0.5**i for i in range(len(given))]
            total = sum(weights)
            measured = self._text_score(request, request.measured) if request.measured else None
            found.append(ChoiceScores(tuple(math.log(w / total) for w in weights), Usage(_size(request), 1), measured))
        return found

    def score_text(self, requests: Sequence[Request], texts: Sequence[str]) -> list[TextScore]:
        """A mean log-probability in [-2, 0]: higher where more of the text's words stand in the prompt."""
        found = []
        for request, text in zip(requests, texts, strict=True):
            with self._lock:
                self._seen.append(request)
            found.append(self._text_score(request, text))
        return found

    def _text_score(self, request: Request, text: str) -> TextScore:
        page = request.page if request.page or request.measured else _plain(request)
        return TextScore(2 * (_shared(text, page) - 1), max(1, self.count_tokens(text)), Usage(_size(request), 0))


def _next(replies: Iterator[str], n: int) -> str:
    try:
        return next(replies)
    except StopIteration:
        raise EngineError(f"the script has {n} replies, and one more was asked for: give as many replies as requests") from None


def _plain(request: Request) -> str:
    return "".join(p["text"] for m in request.messages for p in m["content"] if p["type"] == "text")


def _size(request: Request) -> int:
    return len(_plain(request).split())


def _shared(text: str, within: str) -> float:
    spoken = language(within) or ENGLISH
    wanted, here = set(forms(text, [spoken])), set(terms(within, spoken))
    return sum(bool(form & here) for form in wanted) / len(wanted) if wanted else 0.0


def _overlap(request: Request) -> float:
    return _shared(request.question, request.page)


def _dry_reply(request: Request) -> str:
    n = request.n_pages
    if not n:
        said = best_passage(request.question, request.page, size=QUOTED_WORDS) or "nothing in words"
        return f" Says: {said}" if request.prefill else format_verdict(_overlap(request) > 0.5, f"Says: {said}")
    if not request.think:
        return format_reply(range(n))
    return format_reply(range(n), [f"a scripted engine does not look at pages; this is number {i + 1} of {n}." for i in range(n)])


def _finish(text: str, request: Request, sampling: Sampling) -> Reply:
    for stop in sampling.stop:
        if stop in text:
            text = text[: text.index(stop) + len(stop)]
    pieces = re.findall(r"\s*\S+", text)
    if len(pieces) > sampling.max_new_tokens:
        return Reply("".join(pieces[: sampling.max_new_tokens]), "length", Usage(_size(request), sampling.max_new_tokens))
    return Reply(text, "stop", Usage(_size(request), len(pieces)))
