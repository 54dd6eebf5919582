"""Text of pictures by RapidOCR (the extra ``ocr``), and by tesseract for other scripts; cached by content.

RapidOCR and its models (in its wheel; Latin script, Chinese and Japanese) are loaded with the first picture that needs
them, once a process. A picture whose result is doubtful is turned, and offered to recognisers of other scripts: those in the
folder that the environment variable ``MMR5_OCR_MODELS`` names (``cyrillic.onnx`` and the like, as PaddleOCR publishes them;
beside one, ``cyrillic.txt`` may list its characters), then tesseract where it is installed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING

from mmr5.pages import rapid, tesseract
from mmr5.pages.images import is_blank
from mmr5.pages.layout import TextBox, reading_order
from mmr5.pages.rapid import Piece
from mmr5.pages.text import clean, count_visible
from mmr5.storage.cache import Cache, digest
from mmr5.types import Box, ImageSource

if TYPE_CHECKING:
    from PIL.Image import Image

OCR_MAX_PIXELS = 2_200_000
"""Pixels at which a page is recognised: an A4 page at about 150 dpi."""
MIN_SCORE = 0.5
"""Lines that are recognised with a lower score are left out."""
GOOD_SCORE = 0.93
"""Mean score of a page from which nothing else is tried; upright scans have .97 to .99, turned ones .66 to .75."""
MIN_DENSITY = 0.5
"""Fewest characters for a line's length in heights; Latin text has some 1.8, Chinese 1. A script that the models do not
know leaves gaps."""
TURN_GAIN = 0.08
"""By how much a turned picture's mean score must be higher for it to be taken."""

_LAYOUT_VERSION = "3"
_SAMPLES = 5
_GLANCE = 900
"""Pixels of the longer side of a picture that is only looked at for lines of text."""
_TALL = 1.5
_LONG_LINE = 4.0
_MOST_MISSED = 100


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of a recognised text.

    Attributes:
        start: zero-based index of its first character in the text.
        end: index behind its last one.
        box: where it stands in the picture.
        score: the engine's own, 0 to 1.
    """

    start: int
    end: int
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was recognised in a picture.

    Attributes:
        text: the text in reading order, a line a line.
        lines: its pieces with their boxes, in the order of the text.
        doubt: why the text is not to be trusted and the way out, or None.
        turned: by how many degrees clockwise the picture was turned to be read.
    """

    text: str
    lines: tuple[Line, ...] = ()
    doubt: str | None = None
    turned: int = 0

    def of(self, start: int, end: int) -> list[Box]:
        """Boxes of the lines that hold the characters from ``start`` to before ``end``."""
        return [line.box for line in self.lines if line.start < end and line.end > start]

    def each(self, spans: Sequence[tuple[int, int]]) -> list[list[Box]]:
        """:meth:`of` for each start and end."""
        return [self.of(start, end) for start, end in spans]


def read_picture(source: ImageSource, cache: Cache | None = None) -> str:
    """The text in a picture, as :func:`recognise_picture` finds it."""
    return recognise_picture(source, cache).text


def recognise_picture(source: ImageSource, cache: Cache | None = None) -> Recognition:
    """What is written in a picture, from the cache where it was recognised before; nothing for a blank one.

    Args:
        source: any picture; those of files have a ``decode``, whose errors do not repeat the file's name.
        cache: where results are kept by content, RapidOCR's version and settings; None keeps none. Pictures of equal
            pixels are recognised once, whatever files they lie in.

    Raises:
        PageError: the picture cannot be decoded.
        EngineError: it was decoded, and recognition failed.
        MissingExtraError: RapidOCR is not installed.
    """
    return cached(source, cache, _version(), OCR_MAX_PIXELS, recognise)


