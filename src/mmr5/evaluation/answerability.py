"""How well a run tells questions that no page answers, and how much of the annotated words its evidence shows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mmr5.evaluation.runs import RunLine
from mmr5.evidence import COVERED, share_held
from mmr5.languages import words
from mmr5.metrics import micro, quantile

KEPT = 0.95
"""Share of the answerable questions that ``refused_at_95`` keeps."""
BINS = 10


def answerability(lines: Sequence[RunLine]) -> dict[str, Any] | None:
    """``scores.json["answerability"]``, or None where no question is unanswerable or none has an answer or scores.

    The signal is the probability that any page answers, where every line has one; else the top score, for which calibration
    errors have no meaning and are None.

    Returns:
        ``of`` (``"probability"`` or ``"score"``), ``n_answerable``, ``n_unanswerable``, ``auroc`` (answerable above
        unanswerable, in [0, 1]), ``refused_at_95`` (share of the unanswerable questions below the signal that 95 % of the
        answerable ones reach), ``by_kind`` (``n``, ``auroc`` and ``refused_at_95`` of each kind of unanswerable question against
        all answerable ones), ``ece`` (ten bins of equal mass), ``brier``, ``brier_skill`` (1 - Brier / Brier of the base rate).
    """
    calibrated = bool(lines) and all(x.answerable is not None for x in lines)
    values = [None if x.answerable is None else float(x.answerable["probability"]) for x in lines] if calibrated else None
    signals = values if values is not None else [x.top_score for x in lines]
    pairs = [(s, not x.is_unanswerable) for x, s in zip(lines, signals, strict=True) if s is not None]
    yes, no = [s for s, answered in pairs if answered], [s for s, answered in pairs if not answered]
    if not yes or not no:
        return None
    found: dict[str, Any] = {
        "of": "probability" if calibrated else "score",
        "n_answerable": len(yes),
        "n_unanswerable": len(no),
        "auroc": auroc(yes, no),
        "refused_at_95": refused(yes, no, KEPT),
        "by_kind": {
            kind: {"n": len(mine), "auroc": auroc(yes, mine), "refused_at_95": refused(yes, mine, KEPT)}
            for kind, mine in sorted(_by_kind(lines, signals).items())
        },
    }
    labels = [float(answered) for _, answered in pairs]
    probabilities = [s for s, _ in pairs]
    base = micro(labels)
    worst = micro((base - y) ** 2 for y in labels)
    score = micro((p - y) ** 2 for p, y in zip(probabilities, labels, strict=True))
    measured = (calibration_error(probabilities, labels), score, 1 - score / worst) if calibrated else (None, None, None)
    return found | dict(zip(("ece", "brier", "brier_skill"), measured, strict=True))


def _by_kind(lines: Sequence[RunLine], signals: Sequence[float | None]) -> dict[str, list[float]]:
    """The signals of unanswerable questions by kind."""
    found: dict[str, list[float]] = {}
    for line, signal in zip(lines, signals, strict=True):
        if line.is_unanswerable and signal is not None:
            found.setdefault(line.kind or "unknown", []).append(signal)
    return found


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Probability that a positive has the higher value, ties counting half (area under the ROC curve); one of each at least."""
    ranks = _mid_ranks([*positive, *negative])
    n, m = len(positive), len(negative)
    return (sum(ranks[:n]) - n * (n + 1) / 2) / (n * m)


def refused(positive: Sequence[float], negative: Sequence[float], kept: float) -> float:
    """Share of the negatives below the highest threshold that ``kept`` of the positives reach."""
    threshold = sorted(positive, reverse=True)[math.ceil(kept * len(positive)) - 1]
    return micro(float(value < threshold) for value in negative)


def calibration_error(probabilities: Sequence[float], labels: Sequence[float], bins: int = BINS) -> float:
    """Expected calibration error over bins of equal mass: mean |mean probability - share of positives|, weighted by size."""
    order = sorted(range(len(labels)), key=probabilities.__getitem__)
    edges = [round(i * len(order) / bins) for i in range(bins + 1)]
    error = 0.0
    for start, end in pairwise(edges):
        members = order[start:end]
        if members:
            error += abs(sum(probabilities[i] - labels[i] for i in members)) / len(order)
    return error


def evidence_scores(lines: Sequence[RunLine]) -> dict[str, Any] | None:
    """``scores.json["evidence"]``, or None where no question has quotes.

    Each relevant page with a quote counts, wherever it was ranked; one that only the picture shows is counted apart.

    Returns:
        ``n``, ``n_visual``, ``quote_coverage`` (share of the pages whose evidence holds at least 80 % of the quote's words),
        ``words_mean``, ``words_p95`` (length of the evidence), ``box_iou`` (None: no boxes are annotated).
    """
    quoted = [(quote, x.quote_evidence.get(page) or "") for x in lines for page, quote in x.quotes.items()]
    shown = [(quote, evidence) for quote, evidence in quoted if words(quote)]
    if not quoted:
        return None
    lengths = [len(words(evidence)) for _, evidence in shown]
    return {
        "n": len(shown),
        "n_visual": len(quoted) - len(shown),
        "quote_coverage": micro(float(share_held(quote, evidence) >= COVERED) for quote, evidence in shown),
        "words_mean": micro(lengths),
        "words_p95": quantile(lengths, 0.95) if lengths else 0.0,
        "box_iou": None,
    }


def _mid_ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, those of equal values being their mean."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end < len(order) and values[order[end]] == values[order[start]]:
            end += 1
        for i in order[start:end]:
            ranks[i] = (start + end + 1) / 2
        start = end
    return ranks
