"""The text of a PDF's text layer in normal form, and whether it is what a reader sees. Pure functions.

The limits were read off the 84 documents of the opendocs corpus: their good pages have at most 4.1 % unmapped
characters and at least 33 % frequent letters (an opcode table; prose has some 65 %); the pages of ``gem_primer``, whose
fonts have no Unicode mapping, have at least 12 % unmapped characters, but for one where only the caption is garbled.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Literal

MIN_VISIBLE = 32
"""A layer with fewer visible characters is near-empty: a page number or a running title over a scan."""
MAX_UNMAPPED = 0.08
"""Most control, private-use, unassigned or replacement characters, as a share of the visible ones."""
MAX_LIGATURES = 0.03
"""Most codes that are taken for ligatures of old TeX fonts, as a share of the visible characters; more are unmapped."""
MAX_NON_ASCII = 0.5
"""Most letters outside ASCII, as a share of the Latin letters."""
MIN_FREQUENT = 0.28
"""Fewest letters out of e, t, a, o, i, n, s, r, as a share of the Latin letters without their accents."""
MIN_LETTERS = 60
"""With fewer Latin letters than these, their shares are not judged."""
MAX_MIXED = 0.15
"""Most words of at least three letters that hold letters of two scripts; pages of formulas in our corpora have up to 9 %."""
MIN_RUNS = 15
"""With fewer words than these, scripts are not judged."""

_Step = tuple[Callable[[str], bool], re.Pattern[str], Callable[[re.Match[str]], str]]
"""When a replacement may find something, what it looks for, and what it puts there."""

_HYPHEN = "\ufffe"
"""What pdfium writes for a hyphen at the end of a line, in place of hyphen and line end."""
_LETTER = r"[^\W\d_]"
_ACCENTED_LATIN = re.compile("[ªµºÀ-ÖØ-öø-\u024f]+")

_TEX_LIGATURES = dict(zip("\x0b\x0c\r\x0e\x0f\x1b\x1c\x1d\x1e\x1f", ("ff", "fi", "fl", "ffi", "ffl") * 2, strict=True))
"""The codes of ligatures in TeX's font encodings OT1 (from 0x0B) and T1 (from 0x1B)."""
_T1_DASHES = {"\x15": "–", "\x16": "—"}
_OT1_SIGN = re.compile("(?<=[a-z])[\x0b\x0c\x0e\x0f](?=[a-z])")
_COMPOUND_FIRST = frozenset({"well", "self", "half", "ill", "two", "three"})
"""First parts of English compounds that keep their hyphen at a line's end; a single letter keeps it, too."""

_ACCENTS = dict(
    zip(
        "`´ˆ˜¨ˇ˚¯˘˝˙¸˛",
        "\u0300\u0301\u0302\u0303\u0308\u030c\u030a\u0304\u0306\u030b\u0307\u0327\u0328",
        strict=True,
    )
)
"""Spacing accents and the combining ones. LaTeX sets an accent before its letter."""
_BEARERS = {
    "´": "aeiouyclnrsz",
    "ˆ": "aeiou",
    "˜": "ano",
    "¨": "aeiouy",
    "ˇ": "acdegilnorstuz",
    "˚": "au",
    "¯": "aeiou",
    "˘": "aegiou",
    "˝": "ou",
    "˙": "cegiz",
    "¸": "cgklnrst",
}
"""Letters that each accent stands on in some language; a dotless i or j stands for the dotted one."""
_ACCENTED = "|".join(f"{accent}[{letters}{letters.upper()}ıȷ]" for accent, letters in _BEARERS.items())
_ACCENT = re.compile(
    rf"(?<!/)(?:{_ACCENTED}|(?<={_LETTER})`[aeiouAEIOUı]|(?<![\w`])`[aeEA](?=\s)|(?<={_LETTER})[´ˆ˜¨] [aeioun](?={_LETTER}))"
    "|[cCsStT]¸(?![cCsStT])|[aeiuAEIU]˛"
)


