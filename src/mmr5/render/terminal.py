"""A rerank result for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmr5.render.labels import NOT_HERE, movement
from mmr5.types import RerankResult

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

REASON_LENGTH = 160


def _plain(text: str) -> str:
    """One line without control characters: page text must not be able to steer a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _caption(result: RerankResult) -> Text | None:
    """What is said under the table."""
    from rich.text import Text

    missing = result.answerable is not None and result.answerable.verdict == "no"
    if not len(result):
        return Text(f"{NOT_HERE if missing else ''} No page is inside the limits that were set.".strip())
    return Text(f"{NOT_HERE} The pages above are the best guesses.") if missing else None


def result_table(result: RerankResult) -> Table:
    """The ranked pages as a table that fits 80 columns: rank, page, how it moved, relevance or score, reason or evidence.

    Where probably no page answers, a line under the table says so.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    several = len({line.source for line in result}) > 1
    has_reason = any(line.reason for line in result)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        expand=True,
        title=Text(_plain(result.query)),
        title_justify="left",
        title_style="bold",
        caption=_caption(result),
        caption_justify="left",
    )
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("page", overflow="fold" if several else "ellipsis", no_wrap=not several, max_width=28)
    table.add_column("was", justify="right", no_wrap=True)
    calibrated = len(result) > 0 and all(line.relevance is not None for line in result)
    table.add_column("relevance" if calibrated else "score", justify="right", no_wrap=True)
    whole = all(line.reason for line in result)
    table.add_column("reason" if whole else "reason, or “passage”" if has_reason else "evidence", ratio=1)
    for line in result:
        labelled = f" ({line.page_label})" if line.page_label not in (None, str(line.page)) else ""
        where = f"{line.source} p. {line.page}{labelled}" if several else f"p. {line.page}{labelled}"
        was = "" if line.first_stage_rank is None else str(line.first_stage_rank)
        arrow = {"up": "↑", "do": "↓"}.get(movement(line.rank, line.first_stage_rank)[:2], "")
        said = _plain(line.reason or line.evidence or "(no text)")
        said = said if len(said) <= REASON_LENGTH else said[: REASON_LENGTH - 1].rstrip() + "…"
        said = f"“{said}”" if has_reason and line.evidence and not line.reason else said
        score = "" if line.score is None else f"{line.score:.2f}"
        if calibrated and line.relevance is not None:
            score = f"{100 * line.relevance:.0f} %"
        table.add_row(str(line.rank), Text(_plain(where)), f"{was} {arrow}".strip(), score, Text(said))
    return table
