"""One reply while it is written: tokens in, text out, and when to stop. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mmr5.engines.protocol import OnText, Reply, Sampling
from mmr5.types import Usage

TextCallback = Callable[[str], None]
"""Called with all of a reply's text so far."""

_UNFINISHED = "\ufffd"
"""What a tokenizer decodes to while the bytes of a character are not complete."""


class Detokenizer:
    """Follows the tokens of one reply.

    Args:
        tokenizer: decodes them.
        ends: ids that end a turn; they are not part of the reply.
        sampling: its token limit and stop strings.
        tell: told of the text when it has grown.
    """

    def __init__(self, tokenizer: Any, ends: Sequence[int], sampling: Sampling, tell: TextCallback | None = None) -> None:
        self.tokens: list[int] = []
        self.done = False
        self._tokenizer = tokenizer
        self._ends = frozenset(ends)
        self._sampling = sampling
        self._tell = tell
        self._text = ""
        self._finish: str | None = None
        self._settled = 0
        self._read = 0

    @property
    def text(self) -> str:
        """The text so far, but for a character whose bytes are not complete."""
        return self._text

    def push(self, token: int) -> bool:
        """Take the next token; True when the reply is finished, after which tokens are ignored."""
        if self.done:
            return True
        if token in self._ends:
            self._close("stop")
            return True
        self.tokens.append(token)
        grown = self._grow()
        if grown and any(stop in self._text for stop in self._sampling.stop):
            self._close("stop")
        elif len(self.tokens) >= self._sampling.max_new_tokens:
            self._close("length")
        elif grown and self._tell is not None:
            self._tell(self._text)
        return self.done

    def reply(self, prompt_tokens: int) -> Reply:
        """The reply as it stands."""
        if not self.done:
            self._close("length")
        return Reply(self._text, "stop" if self._finish == "stop" else "length", Usage(prompt_tokens, len(self.tokens)))

    def _grow(self) -> bool:
        """Decode what is new, with the tokens just before it (how a token is spelt may depend on its neighbours)."""
        before = self._decode(self.tokens[self._settled : self._read])
        now = self._decode(self.tokens[self._settled :])
        if len(now) <= len(before) or now.endswith(_UNFINISHED):
            return False
        self._text += now[len(before) :]
        self._settled, self._read = self._read, len(self.tokens)
        return True

    def _close(self, finish: str) -> None:
        self.done, self._finish = True, finish
        text = self._decode(self.tokens)
        cuts = [(text.index(stop), stop) for stop in self._sampling.stop if stop in text]
        if cuts:
            start, stop = min(cuts)
            text, self._finish = text[: start + len(stop)], "stop"
        self._text = text
        if self._tell is not None:
            self._tell(text)

    def _decode(self, tokens: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(tokens, skip_special_tokens=True) if tokens else ""
        return text


class Streamer:
    """Turns texts so far into new texts; a batch that is run again after it did not fit tells nothing twice.

    Args:
        on_text: what the caller of an engine listens with.
        n: number of requests.
    """

    def __init__(self, on_text: OnText, n: int) -> None:
        self._on_text = on_text
        self._told = [""] * n

    def at(self, position: int) -> TextCallback:
        """The ear of one request."""

        def tell(text: str) -> None:
            told = self._told[position]
            if len(text) > len(told) and text.startswith(told):
                self._told[position] = text
                self._on_text(position, text[len(told) :])

        return tell
