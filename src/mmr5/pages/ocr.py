"""Text of pictures by RapidOCR (the extra ``ocr``), and by tesseract for other scripts; cached by content.

RapidOCR and its models (in its wheel; Latin script, Chinese and Japanese) are loaded with the first picture that needs
them, once a process. A picture whose result is doubtful is turned, and offered to recognisers of other scripts: those in the
folder that the environment variable ``MMR5_OCR_MODELS`` names (``cyrillic.onnx`` and the like, as PaddleOCR publishes them;
beside one, ``cyrillic.txt`` may list its characters), then tesseract where it is installed.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import ConfigError, EngineError, missing_extra
from mmr5.pages import tesseract
from mmr5.pages.images import is_blank
from mmr5.pages.layout import TextBox, reading_order
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

_SETTINGS: dict[str, Any] = {"Global.log_level": "critical", "Global.use_cls": False, "Global.text_score": 0.0}
"""Upside-down lines are not looked for one by one: a page is turned as a whole, and a wrong guess costs a line."""
_LAYOUT_VERSION = "3"
_SAMPLES = 5
_GLANCE = 900
"""Pixels of the longer side of a picture that is only looked at for lines of text."""
_TALL = 1.5
_LONG_LINE = 4.0
_MOST_MISSED = 100
_ENGINE = threading.Lock()
_engine: Any = None
_others: dict[Path, Any] = {}


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


@dataclass(frozen=True, slots=True)
class _Piece:
    """A text with its box in pixels and its score."""

    text: str
    box: TextBox
    score: float


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
    key = digest(source.key, _fingerprint())
    found = _stored(cache, key)
    if found is not None:
        return found
    image = getattr(source, "decode", source.load)(OCR_MAX_PIXELS)
    pixels_key = digest("pixels", str(image.size), image.tobytes(), _fingerprint())
    found = _stored(cache, pixels_key)
    if found is None:
        found = Recognition("") if is_blank(image) else recognise(image)
        _store(cache, pixels_key, found)
    _store(cache, key, found)
    return found


def recognise(image: Image) -> Recognition:
    """What is written in an RGB picture, which may be turned by 90, 180 or 270 degrees.

    Raises:
        EngineError: recognition failed.
        MissingExtraError: RapidOCR is not installed.
    """
    pieces: Sequence[_Piece] = _recognise_upright(image)
    turned = 0
    if _is_doubtful(pieces):
        turned = _find_turn(image, pieces)
        if turned:
            pieces = _recognise_upright(_turn(image, turned))
    doubt = None
    if _is_doubtful(pieces):
        pieces, turned, doubt = _read_by_script(image, pieces, turned)
    size = image.size if turned % 180 == 0 else image.size[::-1]
    return _compose(pieces, size, turned, doubt)


def _compose(pieces: Sequence[_Piece], size: tuple[int, int], turned: int, doubt: str | None) -> Recognition:
    """Pieces of a picture of ``size`` in reading order, with boxes in the picture before it was turned."""
    kept = [piece for piece in pieces if piece.score >= MIN_SCORE and piece.text]
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


def _recognise_upright(image: Image) -> list[_Piece]:
    """What RapidOCR finds in a picture as it lies, without what it calls empty."""
    return _pieces(_call(image, use_det=True))


def _pieces(found: Any) -> list[_Piece]:
    """What an engine of RapidOCR has found."""
    texts, corners, scores = (getattr(found, name, None) for name in ("txts", "boxes", "scores"))
    if texts is None or corners is None or scores is None:
        return []
    return [
        _Piece(clean(text).replace("\n", " "), _hull(points), float(score))
        for text, points, score in zip(texts, corners, scores, strict=True)
    ]


def _call(image: Image, *, use_det: bool, use_rec: bool = True, model: Path | None = None) -> Any:
    """What an engine gives: that of the wheel, or one with the recogniser ``model``."""
    import numpy as np

    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    with _ENGINE:
        engine = _load_engine() if model is None else _load_other(model)
        try:
            return engine(pixels, use_det=use_det, use_rec=use_rec, use_cls=False)
        except Exception as error:
            raise EngineError(f"text recognition failed ({error or type(error).__name__})") from error


def _is_doubtful(pieces: Sequence[_Piece]) -> bool:
    """Whether a page may be turned or in a script that the models do not know."""
    if not pieces:
        return True
    return _weighted_score(pieces) < GOOD_SCORE or _share_of_tall(pieces) > 0.5 or _share_of_sparse(pieces) > 0.5


def _weighted_score(pieces: Sequence[_Piece]) -> float:
    """The mean score over the length of the lines."""
    return sum(piece.score * _length(piece.box) for piece in pieces) / max(1.0, sum(_length(piece.box) for piece in pieces))


def _length(box: TextBox) -> float:
    return max(box.right - box.left, box.bottom - box.top)


def _is_tall(box: TextBox) -> bool:
    return box.bottom - box.top > _TALL * (box.right - box.left)


def _share_of_tall(pieces: Sequence[_Piece]) -> float:
    """How much of the lines, by length, stands upright as in a picture that lies on its side."""
    total = sum(_length(piece.box) for piece in pieces)
    return sum(_length(piece.box) for piece in pieces if _is_tall(piece.box) and count_visible(piece.text) > 1) / max(total, 1)


def _share_of_sparse(pieces: Sequence[_Piece]) -> float:
    """How much of the long lines, by length, has too few characters for its length."""
    long = [piece for piece in pieces if _ratio(piece.box) >= _LONG_LINE]
    total = sum(_length(piece.box) for piece in long)
    sparse = sum(_length(piece.box) for piece in long if count_visible(piece.text) < MIN_DENSITY * _ratio(piece.box))
    return sparse / total if total else 0.0


def _ratio(box: TextBox) -> float:
    """A line's length in heights."""
    sides = sorted((max(1.0, box.right - box.left), max(1.0, box.bottom - box.top)))
    return sides[1] / sides[0]


