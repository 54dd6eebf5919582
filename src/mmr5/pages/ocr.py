"""Text of pictures by RapidOCR (the extra ``ocr``), cached by content.

RapidOCR and its models (in its wheel) are loaded with the first picture that needs them, once a process.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import TYPE_CHECKING, Any

from mmr5.cache import Cache, digest
from mmr5.errors import EngineError, missing_extra
from mmr5.pages.images import is_blank
from mmr5.pages.text import clean
from mmr5.types import ImageSource

if TYPE_CHECKING:
    from PIL.Image import Image

OCR_MAX_PIXELS = 2_200_000
"""Pixels at which a page is recognised: an A4 page at about 150 dpi."""

_SETTINGS: dict[str, Any] = {"Global.log_level": "critical", "Global.use_cls": False}
"""Upside-down lines are not looked for: pages are upright, and a wrong guess costs a line."""
_LAYOUT_VERSION = "1"
_ENGINE = threading.Lock()
_engine: Any = None

_MIN_COLUMN_LINES = 6
_MAX_SPANNING_SHARE = 0.25
_MIN_COLUMN_FILL = 0.6


@dataclass(frozen=True, slots=True)
class Box:
    """An upright box in a picture, in pixels from the upper left corner."""

    left: float
    top: float
    right: float
    bottom: float


def read_picture(source: ImageSource, cache: Cache | None = None) -> str:
    """The text in a picture, from the cache where it was recognised before; ``""`` for a blank one.

    Args:
        source: any picture; those of files have a ``decode``, whose errors do not repeat the file's name.
        cache: where texts are kept by content, RapidOCR's version and settings; None keeps none.

    Raises:
        PageError: the picture cannot be decoded.
        EngineError: it was decoded, and recognition failed.
        MissingExtraError: RapidOCR is not installed.
    """
    key = digest(source.key, _fingerprint())
    stored = None if cache is None else cache.get("ocr", key)
    if stored is not None:
        return stored.decode()
    image = getattr(source, "decode", source.load)(OCR_MAX_PIXELS)
    text = "" if is_blank(image) else recognise(image)
    if cache is not None:
        cache.put("ocr", key, text.encode())
    return text


def recognise(image: Image) -> str:
    """The text in an upright RGB picture, a line a line, in reading order.

    Raises:
        EngineError: recognition failed.
        MissingExtraError: RapidOCR is not installed.
    """
    import numpy as np

    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    with _ENGINE:
        engine = _load_engine()
        try:
            found = engine(pixels)
        except Exception as error:
            raise EngineError(f"text recognition failed ({error or type(error).__name__})") from error
    texts, corners = getattr(found, "txts", None), getattr(found, "boxes", None)
    if texts is None or corners is None:
        return ""
    boxes = [_box(points) for points in corners]
    return clean("\n".join(" ".join(texts[i] for i in line) for line in reading_order(boxes)))


def reading_order(boxes: Sequence[Box]) -> list[list[int]]:
    """Group boxes into lines, and put these in the order in which they are read.

    Lines go from top to bottom, boxes in a line from left to right. Two columns of prose are read one after the other;
    what spans both of them, such as a title, is read where it stands.

    Args:
        boxes: N boxes in any order.

    Returns:
        Lines of positions in ``boxes``; together they hold 0..N-1 once each.
    """
    everything = list(range(len(boxes)))
    gutter = _gutter(boxes)
    if gutter is None:
        return _lines(boxes, everything)
    order: list[list[int]] = []
    left: list[int] = []
    right: list[int] = []
    for line in _lines(boxes, everything):
        if any(boxes[i].left < gutter < boxes[i].right for i in line):
            order += _lines(boxes, left) + _lines(boxes, right) + [line]
            left, right = [], []
        else:
            left += [i for i in line if boxes[i].right <= gutter]
            right += [i for i in line if boxes[i].right > gutter]
    return order + _lines(boxes, left) + _lines(boxes, right)


def _lines(boxes: Sequence[Box], positions: Sequence[int]) -> list[list[int]]:
    """Boxes whose vertical middle lies within the first box of a line, or the other way round, share that line."""
    lines: list[list[int]] = []
    for i in sorted(positions, key=lambda i: (boxes[i].top + boxes[i].bottom, boxes[i].left)):
        if lines and _side_by_side(boxes[lines[-1][0]], boxes[i]):
            lines[-1].append(i)
        else:
            lines.append([i])
    return [sorted(line, key=lambda i: boxes[i].left) for line in lines]


def _side_by_side(first: Box, second: Box) -> bool:
    overlap = min(first.bottom, second.bottom) - max(first.top, second.top)
    return overlap > 0.5 * min(first.bottom - first.top, second.bottom - second.top)


def _gutter(boxes: Sequence[Box]) -> float | None:
    """Where the gap between two columns of prose is, or None.

    Each side needs lines that fill its width (the cells of a table seldom do), and few boxes may span both.
    """
    if len(boxes) < 2 * _MIN_COLUMN_LINES:
        return None
    start, end = min(box.left for box in boxes), max(box.right for box in boxes)
    best: tuple[int, float] | None = None
    for share in range(40, 61):
        x = start + (end - start) * share / 100
        left = [box.right - box.left for box in boxes if box.right <= x]
        right = [box.right - box.left for box in boxes if box.left >= x]
        spanning = len(boxes) - len(left) - len(right)
        if min(len(left), len(right)) < _MIN_COLUMN_LINES or spanning > _MAX_SPANNING_SHARE * len(boxes):
            continue
        if median(left) < _MIN_COLUMN_FILL * (x - start) or median(right) < _MIN_COLUMN_FILL * (end - x):
            continue
        if best is None or spanning < best[0]:
            best = (spanning, x)
    return None if best is None else best[1]


def _box(points: Any) -> Box:
    """The upright hull of four corners."""
    xs, ys = [float(point[0]) for point in points], [float(point[1]) for point in points]
    return Box(min(xs), min(ys), max(xs), max(ys))


def _fingerprint() -> str:
    """What a recognised text depends on besides the picture.

    Raises:
        MissingExtraError: RapidOCR is not installed.
    """
    try:
        installed = version("rapidocr")
    except PackageNotFoundError as error:
        raise missing_extra("rapidocr", "ocr", "read pages without a text layer") from error
    return digest(installed, repr(sorted(_SETTINGS.items())), str(OCR_MAX_PIXELS), _LAYOUT_VERSION)


def _load_engine() -> Any:
    """The engine of this process; called under its lock.

    Raises:
        MissingExtraError: RapidOCR or the runtime of its models is not installed.
        EngineError: its models cannot be loaded.
    """
    global _engine
    if _engine is None:
        try:
            import onnxruntime  # noqa: F401
            from rapidocr import RapidOCR
        except ImportError as error:
            raise missing_extra("rapidocr", "ocr", "read pages without a text layer") from error
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
        threads = {"EngineConfig.onnxruntime.intra_op_num_threads": _cores()}
        try:
            _engine = RapidOCR(params={**_SETTINGS, **threads})
        except Exception as error:
            raise EngineError(f"RapidOCR cannot load its models ({error}): reinstall rapidocr") from error
    return _engine


def _cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
