"""Documents of a request → pages. What claims to be a picture is decoded or refused; it never becomes text."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from mmr5.errors import PageError
from mmr5.pages import ImageBytes
from mmr5.pages.files import HEAD_BYTES, kind_of
from mmr5.pages.images import measure
from mmr5.pages.read import CHECK_PIXELS
from mmr5.server.parse_worker import check_pixels
from mmr5.server.problems import WireError
from mmr5.server.protocol import AnyDocument, ImageUrl, Part
from mmr5.types import Page

_URL = re.compile(r"(?:https?|file)://\S+", re.IGNORECASE)
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.=+-]+)*),", re.IGNORECASE)
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_BASE64_HEADS = ("iVBORw0KGgo", "/9j/", "_9j_", "R0lGOD", "UklGR", "SUkqA", "TU0AK")
"""How PNG, JPEG, GIF, WebP and TIFF begin in base64."""
_ESCAPED = [
    (f"%{code}".encode(), sign)
    for code, sign in (
        ("2B", b"+"),
        ("2b", b"+"),
        ("2F", b"/"),
        ("2f", b"/"),
        ("3D", b"="),
        ("3d", b"="),
        ("0A", b""),
        ("0a", b""),
        ("0D", b""),
        ("0d", b""),
        ("20", b""),
    )
]
"""What percent-encoding does to base64 in a URI."""
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_LONG_WORD = 128
"""A string of this many base64 characters without a space is no word: it is binary."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A document as it was sent.

    Attributes:
        text: its text, or None.
        picture: an address, a data URI or base64; or None.
        parts: it was sent as ``content`` parts, and is repeated so.
    """

    text: str | None
    picture: str | None
    parts: bool = False

    def echo(self) -> dict[str, Any]:
        """The document for ``return_documents``: ``{"text"}``, ``{"image"}``, or vLLM's ``{"text", "multi_modal"}``."""
        if self.parts:
            media = [] if self.picture is None else [{"type": "image_url", "image_url": {"url": self.picture}}]
            return {"text": self.text, "multi_modal": media}
        found: dict[str, Any] = {}
        if self.text is not None:
            found["text"] = self.text
        if self.picture is not None:
            found["image"] = self.picture
        return found


def draft(item: AnyDocument) -> Draft:
    """What a document is. A bare string is a picture when it is an address, a data URI or base64, and else text.

    Raises:
        ValueError: it holds no text and no picture, or more than one picture.
    """
    if isinstance(item, str):
        return Draft(None, item) if looks_binary(item) else Draft(item, None)
    texts = [item.text] if item.text is not None else []
    pictures = [p for p in (item.image, _url(item.image_url)) if p is not None]
    if isinstance(item.content, str):
        texts.append(item.content)
    for part in item.content if isinstance(item.content, list) else ():
        text, picture = _part(part)
        texts += [] if text is None else [text]
        pictures += [] if picture is None else [picture]
    if len(pictures) > 1:
        raise ValueError(f"it holds {len(pictures)} pictures, and a document is one page: send one document a picture")
    if not pictures and not texts:
        raise ValueError("it holds neither text nor a picture")
    return Draft("\n".join(texts) if texts else None, pictures[0] if pictures else None, isinstance(item.content, list))


def looks_binary(text: str) -> bool:
    """Whether a bare string is an address, a data URI, or base64, and not prose."""
    stripped = text.strip()
    if _URL.fullmatch(stripped) or _DATA.match(stripped):
        return True
    if not stripped.startswith(_BASE64_HEADS) and len(stripped) < _LONG_WORD:
        return False
    compact = stripped.encode("ascii", "replace")
    if stripped.startswith(_BASE64_HEADS):
        compact = compact.translate(None, b"\r\n")
    padding = len(compact) - len(compact.rstrip(b"="))
    return len(compact) >= 16 and padding <= 2 and not compact[: len(compact) - padding].translate(None, _BASE64)


def is_address(picture: str) -> bool:
    """Whether a picture is to be fetched over http(s)."""
    return picture.strip()[:8].lower().startswith(("http://", "https://"))


