"""Plain text and Markdown → pages of about 500 words that begin at headings. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmr5.errors import DocumentError
from mmr5.pages import encodings

PAGE_WORDS = 500
"""Words of a page, about: a page of print."""
LEAST_WORDS = 200
"""A heading begins a new page when so many words stand before it on the page."""
MAX_BYTES = 50_000_000
"""Most bytes of a text file."""
_CHARACTERS_PER_WORD = 2
"""In scripts without spaces."""
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_HEADING = re.compile(r"#{1,6}\s+\S")
_UNDERLINE = re.compile(r"(={3,}|-{3,})\s*")
_FENCE = re.compile(r"\s*(```|~~~)")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MAX_CONTROL = 0.01


def decoded(data: bytes, *, declared: bool = False) -> str:
    """The text of a file in whatever encoding, as :func:`mmr5.pages.encodings.decoded` finds it.

    Raises:
        DocumentError: it is no text, or too long.
    """
    if len(data) > MAX_BYTES:
        raise DocumentError(f"has {len(data):,} bytes of text, and at most {MAX_BYTES:,} are read: split it")
    return _checked(encodings.decoded(data, declared=declared))


def _checked(text: str) -> str:
    if len(_CONTROL.findall(text)) > _MAX_CONTROL * max(1, len(text)):
        raise DocumentError("is no text: it holds control characters")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def pages_of(text: str, *, words: int = PAGE_WORDS) -> list[str]:
    """Cut a text into pages; nothing is lost but white space at their ends.

    A form feed ends a page. A page begins at a heading where one comes after :data:`LEAST_WORDS` words, else at a paragraph; a
    paragraph longer than a page is cut between lines, or between words.

    Args:
        text: plain text or Markdown.
        words: of a page, about, at least 1.

    Returns:
        Pages without white space at their ends, none of them empty.
    """
    return [page for part in text.split("\f") for page in _pages(part, words) if page]


def _pages(text: str, words: int) -> Iterator[str]:
    page: list[str] = []
    size = 0
    for block in _blocks(text):
        for piece in _pieces(block, words):
            more = count_words(piece)
            if page and (size + more > words or (_is_heading(piece) and size >= min(LEAST_WORDS, words))):
                held = [page.pop()] if len(page) > 1 and _is_heading(page[-1]) else []  # a heading stays with what it heads
                yield "\n\n".join(page).strip()
                page, size = held, sum(map(count_words, held))
            page.append(piece)
            size += more
    yield "\n\n".join(page).strip()


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs, headings, tables and fenced code, each as it stands."""
    block: list[str] = []
    fence = ""
    for line in text.split("\n"):
        if (mark := _FENCE.match(line)) and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]
        fenced = bool(fence)
        starts = not fenced and (not line.strip() or _HEADING.match(line) is not None)
        if starts and block:
            yield "\n".join(block)
            block = []
        if line.strip() or (fenced and block):
            block.append(line.rstrip())
            if not fenced and _HEADING.match(line):
                yield "\n".join(block)
                block = []
    if block:
        yield "\n".join(block)


def _is_heading(block: str) -> bool:
    lines = block.split("\n")
    return (len(lines) == 1 and _HEADING.match(block) is not None) or (
        len(lines) == 2 and _UNDERLINE.fullmatch(lines[1]) is not None
    )


def _pieces(block: str, words: int) -> Iterator[str]:
    """A block in parts of at most so many words; a table's head stands on each of its parts."""
    if count_words(block) <= words:
        yield block
        return
    lines = block.split("\n")
    if len(lines) == 1:
        yield from _cut(block, words)
        return
    head = lines[:2] if len(lines) > 2 and lines[0].lstrip().startswith("|") and set(lines[1]) <= set("|-: ") else []
    part, size, first = list(head), sum(map(count_words, head)), len(head)
    for line in lines[first:]:
        for piece in _cut(line, words):
            more = count_words(piece)
            if len(part) > len(head) and size + more > words:
                yield "\n".join(part)
                part, size = list(head), sum(map(count_words, head))
            part.append(piece)
            size += more
    if len(part) > len(head):
        yield "\n".join(part)


def _cut(line: str, words: int) -> Iterator[str]:
    """A line in parts of at most so many words."""
    if count_words(line) <= words:
        yield line
    elif len(_UNSPACED.findall(line)) * 2 > len(line):
        size = words * _CHARACTERS_PER_WORD
        yield from (line[i : i + size] for i in range(0, len(line), size))
    else:
        found = line.split(" ")
        yield from (" ".join(found[i : i + words]) for i in range(0, len(found), words))


def count_words(text: str) -> int:
    """Words of a text; in scripts without spaces two characters count as one."""
    unspaced = 0 if text.isascii() else len(_UNSPACED.findall(text))
    return len(text.split()) + unspaced // _CHARACTERS_PER_WORD
