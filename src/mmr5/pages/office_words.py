"""Texts of Word and OpenDocument documents, block by block, from their XML.

Read are text boxes, content controls, nested tables, foot- and endnotes, headers and footers, formulas, and the words of
charts and diagrams; not read is what was deleted or hidden. It runs in :mod:`mmr5.pages.office_worker`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

_SKIPPED = frozenset(
    {
        "del", "moveFrom", "Fallback", "instrText", "delText", "pPr", "tblPr", "tcPr", "trPr", "sectPr",
        "tracked-changes", "annotation", "annotation-end", "title", "desc", "sequence-decls", "forms", "user-field-decls",
    }
)  # fmt: skip
"""Elements by their local names: what was deleted, comments, properties, and what stands a second time for old readers."""
_SPACES = {"tab": "\t", "br": "\n", "cr": "\n", "line-break": "\n", "noBreakHyphen": "-", "s": " "}
_TEXTS = frozenset({"t", "v"})
_NOTES = frozenset({"footnoteReference", "endnoteReference"})
_OFF = frozenset({"0", "false", "off", "none"})


def word_blocks(file: Path) -> Iterator[str]:
    """Paragraphs, headings and tables of a Word document, in Markdown."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        main = next((name for name in names if name.startswith("word/document") and name.endswith(".xml")), None)
        if main is None:
            raise ValueError("it has no part word/document.xml")
        notes = {}
        for kind in ("footnote", "endnote"):
            if f"word/{kind}s.xml" in names:
                for note in _parsed(archive, f"word/{kind}s.xml"):
                    notes[kind, _attribute(note, "id")] = note
        levels = _heading_levels(_parsed(archive, "word/styles.xml")) if "word/styles.xml" in names else {}
        reader = _Reader(levels, notes)
        yield from _once(reader.blocks(_parsed(archive, name)) for name in names if name.startswith("word/header"))
        yield from reader.blocks(_parsed(archive, main))
        yield from _once(reader.blocks(_parsed(archive, name)) for name in names if name.startswith("word/footer"))
        yield from drawn_words(archive, ("word/charts/chart", "word/diagrams/data"))


def _heading_levels(styles: Element) -> dict[str, int]:
    """The level of each style of a Word document that is a heading, by the style's id."""
    found = {}
    for style in styles:
        name = next((_attribute(part, "val") for part in style if _name(part) == "name"), "").lower()
        kind, _, level = name.rpartition(" ")
        if name == "title":
            found[_attribute(style, "styleId")] = 1
        elif kind == "heading" and level.isdigit():
            found[_attribute(style, "styleId")] = int(level)
    return found


def open_blocks(file: Path) -> Iterator[str]:
    """Paragraphs, headings and tables of an OpenDocument text, in Markdown, with its headers and footers."""
    with zipfile.ZipFile(file) as archive:
        content = _parsed(archive, "content.xml")
        styles = _parsed(archive, "styles.xml") if "styles.xml" in archive.namelist() else Element("none")
    hidden = {
        _attribute(style, "name")
        for root in (content, styles)
        for style in root.iter()
        if _name(style) == "style" and any(_attribute(part, "display") == "none" for part in style)
    }
    reader = _Reader({}, {}, hidden)
    for end in ("header", "footer"):
        parts = (part for part in styles.iter() if _name(part) == end)
        yield from _once(reader.blocks(part) for part in parts)
        if end == "header":
            yield from (block for body in content if _name(body) == "body" for block in reader.blocks(body))


def drawn_words(archive: zipfile.ZipFile, parts: tuple[str, ...]) -> Iterator[str]:
    """A block for each part of a document that is drawn, such as a chart: its words and numbers."""
    for name in archive.namelist():
        if name.startswith(parts) and name.endswith(".xml"):
            words = list(dict.fromkeys(texts_of(archive.read(name))))
            if words:
                yield " ".join(words)


def texts_of(part: bytes) -> Iterator[str]:
    """The words and numbers of a chart, a diagram or a drawing."""
    for node in ElementTree.fromstring(part).iter():  # noqa: S314 - in a process with bounded memory and no network
        if _name(node) in _TEXTS and (text := (node.text or "").strip()):
            yield text


