"""PDF documents through pdfium: the text layer of all pages, and single pages rendered when asked for.

pdfium is not thread-safe: every call is made under one lock of this process, and everything opened is closed under it.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache as once
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.cache import Cache, digest
from mmr5.errors import ConfigError, DocumentError, PageError
from mmr5.pages.files import StoredFile
from mmr5.pages.images import fit_size

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_DPI = 144
"""Resolution of a page that is rendered without a pixel budget."""
DEFAULT_RENDER_PIXELS = 4_000_000
"""Most pixels of a page that is rendered without a budget."""
MAX_DPI = 300
"""Highest resolution at which a small page fills its budget."""

BAD_PAGE = "the page cannot be read: its part of the PDF is damaged"

_POINTS_PER_INCH = 72
_PDFIUM = threading.RLock()
_NO_PAGES = "has no pages: it is empty or truncated; fetch or export it again"
_FILE_CODE = 2
_PASSWORD_CODE = 4
_SECURITY_CODE = 5


@dataclass(frozen=True, slots=True)
class PdfPageImage:
    """The picture of a PDF's page, rendered when asked for; the file must stay where it is.

    Attributes:
        file: the document and the content that it had.
        index: zero-based page.
    """

    file: StoredFile
    index: int

    @property
    def key(self) -> str:
        """Digest of the document's content and the page's index."""
        return digest("pdf-page", self.file.digest, str(self.index))

    def decode(self, max_pixels: int | None = None) -> Image:
        """Like :meth:`load`, but errors do not name the file and page."""
        self.file.check()
        return render_page(self.file.path, self.index, max_pixels)

    def load(self, max_pixels: int | None = None) -> Image:
        """Render to RGB of at most ``max_pixels`` pixels.

        Raises:
            PageError: the file is gone, was changed, or pdfium cannot render the page.
        """
        try:
            return self.decode(max_pixels)
        except (DocumentError, PageError) as error:
            raise PageError(f"{self.file.path.name}, page {self.index + 1}: {error}") from error


def render_scale(width: float, height: float, max_pixels: int | None) -> float:
    """Pixels a point at which a page is rendered.

    Args:
        width: points (1/72 inch), above 0.
        height: points, above 0.
        max_pixels: the budget, which the page fills up to :data:`MAX_DPI`; None stands for :data:`DEFAULT_DPI` within
            :data:`DEFAULT_RENDER_PIXELS`.
    """
    dpi, budget = (DEFAULT_DPI, DEFAULT_RENDER_PIXELS) if max_pixels is None else (MAX_DPI, max_pixels)
    scale: float = (budget / (width * height)) ** 0.5
    return min(dpi / _POINTS_PER_INCH, scale)


def render_page(path: Path, index: int, max_pixels: int | None = None) -> Image:
    """Render one page to RGB.

    Args:
        path: the PDF.
        index: zero-based page.
        max_pixels: as in :func:`render_scale`.

    Raises:
        DocumentError: the document cannot be opened.
        PageError: the page cannot be rendered.
        ConfigError: ``max_pixels`` is below 1.
    """
    if max_pixels is not None and max_pixels < 1:
        raise ConfigError(f"max_pixels is {max_pixels}: a picture needs at least 1 pixel")
    with _open_document(path, forms=True) as document, _open_page(document, index) as page:
        width, height = page.get_size()
        if width <= 0 or height <= 0:
            raise PageError(f"the page is {width:g} x {height:g} points large and cannot be rendered")
        # pdfium rounds the size up: a thin page may need a smaller scale than its area says.
        budget = DEFAULT_RENDER_PIXELS if max_pixels is None else max_pixels
        scale = min(render_scale(width, height, max_pixels), budget / max(width, height))
        try:
            bitmap = page.render(scale=scale)
        except Exception as error:
            raise PageError(f"the page cannot be rendered ({error})") from error
        with contextlib.closing(bitmap):
            image: Image = bitmap.to_pil().convert("RGB")
    size = fit_size(*image.size, budget)
    return image if size == image.size else image.resize(size)


@once
def _pdfium_version() -> str:
    """Of the installed pypdfium2; finding it reads files."""
    return version("pypdfium2")


def read_layers(file: StoredFile, cache: Cache | None = None) -> list[str | None]:
    """The raw text layer of every page, from the cache where it was read before.

    Args:
        file: the PDF.
        cache: where layers are kept by the document's content; None keeps none.

    Returns:
        One text a page, ``""`` for a page without any; None for a page that cannot be read.

    Raises:
        DocumentError: the document is encrypted, damaged or has no pages.
    """
    key = digest(file.digest, _pdfium_version())
    stored = None if cache is None else cache.get("text", key)
    if stored is not None:
        layers: list[str | None] = json.loads(stored)
        return layers
    layers = _extract(file.path)
    if cache is not None:
        cache.put("text", key, json.dumps(layers).encode())
    return layers


def _extract(path: Path) -> list[str | None]:
    with _open_document(path) as document:
        total = len(document)
        if total == 0:
            raise DocumentError(_NO_PAGES)
        return [_layer(document, index) for index in range(total)]


def _layer(document: Any, index: int) -> str | None:
    from pypdfium2 import PdfiumError

    try:
        with _open_page(document, index) as page, contextlib.closing(page.get_textpage()) as layer:
            text: str = layer.get_text_range()
            return text
    except (PageError, PdfiumError):
        return None


@contextlib.contextmanager
def _open_document(path: Path, *, forms: bool = False) -> Iterator[Any]:
    """A document of pypdfium2, held under the lock; ``forms`` draws what was filled into its forms."""
    import pypdfium2

    with _PDFIUM:
        try:
            # pdfium refuses a document without pages but leaves the error code of an earlier failure in place. Opening
            # nothing sets the code for an unreadable file, which the caller has ruled out by reading it.
            pypdfium2.raw.FPDF_LoadDocument(b"", None)
            document = pypdfium2.PdfDocument(path)
        except (pypdfium2.PdfiumError, OSError) as error:
            raise DocumentError(_reason(error)) from error
        try:
            if forms:
                # A broken form is drawn as far as it goes: the page itself is still there.
                with contextlib.suppress(pypdfium2.PdfiumError):
                    document.init_forms()
            yield document
        finally:
            document.close()


@contextlib.contextmanager
def _open_page(document: Any, index: int) -> Iterator[Any]:
    from pypdfium2 import PdfiumError

    try:
        page = document[index]
    except (PdfiumError, IndexError) as error:
        raise PageError(BAD_PAGE) from error
    with contextlib.closing(page):
        yield page


def _reason(error: Exception) -> str:
    """What keeps a PDF from being opened, and the way out."""
    code, text = getattr(error, "err_code", None), str(error).lower()
    if code == _FILE_CODE or "file access" in text:
        return _NO_PAGES
    if code == _PASSWORD_CODE or "password" in text:
        return (
            "is encrypted and needs a password: save a copy without one, "
            "e.g. with: qpdf --decrypt --password=PASSWORD in.pdf out.pdf"
        )
    if code == _SECURITY_CODE or "security" in text:
        return "is encrypted in a way that cannot be read: save an unencrypted copy with the program that made it"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return "is no readable PDF, it is truncated or damaged: fetch it again, or repair it, e.g. with: qpdf in.pdf out.pdf"
