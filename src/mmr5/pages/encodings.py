"""The text of a file from its bytes, whatever its encoding. Pure functions."""

from __future__ import annotations

import codecs
import re

from charset_normalizer import from_bytes

from mmr5.languages import language, words
from mmr5.stopwords import STOP_WORDS

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Marks at a file's beginning; that of UTF-32 begins with that of UTF-16."""
_DECLARED = re.compile(rb"""<(?:meta\b[^>]*?charset\s*=|\?xml\b[^>]*?encoding\s*=)\s*["']?\s*([A-Za-z0-9_:.-]+)""", re.IGNORECASE)
_HEAD = 4096
"""Bytes in which a web page says its encoding."""
_LEGACY = (
    "cp1252", "cp1250", "cp1251", "koi8_r", "koi8_u", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "iso8859_2", "cp874",
    "gb18030", "big5", "cp932", "euc_jp", "cp949",
)  # fmt: skip
"""Those of Windows, Unix and the web; the old ones of DOS and of the Macintosh read any bytes and are left out."""
_SAMPLE = 200_000
"""Bytes from which an encoding is guessed."""
_NEAR = 0.05
_LEAST_WORDS = 3
_MAX_WESTERN = 0.3
_MAX_BROKEN = 0.1
"""Most broken characters among those outside ASCII of a text in UTF-8."""
_WEB = {"iso-8859-1": "cp1252", "latin-1": "cp1252", "us-ascii": "cp1252", "gb2312": "gb18030", "gbk": "gb18030"}
"""What web pages mean by the names of some encodings, as browsers read them."""


def decoded(data: bytes, *, declared: bool = False) -> str:
    """The text of a file, its line ends as they are.

    A mark at the beginning decides, then what a web page says of itself, then UTF-8, with a few broken bytes too; else the
    encoding is guessed from the bytes.

    Args:
        data: the file's content.
        declared: it is a web page, which may say its encoding.
    """
    wide = wide_encoding(data)
    if wide is not None:
        return data.decode(wide, "replace")
    data = data.removeprefix(codecs.BOM_UTF8)
    said = _declared(data) if declared else None
    for name in filter(None, (said, "utf-8")):
        try:
            return data.decode(name)
        except UnicodeDecodeError:
            continue
    text = data.decode("utf-8", "replace")
    if text.count("\ufffd") <= _MAX_BROKEN * sum(character > "\x7f" for character in text):
        return text
    if said not in (None, "utf-8"):
        return data.decode(said, "replace")
    return data.decode(_guessed(data), "replace")


def _guessed(data: bytes) -> str:
    """The likeliest of the encodings that are still met: by its signs, then by the common words of the language that it gives."""
    matches = list(from_bytes(data[:_SAMPLE], cp_isolation=list(_LEGACY)))
    least = min((match.chaos for match in matches), default=0.0)
    names = [name for match in matches if match.chaos <= least + _NEAR for name in match.could_be_from_charset]
    return max(["cp1252", *names], key=lambda name: _plausibility(data[:_SAMPLE], name, name in names))


def _plausibility(sample: bytes, name: str, is_match: bool) -> tuple[bool, float]:
    return is_match or _is_western(sample), _share_of_common_words(sample.decode(name, "replace"))


def _is_western(sample: bytes) -> bool:
    """Whether letters outside ASCII are few, as in the languages of Western Europe."""
    return sum(byte > 0x7F for byte in sample) < _MAX_WESTERN * len(sample)


def _share_of_common_words(text: str) -> float:
    spoken = language(text)
    found = words(text)
    if spoken is None or len(found) < _LEAST_WORDS:
        return 0.0
    common = frozenset(STOP_WORDS.get(spoken, "").split())
    return round(sum(word in common for word in found) / len(found), 2)


def wide_encoding(data: bytes) -> str | None:
    """UTF-16 or UTF-32 by the mark at a text's beginning, or UTF-16 whose ASCII has every second byte 0; else None."""
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if marked is not None:
        return marked
    head = data[:_HEAD]
    even, odd, half = head[::2].count(0), head[1::2].count(0), len(head) // 2
    if odd > half / 2 and even * 10 < odd:
        return "utf-16-le"
    return "utf-16-be" if even > half / 2 and odd * 10 < even else None


def _declared(data: bytes) -> str | None:
    """The encoding that a web page names, if there is such a one."""
    found = _DECLARED.search(data[:_HEAD])
    if found is None:
        return None
    name = found[1].decode("ascii").lower()
    try:
        known = codecs.lookup(_WEB.get(name, name)).name
    except LookupError:
        return None
    return _WEB.get(known, known)
