"""The passage of a page that answers a question, shown beside it, and what it holds of words that answer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mmr5.excerpts import best_passage
from mmr5.languages import words

EVIDENCE_WORDS = 45
"""Words of the passage that is shown, about, where no model judged passages."""
MOST_WORDS = 60
"""Most words of all passages together that are shown of a page whose passages a model judged."""
MOST_PASSAGES = 2
JOIN = " … "
COVERED = 0.8
"""Share of a quote's words from which a text counts as holding it."""


def find_evidence(query: str, text: str | None, judged: Sequence[tuple[str, float]] | None = None) -> str | None:
    """The words of a page that answer a question best, or None where there is no text.

    Args:
        query: the question.
        text: the page's text.
        judged: its passages in reading order, each with how well a model finds that it fits; None takes the passage of about
            :data:`EVIDENCE_WORDS` words that BM25 finds.

    Returns:
        One passage, or the model's best :data:`MOST_PASSAGES` of no more than :data:`MOST_WORDS` words together, joined by
        :data:`JOIN`: the best one first, or, where one follows the other on the page, as they stand there.
    """
    if judged:
        chosen = best_passages(judged)
        follow = len(chosen) == MOST_PASSAGES and abs(chosen[0] - chosen[1]) == 1
        return (" " if follow else JOIN).join(judged[i][0] for i in (sorted(chosen) if follow else chosen))
    return best_passage(query, text, size=EVIDENCE_WORDS) if text else None


def best_passages(judged: Sequence[tuple[str, float]]) -> list[int]:
    """Places of the passages that fit best, the best one first; others while they are few and short enough."""
    lengths = [len(words(passage)) for passage, _ in judged]
    ranked = sorted(range(len(judged)), key=lambda i: (-judged[i][1], i))
    chosen = ranked[:1]
    for i in ranked[1:]:
        if len(chosen) == MOST_PASSAGES:
            break
        if sum(lengths[k] for k in chosen) + lengths[i] <= MOST_WORDS:
            chosen.append(i)
    return chosen


def share_held(quote: str, text: str) -> float:
    """Share of a quote's words that stand in a text, each as often as it stands there; in [0, 1]."""
    wanted = Counter(words(quote))
    held = wanted & Counter(words(text))
    return sum(held.values()) / max(1, sum(wanted.values()))
