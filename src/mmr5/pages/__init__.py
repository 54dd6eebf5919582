"""Documents to pages: PDFs and images, their text layers, and OCR where there is none."""

from __future__ import annotations

from mmr5.pages.images import DEFAULT_MAX_PIXELS, ImageBytes, ImageFile, ImageObject, fit_size
from mmr5.pages.pdf import PdfPageImage
from mmr5.pages.read import read_pages
from mmr5.pages.text import layer_is_usable

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "ImageBytes",
    "ImageFile",
    "ImageObject",
    "PdfPageImage",
    "fit_size",
    "layer_is_usable",
    "read_pages",
]
