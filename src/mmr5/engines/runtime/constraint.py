"""Constrained answers: while a reply writes its answer, only tokens that lead to a full ranking may be chosen.

What may be written is said in characters (:class:`mmr5.answer.Answering`); which tokens spell it is looked up in a trie of the
tokenizer's vocabulary, so that ids of several tokens and tokens such as ``"1,"`` or ``"], "`` need no care.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mmr5.answer import ANSWER_END, Answering, answer_start
from mmr5.errors import CapabilityError, ConfigError

NEEDED = frozenset("[],0123456789" + ANSWER_END)
"""Characters of an answer; a blank or a line break may stand between them."""

_RAW = re.compile("(?:[" + re.escape("".join(sorted(NEEDED))) + " \\nĠĊ▁]|<0x[0-9A-F]{2}>)+")
"""Vocabulary entries that can be made of such characters: as they are, byte-level, or SentencePiece."""


@dataclass(slots=True)
class _Node:
    """A place in the trie: ids of the tokens that end here, and ways on."""

    ids: list[int] = field(default_factory=list)
    next: dict[str, _Node] = field(default_factory=dict)


class AnswerTokens:
    """The tokens that an answer can be spelt with.

    Args:
        tokenizer: of the checkpoint.

    Raises:
        CapabilityError: a character of an answer has no token of its own, so that an answer might not be finished.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._root = _Node()
        self._known: dict[Answering, list[int]] = {}
        special = set(tokenizer.all_special_ids)
        anchor = tokenizer("[", add_special_tokens=False)["input_ids"][-1:]
        before = self.text(anchor)
        for raw, token in tokenizer.get_vocab().items():
            if token in special or not _RAW.fullmatch(raw):
                continue
            text = self.text([*anchor, token])[len(before) :]
            if text and NEEDED.issuperset(text.replace(" ", "").replace("\n", "")):
                self._add(text, token)
        lacking = sorted(c for c in NEEDED if not self._root.next.get(c, _Node()).ids)
        if lacking:
            raise CapabilityError(
                f"constrained answers need a token for each of their characters, and this tokenizer has none for {lacking}: "
                "leave out --constrain"
            )

    def text(self, tokens: list[int]) -> str:
        """What tokens spell."""
        spelt: str = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return spelt

    def following(self, state: Answering) -> list[int]:
        """Ids, rising, of all tokens that may be written next; at least one unless the answer is done."""
        if state not in self._known:
            if len(self._known) > 4096:
                self._known.clear()
            self._known[state] = sorted(_walk(self._root, state))
        return self._known[state]

    def _add(self, text: str, token: int) -> None:
        node = self._root
        for character in text:
            node = node.next.setdefault(character, _Node())
        node.ids.append(token)


def _walk(node: _Node, state: Answering) -> list[int]:
    found: list[int] = []
    for character, further in node.next.items():
        after = state.after(character)
        if after is None:
            continue
        found += further.ids
        if not after.done:
            found += _walk(further, after)
    return found


class Guard:
    """Watches over one reply.

    Args:
        spelling: of the tokenizer.
        n: how many ids the answer names.
        prefill: the opening of the assistant's turn.

    Raises:
        ConfigError: the opening holds an answer that cannot become a full ranking.
    """

    def __init__(self, spelling: AnswerTokens, n: int, prefill: str = "") -> None:
        self._spelling, self._n, self._prefill = spelling, n, prefill
        start = answer_start(prefill)
        if start is not None and Answering.begin(n).read(prefill[start:]) is None:
            raise ConfigError(f"the opening {prefill[-80:]!r} holds an answer that cannot name each id from 1 to {n} once")

    def allowed(self, written: str) -> list[int] | None:
        """Ids of the tokens that may follow a reply so far, or None where all may."""
        text = self._prefill + written
        start = answer_start(text)
        state = None if start is None else Answering.begin(self._n).read(text[start:])
        return None if state is None or state.done else self._spelling.following(state)

    def takes(self, written: str, token: int) -> bool:
        """Whether a token that opens the answer leaves it possible; one token may hold ``>[`` and more."""
        piece = self._spelling.text([token])
        if ">" not in piece:
            return True
        text = self._prefill + written + piece
        start = answer_start(text)
        return start is None or Answering.begin(self._n).read(text[start:]) is not None
