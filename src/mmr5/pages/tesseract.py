"""Text of pictures in scripts that RapidOCR's models do not read, by Debian's tesseract where it is installed.

Tesseract runs as a program of its own (``apt-get install tesseract-ocr tesseract-ocr-rus``); which scripts it reads is
decided by the language packs beside it.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache as once
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SECONDS = 60.0
"""A picture that takes longer is given up."""
MIN_CONFIDENCE = 60.0
"""Fewest per cent of confidence, as a mean over the letters, for a text to be taken."""

LANGUAGES: dict[str, tuple[str, ...]] = {
    "Cyrillic": ("rus", "ukr", "bul", "bel", "srp", "mkd", "kaz"),
    "Greek": ("ell",),
    "Arabic": ("ara", "fas", "urd"),
    "Hebrew": ("heb",),
    "Devanagari": ("hin", "mar", "nep"),
    "Bengali": ("ben",),
    "Tamil": ("tam",),
    "Telugu": ("tel",),
    "Thai": ("tha",),
    "Hangul": ("kor",),
    "Korean": ("kor",),
    "Georgian": ("kat",),
    "Armenian": ("hye",),
    "Khmer": ("khm",),
    "Lao": ("lao",),
    "Ethiopic": ("amh",),
}
"""Names of scripts as tesseract gives them, each with the language packs that read it, the most common one first."""
_MOST_LANGUAGES = 3
_WORD_LEVEL = "5"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a picture: its text, its line, its box in pixels, and the confidence in per cent."""

    text: str
    line: tuple[str, ...]
    box: tuple[float, float, float, float]
    confidence: float


def is_installed() -> bool:
    """Whether there is a tesseract on this machine."""
    return shutil.which("tesseract") is not None


@once
def installed() -> tuple[str, ...]:
    """Language packs of the tesseract on this machine, without those for Latin script; empty where there is none."""
    if not is_installed():
        return ()
    known = {language for languages in LANGUAGES.values() for language in languages}
    return tuple(language for language in _run(["--list-langs"], b"").split() if language in known or language == "osd")


def packs_for(script: str) -> list[str]:
    """Installed language packs for a script."""
    return [language for language in LANGUAGES.get(script, ()) if language in installed()][:_MOST_LANGUAGES]


def find_script(image: Image) -> tuple[str, int] | None:
    """The script of a picture, and by how many degrees clockwise to turn it; None where tesseract cannot tell."""
    if "osd" not in installed():
        return None
    found = _run(["stdin", "stdout", "--psm", "0"], _encoded(image))
    script, turn = re.search(r"Script: (\w+)", found), re.search(r"Rotate: (\d+)", found)
    return None if script is None else (script[1], int(turn[1]) if turn else 0)


def read_words(image: Image, languages: Sequence[str], *, is_line: bool = False) -> list[Word]:
    """The words of a picture, or of one that shows a single line, in tesseract's reading order."""
    layout = "7" if is_line else "3"
    table = _run(["stdin", "stdout", "-l", "+".join(languages), "--psm", layout, "tsv"], _encoded(image))
    words = []
    for row in table.split("\n"):
        cells = row.split("\t")
        if len(cells) == 12 and cells[0] == _WORD_LEVEL and cells[11].strip():
            left, top, width, height = map(float, cells[6:10])
            words.append(Word(cells[11].strip(), tuple(cells[1:5]), (left, top, left + width, top + height), float(cells[10])))
    return words


def mean_confidence(words: Sequence[Word]) -> float:
    """The mean over the letters of words; 0 without any."""
    letters = sum(len(word.text) for word in words)
    return sum(word.confidence * len(word.text) for word in words) / letters if letters else 0.0


def _encoded(image: Image) -> bytes:
    data = io.BytesIO()
    image.convert("L").save(data, "PNG", compress_level=1)
    return data.getvalue()


def _run(arguments: Sequence[str], data: bytes) -> str:
    """What tesseract writes; nothing where it fails or takes too long, which its caller tells by."""
    try:
        done = subprocess.run(["tesseract", *arguments], input=data, capture_output=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")
