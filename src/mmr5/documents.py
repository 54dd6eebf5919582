"""What callers hand in → pages: one rule for the library, the adapters and the server.

A bare string is text, unless it is a data URI that claims an image or it decodes from base64 to a picture. What claims to be a
picture is one, or is refused; it never becomes text, and text never becomes anything else.
"""

from __future__ import annotations

import base64
import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mmr5.errors import EngineError, InputError, MissingExtraError, PageError, SourceNotFoundError
from mmr5.pages import ImageBytes, ImageFile, ImageObject, PdfPageImage
from mmr5.pages import ocr as recognition
from mmr5.pages.files import HEAD_BYTES, Kind, StoredFile, kind_of, picture_kind
from mmr5.pages.images import picture_size
from mmr5.pages.settle import CHECK_PIXELS
from mmr5.storage.cache import Cache
from mmr5.types import ImageSource, Page, View

_DATA = re.compile(r"data:([\w.+*-]+/[\w.+*-]+)?((?:;[^;,\s]*)*),", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?|file)://\S+", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_ESCAPED = [
    (b"%" + code.encode(), sign)
    for letters, sign in (("2B 2b", b"+"), ("2F 2f", b"/"), ("3D 3d", b"="), ("0A 0a 0D 0d 20", b""))
    for code in letters.split()
]
"""What percent-encoding does to base64 in a URI."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-\r\n]{22,}={0,2}")
"""No picture is shorter than 22 characters (16 bytes); a word or a path may be."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_HEAD_CHARACTERS = 2 * HEAD_BYTES
"""How much of an encoded file its kind is read from, line breaks included; the head of a data URI is no longer either."""
_FORMS = "text, a picture (path, bytes, base64, data URI or Pillow image), {'text': …, 'image': …} or a Page"


@dataclass(frozen=True, slots=True)
class Draft:
    """A document on its way to a page.

    Attributes:
        source: what it is called in results.
        number: one-based page number.
        text: its text; None when nobody has looked.
        picture: what :func:`open_picture` reads, or a function that gives it when it is wanted; None for no picture.
    """

    source: str
    number: int = 1
    text: str | None = None
    picture: object = None


def to_pages(
    values: Iterable[object],
    view: View,
    *,
    source: str = "documents",
    image_root: Path | None = None,
    cache: Cache | None = None,
) -> tuple[tuple[Page, ...], View]:
    """Documents of any form as pages, and the view in which all of them can be read.

    When every document has a picture (or the model reads text), the view stays. When the model wants pictures and one document
    has none, all are read as text, so that they are compared alike. Pictures that the view does not need are not opened; the text
    of those that came without any is recognised where the view needs it. A :class:`mmr5.Page` is taken as it is.

    Args:
        values: any number of documents, in any iterable (see :func:`draft`).
        view: how the model would like to see them.
        source: what they are called in errors and results: ``documents[0]``, ``documents[1]``, ….
        image_root: folder below which paths to pictures must lie; None reads any path.
        cache: where recognised texts are kept; None stands for ``Cache()``.

    Returns:
        As many pages as there are documents, in their order; and the view, which is ``view`` or ``"text"``.

    Raises:
        InputError: ``values`` is no list, or holds what is no document; the error names the position and the type.
        PageError: a picture that is needed cannot be read; the error names the document's place.
        EngineError: text recognition failed.
        MissingExtraError: text must be recognised, and the extra ``ocr`` is not installed.
    """
    items = drafts(values, source)
    pages = [item if isinstance(item, Page) else _opened(place, item, view, image_root) for place, item in enumerate(items)]
    view = common_view(view, pages)
    for place, page in enumerate(pages):
        if view == "text" or (view == "both" and not isinstance(items[place], Page)):
            with _named(place, page.source):
                pages[place] = with_text(page, view, cache)
    return tuple(pages), view


def common_view(view: View, pages: Iterable[Page]) -> View:
    """The view, or ``"text"`` when a page has no picture to be looked at."""
    return view if all(page.image is not None for page in pages) else "text"


def with_text(page: Page, view: View, cache: Cache | None = None) -> Page:
    """The page with its text, recognised by OCR where it came without; one that holds nothing at all has the text ``""``.

    Args:
        page: a page.
        view: a model that also sees the picture (``"both"``) goes without text where OCR is not installed.
        cache: where recognised texts are kept; None stands for ``Cache()``.

    Raises:
        PageError: the picture cannot be decoded.
        EngineError: recognition failed.
        MissingExtraError: RapidOCR is not installed, and the model reads text alone.
    """
    if page.text is not None:
        return page
    if page.image is None:
        return replace(page, text="", text_kind="given")
    try:
        return replace(page, text=recognition.read_picture(page.image, cache or Cache()), text_kind="ocr")
    except MissingExtraError:
        if view == "both":
            return replace(page, text="")
        raise