def embedded_bytes(picture: str, local_root: Path | None, max_bytes: int) -> bytes:
    """The bytes of a picture that is a data URI, base64, or a file below the allowed folder.

    Args:
        picture: as it was sent.
        local_root: folder below which ``file://`` paths may lie; None refuses them all.
        max_bytes: most bytes of a file.

    Raises:
        PageError: it is none of these, or is not allowed.
    """
    picture = picture.strip()
    if picture[:5].lower() == "file:":
        return _local_bytes(picture, local_root, max_bytes)
    if match := _DATA.match(picture):
        kind, options = (match[1] or "text/plain").lower(), match[2].lower()
        if not kind.startswith("image/") and kind != "application/octet-stream":
            raise PageError(f"its data URI is of type {kind}, and a picture was expected")
        if ";base64" not in options:
            raise PageError("its data URI is not base64: write data:image/png;base64,…")
        picture = picture[match.end() :]
    elif picture[:5].lower() == "data:":
        raise PageError("its data URI is malformed: write data:image/png;base64,…")
    try:
        compact = picture.encode("ascii")
        for escaped, plain in _ESCAPED if b"%" in compact else ():
            compact = compact.replace(escaped, plain)
        compact = compact.translate(_URL_SAFE, b" \t\r\n\v\f")
        return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PageError("its picture is neither an address, nor a data URI, nor valid base64") from error


def checked_image(data: bytes, max_pixels: int) -> ImageBytes:
    """The picture in these bytes, after its size was read from the header and a small copy was decoded.

    Raises:
        PageError: it is no picture, larger than ``max_pixels``, or damaged.
    """
    kind = kind_of(data[:HEAD_BYTES])
    if kind is None or kind == "pdf":
        what = "a PDF, which /v1/search takes" if kind == "pdf" else "no picture of a known kind"
        raise PageError(f"by its content it is {what}: send PNG, JPEG, WebP, TIFF, BMP or GIF")
    check_pixels(*measure(io.BytesIO(data)), max_pixels)
    picture = ImageBytes(data)
    picture.load(CHECK_PIXELS)
    return picture


def page_of(index: int, sent: Draft, data: bytes | None, max_pixels: int) -> Page:
    """The page of a document, its picture checked.

    Raises:
        WireError: 422, naming the document.
    """
    image = None
    if data is not None:
        try:
            image = checked_image(data, max_pixels)
        except PageError as error:
            raise refusal(index, str(error)) from error
    return Page(f"documents[{index}]", 1, sent.text, image, None if sent.text is None else "given")


def refusal(index: int, message: str, status: int = 422) -> WireError:
    """The error for one document."""
    return WireError(status, f"documents[{index}]: {message}", reason="document")


def drafts(items: Sequence[AnyDocument], max_chars: int) -> list[Draft]:
    """All documents as they were sent.

    Raises:
        WireError: 422, naming the document that is empty, too long, or more than one page.
    """
    found = []
    for index, item in enumerate(items):
        try:
            sent = draft(item)
        except ValueError as error:
            raise refusal(index, str(error)) from error
        if sent.text is not None and len(sent.text) > max_chars:
            raise refusal(index, f"its text has {len(sent.text):,} characters, and at most {max_chars:,} are taken", 413)
        found.append(sent)
    return found


def _url(value: ImageUrl | str | None) -> str | None:
    return value.url if isinstance(value, ImageUrl) else value


def _part(part: Part) -> tuple[str | None, str | None]:
    """Text and picture of a part.

    Raises:
        ValueError: the part lacks what its type names.
    """
    if part.type in {"text", "input_text"}:
        if part.text is None:
            raise ValueError("a part of type text has no text")
        return part.text, None
    picture = _url(part.image_url) or part.image
    if picture is None:
        raise ValueError(f"a part of type {part.type} has no image_url")
    return None, picture


def _local_bytes(address: str, root: Path | None, max_bytes: int) -> bytes:
    if root is None:
        raise PageError("files of the server's machine are not read: send the picture itself")
    refused = PageError("no such picture below the folder that this server reads from")
    parts = urlsplit(address)
    if parts.netloc not in {"", "localhost"} or "\0" in unquote(parts.path):
        raise refused
    try:
        allowed = root.resolve(strict=True)
        path = Path(unquote(parts.path)).resolve(strict=True)
        if not path.is_relative_to(allowed) or not path.is_file():
            raise refused
        if path.stat().st_size > max_bytes:
            raise PageError(f"the file holds more than {max_bytes:,} bytes: scale it down")
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, PageError):
            raise
        raise refused from error
