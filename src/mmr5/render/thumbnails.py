"""Small pictures of pages as data URIs."""

from __future__ import annotations

import base64
import io
import textwrap

from mmr5.errors import PageError
from mmr5.types import ImageSource, Page

QUALITY = 72
_CARD = (300, 400)


def data_uri(image: ImageSource, max_pixels: int) -> str:
    """A picture as a JPEG data URI of at most ``max_pixels`` pixels.

    Raises:
        PageError: the picture cannot be decoded.
    """
    buffer = io.BytesIO()
    image.load(max_pixels).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def page_uri(page: Page, max_pixels: int) -> str:
    """A page as a data URI: its picture, else a card with the beginning of its text or the reason why there is none."""
    if page.image is None:
        return card(page.text or "no picture, no text")
    try:
        return data_uri(page.image, max_pixels)
    except PageError as error:
        return card(f"this page cannot be shown: {error}")


def card(text: str) -> str:
    """A drawn card with a text, for pages without a picture."""
    width, height = _CARD
    lines = textwrap.wrap(text, 34)[:19]
    spans = "".join(f'<tspan x="24" dy="18">{_escape(line)}</tspan>' for line in lines)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="{width}" height="{height}" fill="#fbfaf7"/>'
        f'<text y="28" font-family="serif" font-size="14" fill="#444">{spans}</text></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def _escape(text: str) -> str:
    """Text that is inert inside XML; characters that XML forbids are dropped."""
    kept = "".join(c for c in text if c.isprintable())
    return kept.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
