"""A rerank result for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmr5.languages import marked
from mmr5.render.labels import NOT_HERE, movement, short_names
from mmr5.types import RankedPage, RerankResult

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

SHOWN_LINES = 4
"""Lines of the table, about, that a reason or a passage takes."""
OTHER_COLUMNS = 24
"""Characters of a line that rank, place in the first stage, relevance and the gaps take."""
PAGE_WIDTH = 28
LEAST_LENGTH = 40


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


def cut_around(text: str, query: str, length: int) -> str:
    """The part of a text that has most of what a question asks for, with that in its middle; ``…`` where something is left out.

    Args:
        text: one line.
        query: the question.
        length: most characters of the part.
    """
    if len(text) <= length:
        return text
    at, spans = 0, []
    for piece, wanted in marked(text, query):
        if wanted:
            spans.append((at, at + len(piece), piece.casefold()))
        at += len(piece)
    room = length - 4
    first, last = 0, min(room, len(text))
    best = 0
    for i, (start, _, _) in enumerate(spans):
        own = [span for span in spans[i:] if span[1] <= start + room]
        told = len({word for _, _, word in own})
        if told > best:
            spare = room - (own[-1][1] - start)
            best, first = told, max(0, min(start - spare // 2, len(text) - room))
            last = min(len(text), first + room)
    part = text[first:last]
    if first and " " in part[: length // 4]:
        part = part[part.index(" ") + 1 :]
    if last < len(text) and " " in part[-length // 4 :]:
        part = part[: part.rindex(" ")]
    return f"{'… ' if first else ''}{part.strip()}{' …' if last < len(text) else ''}"


def result_table(result: RerankResult, *, named: bool | None = None, width: int = 80) -> Table:
    """The ranked pages as a table: rank, page, how it moved, relevance or score, reason or evidence.

    Where probably no page answers, a line under the table says so.

    Args:
        result: what was found.
        named: whether each page has its document's name; None where several are ranked.
        width: characters of a line.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    several = len({line.source for line in result}) > 1 if named is None else named
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
    table.add_column("page", overflow="fold" if several else "ellipsis", no_wrap=not several, max_width=PAGE_WIDTH)
    table.add_column("was", justify="right", no_wrap=True)
    calibrated = len(result) > 0 and all(line.relevance is not None for line in result)
    table.add_column("relevance" if calibrated else "score", justify="right", no_wrap=True)
    whole = all(line.reason for line in result)
    table.add_column("reason" if whole else "reason, or “passage”" if has_reason else "evidence", ratio=1)
    names = short_names({line.source for line in result}) if several else {}
    places = [_place(line, names.get(line.source, "")) for line in result]
    length = SHOWN_LINES * (width - OTHER_COLUMNS - min(PAGE_WIDTH, max(map(len, places), default=0)))
    for line, place in zip(result, places, strict=True):
        was = "" if line.first_stage_rank is None else str(line.first_stage_rank)
        arrow = {"up": "↑", "do": "↓"}.get(movement(line.rank, line.first_stage_rank)[:2], "")
        said = cut_around(_plain(line.reason or line.evidence or "(no text)"), result.query, max(LEAST_LENGTH, length))
        said = f"“{said}”" if has_reason and line.evidence and not line.reason else said
        score = "" if line.score is None else f"{line.score:.2f}"
        if calibrated and line.relevance is not None:
            score = f"{100 * line.relevance:.0f} %"
        table.add_row(str(line.rank), Text(place), f"{was} {arrow}".strip(), score, _marked(said, result.query))
    return table


def _place(line: RankedPage, name: str) -> str:
    labelled = f" ({line.page_label})" if line.page_label not in (None, str(line.page)) else ""
    return _plain(f"{name} p. {line.page}{labelled}")


def _marked(text: str, query: str) -> Text:
    """A text with the words that the question asks for in bold."""
    from rich.text import Text

    return Text.assemble(*((piece, "bold" if wanted else "") for piece, wanted in marked(text, query)))
