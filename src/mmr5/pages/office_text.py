"""Office and web documents → pages of text, by libraries of the extra ``office``. It runs in :mod:`mmr5.pages.office_worker`."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mmr5.pages.prose import decoded
from mmr5.pages.prose import pages_of as prose_pages

SHEET_ROWS = 40
"""Rows of a sheet on a page; the sheet's name and first row stand on each."""
MAX_ROWS = 20_000
"""Most rows of a sheet that are read."""
MAX_COLUMNS = 200
_ODF = "{urn:oasis:names:tc:opendocument:xmlns:%s:1.0}"
_TEXT, _TABLE = _ODF % "text", _ODF % "table"


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
    markdown = {"docx": _word, "odt": _open_text, "html": _web}[kind](file)
    return prose_pages(markdown), []


def _word(file: Path) -> str:
    import docx
    from docx.table import Table
    from docx.text.paragraph import Paragraph

    blocks: list[str] = []
    document = docx.Document(str(file))
    for item in document.iter_inner_content():
        if isinstance(item, Table):
            blocks.append(_table([cell.text for cell in row.cells] for row in item.rows))
        elif isinstance(item, Paragraph) and item.text.strip():
            blocks.append(_headed(item.text.strip(), str(getattr(item.style, "name", "") or "")))
    return "\n\n".join(blocks)


def _headed(text: str, style: str) -> str:
    """A paragraph, marked as a heading where its style says so."""
    if style == "Title":
        return f"# {text}"
    name, _, level = style.rpartition(" ")
    return f"{'#' * min(6, int(level))} {text}" if name == "Heading" and level.isdigit() and int(level) else text


def _slides(file: Path) -> Iterator[str]:
    """A page a slide: title, texts and tables from top to bottom, notes."""
    from pptx import Presentation

    for number, slide in enumerate(Presentation(str(file)).slides, 1):
        title = slide.shapes.title.text.strip() if slide.shapes.title is not None else ""
        blocks = [f"# {title}" if title else f"Slide {number}"]
        shapes = [shape for shape in _shapes(slide.shapes) if shape != slide.shapes.title]
        for shape in sorted(shapes, key=lambda s: (s.top or 0, s.left or 0)):
            if getattr(shape, "has_table", False):
                blocks.append(_table([cell.text for cell in row.cells] for row in shape.table.rows))
            elif getattr(shape, "has_text_frame", False) and shape.text_frame.text.strip():
                blocks.append(shape.text_frame.text.strip())
        if slide.has_notes_slide and (said := slide.notes_slide.notes_text_frame) is not None and said.text.strip():
            blocks.append(f"Notes: {said.text.strip()}")
        yield "\n\n".join(blocks)


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
    return pages, notes


def _rows(sheet: Any) -> Iterator[list[str]]:
    """Rows that hold something, as texts."""
    for row in sheet.iter_rows(values_only=True, max_col=MAX_COLUMNS):
        cells = ["" if value is None else str(value) for value in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield cells


def _sheet_page(title: str, first: list[str], rows: list[list[str]]) -> str:
    return f"# {title}\n\n{_table([first, *rows])}"


def _table(rows: Iterable[Iterable[str]]) -> str:
    """A table as Markdown."""
    cells = [[" ".join(cell.split()).replace("|", "/") for cell in row] for row in rows]
    if not cells:
        return ""
    width = max(map(len, cells))
    lines = ["| " + " | ".join([*row, *[""] * (width - len(row))]) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * width, *lines[1:]])


def _open_text(file: Path) -> str:
    with zipfile.ZipFile(file) as archive:
        root = ElementTree.fromstring(archive.read("content.xml"))  # noqa: S314 - in a process with bounded memory, no network
    blocks: list[str] = []

    def walk(node: ElementTree.Element) -> None:
        if node.tag == f"{_TABLE}table":
            rows = (
                ["".join(cell.itertext()) for cell in row.iter(f"{_TABLE}table-cell")] for row in node.iter(f"{_TABLE}table-row")
            )
            blocks.append(_table(rows))
        elif node.tag in (f"{_TEXT}h", f"{_TEXT}p"):
            text = " ".join("".join(node.itertext()).split())
            level = int(node.get(f"{_TEXT}outline-level", "1")) if node.tag == f"{_TEXT}h" else 0
            if text:
                blocks.append(f"{'#' * min(6, level)} {text}" if level else text)
        else:
            for child in node:
                walk(child)

    walk(root)
    return "\n\n".join(blocks)


def _web(file: Path) -> str:
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(decoded(file.read_bytes()), "html.parser")
    for tag in soup(["script", "style", "noscript", "template", "img"]):
        tag.decompose()
    return str(MarkdownConverter(heading_style="ATX").convert_soup(soup))
