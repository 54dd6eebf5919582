"""The passage of a page that answers a question, shown beside it, and what it holds of words that answer. Pure."""

from __future__ import annotations

from collections import Counter

from mmr5.excerpts import best_passage
from mmr5.languages import words

EVIDENCE_WORDS = 45
"""Words of the passage that is shown, about."""
COVERED = 0.8
"""Share of a quote's words from which a text counts as holding it."""


def find_evidence(query: str, text: str | None) -> str | None:
    """The passage of about :data:`EVIDENCE_WORDS` words that fits a question best; None where there is no text."""
    return best_passage(query, text, size=EVIDENCE_WORDS) if text else None


def share_held(quote: str, text: str) -> float:
    """Share of a quote's words that stand in a text, each as often as it stands there; in [0, 1]."""
    wanted = Counter(words(quote))
    held = wanted & Counter(words(text))
    return sum(held.values()) / max(1, sum(wanted.values()))
