"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from mmr5.evaluation.answerability import (
    KEPT,
    answer_signals,
    auroc,
    by_kind,
    cut_keeping,
    refused,
    relevance_labels,
)
from mmr5.evaluation.answerability import reliability as reliability_bins
from mmr5.evaluation.answerability import roc as roc_points
from mmr5.evaluation.browser import BUDGET, Pages, Shown, browser_data, first_stage_order, place_of_first, ranked_order, shown
from mmr5.evaluation.plots import bars, dumbbells, forest, grid, histogram, reliability, roc
from mmr5.evaluation.report import BREAKDOWNS, few_documents, short_commit, signals_markdown
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import FEW_DOCUMENTS, KINDS
from mmr5.render.html import environment
from mmr5.render.labels import ISSUES, PARTS
from mmr5.storage.cache import Cache
from mmr5.types import Progress

_MOST_PLACES = 10
_MOST_CURVES = 5


def report_html(
    lines: Sequence[RunLine],
    scores: Mapping[str, Any],
    facts: Mapping[str, Any],
    pages: Pages,
    *,
    cache: Cache | None = None,
    progress: Progress | None = None,
    budget: int = BUDGET,
) -> str:
    """The scores, plots, and every question with its candidates, as HTML without external resources.

    Args:
        lines: one a question.
        scores: as :func:`mmr5.evaluation.statistics.summarise` gives them.
        facts: the provenance.
        pages: the units of a document, by its name; read where pictures are drawn.
        cache: where pictures are kept.
        progress: told of the pictures drawn.
        budget: most bytes of pictures.

    Returns:
        A document in which every text of the corpus and of the model is inert.
    """
    items = [shown(line, first_stage_order(line), ranked_order(line)) for line in lines]
    return (
        environment()
        .get_template("report.html")
        .render(
            scores=scores,
            facts=facts,
            config=facts["config"],
            commit=short_commit(facts),
            caution=few_documents(scores["n_documents"]) if scores["n_documents"] < FEW_DOCUMENTS else "",
            names=list(scores["retriever"]["micro"]),
            signals=[text for text in signals_markdown(scores) if text],
            kinds=KINDS,
            plots=plots(items, scores),
            won=sum(item.gain > 0 for item in items),
            lost=sum(item.gain < 0 for item in items),
            issues=[(words, scores["parse"][issue.value]) for issue, words in ISSUES.items() if scores["parse"][issue.value]],
            part_words={**PARTS, "total": "in all"},
            before_name="first stage",
            after_name="reranked",
            start="changed",
            data=browser_data(items, pages, cache=cache, progress=progress, budget=budget),
        )
    )


def plots(items: Sequence[Shown], scores: Mapping[str, Any]) -> list[tuple[str, str, Markup]]:
    """The plots of a report: (title, how to read it, SVG)."""
    names = list(scores["retriever"]["micro"])
    first = names[0]
    gains = [(f"{kind} {name}", scores["delta"][kind][name], scores["ci95"][kind][name]) for kind in KINDS for name in names]
    levels = [(name, *(scores[key]["macro"][name] for key in ("retriever", "reranked", "oracle"))) for name in names]
    moves = Counter(
        (place_of_first(item.before.ids, item.line.relevant), place_of_first(item.after.ids, item.line.relevant))
        for item in items
        if not item.line.is_unanswerable
    )
    longest = max((len(item.before.ids) for item in items), default=1)
    found = [
        (
            "What the model gains",
            "Dots are gains, lines their 95 % intervals by paired bootstrap over documents. "
            "A line that crosses zero decides nothing.",
            forest(gains, "gain of each metric with its interval"),
        ),
        (
            "Before, after, and the ceiling",
            "Macro averages. Pale: first stage. Strong: reranked. The tick: an oracle on the same candidates.",
            bars(levels, "macro average of each metric before, after and with an oracle"),
        ),
        (
            "Where the first relevant page went",
            "Questions by its place before and after. Green cells lie on the good side, and the diagonal stayed.",
            grid(moves, min(longest, _MOST_PLACES), "place of the first relevant page before and after"),
        ),
    ]
    found += signal_plots([item.line for item in items])
    for title, key in BREAKDOWNS:
        rows = [(name.lstrip("0"), g["n"], g["retriever"][first], g["reranked"][first]) for name, g in scores[key].items()]
        how = f"{first}, first stage (ring) → reranked (dot); the number of questions beside the name."
        found.append((title, how, dumbbells(rows, f"{first} by {title.lower()}")))
    return found


def signal_plots(lines: Sequence[RunLine]) -> list[tuple[str, str, Markup]]:
    """Plots of whether unanswerable questions are told, and of how far probabilities can be trusted; none without either."""
    found = []
    calibrated, signals = answer_signals(lines)
    name = "the probability that any page answers" if calibrated else "the top score"
    asked = [(s, not x.is_unanswerable) for x, s in zip(lines, signals, strict=True) if s is not None]
    yes, no = [s for s, answered in asked if answered], [s for s, answered in asked if not answered]
    if yes and no:
        kinds = sorted(by_kind(lines, signals).items(), key=lambda item: -len(item[1]))[:_MOST_CURVES]
        groups = [("all", no), *(kinds if len(kinds) > 1 else [])]
        curves = [(f"{kind} {auroc(yes, mine):.2f} ({len(mine)})", roc_points(yes, mine)) for kind, mine in groups]
        found.append(
            (
                "Does it know that nothing answers?",
                f"ROC curves of {name}, by the kind of unanswerable question, with AUROC and number. The diagonal is chance.",
                roc(curves, "ROC curve of answerable against unanswerable questions"),
            )
        )
        cut = cut_keeping(yes, KEPT)
        found.append(
            (
                "Answerable above, unanswerable below",
                f"Questions by {name}, as shares. The line is the cut that keeps 95 % of the answerable ones; to its left "
                f"lie {refused(yes, no, KEPT):.0%} of the unanswerable ones.",
                histogram((("answerable", yes), ("unanswerable", no)), cut, "answerable and unanswerable questions by signal"),
            )
        )
        if calibrated:
            bins = reliability_bins([s for s, _ in asked], [float(answered) for _, answered in asked])
            how = "Probability that any page answers against how often one does; bins of equal mass. The diagonal is right."
            found.append(("Is “answerable” right?", how, reliability([("questions", bins)], "reliability of answerable")))
    pages = [relevance_labels(line) for line in lines]
    if any(pages):
        every = [pair for page in pages for pair in page]
        first = [page[0] for page in pages if page]
        sets = [
            (name, reliability_bins([said for said, _ in pairs], [true for _, true in pairs]))
            for name, pairs in (("all", every), ("first pages", first))
        ]
        how = "Relevance of pages against how often they are relevant; bins of equal mass. The diagonal is right."
        found.append(("Is relevance right?", how, reliability(sets, "reliability of relevance")))
    return found