def drafts(values: Iterable[object], source: str = "documents") -> list[Draft | Page]:
    """Each of the values as a document (see :func:`draft`), called ``documents[0]`` and so on.

    Raises:
        InputError: a single document stands where a list is expected, or a value is no document.
    """
    single = isinstance(values, str | bytes | bytearray | memoryview | Mapping | Page | Draft | Path)
    if single or not isinstance(values, Iterable):
        raise InputError(f"{source} is {_of_type(values)}, and a list of documents is expected: give [document, …]")
    return [draft(value, f"{source}[{place}]") for place, value in enumerate(values)]


def draft(value: object, source: str = "document", *, addresses: bool = False) -> Draft | Page:
    """Read a value as a document.

    A string is text unless :func:`is_picture` says otherwise; bytes, a ``Path``, a Pillow image and an
    :class:`mmr5.types.ImageSource` are pictures; a mapping holds ``text``, ``image``, or both; a :class:`mmr5.Page` and a
    :class:`Draft` are themselves. Lone surrogates in texts are replaced.

    Args:
        value: the document.
        source: what it is called in errors and results.
        addresses: whether a bare ``http(s)://`` or ``file://`` address stands for a picture.

    Raises:
        InputError: it is nothing of these.
    """
    if isinstance(value, str):
        return Draft(source, picture=value) if is_picture(value, addresses=addresses) else _draft(source, value, None)
    if isinstance(value, Mapping):
        text, picture = value.get("text"), value.get("image")
        if text is None and picture is None:
            raise InputError(f"{source}: a mapping with the keys {sorted(map(str, value))} holds neither text nor image")
        if text is not None and not isinstance(text, str):
            raise InputError(f"{source}: its text is {_of_type(text)}: give a string")
        return _draft(source, text, picture)
    if isinstance(value, Page | Draft):
        text = None if value.text is None else replace_surrogates(value.text)
        return value if text == value.text else replace(value, text=text)
    if isinstance(value, bytes | bytearray | memoryview | Path | ImageSource) or _is_pillow(value):
        return Draft(source, picture=value)
    raise InputError(f"{source} is {_of_type(value)}: give {_FORMS}")


def is_picture(value: str, *, addresses: bool = False) -> bool:
    """Whether a bare string stands for a picture; every other string is text, whatever it resembles.

    It does when it is a data URI of type ``image/…``, or when its base64, bare or in a data URI of any other type, decodes to
    the magic number of a known kind (a PDF's included, which is then refused). Hexadecimal digits, DNA, tokens and long words are
    text, and so is a ``data:text/plain,…`` URI, as it stands.

    Args:
        value: the string.
        addresses: whether a lone ``http(s)://`` or ``file://`` address stands for a picture, too.
    """
    value = value.strip()
    if addresses and _ADDRESS.fullmatch(value):
        return True
    data = _DATA.match(value[:_HEAD_CHARACTERS])
    if data is None:
        return _kind_in(value[:_HEAD_CHARACTERS]) is not None and _BASE64.fullmatch(value) is not None
    if (data[1] or "").lower().startswith("image/"):
        return True
    return ";base64" in data[2].lower() and _kind_in(unquote(value[data.end() : data.end() + _HEAD_CHARACTERS])) is not None


def page_of(item: Draft, image: ImageSource | None) -> Page:
    """The page of a document whose picture was opened; an empty text beside a picture counts as unread."""
    text = item.text if item.text or image is None else None
    return Page(item.source, item.number, text, image, None if text is None else "given")


def open_picture(value: Any, root: Path | None = None) -> ImageSource:
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
        return checked_picture(bytes(value))
    if isinstance(value, Path):
        return _file(value, root)
    if isinstance(value, str):
        return _from_string(value.strip(), root)
    if _is_pillow(value):
        return ImageObject.of(value)
    if isinstance(value, ImageSource):
        return value
    raise PageError(f"a picture was expected and this is {_of_type(value)}: give a path, bytes, base64 or a Pillow image")


def decoded(value: str) -> bytes:
    """The bytes in a data URI or in base64 of either alphabet, with or without line breaks and padding.

    Raises:
        PageError: it is no valid base64.
    """
    value = value.strip()
    if value[:5].lower() == "data:":
        data = _DATA.match(value[:_HEAD_CHARACTERS])
        if data is None or ";base64" not in data[2].lower():
            raise PageError(f"the data URI {value[:40]}… is not base64: write data:image/png;base64,…")
        value = value[data.end() :]
    try:
        return _from_base64(value)
    except ValueError as error:
        raise PageError("the picture is not valid base64: encode it again, or write data:image/png;base64,…") from error


