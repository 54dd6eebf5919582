"""Where the question's words stand among a prompt's tokens. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from mmr5.errors import EngineError


def question_tokens(rendered: str, question: str, offsets: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Tokens of the question in a rendered prompt, by its last occurrence.

    Args:
        rendered: the whole prompt.
        question: its words, as they stand in it.
        offsets: first character and one past the last of every token.

    Returns:
        Index of the first token that holds a character of the question (at least 1), and one past the last.

    Raises:
        EngineError: the question does not stand in the prompt, or at its very beginning.
    """
    start = rendered.rfind(question)
    if start < 0:
        raise EngineError(f"the prompt does not hold the question {question[:80]!r} word for word, so it cannot be measured")
    stop = start + len(question)
    inside = [i for i, (first, past) in enumerate(offsets) if first < stop and past > start]
    if not inside or inside[0] == 0:
        raise EngineError(f"no token before the question {question[:80]!r}: its likelihood has nothing to rest on")
    return inside[0], inside[-1] + 1
