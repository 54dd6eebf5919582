"""An evaluation as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmr5.evaluation.runs import RunLine
from mmr5.render.html import environment
from mmr5.types import Page


def report_html(
    lines: Sequence[RunLine], scores: Mapping[str, Any], facts: Mapping[str, Any], pages: Callable[[str], Sequence[Page]]
) -> str:
    """The scores as HTML.

    Args:
        lines: one a question.
        scores: as :func:`mmr5.evaluation.statistics.summarise` gives them.
        facts: the provenance.
        pages: the units of a document, by its name.
    """
    del lines, pages
    return environment().get_template("report.html").render(scores=scores, facts=facts)
