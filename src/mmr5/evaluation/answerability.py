"""How well a run tells questions that no page answers, and how much of the annotated words its evidence shows. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mmr5.evaluation.runs import RunLine
from mmr5.evidence import COVERED, share_held
from mmr5.languages import words
from mmr5.metrics import box_found, micro, quantile

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
        all answerable ones), ``by_language`` (the same of a language's unanswerable questions against its answerable ones),
        ``ece`` (ten bins of equal mass), ``brier``, ``brier_skill`` (1 - Brier / Brier of the base rate).
    """
    calibrated, signals = answer_signals(lines)
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
            for kind, mine in sorted(by_kind(lines, signals).items())
        },
        "by_language": _by_language(lines, signals),
    }
    if not calibrated:
        return found | dict.fromkeys(("ece", "brier", "brier_skill"))
    measured = calibration_quality([s for s, _ in pairs], [float(answered) for _, answered in pairs])
    return found | {name: measured[name] for name in ("ece", "brier", "brier_skill")}


def answer_signals(lines: Sequence[RunLine]) -> tuple[bool, list[float | None]]:
    """Whether every line has the probability that any page answers, and these probabilities, else the top scores."""
    if lines and all(x.answerable is not None for x in lines):
        return True, [float((x.answerable or {})["probability"]) for x in lines]
    return False, [x.top_score for x in lines]


def relevance_scores(lines: Sequence[RunLine]) -> dict[str, Any] | None:
    """``scores.json["relevance"]``, or None where a line has no relevance.

    Returns:
        ``all`` (every candidate) and ``first`` (the first page of each list), each as :func:`calibration_quality` gives it.
    """
    pages = [relevance_labels(x) for x in lines]
    if not any(pages) or not all(x.relevance is not None for x in lines):
        return None
    every = [pair for page in pages for pair in page]
    first = [page[0] for page in pages if page]
    return {
        name: calibration_quality([said for said, _ in found], [true for _, true in found])
        for name, found in (("all", every), ("first", first))
    }


def relevance_labels(line: RunLine) -> list[tuple[float, float]]:
    """The relevance of each ranked page with 1.0 where it is relevant, else 0.0, best first; empty without relevance."""
    if line.relevance is None or line.areas is not None:
        return []
    return [(p, float(page in line.relevant)) for p, page in zip(line.relevance, line.ranking, strict=True)]


def calibration_quality(probabilities: Sequence[float], labels: Sequence[float]) -> dict[str, float]:
    """How far N probabilities can be trusted, N labels being 1.0 or 0.0.

    Returns:
        ``n``, ``mean`` (of the probabilities), ``share`` (of the positives), ``ece`` (ten bins of equal mass), ``brier``,
        ``brier_skill`` (1 - Brier / Brier of the base rate; 0 where all labels are equal).
    """
    base = micro(labels)
    worst = micro((base - y) ** 2 for y in labels)
    score = micro((p - y) ** 2 for p, y in zip(probabilities, labels, strict=True))
    return {
        "n": len(labels),
        "mean": micro(probabilities),
        "share": base,
        "ece": calibration_error(probabilities, labels),
        "brier": score,
        "brier_skill": 1 - score / worst if worst else 0.0,
    }


def _by_language(lines: Sequence[RunLine], signals: Sequence[float | None]) -> dict[str, dict[str, Any]]:
    """Languages in which questions of both sorts were asked."""
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for line, signal in zip(lines, signals, strict=True):
        if signal is not None:
            groups.setdefault(line.language or "unknown", ([], []))[line.is_unanswerable].append(signal)
    return {
        name: {"n": len(no), "n_answerable": len(yes), "auroc": auroc(yes, no), "refused_at_95": refused(yes, no, KEPT)}
        for name, (yes, no) in sorted(groups.items())
        if yes and no
    }


def by_kind(lines: Sequence[RunLine], signals: Sequence[float | None]) -> dict[str, list[float]]:
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
    threshold = cut_keeping(positive, kept)
    return micro(float(value < threshold) for value in negative)


def calibration_error(probabilities: Sequence[float], labels: Sequence[float], bins: int = BINS) -> float:
    """Expected calibration error over bins of equal mass: mean |mean probability - share of positives|, weighted by size."""
    return sum(n * abs(mean - share) for mean, share, n in reliability(probabilities, labels, bins)) / max(1, len(labels))


def reliability(probabilities: Sequence[float], labels: Sequence[float], bins: int = BINS) -> list[tuple[float, float, int]]:
    """Bins of equal mass, lowest first: mean probability, share of positives, how many; empty bins are left out."""
    order = sorted(range(len(labels)), key=probabilities.__getitem__)
    edges = [round(i * len(order) / bins) for i in range(bins + 1)]
    members = [order[start:end] for start, end in pairwise(edges) if end > start]
    return [(micro(probabilities[i] for i in m), micro(labels[i] for i in m), len(m)) for m in members]


def roc(positive: Sequence[float], negative: Sequence[float]) -> list[tuple[float, float]]:
    """Points of the ROC curve from (0, 0) to (1, 1): share of the negatives and of the positives at or above each value."""
    points = [(0.0, 0.0)]
    hits = misses = 0
    values = sorted([(v, True) for v in positive] + [(v, False) for v in negative], reverse=True)
    for place, (value, answered) in enumerate(values):
        hits, misses = hits + answered, misses + (not answered)
        if place + 1 == len(values) or values[place + 1][0] != value:
            points.append((misses / len(negative), hits / len(positive)))
    return points


def cut_keeping(positive: Sequence[float], kept: float) -> float:
    """The highest threshold that ``kept`` of the positives reach."""
    return sorted(positive, reverse=True)[math.ceil(kept * len(positive)) - 1]


def evidence_scores(lines: Sequence[RunLine]) -> dict[str, Any] | None:
    """``scores.json["evidence"]``, or None where no question has quotes or annotated boxes.

    Each relevant page with a quote counts, wherever it was ranked; one that only the picture shows is counted apart.

    Returns:
        ``n``, ``n_visual``, ``quote_coverage`` (share of the pages whose evidence holds at least 80 % of the quote's words),
        ``words_mean``, ``words_p95`` (length of the evidence), ``n_boxes`` (annotated pages whose text has places), ``box_iou``
        (share of these on which a shown passage and an annotated box have an IoU of .5 or more; None where there is none).
    """
    quoted = [(quote, x.quote_evidence.get(page) or "") for x in lines for page, quote in x.quotes.items()]
    shown = [(quote, evidence) for quote, evidence in quoted if words(quote)]
    boxed = [(gold, x.evidence_boxes[page]) for x in lines for page, gold in x.gold_boxes.items() if page in x.evidence_boxes]
    if not quoted and not boxed:
        return None
    lengths = [len(words(evidence)) for _, evidence in shown]
    return {
        "n": len(shown),
        "n_visual": len(quoted) - len(shown),
        "quote_coverage": micro(float(share_held(quote, evidence) >= COVERED) for quote, evidence in shown),
        "words_mean": micro(lengths),
        "words_p95": quantile(lengths, 0.95) if lengths else 0.0,
        "n_boxes": len(boxed),
        "box_iou": micro([float(box_found(shown, gold)) for gold, shown in boxed]) if boxed else None,
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