def layer_problem(text: str) -> Literal["empty", "garbled"] | None:
    """What is wrong with a raw text layer.

    Args:
        text: the layer as the PDF gives it, before :func:`clean`.

    Returns:
        ``"empty"`` when it holds next to nothing, ``"garbled"`` when its characters are not the ones that a reader
        sees, None when it is usable.
    """
    visible = count_visible(text) - text.count(_HYPHEN)
    if visible and _count_unmapped(text, visible) > MAX_UNMAPPED * visible:
        return "garbled"
    if visible < MIN_VISIBLE:
        return "empty"
    return "garbled" if _is_implausible(text) or _mixes_scripts(text) else None


def layer_is_usable(text: str) -> bool:
    """Whether a raw text layer can stand for what a reader sees on the page."""
    return layer_problem(text) is None


def count_visible(text: str) -> int:
    """How many characters are no white space."""
    if text.isascii():
        return len(text.encode().translate(None, _ASCII_SPACE))
    return len("".join(text.split()))


def clean(text: str) -> str:
    r"""The text in normal form.

    - Ligatures become their letters: those of Unicode, and those that old TeX fonts give as control characters, where
      they stand in a word (``o\x1ece`` gives ``office``). So do the quotes and dashes of such fonts.
    - Spacing accents join the letter after them (``r´esistance`` gives ``résistance``); the result is in NFC.
    - A hyphen that pdfium marks as ending a line is dropped between two lower-case letters (``exam-/ple`` gives
      ``example``), unless the rest of the text writes the word with its hyphen or the first part is one of a compound
      (``well-/known``, ``e-/mail``), and kept otherwise (``S-/Plus`` gives ``S-Plus``).
    - Line ends are one line feed each, at most two in a row, without spaces before them; control characters, soft
      hyphens and noncharacters are gone. Every other character stays as it is.
    """
    for is_due, pattern, replace in _STEPS:
        if is_due(text):
            text = pattern.sub(replace, text)
    return text.strip()


def clean_places(text: str) -> tuple[str, list[int]]:
    """The text in normal form, and where each of its characters stood.

    Returns:
        ``clean(text)`` with N characters, and N positions in ``text``, which do not fall.
    """
    places: Sequence[int] = range(len(text))
    for is_due, pattern, replace in _STEPS:
        if is_due(text):
            text, places = _substitute(pattern, replace, text, places)
    start = len(text) - len(text.lstrip())
    text = text.strip()
    return text, list(places[start : start + len(text)])


def _substitute(
    pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str], text: str, places: Sequence[int]
) -> tuple[str, Sequence[int]]:
    """``pattern.sub(replace, text)``, with the places of the result's characters."""
    out: list[str] = []
    found: list[int] = []
    end = 0
    for match in pattern.finditer(text):
        new = replace(match)
        if new == match[0]:
            continue
        out += (text[end : match.start()], new)
        found += places[end : match.start()]
        found += _align(match[0], new, places[match.start() : match.end()])
        end = match.end()
    if not out:
        return text, places
    return "".join((*out, text[end:])), [*found, *places[end:]]


def _align(old: str, new: str, places: Sequence[int]) -> list[int]:
    """Places of a replacement's characters: those of equal characters at both ends, the first in between."""
    same = min(len(old), len(new))
    head = next((i for i in range(same) if old[i] != new[i]), same)
    tail = next((i for i in range(same - head) if old[-1 - i] != new[-1 - i]), same - head)
    middle = range(head, len(new) - tail)
    return [
        *places[:head],
        *(places[min(i, len(old) - tail - 1) if len(old) > head + tail else min(head, len(old) - 1)] for i in middle),
        *places[len(old) - tail :],
    ]


def _join(match: re.Match[str]) -> str:
    """What stands for a hyphen at a line's end, between two parts of a word."""
    text, start, end = match.string, match.start(), match.end()
    if not (text[start - 1].islower() and text[end].islower()):
        return "-"
    before = _WORD_BEFORE.search(text, max(0, start - 40), start)
    after = _WORD_AFTER.match(text, end)
    first, second = (before[0] if before else ""), (after[0] if after else "")
    is_compound = len(first) == 1 or first.lower() in _COMPOUND_FIRST or f"{first}-{second}" in text
    return "-" if is_compound else ""


