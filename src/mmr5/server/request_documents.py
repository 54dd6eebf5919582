"""Documents of a request → pages, by the rule of :mod:`mmr5.documents` and within the server's limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from mmr5 import documents
from mmr5.documents import Draft
from mmr5.errors import PageError
from mmr5.server.http_errors import WireError
from mmr5.server.protocol import AnyDocument, Document, ImageUrl, Part
from mmr5.types import Page

CHARS_OF_TOKEN = 24
"""A token has so many characters at most, on average over a text: what is beyond is cut without being counted."""


def drafts(
    items: Sequence[AnyDocument],
    max_chars: int,
    *,
    cut: bool = False,
    max_tokens: int | None = None,
    count: Callable[[str], int] | None = None,
) -> tuple[list[Draft], list[str]]:
    """All documents as they were sent; each picture is an address, a data URI or base64.

    Args:
        items: as they were sent.
        max_chars: most characters of a text.
        cut: cut a text that is longer, instead of refusing it.
        max_tokens: keep so many tokens of a text, from its beginning.
        count: counts tokens.

    Returns:
        The documents, and what was cut, in words.

    Raises:
        WireError: 400 for a text that is too long; 422, naming the document that is empty or more than one page.
    """
    found, said = [], []
    for index, item in enumerate(items):
        try:
            value = item if isinstance(item, str) else _spelled(item)
            sent = cast("Draft", documents.draft(value, f"documents[{index}]", addresses=True))
        except ValueError as error:
            raise refusal(index, str(error)) from error
        if sent.text is not None and len(sent.text) > max_chars:
            if not cut:
                message = f"its text has {len(sent.text):,} characters, and at most {max_chars:,} are taken: shorten it"
                raise refusal(index, message, 400)
            said.append(f"documents[{index}] was cut to its first {max_chars:,} characters")
            sent = replace(sent, text=sent.text[:max_chars])
        if sent.text and max_tokens is not None and count is not None:
            sent = replace(sent, text=first_tokens(sent.text, max_tokens, count))
        found.append(sent)
    return found, said


def first_tokens(text: str, most: int, count: Callable[[str], int]) -> str:
    """The longest beginning of a text that has at most so many tokens, to a token."""
    text = text[: most * CHARS_OF_TOKEN]
    low, high = 0, len(text)
    if count(text) <= most:
        return text
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(text[:middle]) <= most else (low, middle - 1)
    return text[:low]


def echo(item: AnyDocument, sent: Draft, *, pictures: bool = True) -> dict[str, Any]:
    """The document for ``return_documents``: ``{"text"}``, ``{"image"}``, both, or vLLM's ``{"text", "multi_modal"}``.

    Without ``pictures``, ``{"text"}`` alone, which is null for a picture without text.
    """
    if not pictures:
        return {"text": sent.text}
    if not isinstance(item, str) and isinstance(item.content, list):
        media = [] if sent.picture is None else [{"type": "image_url", "image_url": {"url": sent.picture}}]
        return {"text": sent.text, "multi_modal": media}
    return {name: value for name, value in (("text", sent.text), ("image", sent.picture)) if value is not None}


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
    if picture.strip()[:5].lower() == "file:":
        return _local_bytes(picture.strip(), local_root, max_bytes)
    return documents.decoded(picture)


def page_of(index: int, sent: Draft, data: bytes | None, max_pixels: int) -> Page:
    """The page of a document, its picture checked.

    Raises:
        WireError: 422, naming the document.
    """
    try:
        return documents.page_of(sent, None if data is None else documents.checked_picture(data, max_pixels))
    except PageError as error:
        raise refusal(index, str(error)) from error


def refusal(index: int, message: str, status: int = 422) -> WireError:
    """The error for one document."""
    return WireError(status, f"documents[{index}]: {message}", reason="document")


def _spelled(item: Document) -> dict[str, str | None]:
    """Text and picture of a document in any client's spelling.

    Raises:
        ValueError: it holds no text and no picture, or more than one picture.
    """
    parts = item.content if isinstance(item.content, list) else []
    content = item.content if isinstance(item.content, str) else None
    found = [(item.text, item.image), (content, _url(item.image_url)), *(_part(part) for part in parts)]
    texts = [text for text, _ in found if text is not None]
    pictures = [picture for _, picture in found if picture is not None]
    if len(pictures) > 1:
        raise ValueError(f"it holds {len(pictures)} pictures, and a document is one page: send one document a picture")
    if not pictures and not texts:
        raise ValueError("it holds neither text nor a picture")
    return {"text": "\n".join(texts) if texts else None, "image": pictures[0] if pictures else None}


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
