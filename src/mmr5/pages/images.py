"""Pictures of pages: from image files and bytes to upright RGB within a pixel budget.

Limits. A picture of more than :data:`MAX_DECODED_PIXELS` pixels is refused before it is decoded, with one exception: a
baseline JPEG is decoded at 1/2, 1/4 or 1/8 of its size, in bounded memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from mmr5.errors import ConfigError, PageError
from mmr5.pages.files import HEAD_BYTES, PICTURE_KINDS, Kind, StoredFile, kind_of
from mmr5.storage.cache import digest

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_MAX_PIXELS = 1_003_520
"""The pixel budget of a page in a prompt (1,280 patches of 28 by 28). A caller passes it; ``load()`` does not apply it."""

MAX_DECODED_PIXELS = 89_478_485
"""Most pixels that are decoded at once, the limit above which Pillow speaks of a decompression bomb: A3 at 600 dpi fits."""

_PLUGINS: dict[Kind, tuple[str, str]] = {
    "png": ("PngImagePlugin", "PngImageFile"),
    "jpeg": ("JpegImagePlugin", "JpegImageFile"),
    "webp": ("WebPImagePlugin", "WebPImageFile"),
    "tiff": ("TiffImagePlugin", "TiffImageFile"),
    "bmp": ("BmpImagePlugin", "BmpImageFile"),
    "gif": ("GifImagePlugin", "GifImageFile"),
    "avif": ("AvifImagePlugin", "AvifImageFile"),
}
_HEIC_WAY_OUT = "convert it, e.g. with: heif-convert in.heic out.png, or: pip install pillow-heif"
_SUBFILE_TAG = 254
_NO_PAGE = 1 | 4
"""Bits of a TIFF's NewSubfileType: a reduced copy of another picture, or a mask for it."""
_LEAST_USED, _FEWER_BITS = 256, 32768
_ORIENTATION_TAG = 0x0112
_SHRINKABLE_MODES = frozenset({"L", "LA", "RGB", "RGBA", "CMYK"})
_BLOCK_ROWS = 64
_BLANK_PIXELS = 40_000
_BLANK_CONTRAST = 48
_BLANK_SHARE = 2e-4
_WARNING_FILTERS = threading.Lock()


