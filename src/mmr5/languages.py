"""Script and language of a text, and the terms by which texts are matched. Pure.

A term is made by script: text that is written without spaces (Han, Kana, Thai, Lao, Khmer, Burmese) gives single characters and
pairs of neighbours; Korean words give themselves and their pairs; other words are stemmed by their language, and numbers and
dotted names stay whole. Accents are folded once a word is stemmed.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from itertools import chain, groupby, pairwise, repeat
from typing import Any

from mmr5.stopwords import SIGNS, STOP_WORDS

ENGLISH = "en"
"""What a Latin text of unknown language is taken for."""

_BLOCKS = (
    ("Latin", 0x41, 0x5A), ("Latin", 0x61, 0x7A), ("Latin", 0xAA, 0xAA), ("Latin", 0xBA, 0xBA), ("Latin", 0xC0, 0x2AF),
    ("Greek", 0x370, 0x3FF), ("Cyrillic", 0x400, 0x52F), ("Armenian", 0x530, 0x58F), ("Hebrew", 0x590, 0x5FF),
    ("Arabic", 0x600, 0x6FF), ("Arabic", 0x750, 0x77F), ("Arabic", 0x8A0, 0x8FF), ("Devanagari", 0x900, 0x97F),
    ("Bengali", 0x980, 0x9FF), ("Gurmukhi", 0xA00, 0xA7F), ("Gujarati", 0xA80, 0xAFF), ("Oriya", 0xB00, 0xB7F),
    ("Tamil", 0xB80, 0xBFF), ("Telugu", 0xC00, 0xC7F), ("Kannada", 0xC80, 0xCFF), ("Malayalam", 0xD00, 0xD7F),
    ("Sinhala", 0xD80, 0xDFF), ("Thai", 0xE00, 0xE7F), ("Lao", 0xE80, 0xEFF), ("Tibetan", 0xF00, 0xFFF),
    ("Myanmar", 0x1000, 0x109F), ("Georgian", 0x10A0, 0x10FF), ("Hangul", 0x1100, 0x11FF), ("Ethiopic", 0x1200, 0x139F),
    ("Khmer", 0x1780, 0x17FF), ("Georgian", 0x1C90, 0x1CBF), ("Latin", 0x1E00, 0x1EFF), ("Greek", 0x1F00, 0x1FFF),
    ("Latin", 0x2C60, 0x2C7F), ("Han", 0x2E80, 0x2FDF), ("Han", 0x3005, 0x3007), ("Hiragana", 0x3041, 0x309F),
    ("Katakana", 0x30A0, 0x30FF), ("Hangul", 0x3130, 0x318F), ("Katakana", 0x31F0, 0x31FF), ("Han", 0x3400, 0x4DBF),
    ("Han", 0x4E00, 0x9FFF), ("Cyrillic", 0xA640, 0xA69F), ("Latin", 0xA720, 0xA7FF), ("Myanmar", 0xAA60, 0xAA7F),
    ("Hangul", 0xAC00, 0xD7AF), ("Han", 0xF900, 0xFAFF), ("Latin", 0xFB00, 0xFB06), ("Hebrew", 0xFB1D, 0xFB4F),
    ("Arabic", 0xFB50, 0xFDFF), ("Arabic", 0xFE70, 0xFEFC), ("Latin", 0xFF21, 0xFF5A), ("Katakana", 0xFF66, 0xFF9D),
    ("Han", 0x20000, 0x323AF),
)  # fmt: skip
_STARTS = [first for _, first, _ in _BLOCKS]

CJK = "\u2e80-\u2fdf\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
CJK += "\uff66-\uff9f\U00020000-\U000323af"
"""Han, Hiragana and Katakana, as the inside of a character class."""
SOUTH_EAST = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecf\u0edc-\u0edf\u1000-\u103f\u104c-\u109f\uaa60-\uaa7f\u1780-\u17d3\u17d7\u17dc-\u17dd"
)
"""Thai, Lao, Burmese and Khmer without their digits and stops, as the inside of a character class."""
UNSPACED = CJK + SOUTH_EAST
"""What is written without spaces between words, as the inside of a character class."""
SENTENCE_END = r"(?<=[.!?;:…؟؛۔։՞።፧។៕།।॥。！？])\s+|\n+"
"""Where a sentence or a line ends, as a pattern."""
UNSPACED_END = SENTENCE_END + r"|(?<=[。！？｡．；។။।])(?![」』”’）》】])|(?<=[。！？][」』”’）》】])"
UNSPACED_END += rf"|(?<=[{SOUTH_EAST}])\s+(?=[{SOUTH_EAST}])"
"""The same for the scripts that are written without spaces: a stop has none behind it, and a space in Thai is an end."""

_HAS_UNSPACED = re.compile(f"[{UNSPACED}]")
_MARKS = "\u0300-\u036f\u0483-\u0487\u0900-\u0963\u0966-\u0dff\u0f71-\u0fbc\u135d-\u135f"
_POINTS = "\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u00ad\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
"""Vowel points of Hebrew and Arabic, the Arabic stretch of a line, soft hyphens, joiners and marks of direction."""
_UNREAD = re.compile(f"[{_POINTS}]+")
_WRAP = re.compile(f"(?<=[{CJK}])[ \t]*\n[ \t]*(?=[{CJK}])")
_PLAIN = re.compile(r"\w+(?:[.\-_']\w+)*")
_CHARACTER = rf"(?![{UNSPACED}])[\w{_MARKS}]"
_MIXED = re.compile(rf"[{UNSPACED}]+|(?![{UNSPACED}])\w(?:{_CHARACTER})*(?:[.\-_'](?:{_CHARACTER})+)*")
_PIECE = re.compile(f"({_MIXED.pattern})")
_FIRST_OF_GRAMS = "\u0e00"
"""Only words that begin here or beyond may be of an unspaced script or of Hangul."""
_RARE = re.compile(f"[{UNSPACED}{_MARKS}{_POINTS}]")
_CLUSTER = re.compile(r"[^\W\u17d2\u1039](?:[^\w\s]|[\u17d2\u1039].)*", re.DOTALL)
_ELISION = re.compile(
    r"^(?:[cdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu|(?:d|n|s|qu)?[ae]ll|dall|sull|un|quest|quell|com|dov)'(?=\w)"
)
_LETTERS_ONLY = re.compile(rf"(?:[^\W\d_]|[{_MARKS}'\-])+")
_HEBREW_PREFIXES = "והבכלמש"
"""And, the, in, as, to, from, that: letters before a word, which may as well be its first."""
_ACCENTS = re.compile("[\u0300-\u036f]+")
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i", "ς": "σ"})

_STEMMERS = {
    "ar": "arabic", "ca": "catalan", "cs": "czech", "da": "danish", "de": "german", "el": "greek", "en": "english",
    "es": "spanish", "et": "estonian", "eu": "basque", "fa": "persian", "fi": "finnish", "fr": "french", "hi": "hindi",
    "hu": "hungarian", "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali",
    "nl": "dutch", "no": "norwegian", "pl": "polish", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian",
    "sv": "swedish", "ta": "tamil", "tr": "turkish",
}  # fmt: skip
"""Language → Snowball's name for it."""
_OF_SCRIPT = {
    "Han": ("zh",), "Hangul": ("ko",), "Thai": ("th",), "Lao": ("lo",), "Khmer": ("km",), "Myanmar": ("my",), "Tibetan": ("bo",),
    "Armenian": ("hy",), "Georgian": ("ka",), "Ethiopic": ("am",), "Bengali": ("bn",), "Gurmukhi": ("pa",), "Gujarati": ("gu",),
    "Oriya": ("or",), "Tamil": ("ta",), "Telugu": ("te",), "Kannada": ("kn",), "Malayalam": ("ml",), "Sinhala": ("si",),
    "Greek": ("el",), "Hebrew": ("he",), "Cyrillic": ("ru", "uk", "bg", "sr"), "Arabic": ("ar", "fa", "ur"),
    "Devanagari": ("hi", "mr", "ne"),
}  # fmt: skip
"""Script → its languages, the one that is taken without evidence first. Latin has all others that have stop words."""
_OF_OTHERS = frozenset(one for known in _OF_SCRIPT.values() for one in known)
_TELLING = {
    "uk": "іїєґ", "sr": "ђјљњћџ", "fa": "پچژگ", "ur": "ٹڈڑںےہ", "de": "ßäöü", "fr": "çêèœàâî", "es": "ñ¿¡", "pt": "ãõç",
    "pl": "łżśźćńąę", "cs": "řěůž", "sk": "ľĺŕôž", "ro": "țşșăţâ", "hu": "őű", "tr": "ğışç", "sv": "åäö", "da": "åøæ",
    "no": "åøæ", "fi": "äö", "et": "õäöü", "lt": "ėįųū", "vi": "ơưđạảấầẩậắằặẹếềệọốồộớờợụứừự", "hr": "đčćšž",
}  # fmt: skip
"""Letters by which a language is told from others of its script; a word that holds one is half a stop word."""
_DENSITY = 3
"""A Han or Kana character says as much as so many Latin letters: a Chinese page of program text is still Chinese."""
_SAMPLE = 120
"""Words of a text that are looked at for its language."""
_LEAST, _LEAST_SHARE, _LEAD = 1.0, 0.08, 1.25
"""Votes that a language needs: at least, as a share of the words looked at, and as a multiple of the next one's."""
_STOP = {one: frozenset(listed.split()) for one, listed in STOP_WORDS.items()}
_LOCK = threading.Lock()


