"""A rerank result as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence

from mmr5.render.html import environment, write_html
from mmr5.render.thumbnails import page_uri
from mmr5.render.words import ISSUES, SCORES, movement
from mmr5.types import Page, RankedPage, RerankResult

__all__ = ["result_html", "results_html", "write_html"]

THUMBNAIL_PIXELS = 350_000


def result_html(result: RerankResult, pages: Sequence[Page], *, thumbnail_pixels: int = THUMBNAIL_PIXELS) -> str:
    """One question's result as HTML.

    Args:
        result: what was found.
        pages: all pages read, by index.
        thumbnail_pixels: pixels of each page picture (width times height).

    Returns:
        A document without external resources; every text in it is inert.
    """
    return results_html([result], pages, thumbnail_pixels=thumbnail_pixels)


def results_html(results: Sequence[RerankResult], pages: Sequence[Page], *, thumbnail_pixels: int = THUMBNAIL_PIXELS) -> str:
    """Several questions about the same pages as one HTML page; each page's picture is embedded once."""
    shown = sorted({line.index for result in results for line in result})
    pictures = {index: page_uri(pages[index], thumbnail_pixels) for index in shown}
    title = results[0].query if len(results) == 1 else f"{len(results)} questions"
    blocks = [(result, [_card(line) for line in result]) for result in results]
    return environment().get_template("result.html").render(title=title, blocks=blocks, pictures=pictures, issue_words=ISSUES)


def _card(line: RankedPage) -> dict[str, object]:
    return {
        "line": line,
        "moved": movement(line.rank, line.first_stage_rank),
        "score": None if line.score is None else f"{line.score:.3f}",
        "score_words": SCORES.get(line.score_kind or "", line.score_kind or ""),
    }