def _compose(match: re.Match[str]) -> str:
    """A letter with the accent beside it."""
    pair = match[0].replace(" ", "")
    accent, letter = (pair[0], pair[1]) if pair[0] in _ACCENTS else (pair[1], pair[0])
    composed = unicodedata.normalize("NFC", {"ı": "i", "ȷ": "j"}.get(letter, letter) + _ACCENTS[accent])
    return composed if len(composed) == 1 else match[0]


_NFC: _Step = (
    lambda text: not text.isascii() and not unicodedata.is_normalized("NFC", text),
    re.compile(".?[^\x00-\x7f]+", re.DOTALL),
    lambda match: unicodedata.normalize("NFC", match[0]),
)
"""An ASCII character never joins the one before it, so each run of others is normalised with the character before it."""


def _tex_ligature(match: re.Match[str]) -> str:
    return _TEX_LIGATURES[match[0][0]]


def _holds(signs: Iterable[str]) -> Callable[[str], bool]:
    return lambda text: any(sign in text for sign in signs)


_WORD_BEFORE = re.compile(r"[^\W_]+$")
_WORD_AFTER = re.compile(r"[^\W_]+")
_LIGATURES = "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"
_TEX_STEPS: tuple[_Step, ...] = (
    (
        _holds("\x0b\x0c\x0e\x0f\x1b\x1c\x1d\x1e\x1f"),
        re.compile(f"[\x0b\x0c\x0e\x0f\x1b-\x1f](?:(?<={_LETTER}.)-\r?\n(?=[a-z]))", re.DOTALL),
        _tex_ligature,
    ),
    (_holds("\x1b\x1c\x1d\x1e\x1f"), re.compile(f"(?<={_LETTER})[\x1b-\x1f]|[\x1b-\x1f](?={_LETTER})"), _tex_ligature),
    (
        _holds("\x0b\x0c\x0e\x0f"),
        re.compile("\r(?=[a-z]{2})(?:(?<=[a-z]\r)|(?<= \r))"),
        lambda match: "fl" if _OT1_SIGN.search(match.string) else "\r",
    ),
    (
        _holds("\x0b\x0c\x0e\x0f"),
        re.compile("(?:(?<=[a-z])|(?<!\\S))[\x0b\x0c\x0e\x0f](?=[a-z])|(?<=[a-z])\x0b(?=[ ,.;:)])"),
        _tex_ligature,
    ),
    (_holds("\x10"), re.compile("\x10([^\x00-\x08\x10\x11]{1,400})\x11"), lambda match: f"“{match[1]}”"),
    (_holds("\x13"), re.compile("\x13([^\x00-\x08\x13\x14]{1,400})\x14"), lambda match: f"«{match[1]}»"),
    (
        _holds("\x15\x16"),
        re.compile(f"(?<=\\d)[\x15\x16](?=\\d)|(?<!\\S)[\x15\x16](?={_LETTER}{{2}}|\\s)"),
        lambda match: _T1_DASHES[match[0]],
    ),
)
_STEPS: tuple[_Step, ...] = (
    *_TEX_STEPS,
    (
        lambda text: not text.isprintable(),
        re.compile(r"[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029](?:(?<=\r)\n)?"),
        lambda match: "\n",
    ),
    (_holds("\xad"), re.compile(f"\xad(?<={_LETTER}\xad)[ \t]*\n[ \t]*(?={_LETTER})"), lambda match: ""),
    (
        lambda text: not text.isprintable(),
        re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\u200b\u2060\ud800-\udfff\ufdd0-\ufdef\ufeff\uffff]"),
        lambda match: "",
    ),
    _NFC,
    (_holds(_HYPHEN), re.compile(rf"{_HYPHEN}(?<={_LETTER}{_HYPHEN})\s*(?={_LETTER})"), _join),
    (_holds(_HYPHEN), re.compile(_HYPHEN), lambda match: "-"),
    (_holds("\u2010"), re.compile(rf"\u2010(?<={_LETTER}\u2010)[ \t]*\n[ \t]*(?={_LETTER})"), _join),
    (_holds(_ACCENTS), _ACCENT, _compose),
    _NFC,
    (_holds(_LIGATURES), re.compile(f"[{_LIGATURES}]"), lambda match: unicodedata.normalize("NFKC", match[0])),
    (_holds((" \n", "\t\n")), re.compile(r"[ \t]+(?=\n)"), lambda match: ""),
    (_holds(("\n\n\n",)), re.compile(r"\n{3,}"), lambda match: "\n\n"),
)