def scripts(text: str) -> dict[str, float]:
    """Share of each script among a text's letters, largest first, by Unicode's names (``"Latin"``, ``"Han"``); sums to 1."""
    counts: Counter[str] = Counter()
    for character, n in Counter(unicodedata.normalize("NFC", text)).items():
        if character.isalpha() and (name := _script_of(character)):
            counts[name] += n
    total = sum(counts.values())
    return {name: n / total for name, n in counts.most_common()}


def language(text: str) -> str | None:
    """The language of a text (ISO 639-1), or None where it is too short or of none that is known.

    A script of one language settles it (Kana beside Han is Japanese); else words that each language uses often, and letters
    that few others have, vote.
    """
    return _language(text, _split(unicodedata.normalize("NFC", text)[: _SAMPLE * 10]))


def _language(text: str, sample: Sequence[str]) -> str | None:
    """The language of a text, some words of which have been split."""
    if {_script_of(c) for c in set(text)} <= {"Latin", None}:
        return _vote(sample, "Latin")
    shares = scripts(text)
    if not shares:
        return None
    kana = shares.get("Hiragana", 0.0) + shares.get("Katakana", 0.0)
    han = shares.get("Han", 0.0)
    main = next(iter(shares))
    if _DENSITY * (kana + han) >= shares[main]:
        return "ja" if kana > 0.05 * han else "zh"
    known = _OF_SCRIPT.get(main, ())
    if len(known) == 1:
        return known[0]
    return _vote(sample, main) or (known[0] if known else None)