def cached(
    source: ImageSource, cache: Cache | None, version: str, max_pixels: int, read: Callable[[Image], Recognition]
) -> Recognition:
    """What ``read`` finds in a picture, from the cache where it was found before; nothing in a blank one.

    Args:
        source: as in :func:`recognise_picture`.
        cache: as there.
        version: what a result depends on besides the picture.
        max_pixels: of the picture that is read.
        read: called with an RGB picture.
    """
    key = digest(source.key, version)
    found = _stored(cache, key)
    if found is not None:
        return found
    image = getattr(source, "decode", source.load)(max_pixels)
    pixels_key = digest("pixels", str(image.size), image.tobytes(), version)
    found = _stored(cache, pixels_key)
    if found is None:
        found = Recognition("") if is_blank(image) else read(image)
        _store(cache, pixels_key, found)
    _store(cache, key, found)
    return found


def recognise(image: Image) -> Recognition:
    """What is written in an RGB picture, which may be turned by 90, 180 or 270 degrees.

    Raises:
        EngineError: recognition failed.
        MissingExtraError: RapidOCR is not installed.
    """
    pieces: Sequence[Piece] = rapid.read(image)
    turned = 0
    if _is_doubtful(pieces):
        turned = _find_turn(image, pieces)
        if turned:
            pieces = rapid.read(_turn(image, turned))
    doubt = None
    if _is_doubtful(pieces):
        pieces, turned, doubt = _read_by_script(image, pieces, turned)
    size = image.size if turned % 180 == 0 else image.size[::-1]
    return compose(pieces, size, turned, doubt)


def compose(
    pieces: Sequence[Piece], size: tuple[int, int], turned: int = 0, doubt: str | None = None, *, min_score: float = MIN_SCORE
) -> Recognition:
    """Pieces of a picture of ``size`` in reading order, with boxes in the picture before it was turned."""
    kept = [piece for piece in pieces if piece.score >= min_score and piece.text]
    parts: list[str] = []
    lines: list[Line] = []
    at = 0
    for row in reading_order([piece.box for piece in kept]):
        for column, i in enumerate(row):
            if at:
                parts.append(" " if column else "\n")
                at += 1
            piece = kept[i]
            lines.append(Line(at, at + len(piece.text), _share(piece.box, size, turned), round(piece.score, 3)))
            parts.append(piece.text)
            at += len(piece.text)
    return Recognition("".join(parts), tuple(lines), doubt, turned)


def _share(box: TextBox, size: tuple[int, int], turned: int) -> Box:
    """A box in [0, 1] of the picture before it was turned clockwise."""
    width, height = size
    x0, y0, x1, y1 = box.left / width, box.top / height, box.right / width, box.bottom / height
    turns = {
        0: (x0, y0, x1, y1),
        90: (y0, 1 - x1, y1, 1 - x0),
        180: (1 - x1, 1 - y1, 1 - x0, 1 - y0),
        270: (1 - y1, x0, 1 - y0, x1),
    }
    a, b, c, d = (round(min(1.0, max(0.0, value)), 5) for value in turns[turned])
    return a, b, c, d


def _turn(image: Image, degrees: int) -> Image:
    """A picture turned clockwise."""
    from PIL.Image import Transpose

    steps = {90: Transpose.ROTATE_270, 180: Transpose.ROTATE_180, 270: Transpose.ROTATE_90}
    return image.transpose(steps[degrees]) if degrees else image


def _is_doubtful(pieces: Sequence[Piece]) -> bool:
    """Whether a page may be turned or in a script that the models do not know."""
    if not pieces:
        return True
    return _weighted_score(pieces) < GOOD_SCORE or _share_of_tall(pieces) > 0.5 or _share_of_sparse(pieces) > 0.5


def _weighted_score(pieces: Sequence[Piece]) -> float:
    """The mean score over the length of the lines."""
    return sum(piece.score * _length(piece.box) for piece in pieces) / max(1.0, sum(_length(piece.box) for piece in pieces))


def _length(box: TextBox) -> float:
    return max(box.right - box.left, box.bottom - box.top)


def _is_tall(box: TextBox) -> bool:
    return box.bottom - box.top > _TALL * (box.right - box.left)


def _share_of_tall(pieces: Sequence[Piece]) -> float:
    """How much of the lines, by length, stands upright as in a picture that lies on its side."""
    total = sum(_length(piece.box) for piece in pieces)
    return sum(_length(piece.box) for piece in pieces if _is_tall(piece.box) and count_visible(piece.text) > 1) / max(total, 1)


