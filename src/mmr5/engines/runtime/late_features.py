"""What a late-interaction model is told of a question and a page beside their tokens. Pure."""

from __future__ import annotations

import math
import re

FEATURES = ("length", "numbers", "leaders")
"""In the order of the weights:

* *length*: ln(1 + tokens of the page) - 6. A long page has a good match for every token by chance;
* *numbers*: share of the question's numbers that the page has, 0 where the question has none. Embeddings hardly tell them apart;
* *leaders*: share of the page's lines with dot leaders, as in a table of contents, which has every heading's words and no answer.
"""
USUAL_LENGTH = 6.0

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LEADER = re.compile(r"(?:\. ?){3,}|…")


def features(question: str, text: str, tokens: int) -> tuple[float, ...]:
    """The values of :data:`FEATURES`.

    Args:
        question: the question.
        text: the page's text.
        tokens: how many tokens the page has.
    """
    asked, held = set(_NUMBER.findall(question)), set(_NUMBER.findall(text))
    lines = [line for line in text.splitlines() if line.strip()]
    leaders = sum(bool(_LEADER.search(line)) for line in lines) / len(lines) if lines else 0.0
    return math.log1p(tokens) - USUAL_LENGTH, len(asked & held) / len(asked) if asked else 0.0, leaders