def fit_size(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """The largest size of at most ``max_pixels`` pixels with the same aspect ratio; never larger than the given one.

    Args:
        width: pixels, at least 1.
        height: pixels, at least 1.
        max_pixels: at least 1.

    Returns:
        Width and height, each at least 1, rounded down.

    Raises:
        ConfigError: ``max_pixels`` is below 1.
    """
    if max_pixels < 1:
        raise ConfigError(f"max_pixels is {max_pixels}: a picture needs at least 1 pixel")
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    new_width = min(max(1, int(width * scale)), max_pixels)
    new_height = max(1, min(int(height * scale), max_pixels // new_width))
    return min(new_width, max_pixels // new_height), new_height


def to_rgb(image: Image) -> Image:
    """An upright RGB picture: EXIF orientation applied, transparency on white, 16 bit, palette and CMYK converted."""
    return _upright(_flatten(image), _orientation(image))


def is_blank(image: Image) -> bool:
    """Whether nearly all of an RGB picture is of one colour, as on a page without content.

    At most 2 in 10,000 pixels of a reduced copy may differ from the most frequent level by more than 48 of 255, in each
    of the three colours.
    """
    size = fit_size(*image.size, _BLANK_PIXELS)
    counts = image.resize(size, reducing_gap=2.0).histogram()
    marks = max(_off_ground(counts[start : start + 256]) for start in (0, 256, 512))
    return marks <= _BLANK_SHARE * size[0] * size[1]


def _off_ground(counts: list[int]) -> int:
    """How many pixels differ clearly from the most frequent of 256 levels."""
    ground = max(range(256), key=counts.__getitem__)
    return sum(count for level, count in enumerate(counts) if abs(level - ground) > _BLANK_CONTRAST)


def count_frames(stream: IO[bytes]) -> int:
    """How many pages an image file holds: the pages of a TIFF, 1 for every other kind. Nothing is decoded.

    Raises:
        PageError: the file is no image of a known kind, is damaged, or is larger than what is decoded.
    """
    with _decoding(), _open(stream) as image:
        _draft(image, None)
        return len(_pages_of_tiff(image)) if image.format == "TIFF" else 1


def count_moments(stream: IO[bytes]) -> int:
    """How many frames an animation holds, of which only the first is a page; 1 for every other image.

    Raises:
        PageError: as with :func:`count_frames`.
    """
    with _decoding(), _open(stream) as image:
        return 1 if image.format in {"TIFF", "MPO"} else int(getattr(image, "n_frames", 1))


def _pages_of_tiff(image: Image) -> list[int]:
    """Frames of a TIFF that are pages: no reduced copies of others and no masks, unless there is nothing else."""
    frames = range(int(getattr(image, "n_frames", 1)))
    if len(frames) == 1:
        return [0]
    pages = []
    for frame in frames:
        image.seek(frame)
        if not int(image.tag_v2.get(_SUBFILE_TAG, 0)) & _NO_PAGE:  # type: ignore[attr-defined]
            pages.append(frame)
    image.seek(0)
    return pages or [0]


def picture_size(stream: IO[bytes]) -> tuple[int, int]:
    """Width and height in pixels, read from the header. Nothing is decoded.

    Raises:
        PageError: the file is no image of a known kind, or its header is damaged.
    """
    with _decoding(), _open(stream) as image:
        return image.size


def decode(stream: IO[bytes], frame: int = 0, max_pixels: int | None = None) -> Image:
    """Decode one frame to an upright RGB picture.

    Args:
        stream: an image file, opened for reading.
        frame: zero-based frame of a TIFF; 0 for other kinds.
        max_pixels: most pixels of the result, at least 1; None keeps the size, within :data:`MAX_DECODED_PIXELS`.

    Raises:
        PageError: the file is no image of a known kind, is damaged, or is larger than what is decoded.
        ConfigError: ``max_pixels`` is below 1.
    """
    if max_pixels is not None and max_pixels < 1:
        raise ConfigError(f"max_pixels is {max_pixels}: a picture needs at least 1 pixel")
    with _decoding(), _open(stream) as image:
        if image.format == "TIFF":
            pages = _pages_of_tiff(image)
            if frame >= len(pages):
                raise PageError(f"the image cannot be decoded: it holds {len(pages)} pages, and page {frame + 1} was asked for")
            image.seek(pages[frame])
        elif frame:
            image.seek(frame)
        _draft(image, max_pixels)
        image.load()
        orientation = _orientation(image)
        picture = image if image.mode in _SHRINKABLE_MODES and not _has_color_key(image) else _flatten(image)
        if max_pixels is not None:
            picture = _shrink(picture, max_pixels)
        return _upright(_flatten(picture), orientation)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The picture in an image file; the file must stay where it is.

    Attributes:
        file: the file and the content that it had.
        frame: zero-based frame of a TIFF.
    """

    file: StoredFile
    frame: int = 0

    @property
    def key(self) -> str:
        """Digest of content and frame."""
        return digest("image", self.file.digest, str(self.frame))

    def decode(self, max_pixels: int | None = None) -> Image:
        """Like :meth:`load`, but errors do not name the file."""
        self.file.check()
        with _decoding(), self.file.path.open("rb") as stream:
            return decode(stream, self.frame, max_pixels)

    def load(self, max_pixels: int | None = None) -> Image:
        """Decode to RGB of at most ``max_pixels`` pixels.

        Raises:
            PageError: the file is gone, was changed, or cannot be decoded.
        """
        try:
            return self.decode(max_pixels)
        except PageError as error:
            raise PageError(f"{self.file.path.name}, page {self.frame + 1}: {error}") from error


@dataclass(frozen=True, slots=True)
class ImageBytes:
    """The picture in an encoded image that is held in memory.

    Attributes:
        data: the encoded image (PNG, JPEG, WebP, TIFF, BMP or GIF).
        frame: zero-based frame of a TIFF.
    """

    data: bytes = field(repr=False)
    frame: int = 0

    @property
    def key(self) -> str:
        """Digest of content and frame; that of the same image in a file."""
        return digest("image", hashlib.sha256(self.data).hexdigest(), str(self.frame))

    def load(self, max_pixels: int | None = None) -> Image:
        """Decode to RGB of at most ``max_pixels`` pixels.

        Raises:
            PageError: the bytes cannot be decoded.
        """
        return decode(io.BytesIO(self.data), self.frame, max_pixels)


@dataclass(frozen=True, slots=True)
class ImageObject:
    """A Pillow image as it was when it was handed over.

    Attributes:
        image: upright RGB.
        key: digest of its size and pixels.
    """

    image: Image = field(repr=False)
    key: str

    @classmethod
    def of(cls, image: Image) -> ImageObject:
        """Copy and decode an image of any mode.

        Raises:
            PageError: it cannot be decoded.
        """
        with _decoding():
            upright = to_rgb(image)
        return cls(upright, digest("pixels", str(upright.size), upright.tobytes()))

    def load(self, max_pixels: int | None = None) -> Image:
        """A copy of at most ``max_pixels`` pixels."""
        size = self.image.size if max_pixels is None else fit_size(*self.image.size, max_pixels)
        return self.image.copy() if size == self.image.size else self.image.resize(size, reducing_gap=3.0)


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    """Turn whatever a decoder raises on damaged or hostile bytes into a PageError."""
    try:
        yield
    except (PageError, ConfigError):
        raise
    except Exception as error:
        raise PageError(f"the image cannot be decoded ({error or type(error).__name__}): save or fetch it again") from error


@contextlib.contextmanager
def _open(stream: IO[bytes]) -> Iterator[Image]:
    """Open an image without decoding it, by the plugin of its content's kind."""
    import PIL.Image

    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    kind = kind_of(head)
    if kind is None or kind == "pdf":
        found = "a PDF" if kind == "pdf" else "of no known kind"
        raise PageError(f"an image was expected, but by its content this is {found}; known kinds: {PICTURE_KINDS}")
    if kind == "gif":
        _refuse_above_limit(int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little"))
    plugin = _plugin(kind)
    with contextlib.ExitStack() as stack:
        if kind in {"gif", "tiff"}:
            # Their parts may be larger than the picture says, of which Pillow only warns.
            stack.enter_context(_WARNING_FILTERS)
            stack.enter_context(warnings.catch_warnings())
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        image: Image = plugin(stream)
        stack.enter_context(image)
        yield image


def _plugin(kind: Kind) -> Callable[[IO[bytes]], Image]:
    """What opens a kind of image.

    Raises:
        PageError: it is not installed.
    """
    if kind == "heic":
        try:
            found: Callable[[IO[bytes]], Image] = importlib.import_module("pillow_heif.as_plugin").HeifImageFile
        except ImportError as error:
            raise PageError(f"HEIC pictures are not read without the package pillow-heif: {_HEIC_WAY_OUT}") from error
        return found
    module, name = _PLUGINS[kind]
    try:
        found = getattr(importlib.import_module(f"PIL.{module}"), name)
    except ImportError as error:
        raise PageError(f"this Pillow does not read {kind.upper()} pictures: pip install -U pillow") from error
    return found


def _draft(image: Image, max_pixels: int | None) -> None:
    """Let a JPEG be decoded reduced where the result is small or the picture is large; refuse what stays too large."""
    width, height = image.size
    if image.format not in {"JPEG", "MPO"} or image.info.get("progressive"):
        _refuse_above_limit(width, height)
        return
    steps = [step for step in (1, 2, 4, 8) if math.ceil(width / step) * math.ceil(height / step) <= MAX_DECODED_PIXELS]
    if not steps:
        _refuse_above_limit(width, height)
        return
    wanted = (width, height) if max_pixels is None else fit_size(width, height, max_pixels)
    ample = [step for step in steps if width // step >= wanted[0] and height // step >= wanted[1]]
    step = ample[-1] if ample else steps[0]
    if step > 1:
        image.draft(None, (width // step, height // step))


def _refuse_above_limit(width: int, height: int) -> None:
    if width * height > MAX_DECODED_PIXELS:
        raise PageError(f"the image has {width} x {height} pixels and at most {MAX_DECODED_PIXELS:,} are decoded: scale it down")


def _has_color_key(image: Image) -> bool:
    return image.mode in {"L", "RGB"} and "transparency" in image.info


def _shrink(image: Image, max_pixels: int) -> Image:
    from PIL.Image import Resampling

    size = fit_size(*image.size, max_pixels)
    return image if size == image.size else image.resize(size, Resampling.LANCZOS, reducing_gap=3.0)


def _orientation(image: Image) -> int:
    """EXIF orientation, 1 (upright) to 8; damaged EXIF counts as upright."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # an edge: damaged EXIF takes Pillow's parsers into errors of any kind, and the picture stands without it
        return 1
    return value if isinstance(value, int) else 1


def _upright(image: Image, orientation: int) -> Image:
    """A copy, turned and mirrored as the orientation asks, that carries no EXIF of its own."""
    from PIL.Image import Transpose

    steps = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    step = steps.get(orientation)
    result = image.copy() if step is None else image.transpose(step)
    result.info = {}
    return result


def _flatten(image: Image) -> Image:
    """RGB of any mode, transparency on white, orientation as it is."""
    import PIL.Image

    if image.mode.startswith("I") or image.mode == "F":
        image = _to_eight_bits(image)
    if image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        clear = image.convert("RGBA")
        white = PIL.Image.new("RGB", clear.size, (255, 255, 255))
        white.paste(clear, mask=clear.getchannel("A"))
        return white
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_eight_bits(image: Image) -> Image:
    """Grey of 8 bits: the high byte of whole numbers of 16 bits, the used range of fewer bits and of floating-point ones.

    It works on a few rows at a time.
    """
    import numpy as np
    import PIL.Image

    values = np.asarray(image)
    levels = np.empty(values.shape, np.uint8)
    blocks = [slice(top, top + _BLOCK_ROWS) for top in range(0, len(values), _BLOCK_ROWS)]
    floating = image.mode == "F"

    def plain(rows: slice) -> Any:
        if floating:
            return np.nan_to_num(values[rows].astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        return np.clip(values[rows], 0, 65535).astype(np.float64)

    low, high = min(float(plain(rows).min()) for rows in blocks), max(float(plain(rows).max()) for rows in blocks)
    if not floating and not (_LEAST_USED <= high < _FEWER_BITS and high > low):
        low, high = 0.0, 65536.0 * 255 / 256  # the high byte; 9 to 15 bits, as scanners and cameras write them, are stretched
    scale = 255.0 / (high - low) if high > low else 0.0
    for rows in blocks:
        levels[rows] = (plain(rows) - low) * scale
    return PIL.Image.fromarray(levels)
