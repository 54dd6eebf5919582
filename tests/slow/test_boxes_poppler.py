"""Boxes of words against those of another reader, poppler's ``pdftotext -bbox``."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mmr5 import read_pages
from mmr5.pages.word_boxes import words_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "harbour-report.pdf"
SPACE = "{http://www.w3.org/1999/xhtml}"
WORD = re.compile(r"[A-Za-z]{4,}")


def poppler_words(path: Path) -> list[list[tuple[str, tuple[float, ...]]]]:
    """The words of each page with their boxes, in shares of the page."""
    told = subprocess.run(["pdftotext", "-bbox", str(path), "-"], capture_output=True, check=True, timeout=120).stdout
    pages = ElementTree.fromstring(told.decode("utf-8")).iter(f"{SPACE}page")
    found = []
    for page in pages:
        width, height = float(page.get("width")), float(page.get("height"))
        words = page.iter(f"{SPACE}word")
        found.append([(w.text or "", tuple(float(w.get(n)) / (width if n[0] == "x" else height) for n in ("xMin", "yMin", "xMax", "yMax"))) for w in words])  # fmt: skip
    return found


@pytest.mark.slow
def test_words_stand_where_poppler_sees_them():
    pages = read_pages(EXAMPLE, ocr="never")
    compared, right = 0, 0
    for page, theirs in zip(pages, poppler_words(EXAMPLE), strict=True):
        ours: dict[str, list[tuple[float, ...]]] = {}
        for start, end, box in words_of(page):
            ours.setdefault(page.text[start:end], []).append(box)
        for word, box in theirs:
            same = ours.get(word)
            if same and WORD.fullmatch(word):
                compared += 1
                middle = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
                right += any(
                    abs(x0 - box[0]) < 0.01 and abs(x1 - box[2]) < 0.01 and y0 - 0.005 < middle[1] < y1 + 0.005
                    for x0, y0, x1, y1 in same
                )
    assert compared > 800
    assert right / compared > 0.99