def checked_picture(data: bytes, max_pixels: int | None = None) -> ImageBytes:
    """The picture in these bytes, once its size was read from the header and a small copy of it was decoded.

    Args:
        data: PNG, JPEG, WebP, TIFF, BMP or GIF.
        max_pixels: most pixels (width times height) that are taken; None takes what this package decodes.

    Raises:
        PageError: it is no picture, is damaged, or is too large.
    """
    if kind_of(data[:HEAD_BYTES]) == "pdf":
        raise PageError(
            "a picture was expected and these bytes are a PDF: read it with mmr5.read_pages, or send it to a server's /v1/search"
        )
    if max_pixels is not None:
        width, height = picture_size(io.BytesIO(data))
        if width * height > max_pixels:
            raise PageError(f"the picture has {width} x {height} pixels, and at most {max_pixels:,} are decoded: scale it down")
    picture = ImageBytes(data)
    picture.load(CHECK_PIXELS)
    return picture


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
    kind = _kind_of_file(Path(path))
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


def clean_question(value: object) -> str:
    """The question, its lone surrogates replaced.

    Raises:
        InputError: it is no string, or is empty.
    """
    if not isinstance(value, str):
        raise InputError(f"the question is {_of_type(value)}: give a string")
    if not value.strip():
        raise InputError("the question is empty: say what to look for")
    return replace_surrogates(value)


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for every surrogate, which no encoding and no tokenizer bears."""
    return _SURROGATE.sub("\ufffd", text)


def _draft(source: str, text: str | None, picture: object) -> Draft:
    return Draft(source, text=None if text is None else replace_surrogates(text), picture=picture)


def _opened(place: int, item: Draft, view: View, root: Path | None) -> Page:
    """The page of a document; its picture is opened where the view needs it, or where there is no text."""
    if item.picture is None or (view == "text" and item.text):
        return page_of(item, None)
    with _named(place, item.source):
        value = item.picture() if callable(item.picture) else item.picture
        return page_of(item, None if value is None else open_picture(value, root))


@contextlib.contextmanager
def _named(place: int, source: str) -> Iterator[None]:
    """Name the document in errors."""
    try:
        yield
    except (InputError, EngineError) as error:
        raise type(error)(f"document {place} ({source}): {error}") from error


def _of_type(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def _is_pillow(value: Any) -> bool:
    return hasattr(value, "convert") and hasattr(value, "size")


def _from_base64(text: str) -> bytes:
    """Decode base64 of either alphabet, percent-encoded or not; raises ValueError. It works on bytes: strings may have 30 MB."""
    compact = text.encode("ascii")
    for escaped, sign in _ESCAPED if b"%" in compact else ():
        compact = compact.replace(escaped, sign)
    compact = compact.translate(_URL_SAFE, b" \t\r\n\v\f")
    return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)


def _kind_in(encoded: str) -> Kind | None:
    """The kind of file whose beginning is encoded here, or None."""
    compact = re.sub(r"\s+", "", encoded)
    with contextlib.suppress(ValueError):
        return kind_of(_from_base64(compact[: len(compact) // 4 * 4 or None])[:HEAD_BYTES])
    return None


def _from_string(value: str, root: Path | None) -> ImageSource:
    if value[:5].lower() == "data:" or is_picture(value):
        return checked_picture(decoded(value))
    if value[:8].lower().startswith(("http://", "https://")):
        raise PageError(f"addresses are not fetched: download {value[:80]} and give its bytes or path")
    return _file(unquote(urlsplit(value).path) if value[:5].lower() == "file:" else value, root)


def _file(path: str | Path, root: Path | None) -> ImageFile:
    place = below(path, root)
    if _kind_of_file(place) == "pdf":
        raise PageError(f"{path} is a PDF, and a picture is one page: give pdf_page({str(path)!r}, number)")
    picture = ImageFile(StoredFile.of(place))
    picture.load(CHECK_PIXELS)
    return picture


def _kind_of_file(path: Path) -> Kind:
    """The kind of a file by its content; errors name it."""
    try:
        return picture_kind(path)
    except SourceNotFoundError as error:
        raise SourceNotFoundError(f"{str(path)[:120]}: {error}") from error
    except (InputError, OSError, ValueError) as error:
        raise PageError(f"{str(path)[:120]}: {error}") from error
