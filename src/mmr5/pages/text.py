"""The text of a PDF's text layer: is it usable, and its clean form. Pure functions.

The limits were read off the 84 documents of the opendocs corpus: their good pages have at most 4.1 % unmapped
characters and at least 33 % frequent letters (an opcode table; prose has some 65 %); the pages of ``gem_primer``, whose
fonts have no Unicode mapping, have at least 12 % unmapped characters, but for one where only the caption is garbled.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

MIN_VISIBLE = 32
"""A layer with fewer visible characters is near-empty: a page number or a running title over a scan."""
MAX_UNMAPPED = 0.08
"""Most control, private-use, unassigned or replacement characters, as a share of the visible ones."""
MAX_NON_ASCII = 0.5
"""Most letters outside ASCII, as a share of the Latin letters."""
MIN_FREQUENT = 0.28
"""Fewest letters out of e, t, a, o, i, n, s, r, as a share of the Latin letters without their accents."""
MIN_LETTERS = 60
"""With fewer Latin letters than these, their shares are not judged."""

_HYPHEN = "\ufffe"
"""What pdfium writes for a hyphen at the end of a line, in place of hyphen and line end."""
_FREQUENT = frozenset("etaoinsr")
_LINE_END = re.compile(r"\r\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_DROPPED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u2060\ud800-\udfff\ufdd0-\ufdef\ufeff\ufffe\uffff]")
_LIGATURE = re.compile("[\ufb00-\ufb06]")
_BROKEN_WORD = re.compile(rf"([^\W\d_]){_HYPHEN}\s*([^\W\d_])")
_SPACE_AT_LINE_END = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


def layer_problem(text: str) -> Literal["empty", "garbled"] | None:
    """What is wrong with a raw text layer.

    Args:
        text: the layer as the PDF gives it, before :func:`clean`.

    Returns:
        ``"empty"`` when it holds next to nothing, ``"garbled"`` when its characters are not the ones that a reader
        sees, None when it is usable.
    """
    visible = [char for char in text if not char.isspace() and char != _HYPHEN]
    unmapped = sum(map(_is_unmapped, visible))
    if visible and unmapped > MAX_UNMAPPED * len(visible):
        return "garbled"
    if len(visible) < MIN_VISIBLE:
        return "empty"
    return "garbled" if _is_implausible(text) else None


def layer_is_usable(text: str) -> bool:
    """Whether a raw text layer can stand for what a reader sees on the page."""
    return layer_problem(text) is None


def clean(text: str) -> str:
    """The text with one line feed a line end, and without control characters, soft hyphens and noncharacters.

    A hyphen that pdfium marks as ending a line is dropped between two lower-case letters (``exam-/ple`` gives
    ``example``) and kept otherwise (``S-/Plus`` gives ``S-Plus``). Latin ligatures become their letters; every other
    character stays as it is.
    """
    text = _BROKEN_WORD.sub(_join, text).replace(_HYPHEN, "-")
    text = _LINE_END.sub("\n", text)
    text = _LIGATURE.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
    text = _SPACE_AT_LINE_END.sub("", _DROPPED.sub("", text))
    return _BLANK_LINES.sub("\n\n", text).strip()


def _join(match: re.Match[str]) -> str:
    before, after = match[1], match[2]
    return before + after if before.islower() and after.islower() else f"{before}-{after}"


def _is_unmapped(char: str) -> bool:
    return char == "\ufffd" or unicodedata.category(char) in {"Cc", "Cn", "Co", "Cs"}


def _is_implausible(text: str) -> bool:
    """Whether the Latin letters look like a substitution of others."""
    letters = [char for char in text.lower() if char.isalpha() and ord(char) < 0x250]
    if len(letters) < MIN_LETTERS:
        return False
    foreign = sum(not char.isascii() for char in letters)
    frequent = sum(unicodedata.normalize("NFD", char)[0] in _FREQUENT for char in letters)
    return foreign > MAX_NON_ASCII * len(letters) or frequent < MIN_FREQUENT * len(letters)