def _share_of_sparse(pieces: Sequence[Piece]) -> float:
    """How much of the long lines, by length, has too few characters for its length."""
    long = [piece for piece in pieces if _ratio(piece.box) >= _LONG_LINE]
    total = sum(_length(piece.box) for piece in long)
    sparse = sum(_length(piece.box) for piece in long if count_visible(piece.text) < MIN_DENSITY * _ratio(piece.box))
    return sparse / total if total else 0.0


def _ratio(box: TextBox) -> float:
    """A line's length in heights."""
    sides = sorted((max(1.0, box.right - box.left), max(1.0, box.bottom - box.top)))
    return sides[1] / sides[0]


def _find_turn(image: Image, pieces: Sequence[Piece]) -> int:
    """By how many degrees clockwise the picture is to be turned, by the scores of its longest lines alone."""
    longest = sorted(pieces, key=lambda piece: -_length(piece.box))[:_SAMPLES]
    if not longest:
        return 0
    is_on_side = _share_of_tall(pieces) > 0.5
    crops = [image.crop((int(p.box.left), int(p.box.top), int(p.box.right) + 1, int(p.box.bottom) + 1)) for p in longest]
    turns = (90, 270) if is_on_side else (0, 180)
    scores = {turn: _mean_score(_turn(crop, turn) for crop in crops) for turn in turns}
    best = max(turns, key=scores.__getitem__)
    if is_on_side:
        return best if scores[best] >= 0.75 else 0
    return best if scores[best] > scores[0] + TURN_GAIN else 0


def _mean_score(crops: Iterable[Image]) -> float:
    """Mean score of single lines; one with too few characters counts less."""
    scores = []
    for crop in crops:
        text, score = rapid.read_line(crop)
        expected = MIN_DENSITY * max(1.0, crop.width / max(1, crop.height))
        scores.append(score * min(1.0, count_visible(text) / expected))
    return sum(scores) / max(1, len(scores))


def _read_by_script(image: Image, pieces: Sequence[Piece], turned: int) -> tuple[Sequence[Piece], int, str | None]:
    """A doubtful page by tesseract, where it knows the script; else what was found, with the reason of the doubt.

    Returns:
        The pieces, by how many degrees the picture was turned for them, and the doubt, None for a good result.
    """
    if not pieces and not _has_text(image):
        return (), turned, None
    for model in rapid.other_models():
        found = rapid.read(_turn(image, turned), model=model)
        if found and _weighted_score(found) >= GOOD_SCORE and _share_of_sparse(found) <= 0.5:
            return found, turned, None
    script, turn = tesseract.find_script(image) or (None, turned)
    packs = [] if script in _READ_SCRIPTS else [tesseract.packs_for(script)] if script else _all_packs()
    for languages in filter(None, packs):
        turned_image = _turn(image, turn)
        words = tesseract.read_words(turned_image, languages)
        words += _missed_words(turned_image, words, languages)
        if tesseract.mean_confidence(words) >= tesseract.MIN_CONFIDENCE:
            return _words_to_pieces(words), turn, None
    if script is not None and script not in _READ_SCRIPTS:
        pack = tesseract.LANGUAGES.get(script, ("LANGUAGE",))[0]
        return (), turned, _NO_PACK.format(script=script, pack=pack)
    if not pieces or _share_of_sparse(pieces) > 0.5:
        return (), turned, _UNKNOWN_SCRIPT
    score = _weighted_score(pieces)
    return pieces, turned, None if score >= GOOD_SCORE else _LOW_SCORE.format(score=score)