def _count_unmapped(text: str, visible: int) -> int:
    """How many characters stand for no sign, beside a plausible number of TeX's ligatures."""
    raw = _count_signless(text)
    if not raw:
        return 0
    repaired = text
    for is_due, pattern, replace in _TEX_STEPS:
        if is_due(repaired):
            repaired = pattern.sub(replace, repaired)
    return max(_count_signless(repaired), raw - int(MAX_LIGATURES * visible))


def _count_signless(text: str) -> int:
    if text.isascii():
        return len(text.encode().translate(None, _ASCII_SIGNS))
    return sum(text.count(char) for char in set(text) - _SIGNS if _is_signless(char))


_ASCII_SPACE = bytes(i for i in range(128) if chr(i).isspace())
_ASCII_SIGNS = bytes(i for i in range(128) if 32 <= i < 127 or chr(i).isspace())
_NO_LETTERS = bytes(i for i in range(128) if not chr(i).isalpha())
_NOT_FREQUENT = bytes(i for i in range(128) if chr(i).lower() not in "etaoinsr")
_SIGNS = frozenset(map(chr, [*range(9, 14), *range(28, 127), *range(160, 0x250), 0xFFFE]))
"""Characters that are white space or stand for a sign; the rest is looked up."""


@lru_cache(4096)
def _is_signless(char: str) -> bool:
    if char.isspace() or char == _HYPHEN:
        return False
    return char == "\ufffd" or unicodedata.category(char) in {"Cc", "Cn", "Co", "Cs"}


def _mixes_scripts(text: str) -> bool:
    """Whether many words hold letters of two scripts, as where a font's Unicode map knows some of its letters only."""
    if text.isascii() or not _SECOND_SCRIPT.search(text):
        return False
    words = _LETTER_RUN.findall(text)
    mixed = sum(1 for word in words if _LATIN.search(word) and _SECOND_SCRIPT.search(word))
    return len(words) >= MIN_RUNS and mixed > MAX_MIXED * len(words)


_LETTER_RUN = re.compile(r"[^\W\d_]{3,}")
_LATIN = re.compile("[A-Za-z\u00c0-\u024f]")
_SECOND_SCRIPT = re.compile("[\u0370-\u03ff\u0400-\u052f\u0590-\u05ff\u0600-\u06ff]")
"""Greek, Cyrillic, Hebrew and Arabic; Chinese and Japanese write Latin names without a space between."""


def _is_implausible(text: str) -> bool:
    """Whether the Latin letters look like a substitution of others."""
    ascii_text = text.encode("ascii", "ignore")
    total = len(ascii_text.translate(None, _NO_LETTERS))
    frequent = len(ascii_text.translate(None, _NOT_FREQUENT))
    if len(ascii_text) < len(text):
        accented = "".join(_ACCENTED_LATIN.findall(text))
        total += len(accented)
        if total >= MIN_LETTERS and len(accented) > MAX_NON_ASCII * total:
            return True
        if accented:
            bases = "".join(unicodedata.normalize("NFD", char)[0] for char in accented).encode("ascii", "ignore")
            frequent += len(bases.translate(None, _NOT_FREQUENT))
    return total >= MIN_LETTERS and frequent < MIN_FREQUENT * total