def _find_turn(image: Image, pieces: Sequence[_Piece]) -> int:
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
        found = _call(crop, use_det=False)
        text, score = "".join(found.txts or ()), max(map(float, found.scores or ()), default=0.0)
        expected = MIN_DENSITY * max(1.0, crop.width / max(1, crop.height))
        scores.append(score * min(1.0, count_visible(text) / expected))
    return sum(scores) / max(1, len(scores))


def _read_by_script(image: Image, pieces: Sequence[_Piece], turned: int) -> tuple[Sequence[_Piece], int, str | None]:
    """A doubtful page by tesseract, where it knows the script; else what was found, with the reason of the doubt.

    Returns:
        The pieces, by how many degrees the picture was turned for them, and the doubt, None for a good result.
    """
    if not pieces and not _has_text(image):
        return (), turned, None
    for model in other_models():
        found = _pieces(_call(_turn(image, turned), use_det=True, model=model))
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


def _words_to_pieces(words: Sequence[tesseract.Word]) -> list[_Piece]:
    """A piece a line; tesseract's order of words in a line is kept, which may run from right to left."""
    lines: dict[tuple[str, ...], list[tesseract.Word]] = {}
    for word in words:
        lines.setdefault(word.line, []).append(word)
    pieces = []
    for line in lines.values():
        boxes = [word.box for word in line]
        hull = TextBox(min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes))
        text = clean(" ".join(word.text for word in line))
        pieces.append(_Piece(text, hull, max(MIN_SCORE, tesseract.mean_confidence(line) / 100)))
    return pieces


def _missed_words(image: Image, words: Sequence[tesseract.Word], languages: Sequence[str]) -> list[tesseract.Word]:
    """The words of lines that RapidOCR sees and in which tesseract has found nothing, read line by line."""
    found: list[tesseract.Word] = []
    missed = [box for box in _find_lines(image) if not any(_holds_middle(box, word.box) for word in words)]
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
    return any(_ratio(box) >= _LONG_LINE for box in _find_lines(small))


def _find_lines(image: Image) -> list[TextBox]:
    """Where RapidOCR sees lines of text."""
    boxes = getattr(_call(image, use_det=True, use_rec=False), "boxes", None)
    return [] if boxes is None else [_hull(points) for points in boxes]


def _hull(points: Any) -> TextBox:
    """The upright hull of four corners."""
    xs, ys = [float(point[0]) for point in points], [float(point[1]) for point in points]
    return TextBox(min(xs), min(ys), max(xs), max(ys))


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


def other_models() -> list[Path]:
    """Recognisers in the folder that ``MMR5_OCR_MODELS`` names, by name.

    Raises:
        ConfigError: there is no such folder.
    """
    named = os.environ.get("MMR5_OCR_MODELS")
    if not named:
        return []
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"MMR5_OCR_MODELS is {named!r}, and there is no such folder: name one that holds .onnx files")
    return sorted(folder.glob("*.onnx"))


def _readers() -> list[str]:
    """What reads other scripts than RapidOCR's models do."""
    return [*(path.stem for path in other_models()), *tesseract.installed()]


def _load_other(model: Path) -> Any:
    """The engine with another recogniser; called under its lock."""
    if model not in _others:
        keys = model.with_suffix(".txt")
        params = {"Rec.model_path": str(model)} | ({"Rec.rec_keys_path": str(keys)} if keys.is_file() else {})
        _others[model] = _open_engine(params)
    return _others[model]


@once
def _engine_version() -> str:
    """Of the installed RapidOCR; finding it reads files.

    Raises:
        MissingExtraError: it is not installed.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rapidocr")
    except PackageNotFoundError as error:
        raise missing_extra("rapidocr", "ocr", "read pages without a text layer") from error


def _fingerprint() -> str:
    """What a recognised text depends on besides the picture.

    Raises:
        MissingExtraError: RapidOCR is not installed.
    """
    return digest(_engine_version(), repr(sorted(_SETTINGS.items())), str(OCR_MAX_PIXELS), _LAYOUT_VERSION)


def _load_engine() -> Any:
    """The engine of this process; called under its lock.

    Raises:
        MissingExtraError: RapidOCR or the runtime of its models is not installed.
        EngineError: its models cannot be loaded.
    """
    global _engine
    if _engine is None:
        _engine = _open_engine({})
    return _engine


def _open_engine(params: dict[str, Any]) -> Any:
    try:
        import onnxruntime  # noqa: F401
        from rapidocr import RapidOCR
    except ImportError as error:
        raise missing_extra("rapidocr", "ocr", "read pages without a text layer") from error
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    threads = {"EngineConfig.onnxruntime.intra_op_num_threads": _cores()}
    try:
        return RapidOCR(params={**_SETTINGS, **threads, **params})
    except Exception as error:
        model = params.get("Rec.model_path")
        remedy = f"{model} is no recogniser that it knows" if model else "reinstall rapidocr"
        raise EngineError(f"RapidOCR cannot load its models ({error}): {remedy}") from error


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
