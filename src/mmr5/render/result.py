"""A rerank result as one self-contained HTML page."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from urllib.parse import quote

from mmr5.render.html import environment, write_html
from mmr5.render.labels import ISSUES, NOT_HERE, PARTS, movement, short_names
from mmr5.render.overlay import marks, words
from mmr5.render.thumbnails import page_uri
from mmr5.types import Page, RankedPage, RerankResult

__all__ = ["result_html", "results_html", "write_html"]

THUMBNAIL_PIXELS = 700_000
Pages = Sequence[Page] | Mapping[int, Page]


def result_html(
    result: RerankResult, pages: Pages, *, thumbnail_pixels: int = THUMBNAIL_PIXELS, folder: Path | None = None
) -> str:
    """One question's result as HTML.

    Args:
        result: what was found.
        pages: all pages read, or those of the result, by index.
        thumbnail_pixels: pixels of each page picture (width times height).
        folder: where the page will be kept: links to PDFs are from there; None makes none.

    Returns:
        A document without external resources; every text in it is inert.
    """
    return results_html([result], pages, thumbnail_pixels=thumbnail_pixels, folder=folder)


def results_html(
    results: Sequence[RerankResult],
    pages: Pages,
    *,
    thumbnail_pixels: int = THUMBNAIL_PIXELS,
    folder: Path | None = None,
) -> str:
    """Several questions about the same pages as one HTML page; each page's picture is embedded once.

    Args:
        results: at least one.
        pages: all pages read, or those of the result, by index.
        thumbnail_pixels: pixels of each page picture (width times height).
        folder: as for :func:`result_html`.
    """
    shown = sorted({line.index for result in results for line in result})
    pictures = {index: page_uri(pages[index], thumbnail_pixels) for index in shown}
    names = short_names({line.source for result in results for line in result})
    embedded: set[int] = set()
    layers = {index: words(pages[index]) for index in shown}
    blocks = [(result, [_card(line, pages[line.index], names, embedded, folder) for line in result]) for result in results]
    title = results[0].query if len(results) == 1 else f"{len(results)} questions"
    template = environment().get_template("result.html")
    return template.render(
        title=title, blocks=blocks, pictures=pictures, layers=layers, issue_words=ISSUES, part_words=PARTS, not_here=NOT_HERE
    )


def _card(line: RankedPage, page: Page, names: dict[str, str], embedded: set[int], folder: Path | None) -> dict[str, object]:
    """What one ranked page shows; the first card of a page embeds its picture, and ``embedded`` remembers that."""
    first = line.index not in embedded
    embedded.add(line.index)
    return {
        "line": line,
        "name": names[line.source],
        "embeds": first,
        "marks": marks(box for passage in line.evidence_passages for box in passage.boxes),
        "link": link(line, folder),
        "no_evidence": _why_no_evidence(page),
        "moved": movement(line.rank, line.first_stage_rank),
        **_score(line),
    }


def link(line: RankedPage, folder: Path | None) -> str | None:
    """The address of a page in its PDF, from a folder; None for other documents and for one that is not there."""
    file = Path(line.source)
    if folder is None or file.suffix.lower() != ".pdf" or not file.is_file():
        return None
    try:
        path = os.path.relpath(file.resolve(), folder.resolve())
    except ValueError:  # another drive
        return None
    return f"{quote(PurePath(path).as_posix())}#page={line.page}"


def _score(line: RankedPage) -> dict[str, object]:
    """The relevance of a page, or its score where that is not known, with its name and meaning."""
    if line.relevance is not None:
        meaning = "probability that the page holds the answer or a needed part of it"
        return {"score": f"{100 * line.relevance:.0f} %", "score_name": "relevance", "score_words": meaning}
    return {
        "score": None if line.score is None else f"{line.score:.3f}",
        "score_name": "score" if line.score_kind is None else line.score_kind.label,
        "score_words": "" if line.score_kind is None else line.score_kind.meaning,
    }


def _why_no_evidence(page: Page) -> str:
    """Why a page has no passage to show, in words."""
    if page.text is None:
        return "Nobody has read this page's text, so there is nothing to quote."
    return "No passage of this page is quoted." if page.text.strip() else "This page has no text to quote."
