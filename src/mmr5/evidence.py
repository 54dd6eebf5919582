"""The passage of a page that answers a question, shown beside it, and what it holds of words that answer. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mmr5.excerpts import passage_scores, passages
from mmr5.languages import words

EVIDENCE_WORDS = 45
"""Words of the passage that is shown, about, where no model judged passages."""
MOST_WORDS = 60
"""Most words of all passages together that are shown of a page whose passages a model judged."""
MOST_PASSAGES = 2
JOIN = " … "
COVERED = 0.8
"""Share of a quote's words from which a text counts as holding it."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Words of a page that are shown for a question.

    Attributes:
        text: the words.
        span: start and end of them in the page's text, or None where that is not known.
    """

    text: str
    span: tuple[int, int] | None = None


def find_passages(query: str, text: str | None, judged: Sequence[tuple[str, float]] | None = None) -> list[Passage]:
    """The passages of a page that answer a question best, the best one first; none where there is no text.

    Args:
        query: the question.
        text: the page's text.
        judged: its passages in reading order, each with how well a model finds that it fits; None takes the passage of about
            :data:`EVIDENCE_WORDS` words that BM25 finds.

    Returns:
        One passage, or the model's best :data:`MOST_PASSAGES` of no more than :data:`MOST_WORDS` words together; two that follow
        each other on the page are one.
    """
    if judged:
        whole = [passage for passage, _ in judged]
        chosen = best_passages(judged)
    else:
        whole = passages(text or "", EVIDENCE_WORDS)
        scores = passage_scores(query, whole)
        chosen = [max(range(len(whole)), key=lambda i: (scores[i], -i))] if whole else []
    if not chosen:
        return []
    spans = _spans(text or "", whole)
    if len(chosen) == MOST_PASSAGES and abs(chosen[0] - chosen[1]) == 1:
        first, last = sorted(chosen)
        span = None if spans is None else (spans[first][0], spans[last][1])
        return [Passage(f"{whole[first]} {whole[last]}", span)]
    return [Passage(whole[i], None if spans is None else spans[i]) for i in chosen]


def find_evidence(query: str, text: str | None, judged: Sequence[tuple[str, float]] | None = None) -> str | None:
    """The texts of :func:`find_passages`, joined by :data:`JOIN`; None where there is no text."""
    return JOIN.join(passage.text for passage in find_passages(query, text, judged)) or None


def _spans(text: str, whole: Sequence[str]) -> list[tuple[int, int]] | None:
    """Where passages that hold every character of the text but white space stand in it; None where they hold others."""
    places = [i for i, character in enumerate(text) if not character.isspace()]
    found, done = [], 0
    for passage in whole:
        inked = [character for character in passage if not character.isspace()]
        own = places[done : done + len(inked)]
        if not inked or [text[i] for i in own] != inked:
            return None
        found.append((own[0], own[-1] + 1))
        done += len(inked)
    return found


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
