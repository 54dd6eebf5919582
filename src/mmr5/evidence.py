"""The passage of a page that answers a question, shown beside it. Pure."""

from __future__ import annotations

from mmr5.excerpts import best_passage

EVIDENCE_WORDS = 45
"""Words of the passage that is shown, about."""


def find_evidence(query: str, text: str | None) -> str | None:
    """The passage of about :data:`EVIDENCE_WORDS` words that fits a question best; None where there is no text."""
    return best_passage(query, text, size=EVIDENCE_WORDS) if text else None
