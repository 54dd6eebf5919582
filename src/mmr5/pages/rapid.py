"""RapidOCR's engines: the one of its wheel, others with recognisers of other scripts, and small ones that run side by side."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import ConfigError, EngineError, MissingExtraError, missing_extra
from mmr5.pages.layout import TextBox
from mmr5.pages.text import clean
from mmr5.storage.cache import digest

if TYPE_CHECKING:
    from PIL.Image import Image

_SETTINGS: dict[str, Any] = {"Global.log_level": "critical", "Global.use_cls": False, "Global.text_score": 0.0}
"""Upside-down lines are not looked for one by one: a page is turned as a whole, and a wrong guess costs a line."""
_SMALL: dict[str, Any] = {
    "Det.limit_type": "max",
    "Det.limit_side_len": 960,
    "Rec.rec_img_shape": [3, 48, 96],
    "Rec.rec_batch_num": 3,
    "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,
    "EngineConfig.onnxruntime.intra_op_num_threads": 1,
}
"""Of an engine for pictures with short lines: they are not enlarged, lines are not padded to a width of 320 pixels, and several
engines run side by side on one core each. Half the time of the wheel's settings, with as many lines of a score above .8."""
_ENGINE = threading.Lock()
_engine: Any = None
_others: dict[Path, Any] = {}
_idle: list[Any] = []


@dataclass(frozen=True, slots=True)
class Piece:
    """A text with its box in pixels and its score."""

    text: str
    box: TextBox
    score: float


def read(image: Image, *, model: Path | None = None) -> list[Piece]:
    """The pieces of text in a picture as it lies, without what the engine calls empty.

    Args:
        image: RGB.
        model: a recogniser in the place of the wheel's.

    Raises:
        EngineError: recognition failed.
        MissingExtraError: RapidOCR is not installed.
    """
    with _main_engine(model) as engine:
        return _pieces(_call(engine, image))


def read_small(image: Image) -> list[Piece]:
    """As :func:`read`, of a picture whose longer side is taken down to 960 pixels to find its lines; threads run side by side."""
    with _ENGINE:
        engine = _idle.pop() if _idle else None
    engine = engine or _open_engine(_SMALL)
    try:
        return _pieces(_call(engine, image))
    finally:
        with _ENGINE:
            _idle.append(engine)


def read_line(image: Image) -> tuple[str, float]:
    """The text of a picture of one line, and its score; empty and 0 where there is none."""
    with _main_engine(None) as engine:
        found = _call(engine, image, use_det=False)
    return "".join(found.txts or ()), max(map(float, found.scores or ()), default=0.0)


def find_lines(image: Image) -> list[TextBox]:
    """Where lines of text stand in a picture, whatever they say."""
    with _main_engine(None) as engine:
        boxes = getattr(_call(engine, image, use_rec=False), "boxes", None)
    return [] if boxes is None else [_hull(points) for points in boxes]


@contextmanager
def _main_engine(model: Path | None) -> Iterator[Any]:
    """The engine that uses all cores, for one caller at a time: that of the wheel, or one with the recogniser ``model``."""
    global _engine
    with _ENGINE:
        if model is not None:
            if model not in _others:
                keys = model.with_suffix(".txt")
                params = {"Rec.model_path": str(model)} | ({"Rec.rec_keys_path": str(keys)} if keys.is_file() else {})
                _others[model] = _open_engine(params)
            yield _others[model]
            return
        if _engine is None:
            _engine = _open_engine({})
        yield _engine


def _call(engine: Any, image: Image, *, use_det: bool = True, use_rec: bool = True) -> Any:
    import numpy as np

    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    try:
        return engine(pixels, use_det=use_det, use_rec=use_rec, use_cls=False)
    except Exception as error:
        raise EngineError(f"text recognition failed ({error or type(error).__name__})") from error


def _pieces(found: Any) -> list[Piece]:
    """What an engine has found."""
    texts, corners, scores = (getattr(found, name, None) for name in ("txts", "boxes", "scores"))
    if texts is None or corners is None or scores is None:
        return []
    return [
        Piece(clean(text).replace("\n", " "), _hull(points), float(score))
        for text, points, score in zip(texts, corners, scores, strict=True)
    ]


def _hull(points: Sequence[Any]) -> TextBox:
    """The upright hull of four corners."""
    xs, ys = [float(point[0]) for point in points], [float(point[1]) for point in points]
    return TextBox(min(xs), min(ys), max(xs), max(ys))


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


@once
def _version() -> str:
    """Of the installed RapidOCR; finding it reads files."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rapidocr")
    except PackageNotFoundError as error:
        raise _missing() from error


def fingerprint() -> str:
    """What a recognised text depends on besides the picture.

    Raises:
        MissingExtraError: RapidOCR is not installed.
    """
    return digest(_version(), repr(sorted(_SETTINGS.items())), repr(sorted(_SMALL.items())))


def _open_engine(params: dict[str, Any]) -> Any:
    """A new engine.

    Raises:
        MissingExtraError: RapidOCR or the runtime of its models is not installed.
        EngineError: its models cannot be loaded.
    """
    try:
        import onnxruntime  # noqa: F401
        from rapidocr import RapidOCR
    except ImportError as error:
        raise _missing() from error
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    threads = {"EngineConfig.onnxruntime.intra_op_num_threads": cores()}
    try:
        return RapidOCR(params={**_SETTINGS, **threads, **params})
    except Exception as error:
        model = params.get("Rec.model_path")
        remedy = f"{model} is no recogniser that it knows" if model else "reinstall rapidocr"
        raise EngineError(f"RapidOCR cannot load its models ({error}): {remedy}") from error


def _missing() -> MissingExtraError:
    return missing_extra("rapidocr", "ocr", "read pages without a text layer")


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
