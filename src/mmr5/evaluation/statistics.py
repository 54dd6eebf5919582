"""Scores of a run with what lets a reader decide: intervals, ceilings, breakdowns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmr5.evaluation.answerability import answerability, evidence_scores, relevance_scores
from mmr5.evaluation.runs import RunLine
from mmr5.metrics import METRICS, macro, micro, quantile, recall, score, score_layouts
from mmr5.types import Issue

RESAMPLES = 4_000
FEW_DOCUMENTS = 5
"""Below this the bootstrap over documents has too little to draw from, and no interval is given."""
KINDS = ("macro", "micro")
Table = dict[str, dict[str, float]]


def question_scores(line: RunLine, ranking: Sequence[int]) -> dict[str, float]:
    """Every metric of one order of a question's candidates: pages by :func:`mmr5.metrics.score`, layouts by their areas."""
    if line.areas is None:
        return score(ranking, line.relevant)
    return score_layouts(ranking, dict(zip(line.candidates, line.areas, strict=True)))


def oracle_order(line: RunLine) -> list[int]:
    """The candidates in the best order there is: relevant ones first, layouts by falling area; ties in first-stage order."""
    gains = dict(zip(line.candidates, line.areas or [float(page in line.relevant) for page in line.candidates], strict=True))
    return sorted(line.candidates, key=lambda page: -gains[page])


def candidate_recall(line: RunLine) -> float:
    """What the candidates hold of the relevant pages (a share), or of the labelled area of layouts (a sum of shares)."""
    if line.areas is not None:
        return sum(line.areas)
    return recall(line.candidates, line.relevant, len(line.candidates))


