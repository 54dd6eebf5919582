"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from mmr5.evaluation.browser import BUDGET, Pages, Shown, browser_data, first_stage_order, place_of_first, ranked_order, shown
from mmr5.evaluation.plots import bars, dumbbells, forest, grid
from mmr5.evaluation.report import BREAKDOWNS, few_documents, short_commit, signals_markdown
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import FEW_DOCUMENTS, KINDS
from mmr5.render.html import environment
from mmr5.render.labels import ISSUES, PARTS
from mmr5.storage.cache import Cache
from mmr5.types import Progress

_MOST_PLACES = 10


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
    for title, key in BREAKDOWNS:
        rows = [(name.lstrip("0"), g["n"], g["retriever"][first], g["reranked"][first]) for name, g in scores[key].items()]
        how = f"{first}, first stage (ring) → reranked (dot); the number of questions beside the name."
        found.append((title, how, dumbbells(rows, f"{first} by {title.lower()}")))
    return found