def words(text: str) -> list[str]:
    """Lower-case words of a text; numbers and dotted or hyphenated names stay whole, unspaced scripts give characters."""
    found: list[str] = []
    for word in _split(text):
        found += _clusters(word) if _HAS_UNSPACED.match(word) else [word]
    return found


def terms(text: str, spoken: str | None = None) -> list[str]:
    """What a text is matched by: its words without stop words, stemmed and folded; pairs of characters where there are no words.

    Args:
        text: any text.
        spoken: its language (ISO 639-1); None finds it out.
    """
    split = _split(text)
    if spoken is None:
        spoken = _language(text, split) or ENGLISH
    analyse = _word_terms if max(split, default="") < _FIRST_OF_GRAMS else _analyse
    return list(chain.from_iterable(map(analyse, split, repeat(spoken))))


def forms(text: str, languages: Iterable[str | None]) -> list[frozenset[str]]:
    """The terms that a text's words become in any of some languages, besides its own: how a question meets pages.

    Args:
        text: a question or a note.
        languages: those of the pages; None counts as English.

    Returns:
        For each word that carries meaning its different terms, at least one; a stop word is one of the text's own language.
    """
    return list(_forms(text, tuple(one or ENGLISH for one in languages)))


@lru_cache(maxsize=256)
def _forms(text: str, languages: tuple[str, ...]) -> tuple[frozenset[str], ...]:
    own = language(text)
    asked = dict.fromkeys([own or (languages or (ENGLISH,))[0], *languages])
    found: list[frozenset[str]] = []
    for word in _split(text):
        if own and not _analyse(word, own):
            continue
        grams = _grams(word)
        found += [frozenset([g]) for g in grams] or [frozenset(t for one in asked for t in _analyse(word, one))]
    return tuple(one for one in found if one)