_READ_SCRIPTS = frozenset({"Latin", "Han", "HanS", "HanT", "Japanese", "Fraktur"})
_NO_PACK = (
    "the picture's text is in {script} script, which RapidOCR does not read: install tesseract's pack for its language, "
    "e.g.: apt-get install tesseract-ocr-{pack}"
)
_LOW_SCORE = "its text was recognised with a mean score of only {score:.2f}: check it, or scan the page again"
_UNKNOWN_SCRIPT = (
    "the picture's text is in a script that RapidOCR does not read (it reads Latin, Chinese and Japanese; not Cyrillic, "
    "Greek, Arabic, Hebrew, …): install tesseract with the pack of its language, e.g.: "
    "apt-get install tesseract-ocr tesseract-ocr-rus"
)


def _all_packs() -> list[list[str]]:
    """Installed packs script by script, for a picture whose script tesseract cannot tell."""
    return [packs for script in tesseract.LANGUAGES if (packs := tesseract.packs_for(script))][:3]


def _words_to_pieces(words: Sequence[tesseract.Word]) -> list[Piece]:
    """A piece a line; tesseract's order of words in a line is kept, which may run from right to left."""
    lines: dict[tuple[str, ...], list[tesseract.Word]] = {}
    for word in words:
        lines.setdefault(word.line, []).append(word)
    pieces = []
    for line in lines.values():
        boxes = [word.box for word in line]
        hull = TextBox(min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))
        text = clean(" ".join(word.text for word in line))
        pieces.append(Piece(text, hull, max(MIN_SCORE, tesseract.mean_confidence(line) / 100)))
    return pieces


def _missed_words(image: Image, words: Sequence[tesseract.Word], languages: Sequence[str]) -> list[tesseract.Word]:
    """The words of lines that RapidOCR sees and in which tesseract has found nothing, read line by line."""
    found: list[tesseract.Word] = []
    missed = [box for box in rapid.find_lines(image) if not any(_holds_middle(box, word.box) for word in words)]
    for place, box in enumerate(missed[:_MOST_MISSED]):
        margin = 0.3 * (box.bottom - box.top)
        left, top = max(0, int(box.left - margin)), max(0, int(box.top - margin))
        crop = image.crop((left, top, min(image.width, int(box.right + margin)), min(image.height, int(box.bottom + margin))))
        for word in tesseract.read_words(crop, languages, is_line=True):
            x0, y0, x1, y1 = word.box
            at = (x0 + left, y0 + top, x1 + left, y1 + top)
            found.append(tesseract.Word(word.text, ("missed", str(place)), at, word.confidence))
    return found


def _holds_middle(line: TextBox, box: tuple[float, float, float, float]) -> bool:
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return line.left <= x <= line.right and line.top <= y <= line.bottom


def _has_text(image: Image) -> bool:
    """Whether RapidOCR sees lines of text, whatever they say."""
    small = image.copy()
    small.thumbnail((_GLANCE, _GLANCE))
    return any(_ratio(box) >= _LONG_LINE for box in rapid.find_lines(small))


def _stored(cache: Cache | None, key: str) -> Recognition | None:
    """A result of the cache; a doubtful one counts only while nothing else reads other scripts."""
    data = None if cache is None else cache.get("ocr", key)
    if data is None:
        return None
    record = json.loads(data)
    if record["doubt"] and record["packs"] != _readers():
        return None
    lines = tuple(Line(start, end, (a, b, c, d), score) for start, end, (a, b, c, d), score in record["lines"])
    return Recognition(record["text"], lines, record["doubt"], record["turned"])


def _store(cache: Cache | None, key: str, found: Recognition) -> None:
    if cache is None:
        return
    packs = _readers() if found.doubt else []
    record = {
        "text": found.text,
        "lines": [astuple(line) for line in found.lines],
        "doubt": found.doubt,
        "turned": found.turned,
        "packs": packs,
    }
    cache.put("ocr", key, json.dumps(record).encode())


def _readers() -> list[str]:
    """What reads other scripts than RapidOCR's models do."""
    return [*(path.stem for path in rapid.other_models()), *tesseract.installed()]


def _version() -> str:
    """What a recognised text depends on besides the picture.

    Raises:
        MissingExtraError: RapidOCR is not installed.
    """
    return digest(rapid.fingerprint(), str(OCR_MAX_PIXELS), _LAYOUT_VERSION)
