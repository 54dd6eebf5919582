"""Office and web documents → pages of text, by libraries of the extra ``office``. It runs in :mod:`mmr5.pages.office_worker`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmr5.pages.office_words import drawn_words, markdown_table, open_blocks, texts_of, word_blocks
from mmr5.pages.prose import pages_of as prose_pages
from mmr5.pages.references import without_references

SHEET_ROWS = 40
"""Rows of a sheet on a page; the sheet's name and first row stand on each."""
MAX_ROWS = 20_000
"""Most rows of a sheet that are read."""
MAX_COLUMNS = 200
_CHOICE = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Choice"


def pages_of(file: Path, kind: str) -> tuple[list[str], list[str]]:
    """Pages of a document as texts, and what was left out.

    Args:
        file: its place.
        kind: ``docx``, ``pptx``, ``xlsx``, ``odt`` or ``html``.

    Raises:
        ImportError: the library that reads this kind is not installed.
    """
    if kind == "xlsx":
        return _workbook(file)
    if kind == "pptx":
        return list(_slides(file)), []
    markdown = {"docx": _word, "odt": _open, "html": _web}[kind](file)
    return prose_pages(markdown), []


def _word(file: Path) -> str:
    return "\n\n".join(word_blocks(file))


def _slides(file: Path) -> Iterator[str]:
    """A page a slide: title, texts and tables from top to bottom, notes."""
    from pptx import Presentation

    for number, slide in enumerate(_shown_slides(Presentation(str(file))), 1):
        title = slide.shapes.title.text.strip() if slide.shapes.title is not None else ""
        blocks = [f"# {title}" if title else f"Slide {number}"]
        shapes = [shape for shape in _shapes(slide.shapes) if shape != slide.shapes.title]
        for shape in sorted(shapes, key=lambda s: (s.top or 0, s.left or 0)):
            if getattr(shape, "has_table", False):
                blocks.append(markdown_table([cell.text for cell in row.cells] for row in shape.table.rows))
            elif getattr(shape, "has_text_frame", False) and shape.text_frame.text.strip():
                blocks.append(shape.text_frame.text.strip())
        blocks += _drawn_on(slide)
        if said := _notes(slide):
            blocks.append(said)
        yield "\n\n".join(blocks)


def speaker_notes(file: Path) -> list[str]:
    """What is said beside each slide that is shown; empty where nothing is. A presentation's hidden slides are not printed."""
    from pptx import Presentation

    return [_notes(slide) for slide in _shown_slides(Presentation(str(file)))]


def _shown_slides(presentation: Any) -> list[Any]:
    return [slide for slide in presentation.slides if slide.element.get("show") not in ("0", "false")]


def _drawn_on(slide: Any) -> list[str]:
    """The words of a slide's charts and diagrams, and of shapes that stand in several forms, of which the first counts."""
    found = [
        list(dict.fromkeys(texts_of(relation.target_part.blob)))
        for relation in slide.part.rels.values()
        if not relation.is_external and relation.reltype.endswith(("/chart", "/diagramData"))
    ]
    found += [list(choice.itertext("{*}t")) for choice in slide.element.iter(_CHOICE)]
    return [" ".join(words) for words in found if words]


def _notes(slide: Any) -> str:
    if not slide.has_notes_slide or (said := slide.notes_slide.notes_text_frame) is None or not said.text.strip():
        return ""
    return f"Notes: {said.text.strip()}"


def _shapes(shapes: Any) -> Iterator[Any]:
    """All shapes, those of groups among them."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        else:
            yield shape


def _workbook(file: Path) -> tuple[list[str], list[str]]:
    """Pages of rows, each under its sheet's name and first row."""
    import openpyxl

    pages: list[str] = []
    notes: list[str] = []
    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    for sheet in book.worksheets:
        if sheet.sheet_state != "visible":
            continue
        rows = _rows(sheet)
        first = next(rows, None)
        if first is None:
            continue
        held: list[list[str]] = []
        count = 1
        for row in rows:
            count += 1
            if count > MAX_ROWS:
                notes.append(
                    f"the sheet {sheet.title!r} has more than {MAX_ROWS:,} rows, of which the first {MAX_ROWS:,} were read"
                )
                break
            held.append(row)
            if len(held) == SHEET_ROWS:
                pages.append(_sheet_page(sheet.title, first, held))
                held = []
        if held or count == 1:
            pages.append(_sheet_page(sheet.title, first, held))
    with zipfile.ZipFile(file) as archive:
        drawn = list(drawn_words(archive, ("xl/drawings/drawing", "xl/charts/chart", "xl/diagrams/data")))
    return [*pages, *prose_pages("\n\n".join(drawn))], notes


def _rows(sheet: Any) -> Iterator[list[str]]:
    """Rows that hold something, as texts."""
    for row in sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS):
        cells = ["" if value is None else str(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield cells


def _sheet_page(title: str, first: list[str], rows: list[list[str]]) -> str:
    return f"# {title}\n\n{markdown_table([first, *rows])}"


def _open(file: Path) -> str:
    return "\n\n".join(open_blocks(file))


def _web(file: Path) -> str:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(without_references(file.read_bytes(), "html"), "html.parser", from_encoding="utf-8")
    for tag in soup(["style", "img", "meta"]):
        tag.decompose()
    return str(MarkdownConverter(heading_style="ATX").convert_soup(soup))
