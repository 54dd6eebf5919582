"""Captions of figures and tables in a page's text, and the lines that belong to them. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

LABEL_WORDS = 6
"""A line of at most so many words beside a caption is taken for a label or a row of what the caption names."""
DIGIT_SHARE = 0.3
"""So is one with at least this share of digits among its letters and digits."""
MAX_CONTINUED = 2
"""Lines, at most, in which a caption goes on to its sentence's end."""

_FIGURES = (
    "figure|fig|chart|plot|graph|diagram|scheme|exhibit|screenshot|plate"  # English
    "|abbildung|abb|bild|diagramm|schaubild"  # German
    "|graphique|schéma"  # French; figure is English, too
    "|figura|gráfico|gráfica|ilustração|ilustración|grafico"  # Spanish, Portuguese, Italian
    "|figuur|afbeelding|grafiek"  # Dutch
    "|rysunek|rys|wykres|obrázek|obr|graf|ábra"  # Polish, Czech, Hungarian
    "|figur|kuva|kuvio|kaavio|şekil"  # Scandinavian, Finnish, Turkish
    "|рисунок|рис|график|диаграмма|схема|малюнок"  # Russian, Ukrainian
    "|εικόνα|σχήμα|διάγραμμα"  # Greek
)
_TABLES = (
    "table|tab|listing|algorithm|tabelle|tableau|encadré|tabla|cuadro|tabela|quadro|tabella|riquadro|tabel|tabulka|táblázat"
    "|tabell|taulukko|tablo|таблица|табл|таблиця|πίνακας"
)
_NUMBER = r"s?\.?\s*(?:[A-Z]{0,2}[.\-]?\d|[IVX]+\b)"
_FIGURE = re.compile(
    rf"\s*(?:(?:{_FIGURES}){_NUMBER}|\d+(?:[.\-]\d+)*\.?\s*ábra\b|(?:图|圖|図|그림)\s*[A-Z]?[\d０-９一二三四五六七八九十]"
    r"|(?:شكل|الشكل|איור|תרשים|चित्र|รูปที่|ภาพที่)\s*[\d٠-٩०-९๐-๙])",
    re.IGNORECASE,
)
_TABLE = re.compile(
    rf"\s*(?:(?:{_TABLES}){_NUMBER}|\d+(?:[.\-]\d+)*\.?\s*táblázat\b|(?:表|図表|图表|표)\s*[A-Z]?[\d０-９一二三四五六七八九十]"
    r"|(?:جدول|الجدول|טבלה|तालिका|ตารางที่)\s*[\d٠-٩०-९๐-๙])",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?。！？।۔؟]\s*$")


def caption_kind(line: str) -> Literal["figure", "table"] | None:
    """What a line names, if it begins as a caption does: ``Figure 3``, ``Tab. 2.1``, ``图 4``."""
    return "figure" if _FIGURE.match(line) else "table" if _TABLE.match(line) else None


def kept_together(lines: Sequence[str], words: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Runs of lines that are a caption and the labels or rows beside it.

    Labels of a figure are looked for above its caption first, rows of a table below it; the nearest ones are taken.

    Args:
        lines: N lines of a text.
        words: how many words each of the N lines has.
        most: words of a run.

    Returns:
        First and last line of each run of two lines or more, in order; they do not overlap.
    """
    runs: list[tuple[int, int]] = []
    free = 0
    for i, line in enumerate(lines):
        kind = caption_kind(line) if i >= free else None
        if kind is None:
            continue
        last = _end_of_caption(lines, i)
        left = most - sum(words[i : last + 1])
        if left < 0:
            continue
        first = i
        for above in (True, False) if kind == "figure" else (False, True):
            if above:
                while first > free and _is_label(lines[first - 1], words[first - 1]) and words[first - 1] <= left:
                    first -= 1
                    left -= words[first]
            else:
                while last + 1 < len(lines) and _is_label(lines[last + 1], words[last + 1]) and words[last + 1] <= left:
                    last += 1
                    left -= words[last]
        free = last + 1
        if last > first:
            runs.append((first, last))
    return runs


def _end_of_caption(lines: Sequence[str], start: int) -> int:
    """The last line of a caption: the one that ends a sentence, if it is near."""
    for i in range(start, min(len(lines), start + MAX_CONTINUED + 1)):
        if i > start and (caption_kind(lines[i]) or not lines[i].strip()):
            return start
        if _SENTENCE_END.search(lines[i]):
            return i
    return start


def _is_label(line: str, words: int) -> bool:
    if caption_kind(line):
        return False
    signs = sum(map(str.isalnum, line))
    return words <= LABEL_WORDS or sum(map(str.isdigit, line)) >= DIGIT_SHARE * max(1, signs)
