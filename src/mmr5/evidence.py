"""The passages of a page that answer a question, shown beside it, and what they hold of words that answer. Pure.

Each line and sentence of a page is weighed as the place where the answer begins (:mod:`mmr5.evidence_features`; weights fitted on
annotated quotes by ``scripts/fit_evidence.py``). The passages shown are the one or two stretches of lines that hold most of that
probability for their words: short where the place is sure, longer or in two parts where it is not.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr5.evidence_features import MOST_UNITS, Matches, Units, cut, features, goes_on
from mmr5.evidence_weights import WEIGHTS, WEIGHTS_OF_TERMS
from mmr5.languages import CJK, words

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MOST_WORDS = 80
"""Most words of all passages of a page together."""
MOST_PASSAGES = 2
ANSWER_WORDS = (8, 16, 28)
"""Words from its begin on that an answer has, about; each as likely as the others."""
WORD_PRICE = 0.00445
"""Probability that one more word must be worth."""
CONTINUED_WORDS = 12
"""Words by which a passage grows, at most, to its sentence's begin, and to its end."""
PAIRED = 60
"""Stretches, the best ones, that are tried as one of two."""
JOIN = " … "
COVERED = 0.8
"""Share of a quote's words from which a text counts as holding it."""

_WRAP = re.compile(rf"(?<=[{CJK}])\s*\n\s*(?=[{CJK}])")


@dataclass(frozen=True, slots=True)
class Passage:
    """Words of a page that are shown for a question.

    Attributes:
        text: the words.
        span: start and end of them in the page's text.
    """

    text: str
    span: tuple[int, int]


def find_passages(query: str, text: str | None, matches: Matches | None = None, running: Iterable[str] = ()) -> list[Passage]:
    """The passages of a page that answer a question best, in reading order; none where there is no text.

    Args:
        query: the question.
        text: the page's text.
        matches: how a model finds that the tokens of both meet; None weighs terms and the form of lines alone.
        running: running titles of the document (:func:`mmr5.evidence_features.running_lines`), which are not shown.

    Returns:
        One or two passages of whole lines or sentences, of no more than :data:`MOST_WORDS` words together.
    """
    units = cut(text or "", running)
    if not text or not units.spans:
        return []
    weights = WEIGHTS_OF_TERMS if matches is None else WEIGHTS
    return passages_at(text, units, features(query, text, units, matches) @ list(weights.values()))


def passages_at(text: str, units: Units, odds: Array) -> list[Passage]:
    """The passages that are shown of a page.

    Args:
        text: the page's.
        units: its U lines and sentences, at least one.
        odds: log-odds of each that the answer begins there, (U,).
    """
    found = []
    for start, end in choose(odds, units):
        span = units.spans[start][0], units.spans[end - 1][1]
        found.append(Passage(" ".join(_WRAP.sub("", text[slice(*span)]).split()), span))
    return found


def find_evidence(query: str, text: str | None, matches: Matches | None = None, running: Iterable[str] = ()) -> str | None:
    """The texts of :func:`find_passages`, joined by :data:`JOIN`; None where there is no text."""
    return JOIN.join(passage.text for passage in find_passages(query, text, matches, running)) or None


def choose(odds: Array, units: Units) -> list[tuple[int, int]]:
    """The stretches of units that are shown.

    Args:
        odds: log-odds of each of U units, U ≥ 1, that the answer begins there.
        units: they themselves.

    Returns:
        First unit and the one after the last of one stretch, or of two apart, in order.
    """
    import numpy as np

    log_odds = np.asarray(odds, dtype=float)
    likely = np.exp(log_odds - log_odds.max())
    likely /= likely.sum()
    spans, sizes, held = _stretches(likely, units)
    values = held - WORD_PRICE * sizes
    if values.max() <= 0:  # a long text, no place of which is likely: its best place, whatever it costs
        values = held - held.max() * WORD_PRICE * sizes
    best = int(np.argmax(values))
    chosen, worth = [spans[best]], float(values[best])
    starts, ends = spans[:, 0], spans[:, 1]
    for i in np.argsort(-values, kind="stable")[:PAIRED]:
        apart = ((starts >= ends[i]) | (ends <= starts[i])) & (sizes + sizes[i] <= MOST_WORDS)
        if apart.any():
            other = int(np.argmax(np.where(apart, values, -math.inf)))
            if values[i] + values[other] > worth:
                chosen, worth = [spans[i], spans[other]], float(values[i] + values[other])
    return _continued(sorted((int(a), int(b)) for a, b in chosen), units)


def _stretches(likely: Array, units: Units) -> tuple[Array, Array, Array]:
    """All stretches of at most :data:`MOST_WORDS` words: first unit and the one after, words, how likely the answer is there."""
    import numpy as np

    count = len(likely)
    ends = np.array([[_answer_end(units.lengths, i, most) for i in range(count)] for most in ANSWER_WORDS])
    shares = np.tile(likely / len(ANSWER_WORDS), (len(ANSWER_WORDS), 1))
    edge = np.concatenate([[0], np.cumsum(units.lengths)])
    spans, sizes, likelihoods = [], [], []
    for start in range(count):
        full = int(np.searchsorted(edge, edge[start] + MOST_WORDS, side="right")) - 1
        last = max(start + 1, min(full, start + MOST_UNITS))
        own = ends[:, start:last].ravel() - start
        held = np.cumsum(np.bincount(own, shares[:, start:last].ravel(), minlength=last - start + 1))
        after = np.arange(start + 1, last + 1)
        spans.append(np.stack([np.full(len(after), start), after], axis=1))
        sizes.append(edge[after] - edge[start])
        likelihoods.append(held[after - start])
    return np.concatenate(spans), np.concatenate(sizes), np.concatenate(likelihoods)


def _answer_end(lengths: Sequence[int], start: int, most: int) -> int:
    """The unit after those that an answer of so many words has which begins here."""
    held, end = 0, start
    while end < min(len(lengths), start + MOST_UNITS) and held < most:
        held += lengths[end]
        end += 1
    return end


def _continued(chosen: list[tuple[int, int]], units: Units) -> list[tuple[int, int]]:
    """The stretches grown to whole sentences, where few words are missing and there is room; two that meet are one."""
    left = MOST_WORDS - sum(sum(units.lengths[a:b]) for a, b in chosen)
    grown: list[tuple[int, int]] = []
    for start, end in chosen:
        first, last, before, after = start, end, 0, 0
        while first > 0 and goes_on(units.texts[first - 1], units.texts[first]):
            first -= 1
            before += units.lengths[first]
        while last < len(units.texts) and goes_on(units.texts[last - 1], units.texts[last]):
            after += units.lengths[last]
            last += 1
        if before <= min(CONTINUED_WORDS, left):
            start, left = first, left - before
        if after <= min(CONTINUED_WORDS, left):
            end, left = last, left - after
        if grown and start <= grown[-1][1]:
            grown[-1] = (grown[-1][0], max(end, grown[-1][1]))
        else:
            grown.append((start, end))
    return grown


def share_held(quote: str, text: str) -> float:
    """Share of a quote's words that stand in a text, each as often as it stands there; in [0, 1]."""
    wanted = Counter(words(quote))
    held = wanted & Counter(words(text))
    return sum(held.values()) / max(1, sum(wanted.values()))