def query_terms(text: str, languages: Iterable[str | None]) -> list[str]:
    """The terms by which pages of some languages are asked; a word gives one more only where its stems differ."""
    return [term for one in forms(text, languages) for term in sorted(one)]


def marked(text: str, query: str) -> list[tuple[str, bool]]:
    """A text in pieces, in order, and whether each is a word (or a stretch of characters) that the question asks for.

    Joined, the pieces are the text. In unspaced scripts pairs of characters count, and single ones where the question has one.
    """
    spoken = language(text) or language(query) or ENGLISH
    wanted = set(query_terms(query, [spoken]))
    found: list[tuple[str, bool]] = []
    for place, piece in enumerate(_PIECE.split(text)):
        if place % 2 == 0:
            found.append((piece, False))
        elif _HAS_UNSPACED.match(piece):
            found += _marked_run(piece, wanted)
        else:
            found.append((piece, not wanted.isdisjoint(terms(piece, spoken))))
    return [(piece, wants) for piece, wants in found if piece]


def _marked_run(run: str, wanted: set[str]) -> list[tuple[str, bool]]:
    pieces = re.findall(f"{_CLUSTER.pattern}|.", run, re.DOTALL)
    flags = [False] * len(pieces)
    for i, pair in enumerate(pairwise(_normal(piece) for piece in pieces)):
        if "".join(pair) in wanted:
            flags[i] = flags[i + 1] = True
    if not any(flags) and not any(len(term) > 1 and _HAS_UNSPACED.match(term) for term in wanted):
        flags = [_normal(piece) in wanted for piece in pieces]
    return [
        ("".join(piece for piece, _ in group), flag)
        for flag, group in groupby(zip(pieces, flags, strict=True), key=lambda one: one[1])
    ]


def is_unspaced(text: str) -> bool:
    """Whether any of a text is in a script that is written without spaces."""
    return _HAS_UNSPACED.search(text) is not None


