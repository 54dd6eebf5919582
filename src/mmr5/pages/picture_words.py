"""Words inside the pictures of a page that has a text of its own: screenshots, scanned tables, plots.

A page's regions (:mod:`mmr5.pages.regions`) are rendered without the page's own text and read at a small size; what is found is
kept by the content of the picture, so that one which stands on many pages is read once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from mmr5.pages import rapid
from mmr5.pages.ocr import Recognition, cached, compose
from mmr5.pages.pdf import PdfRegionImage
from mmr5.storage.cache import Cache, digest
from mmr5.types import Box

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 1_500_000
"""Of a region that is read."""
MIN_SCORE = 0.8
"""Lines that are recognised with a lower score are left out: signs and lines of a drawing are often taken for letters."""
MAX_THREADS = 4
"""Pages that are read side by side; each thread holds the models once."""
_VERSION = "1"


def read_regions(pages: Sequence[Sequence[PdfRegionImage]], cache: Cache | None = None) -> Results:
    """The words in the regions of each page, page by page; several pages are read side by side, a core each.

    An error comes with the page that it belongs to, and the pages behind it go on.

    Raises:
        DocumentError: the file is gone, was changed, or cannot be opened.
        PageError: a region cannot be rendered.
        EngineError: recognition failed.
        MissingExtraError: RapidOCR is not installed.
    """
    return Results(pages, cache)


class Results:
    """See :func:`read_regions`."""

    def __init__(self, pages: Sequence[Sequence[PdfRegionImage]], cache: Cache | None) -> None:
        self._pool = ThreadPoolExecutor(min(MAX_THREADS, rapid.cores()))
        self._waiting = deque(self._pool.submit(_read_page, page, cache) for page in pages)

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> list[Recognition]:
        if not self._waiting:
            raise StopIteration
        return self._waiting.popleft().result()

    def close(self) -> None:
        """Give up what was not asked for."""
        self._pool.shutdown(cancel_futures=True)


def _read_page(page: Sequence[PdfRegionImage], cache: Cache | None) -> list[Recognition]:
    return [_read_region(region, cache) for region in page]


def _read_region(source: PdfRegionImage, cache: Cache | None) -> Recognition:
    """The words in a region, with boxes in [0, 1] of the page."""
    version = digest(rapid.fingerprint(), "region", str(MAX_PIXELS), str(MIN_SCORE), _VERSION)
    found = cached(source, cache, version, MAX_PIXELS, _recognise)
    lines = tuple(replace(line, box=_on_page(line.box, source.box)) for line in found.lines)
    return Recognition(found.text, lines)


def _on_page(box: Box, region: Box) -> Box:
    """A box in shares of a region, in shares of the page."""
    left, top, width, height = region[0], region[1], region[2] - region[0], region[3] - region[1]
    a, b, c, d = left + width * box[0], top + height * box[1], left + width * box[2], top + height * box[3]
    return round(a, 5), round(b, 5), round(c, 5), round(d, 5)


def _recognise(image: Image) -> Recognition:
    """The lines that hold letters or digits, in reading order."""
    pieces = [piece for piece in rapid.read_small(image) if any(map(str.isalnum, piece.text))]
    return compose(pieces, image.size, min_score=MIN_SCORE)