def markdown_table(rows: Iterable[Iterable[str]]) -> str:
    """A table as Markdown."""
    cells = [[" ".join(cell.split()).replace("|", "/") for cell in row] for row in rows]
    if not cells:
        return ""
    width = max(map(len, cells))
    lines = ["| " + " | ".join([*row, *[""] * (width - len(row))]) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "---|" * width, *lines[1:]])


class _Reader:
    """Walks through a document's XML."""

    def __init__(self, levels: dict[str, int], notes: dict[tuple[str, str], Element], hidden: set[str] | None = None) -> None:
        self._levels, self._notes, self._hidden = levels, notes, hidden or set()
        self._later: list[Element] = []

    def blocks(self, node: Element) -> Iterator[str]:
        """What stands in a part of a document."""
        for child in node:
            name = _name(child)
            if name in _SKIPPED or self._is_hidden(child):
                continue
            if name in ("p", "h"):
                yield from self._paragraph(child)
            elif name in ("tbl", "table"):
                yield self._table(child)
            else:
                yield from self.blocks(child)

    def _paragraph(self, node: Element) -> Iterator[str]:
        text = "".join(self._inline(node)).strip()
        style = next((_attribute(part, "val") for part in node.iter() if _name(part) == "pStyle"), "")
        level = _open_level(node) or self._levels.get(style, 0)
        if text:
            yield f"{'#' * min(6, level)} {' '.join(text.split())}" if level else text
        later, self._later = self._later, []
        for part in later:
            yield from self.blocks(part)

    def _inline(self, node: Element) -> Iterator[str]:
        """The text of a paragraph; boxes and notes that hang on it are put off."""
        yield node.text or "" if _is_open_text(node) else ""
        for child in node:
            name = _name(child)
            if name == "s" and (count := _attribute(child, "c")).isdigit():
                yield " " * min(int(count), 100)
            elif name in _SPACES:
                yield _SPACES[name]
            elif name == "t":
                yield child.text or ""
            elif name in _NOTES:
                note = self._notes.get((name.removesuffix("Reference"), _attribute(child, "id")))
                self._later += [] if note is None else [note]
            elif name in ("txbxContent", "text-box", "note-body", "table"):
                self._later.append(child)
            elif name == "note-citation":
                yield ""
            elif name not in _SKIPPED and not self._is_hidden(child):
                yield from self._inline(child)
            yield child.tail or "" if _is_open_text(node) else ""

    def _table(self, node: Element) -> str:
        rows = []
        for row in _below(node, ("tr", "table-row")):
            cells = _below(row, ("tc", "table-cell"))
            rows.append(["\n".join(self.blocks(cell)) for cell in cells])
        return markdown_table(rows)

    def _is_hidden(self, node: Element) -> bool:
        """Whether a run of Word, or a part of an OpenDocument text, is not shown."""
        if _attribute(node, "display") == "none" or _attribute(node, "style-name") in self._hidden:
            return True
        return _name(node) == "r" and any(
            _name(part) == "vanish" and _attribute(part, "val") not in _OFF
            for properties in node
            if _name(properties) == "rPr"
            for part in properties
        )


def _below(node: Element, names: tuple[str, ...]) -> Iterator[Element]:
    """The nearest elements of these names, within content controls and groups too, but not within other ones of these names."""
    for child in node:
        if _name(child) in names:
            yield child
        elif _name(child) not in _SKIPPED and _name(child) not in ("tbl", "table"):
            yield from _below(child, names)


def _once(parts: Iterable[Iterable[str]]) -> Iterator[str]:
    """What stands in headers or footers, each text once."""
    yield from dict.fromkeys(block for part in parts for block in part)


def _open_level(node: Element) -> int:
    level = _attribute(node, "outline-level") if _name(node) == "h" else ""
    return int(level) if level.isdigit() else int(_name(node) == "h")


def _is_open_text(node: Element) -> bool:
    """Whether an element holds text between its parts, as OpenDocument's do."""
    return "opendocument" in node.tag


def _name(node: Element) -> str:
    return node.tag.rsplit("}", 1)[-1] if isinstance(node.tag, str) else ""


def _attribute(node: Element, name: str) -> str:
    """An attribute by its local name, in whatever namespace; empty where there is none."""
    return next((value for key, value in node.attrib.items() if key.rsplit("}", 1)[-1] == name), "")


def _parsed(archive: zipfile.ZipFile, name: str) -> Element:
    return ElementTree.fromstring(archive.read(name))  # noqa: S314 - in a process with bounded memory and no network