def _normal(text: str) -> str:
    """Lower case, compatibility forms unified."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).lower().replace("’", "'")


def _split(text: str) -> list[str]:
    """Words in order, without what is not read; a run of an unspaced script is one."""
    text = _normal(text)
    if text.isascii() or not _RARE.search("".join(set(text))):
        return _PLAIN.findall(text)
    return _MIXED.findall(_WRAP.sub("", _UNREAD.sub("", text)))


def _analyse(word: str, spoken: str) -> Sequence[str]:
    """The terms of a word in a text of some language: none for a stop word, several for pairs of characters and in Hebrew."""
    return (_grams(word) if word >= _FIRST_OF_GRAMS else None) or _word_terms(word, spoken)


@lru_cache(maxsize=1 << 16)
def _word_terms(word: str, spoken: str) -> tuple[str, ...]:
    mine = () if word.isascii() else _OF_SCRIPT.get(_script_of(word[0]) or "", ())
    if mine and spoken not in mine:
        spoken = mine[0]
    elif not mine and spoken in _OF_OTHERS:
        spoken = ENGLISH
    word = _ELISION.sub("", word)
    if word in _STOP.get(spoken, ()):
        return ()
    if spoken == "he":
        most = min(2, len(word) - 3, len(word) - len(word.lstrip(_HEBREW_PREFIXES)))
        return tuple(word[i:] for i in range(max(most, 0) + 1))
    if spoken == ENGLISH:
        word = _fold(word, spoken)
    return (_fold(_stem(word, spoken), spoken) or word,)


def _grams(word: str) -> list[str]:
    """Terms of a word of an unspaced script or of Hangul, none of any other; a lone Hiragana among others is an ending."""
    if _HAS_UNSPACED.match(word):
        pieces = _clusters(word)
        pairs = [a + b for a, b in pairwise(pieces)]
        return [*(one for one in pieces if not "\u3041" <= one[0] <= "\u309f"), *pairs] if pairs else pieces
    if "\uac00" <= word[0] <= "\ud7af":
        return [word, *(word[i : i + 2] for i in range(len(word) - 1))] if len(word) > 2 else [word]
    return []


def _clusters(run: str) -> list[str]:
    """Characters of a run with the marks that stand on them."""
    return _CLUSTER.findall(run)


def _stem(word: str, spoken: str) -> str:
    if not word.isalpha() and not _LETTERS_ONLY.fullmatch(word):
        return word
    if spoken in _STEMMERS:
        with _LOCK:
            return str(_stemmer(spoken).stemWord(word))
    return word


def _fold(term: str, spoken: str) -> str:
    """Without accents (but of Vietnamese, whose words they tell apart), and with digits of any script as 0 to 9."""
    if term.isascii():
        return term
    if any(c.isdigit() for c in term):
        term = "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in term)
    if spoken == "vi":
        return term
    if _script_of(term[0]) == "Cyrillic":
        return term.replace("ё", "е")
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", term)).translate(_LETTERS)
    return unicodedata.normalize("NFC", plain)


@cache
def _stemmer(spoken: str) -> Any:
    import Stemmer

    return Stemmer.Stemmer(_STEMMERS[spoken])


@lru_cache(maxsize=1 << 12)
def _script_of(character: str) -> str | None:
    name, _, last = _BLOCKS[bisect_right(_STARTS, ord(character)) - 1]
    return name if _STARTS[0] <= ord(character) <= last else None


def _home(spoken: str) -> str:
    """The script of a language that has one of its own, else Latin."""
    return next((name for name, known in _OF_SCRIPT.items() if spoken in known), "Latin")


@lru_cache(maxsize=1)
def _voters() -> dict[str, dict[str, list[tuple[str, float]]]]:
    """Script → stop word, or letter after a dash → the languages that it speaks for, and how much."""
    found: dict[str, dict[str, list[tuple[str, float]]]] = {}
    spoken = [(one, word, 1.0) for lists in (STOP_WORDS, SIGNS) for one, listed in lists.items() for word in listed.split()]
    spoken += [(one, f"-{letter}", 0.5) for one, letters in _TELLING.items() for letter in letters]
    for one, sign, weight in spoken:
        if len(sign) > 1 or not sign.isascii():
            found.setdefault(_home(one), {}).setdefault(sign, []).append((one, weight))
    return {
        name: {sign: [(one, weight / len(of) ** 0.5) for one, weight in of] for sign, of in mine.items()}
        for name, mine in found.items()
    }


def _vote(split: Sequence[str], script: str) -> str | None:
    """The language of a script for which enough words speak, and clearly more than for the next."""
    voters = _voters().get(script)
    if voters is None:
        return None
    sample = split[:_SAMPLE]
    elided = [part for word in sample if "'" in word for part in word.split("'")]
    letters = [f"-{c}" for word in sample if not word.isascii() for c in set(word) if c > "\x7f"]
    votes: dict[str, float] = {}
    for speaks in filter(None, map(voters.get, chain(sample, elided, letters))):
        for one, weight in speaks:
            votes[one] = votes.get(one, 0.0) + weight
    n = sum(map(str.isalpha, sample))
    ranked = sorted(((most, one) for one, most in votes.items()), reverse=True)
    (most, first), (next_most, _) = [*ranked, (0.0, ""), (0.0, "")][:2]
    return first if most >= max(_LEAST, _LEAST_SHARE * n) and most >= _LEAD * next_most else None
