"""Pictures that strangers send: plain ones are decoded in the server, all others in a process that may die.

Plain is a PNG or JPEG of at most :data:`PLAIN_PIXELS`. The decoders of other kinds take many times the memory that a file's size
lets expect; a process with limits turns their pictures, and large ones, into PNGs of a bounded size.
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.errors import PageError
from mmr5.pages.files import HEAD_BYTES, kind_of
from mmr5.pages.images import picture_size
from mmr5.server import request_documents
from mmr5.server.document_reader import Parser
from mmr5.server.document_worker import check_pixels

PLAIN_PIXELS = 12_000_000
"""Most pixels of a picture that the server itself decodes: an A4 page at 300 dpi fits."""

Run = Callable[..., Awaitable[Any]]
"""Calls a function with its arguments in a thread."""


@dataclass(frozen=True, slots=True)
class PictureReader:
    """Makes pictures plain, within the pixels of one request.

    Attributes:
        parser: starts the process.
        root: where a folder is made for what it reads and writes.
    """

    parser: Parser
    root: Path

    async def plain(self, sent: Sequence[bytes | None], client: str, run: Run) -> list[bytes | None]:
        """The pictures of a request, each as a PNG or JPEG that the server may decode; None stays None.

        Args:
            sent: encoded images, by document.
            client: who asks, for fairness.
            run: for what reads a header.

        Raises:
            WireError: 422 or 413, naming the document.
        """
        found = list(sent)
        left = self.parser.settings.max_request_pixels
        others: list[int] = []
        measured = 0
        for index, data in enumerate(sent):
            if data is None:
                continue
            pixels = await run(plain_pixels, index, data, self.parser.settings.max_pixels)
            left = self._spend(index, left, pixels or 0)
            if pixels is None or pixels > PLAIN_PIXELS:
                others.append(index)
                measured += pixels or 0
        if others:
            await self._convert(found, others, client, left + measured)
        return found

    async def _convert(self, found: list[bytes | None], others: Sequence[int], client: str, left: int) -> None:
        pictures = [data for index in others if (data := found[index]) is not None]
        for index, made in zip(others, await self.parser.convert(self.root, pictures, client, left), strict=True):
            left = self._spend(index, left, made.pixels)
            if made.error is not None:
                raise request_documents.refusal(index, made.error)
            found[index] = made.data

    def _spend(self, index: int, left: int, pixels: int) -> int:
        if pixels > left:
            most = self.parser.settings.max_request_pixels
            message = f"the pictures up to this one have more than {most:,} pixels in all: send fewer or smaller ones"
            raise request_documents.refusal(index, message, 413)
        return left - pixels


def plain_pixels(index: int, data: bytes, max_pixels: int) -> int | None:
    """The pixels of a PNG or JPEG by its header, 0 for what is no picture, None for a picture of another kind.

    Raises:
        WireError: 422, naming the document: it is damaged or too large.
    """
    kind = kind_of(data[:HEAD_BYTES])
    if kind not in {"png", "jpeg"}:
        return 0 if kind in {None, "pdf"} else None
    try:
        width, height = picture_size(io.BytesIO(data))
        check_pixels(width, height, max_pixels)
    except PageError as error:
        raise request_documents.refusal(index, str(error)) from error
    return width * height
