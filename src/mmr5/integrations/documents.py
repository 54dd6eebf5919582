"""What other programs hold as a document → a page. What claims to be a picture is one, or is refused; it never becomes text."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mmr5.cache import digest
from mmr5.errors import InputError, PageError, SourceNotFoundError
from mmr5.pages import ImageBytes, ImageFile, PdfPageImage, fit_size
from mmr5.pages.files import HEAD_BYTES, Kind, StoredFile, kind_of, known_kind
from mmr5.pages.images import to_rgb
from mmr5.pages.read import CHECK_PIXELS
from mmr5.types import ImageSource, Page

if TYPE_CHECKING:
    from PIL.Image import Image

_DATA = re.compile(r"data:([\w.+*/-]*)((?:;[\w.=+-]+)*),", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\r\n]+={0,2}")
_HEADS = ("iVBORw0KGgo", "/9j/", "_9j_", "R0lGOD", "UklGR", "SUkqA", "TU0AK", "Qk0")
"""How PNG, JPEG, GIF, WebP, TIFF and BMP begin in base64."""
_LONG = 64
"""A string of this many base64 characters that begins like a picture is one, and no path and no prose."""


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
        try:
            upright = to_rgb(image)
        except Exception as error:  # whatever a decoder raises on damaged bytes
            raise PageError(f"the image cannot be decoded ({error or type(error).__name__}): open it again") from error
        return cls(upright, digest("pixels", str(upright.size), upright.tobytes()))

    def decode(self, max_pixels: int | None = None) -> Image:
        """The same as :meth:`load`."""
        return self.load(max_pixels)

    def load(self, max_pixels: int | None = None) -> Image:
        """A copy of at most ``max_pixels`` pixels."""
        size = self.image.size if max_pixels is None else fit_size(*self.image.size, max_pixels)
        return self.image.copy() if size == self.image.size else self.image.resize(size, reducing_gap=3.0)


@dataclass(frozen=True, slots=True)
class Draft:
    """A document on its way to a page.

    Attributes:
        source: what it is called in results.
        number: one-based page number.
        text: its text; None when nobody has looked.
        picture: gives what :func:`open_picture` reads, or None; called only when the picture is wanted.
    """

    source: str
    number: int = 1
    text: str | None = None
    picture: Callable[[], object] | None = None


def draft(value: object, source: str = "document") -> Draft:
    """Read a bare value as a document.

    A string is text unless it is a data URI or the base64 of a picture; bytes, a ``Path`` and a Pillow image are pictures; a
    mapping holds ``text``, ``image``, or both; a :class:`mmr5.Page` is itself.

    Raises:
        InputError: it is nothing of these.
    """
    if isinstance(value, Page):
        return Draft(value.source, value.number, value.text, None if value.image is None else lambda: value.image)
    if isinstance(value, str):
        return Draft(source, picture=lambda: value) if is_encoded(value) else Draft(source, text=value)
    if isinstance(value, Mapping):
        text, picture = value.get("text"), value.get("image")
        if text is None and picture is None:
            raise InputError(f"{source}: a mapping with the keys {sorted(map(str, value))} holds neither text nor image")
        if text is not None and not isinstance(text, str):
            raise InputError(f"{source}: its text is of type {type(text).__name__}: give a string")
        return Draft(source, text=text, picture=None if picture is None else lambda: picture)
    if value is None:
        raise InputError(f"{source} is None: give text, a picture, or both")
    return Draft(source, picture=lambda: value)


def is_encoded(value: str) -> bool:
    """Whether a string is a data URI or the base64 of a picture, and not prose or a path."""
    value = value.strip()
    if _DATA.match(value):
        return True
    return len(value) >= _LONG and value.startswith(_HEADS) and _BASE64.fullmatch(value) is not None


def open_picture(value: object, root: Path | None = None) -> ImageSource:
    """Open a picture, whatever form it has.

    Args:
        value: a path (``str``, ``Path``, ``file://``), a data URI, base64, encoded bytes, a Pillow image, or an
            :class:`mmr5.types.ImageSource`, such as :func:`pdf_page` gives.
        root: folder below which paths must lie; None reads any path, as ``read_pages`` does.

    Raises:
        PageError: it is no picture, is damaged, or is an address on a network.
        SourceNotFoundError: there is no such file.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return _checked(bytes(value))
    if isinstance(value, Path):
        return _file(value, root)
    if isinstance(value, str):
        return _from_string(value.strip(), root)
    if hasattr(value, "convert") and hasattr(value, "size"):
        return ImageObject.of(value)  # type: ignore[arg-type]
    if isinstance(value, ImageSource):
        return value
    raise PageError(f"a picture was expected and this is a {type(value).__name__}: give a path, bytes, base64 or a Pillow image")


def pdf_page(path: str | Path, number: int) -> PdfPageImage:
    """The picture of a PDF's page, rendered when it is wanted.

    Args:
        path: the document.
        number: one-based page.

    Raises:
        PageError: the file is no PDF, or the number is below 1.
        SourceNotFoundError: there is no such file.
    """
    if number < 1:
        raise PageError(f"page {number} of {path}: pages count from 1")
    kind = _kind(Path(path))
    if kind != "pdf":
        raise PageError(f"{path} is a {kind} by its content, and a PDF was expected")
    return PdfPageImage(StoredFile.of(path), number - 1)


def below(path: str | Path, root: Path | None) -> Path:
    """A path, made sure to lie below a folder, symbolic links followed; relative ones are relative to it.

    Raises:
        PageError: it lies outside.
    """
    if root is None:
        return Path(path)
    resolved = (root / path).resolve()
    if not resolved.is_relative_to(root.resolve()):
        raise PageError(f"{path} lies outside {root}, the folder that pictures may be read from")
    return resolved


def _from_string(value: str, root: Path | None) -> ImageSource:
    match = _DATA.match(value)
    if match:
        kind, options = match[1].lower(), match[2].lower()
        if not kind.startswith("image/") or ";base64" not in options:
            raise PageError(f"a data URI of type {kind or 'text/plain'}{options}: write data:image/png;base64,…")
        return _checked(_decoded(unquote(value[match.end() :])))
    if is_encoded(value):
        return _checked(_decoded(value))
    scheme = value[:8].lower()
    if scheme.startswith(("http://", "https://")):
        raise PageError(f"addresses are not fetched: download {value[:80]} and give its bytes or path")
    return _file(unquote(urlsplit(value).path) if scheme.startswith("file:") else value, root)


def _decoded(text: str) -> bytes:
    compact = re.sub(r"\s+", "", text).translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PageError("the picture is not valid base64: encode it again") from error


def _checked(data: bytes) -> ImageBytes:
    """The picture in these bytes, once a small copy of it was decoded."""
    if kind_of(data[:HEAD_BYTES]) == "pdf":
        raise PageError("a picture was expected and these bytes are a PDF: read it with mmr5.read_pages")
    picture = ImageBytes(data)
    picture.load(CHECK_PIXELS)
    return picture


def _file(path: str | Path, root: Path | None) -> ImageFile:
    place = below(path, root)
    if _kind(place) == "pdf":
        raise PageError(f"{path} is a PDF, and a picture is one page: give pdf_page({str(path)!r}, number)")
    picture = ImageFile(StoredFile.of(place))
    picture.load(CHECK_PIXELS)
    return picture


def _kind(path: Path) -> Kind:
    """The kind of a file by its content; errors name it."""
    try:
        return known_kind(path)
    except SourceNotFoundError as error:
        raise SourceNotFoundError(f"{str(path)[:120]}: {error}") from error
    except (InputError, OSError, ValueError) as error:
        raise PageError(f"{str(path)[:120]}: {error}") from error