def summarise(
    lines: Sequence[RunLine], *, domains: Sequence[str] | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Everything of ``scores.json``.

    Args:
        lines: one a question; unanswerable ones count in no recall, and in ``answerability``, ``parse``, ``latency_ms``.
        domains: the domains of the macro average where the benchmark fixes them.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    asked, lines = lines, [x for x in lines if not x.is_unanswerable]
    before = [question_scores(x, x.candidates) for x in lines]
    after = [question_scores(x, x.ranking) for x in lines]
    first, second = averages(lines, before, domains), averages(lines, after, domains)
    held = [candidate_recall(x) for x in lines]
    return {
        "n_questions": len(asked),
        "n_documents": len({x.doc_name for x in asked}),
        "retriever": first,
        "reranked": second,
        "delta": {kind: {name: second[kind][name] - first[kind][name] for name in first[kind]} for kind in KINDS},
        "ci95": intervals(lines, before, after, domains, seed=seed, resamples=resamples),
        "oracle": averages(lines, [question_scores(x, oracle_order(x)) for x in lines], domains),
        "candidate_recall": {"macro": macro(_by(lines, held, lambda x: x.domain), domains), "micro": micro(held)},
        "by_domain": breakdown(lines, before, after, lambda x: x.domain),
        "by_type": breakdown(lines, before, after, lambda x: x.type or "unknown"),
        "by_language": breakdown(lines, before, after, language_group),
        "by_gold_count": breakdown(lines, before, after, lambda x: str(len(set(x.relevant)))),
        "by_gold_position": breakdown(lines, before, after, gold_position),
        "all_within_5": all_within(lines, 5),
        "answerability": answerability(asked),
        "relevance": relevance_scores(asked),
        "evidence": evidence_scores(lines),
        "parse": parse_shares(asked),
        "latency_ms": latencies(asked),
        "tokens": tokens(asked),
    }


def all_within(lines: Sequence[RunLine], depth: int) -> dict[str, Any] | None:
    """Share of the questions with several relevant pages that have all of them among the first ``depth``, before and after.

    None where no question has several, or layouts are ranked.
    """
    several = [x for x in lines if len(set(x.relevant)) > 1 and x.areas is None]
    if not several:
        return None
    orders = {"retriever": [x.candidates for x in several], "reranked": [x.ranking for x in several]}
    held = {
        name: micro(float(set(x.relevant) <= set(order[:depth])) for x, order in zip(several, found, strict=True))
        for name, found in orders.items()
    }
    return {"n": len(several), **held}


def metric_names(values: Sequence[Mapping[str, float]]) -> list[str]:
    """The metrics that every question was measured by; those of pages where there is no question."""
    return list(values[0]) if values else list(METRICS)


def averages(lines: Sequence[RunLine], values: Sequence[Mapping[str, float]], domains: Sequence[str] | None) -> Table:
    """Macro and micro means of every metric."""
    columns = {name: [v[name] for v in values] for name in metric_names(values)}
    return {
        "macro": {name: macro(_by(lines, column, lambda x: x.domain), domains) for name, column in columns.items()},
        "micro": {name: micro(column) for name, column in columns.items()},
    }


def intervals(
    lines: Sequence[RunLine],
    before: Sequence[Mapping[str, float]],
    after: Sequence[Mapping[str, float]],
    domains: Sequence[str] | None,
    *,
    seed: int,
    resamples: int,
) -> dict[str, dict[str, list[float] | None]]:
    """95 % intervals of the gain by paired bootstrap: whole documents are drawn with replacement.

    Returns:
        kind (macro, micro) → metric → [2.5 %, 97.5 %], or None below :data:`FEW_DOCUMENTS` documents. A domain that a resample
        does not hold is left out of its macro mean, unless the benchmark fixes the domains.
    """
    import numpy as np

    documents = sorted({x.doc_name for x in lines})
    if len(documents) < FEW_DOCUMENTS:
        return {kind: dict.fromkeys(metric_names(before)) for kind in KINDS}
    groups = sorted({x.domain for x in lines})
    row = {name: i for i, name in enumerate(documents)}
    column = {name: i for i, name in enumerate(groups)}
    counts = np.zeros((len(documents), len(groups)))
    for x in lines:
        counts[row[x.doc_name], column[x.domain]] += 1
    draws = np.random.default_rng(seed).multinomial(len(documents), [1 / len(documents)] * len(documents), size=resamples)
    asked = draws @ counts
    out: dict[str, dict[str, list[float] | None]] = {"macro": {}, "micro": {}}
    for name in metric_names(before):
        gains = np.zeros_like(counts)
        for x, old, new in zip(lines, before, after, strict=True):
            gains[row[x.doc_name], column[x.domain]] += new[name] - old[name]
        summed = draws @ gains
        means = np.divide(summed, asked, out=np.zeros_like(summed), where=asked > 0)
        held = np.full(resamples, len(domains)) if domains is not None else (asked > 0).sum(1)
        for kind, drawn in (("macro", means.sum(1) / held), ("micro", summed.sum(1) / asked.sum(1))):
            out[kind][name] = [float(q) for q in np.quantile(drawn, [0.025, 0.975])]
    return out


def breakdown(
    lines: Sequence[RunLine],
    before: Sequence[Mapping[str, float]],
    after: Sequence[Mapping[str, float]],
    key: Callable[[RunLine], str],
) -> dict[str, dict[str, Any]]:
    """Micro means before and after for each group, groups in order."""
    groups: dict[str, list[int]] = defaultdict(list)
    for i, x in enumerate(lines):
        groups[key(x)].append(i)
    names = metric_names(before)
    return {
        name: {
            "n": len(members),
            "retriever": {m: micro(before[i][m] for i in members) for m in names},
            "reranked": {m: micro(after[i][m] for i in members) for m in names},
        }
        for name, members in sorted(groups.items())
    }


def language_group(line: RunLine) -> str:
    """The language of a question (``"de"``), and that of its document where it is another (``"en about de"``)."""
    asked, written = line.language or "unknown", line.page_language or line.language or "unknown"
    return asked if asked == written else f"{asked} about {written}"


def gold_position(line: RunLine) -> str:
    """Where the first relevant page stands among the candidates: ``"01"``, ``"02"``, ..., or ``"absent"``."""
    places = [i for i, page in enumerate(line.candidates, start=1) if page in line.relevant]
    return f"{places[0]:02d}" if places else "absent"


def parse_shares(lines: Sequence[RunLine]) -> dict[str, float]:
    """Share of clean replies, and of replies with each issue, among the questions that a model answered in words.

    LANGUAGE is no fault of a reply: one with that issue alone is clean.
    """
    replies = [x for x in lines if x.reply is not None]
    n = max(1, len(replies))
    shares = {issue.value: sum(issue.value in x.issues for x in replies) / n for issue in Issue}
    clean = sum(set(x.issues) <= {Issue.LANGUAGE.value} for x in replies)
    return {"n_replies": len(replies), "clean": clean / n if replies else 1.0, **shares}


def latencies(lines: Sequence[RunLine]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile of the wall time by part, in milliseconds a question."""
    parts: dict[str, list[float]] = defaultdict(list)
    for x in lines:
        for name, value in x.latency_ms.items():
            parts[name].append(value)
        parts["total"].append(sum(x.latency_ms.values()))
    return {name: {"p50": quantile(values, 0.5), "p95": quantile(values, 0.95)} for name, values in parts.items()}


def tokens(lines: Sequence[RunLine]) -> dict[str, float]:
    """Mean tokens a question, read and written."""
    return {name: micro(x.tokens.get(name, 0) for x in lines) for name in ("prompt_tokens", "completion_tokens")}


def _by(lines: Sequence[RunLine], values: Sequence[float], key: Callable[[RunLine], str]) -> dict[str, list[float]]:
    groups: dict[str, list[float]] = defaultdict(list)
    for x, value in zip(lines, values, strict=True):
        groups[key(x)].append(value)
    return groups
