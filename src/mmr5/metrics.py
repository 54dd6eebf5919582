"""Rankings → scores, pure. Definitions follow MMDocIR's own code where it has one (arXiv 2501.08828, ``metric_eval.py``).

Conventions: a ranking is a sequence of distinct page ids, best first; it may hold fewer pages than exist. Relevance is binary. A
question without a ranking scores 0: pass an empty sequence. Ties have been broken before: a first stage breaks them in page
order (as ``top_k_indices`` there does), a reranker in first-stage order.

The numbers are held to those of MMDocIR's code and of ir_measures by ``tests/evaluation/test_parity.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from mmr5.types import Box, union


def recall(ranking: Sequence[int], relevant: Collection[int], k: int) -> float:
    """Share of the relevant pages among the first ``k``: |top-k ∩ relevant| / |relevant| (MMDocIR section 5.1), in [0, 1].

    It is not a hit rate: with several relevant pages recall@1 cannot reach 1. No relevant page gives 0, and a label that is
    repeated counts in the denominator each time, as in MMDocIR's code (its published labels hold no such case).
    """
    return len(set(ranking[:k]) & set(relevant)) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranking: Sequence[int], relevant: Collection[int]) -> float:
    """One over the rank of the first relevant page; 0 when there is none (``RR`` of ir_measures)."""
    wanted = set(relevant)
    return next((1 / rank for rank, page in enumerate(ranking, start=1) if page in wanted), 0.0)


def ndcg(ranking: Sequence[int], relevant: Collection[int], k: int) -> float:
    """Normalised discounted cumulative gain at ``k`` (``nDCG@k`` of ir_measures): binary gains, log₂ discount, in [0, 1]."""
    wanted = set(relevant)
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(len(wanted), k) + 1))
    gained = sum(1 / math.log2(rank + 1) for rank, page in enumerate(ranking[:k], start=1) if page in wanted)
    return gained / ideal if ideal else 0.0


METRICS: dict[str, Callable[[Sequence[int], Collection[int]], float]] = {
    "recall@1": lambda ranking, relevant: recall(ranking, relevant, 1),
    "recall@3": lambda ranking, relevant: recall(ranking, relevant, 3),
    "recall@5": lambda ranking, relevant: recall(ranking, relevant, 5),
    "mrr": reciprocal_rank,
    "ndcg@5": lambda ranking, relevant: ndcg(ranking, relevant, 5),
}
"""The metrics that evaluation reports for pages, by name."""

LAYOUT_DEPTHS = (1, 5, 10)
"""The depths at which MMDocIR reports the recall of layouts."""


def score(ranking: Sequence[int], relevant: Collection[int]) -> dict[str, float]:
    """Every metric of :data:`METRICS` for one question."""
    return {name: metric(ranking, relevant) for name, metric in METRICS.items()}


def score_layouts(ranking: Sequence[int], shares: Mapping[int, float]) -> dict[str, float]:
    """Layout recall at :data:`LAYOUT_DEPTHS` for one question.

    Args:
        ranking: layout ids, best first.
        shares: layout id → its share of the relevant area (:func:`layout_share`); 0 where it is missing.
    """
    return {f"recall@{k}": sum(shares.get(layout, 0.0) for layout in ranking[:k]) for k in LAYOUT_DEPTHS}


def micro(values: Iterable[float]) -> float:
    """Mean over questions; 0 for none."""
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def quantile(values: Iterable[float], share: float) -> float:
    """Linear interpolation between order statistics; ``share`` in [0, 1], at least one value."""
    found = sorted(values)
    place = share * (len(found) - 1)
    low = int(place)
    high = min(low + 1, len(found) - 1)
    return found[low] + (found[high] - found[low]) * (place - low)


def macro(values: Mapping[str, Sequence[float]], domains: Sequence[str] | None = None) -> float:
    """Mean over domains of the mean over a domain's questions.

    Args:
        values: domain → one value a question.
        domains: the domains to average over, where a benchmark fixes them: one without questions counts 0, as in MMDocIR's
            code; None averages over the domains present.
    """
    names = list(domains) if domains is not None else list(values)
    return sum(micro(values.get(name, ())) for name in names) / len(names) if names else 0.0


def overlap(a: Box, b: Box) -> float:
    """Area that two boxes (x1, y1, x2, y2) share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def box_iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, in [0, 1]; 0 where both are empty."""
    shared = overlap(a, b)
    total = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)) - shared
    return shared / total if total > 0 else 0.0


def box_found(predicted: Sequence[Box], gold: Sequence[Box], least: float = 0.5) -> bool:
    """Whether some predicted box meets a gold one with an IoU of ``least``, or all together meet all gold ones."""
    if not predicted or not gold:
        return False
    pairs = [(a, b) for a in (*predicted, union(predicted)) for b in (*gold, union(gold))]
    return any(box_iou(a, b) >= least for a, b in pairs)


def layout_share(page_id: int, box: Box, relevant: Sequence[tuple[int, Box]]) -> float:
    """How much of the relevant layouts' area one layout covers; what lies on another page covers nothing.

    Args:
        page_id: the layout's page.
        box: the layout's box.
        relevant: (page id, box) of the relevant layouts; without any area among them the share is 0.
    """
    total = sum((other[2] - other[0]) * (other[3] - other[1]) for _, other in relevant)
    return sum(overlap(box, other) for page, other in relevant if page == page_id) / total if total else 0.0


def layout_recall(retrieved: Sequence[tuple[int, Box]], relevant: Sequence[tuple[int, Box]], k: int) -> float:
    """Share of the relevant layouts' area that the first ``k`` retrieved layouts cover (MMDocIR, ``recall_layout``).

    Shares are summed and areas not united: layouts that overlap count twice, and the value can exceed 1.

    Args:
        retrieved: (page id, box), best first.
        relevant: (page id, box).
        k: how many retrieved layouts count, at least 0.
    """
    return sum(layout_share(page, box, relevant) for page, box in retrieved[:k])
