"""PDF documents: what their pages say, and single pages rendered when asked for."""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import ConfigError, DocumentError, PageError
from mmr5.pages import pdfium
from mmr5.pages.files import StoredFile
from mmr5.pages.images import fit_size
from mmr5.pages.layer import (
    PageFrame,
    RawLayer,
    Rect,
    character_box,
    character_indices,
    characters_by_font,
    hide_text,
    read_layer,
    text_page,
)
from mmr5.pages.plausible import is_unlikely, unlikely_lines
from mmr5.pages.regions import Region, line_before, regions
from mmr5.pages.text import clean, clean_places, layer_problem
from mmr5.storage.cache import Cache, digest
from mmr5.types import Box, union

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_DPI = 144
"""Resolution of a page that is rendered without a pixel budget."""
DEFAULT_RENDER_PIXELS = 4_000_000
"""Most pixels of a page that is rendered without a budget."""
MAX_DPI = 300
"""Highest resolution at which a small page fills its budget."""

_POINTS_PER_INCH = 72
_VERSION = "6"
"""Of what is kept of a document in the cache; it changes with the rules by which text is read."""


@dataclass(frozen=True, slots=True)
class PdfPage:
    """What a page of a PDF says.

    Attributes:
        text: its text layer in normal form.
        problem: what is wrong with the layer: ``"empty"``, ``"garbled"`` or None.
        unlikely: zero-based lines of the text whose letters form no words, as under a permuted font.
        coverage: share of the page that pictures cover, 0 to 1.
        unseen: share of the text that is drawn invisibly over pictures, 0 to 1, as by a scanner's recognition.
        hidden: how many visible characters were left out because no reader sees them.
        label: the page's own number, e.g. ``"iv"``, or None where the document has none.
        size: width and height as shown, in points.
        regions: where pictures lie on it that may hold words, as :func:`mmr5.pages.regions.regions` finds them.
    """

    text: str
    problem: str | None
    unlikely: Sequence[int]
    coverage: float
    unseen: float
    hidden: int
    label: str | None
    size: Sequence[float]
    regions: Sequence[Region] = ()


@dataclass(frozen=True, slots=True)
class PdfContent:
    """What a PDF says.

    Attributes:
        pages: one a page; None for a page that cannot be read.
        attachments: names of the files that are attached to it.
        makes_pages: whether it is an XFA form that makes its pages when opened, and holds only a notice.
    """

    pages: Sequence[PdfPage | None]
    attachments: Sequence[str]
    makes_pages: bool


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


@dataclass(frozen=True, slots=True)
class PdfRegionImage:
    """What pictures show in a part of a page, without the page's own text; rendered when asked for.

    Attributes:
        file: the document and the content that it had.
        index: zero-based page.
        box: the part, in [0, 1] of the page as shown.
        density: pixels a point.
    """

    file: StoredFile
    index: int
    box: Box
    density: float

    @property
    def key(self) -> str:
        """Digest of the document's content, the page's index and the part."""
        return digest("pdf-region", self.file.digest, str(self.index), repr(self.box), repr(self.density))

    def load(self, max_pixels: int | None = None) -> Image:
        """Render to RGB of at most ``max_pixels`` pixels.

        Raises:
            DocumentError: the file is gone, was changed, or cannot be opened.
            PageError: the page cannot be rendered.
        """
        self.file.check()
        return _render_region(self.file.path, self.index, self.box, self.density, max_pixels or DEFAULT_RENDER_PIXELS)


@dataclass(frozen=True, slots=True)
class PdfBoxes:
    """Where the text of a page's layer stands; the page is opened when asked for.

    Attributes:
        file: the document and the content that it had.
        index: zero-based page.
    """

    file: StoredFile
    index: int

    def of(self, start: int, end: int) -> list[Box]:
        """Boxes of the characters from ``start`` to before ``end`` of the page's text, one a line.

        Raises:
            PageError: the file is gone, was changed, or the page cannot be read.
        """
        return self.each([(start, end)])[0]

    def each(self, spans: Sequence[tuple[int, int]]) -> list[list[Box]]:
        """:meth:`of` for each start and end; the page is opened once."""
        self.file.check()
        with pdfium.open_document(self.file.path) as document, pdfium.open_page(document, self.index) as page:
            with text_page(page) as layer:
                raw = read_layer(page, layer, document.formenv)
                found = _line_boxes(page, layer, raw, spans)
            shown = PageFrame.of(page)
        return [[shown(line) for line in lines] for lines in found]


def _line_boxes(page: Any, layer: Any, raw: RawLayer, spans: Sequence[tuple[int, int]]) -> list[list[Rect]]:
    """Boxes of the characters between each start and end of the text in normal form, one a line, in points of the page.

    The page may be turned for the time of reading, so that its lines run from left to right.
    """
    text, places = clean_places(raw.text)
    indices = character_indices(layer, layer.get_text_range())
    along = PageFrame.of(page)
    found = []
    for start, end in spans:
        wanted = range(max(0, start), min(end, len(text)))
        rects = [None if text[i] == "\n" else _place(layer, indices, raw.origins[places[i]]) for i in wanted]
        found.append(lines_of(rects, along))
    return found


def _place(layer: Any, indices: Sequence[int], origin: int | Rect) -> Rect | None:
    return origin if isinstance(origin, tuple) else character_box(layer, indices[origin])


def lines_of(rects: Sequence[Rect | None], along: Callable[[Rect], Rect]) -> list[Rect]:
    """Boxes of lines around boxes of characters in reading order.

    Args:
        rects: the characters' boxes; None for a line end and a character without ink.
        along: the frame in which the lines run from left to right.
    """
    lines: list[list[Rect]] = []
    for rect in rects:
        if rect is None:
            continue
        if lines and _goes_on(along(union(lines[-1])), along(lines[-1][-1]), along(rect)):
            lines[-1].append(rect)
        else:
            lines.append([rect])
    return [union(line) for line in lines]


def _goes_on(line: Rect, last: Rect, new: Rect) -> bool:
    """Whether a character stands in the height of a line, and not far before its last one."""
    slack = 0.3 * max(line[3] - line[1], new[3] - new[1])
    is_level = new[1] <= line[3] + slack and new[3] >= line[1] - slack
    middle = (new[1] + new[3]) / 2
    is_centred = line[1] - slack <= middle <= line[3] + slack
    return is_level and is_centred and new[0] >= last[0] - 3 * max(new[2] - new[0], last[2] - last[0])


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
    """Render one page to RGB; pdfium draws it at its final size.

    Args:
        path: the PDF.
        index: zero-based page.
        max_pixels: as in :func:`render_scale`.

    Raises:
        DocumentError: the document cannot be opened.
        PageError: the page cannot be rendered.
        ConfigError: ``max_pixels`` is below 1.
    """
    from pypdfium2 import raw

    if max_pixels is not None and max_pixels < 1:
        raise ConfigError(f"max_pixels is {max_pixels}: a picture needs at least 1 pixel")
    with pdfium.open_document(path) as document, pdfium.open_page(document, index) as page:
        width, height = page.get_size()
        if width <= 0 or height <= 0:
            raise PageError(f"the page is {width:g} x {height:g} points large and cannot be rendered")
        # A thin page may need a smaller scale than its area says.
        budget = DEFAULT_RENDER_PIXELS if max_pixels is None else max_pixels
        scale = min(render_scale(width, height, max_pixels), budget / max(width, height))
        size = fit_size(max(1, round(width * scale)), max(1, round(height * scale)), budget)
        try:
            return _draw(page, size, size, flags=raw.FPDF_ANNOT, form=document.formenv)
        except Exception as error:
            raise PageError(f"the page cannot be rendered ({error})") from error


def _render_region(path: Path, index: int, box: Box, density: float, max_pixels: int) -> Image:
    """Render a part of a page without the page's own text, at its pictures' own size where ``max_pixels`` allow it."""
    with pdfium.open_document(path) as document, pdfium.open_page(document, index) as page:
        width, height = page.get_size()
        across, down = width * (box[2] - box[0]), height * (box[3] - box[1])
        scale = min(MAX_DPI / _POINTS_PER_INCH, max(1.0, density), (max_pixels / max(1e-9, across * down)) ** 0.5)
        size = fit_size(max(1, round(across * scale)), max(1, round(down * scale)), max_pixels)
        whole = max(1, round(size[0] * width / across)), max(1, round(size[1] * height / down))
        hide_text(page)
        try:
            return _draw(page, size, whole, (-round(box[0] * whole[0]), -round(box[1] * whole[1])))
        except Exception as error:
            raise PageError(f"a picture on it cannot be rendered ({error})") from error


def _draw(
    page: Any, size: tuple[int, int], whole: tuple[int, int], start: tuple[int, int] = (0, 0), *, flags: int = 0, form: Any = None
) -> Image:
    """A part of a page drawn on white.

    Args:
        page: of pypdfium2.
        size: width and height of the part in pixels.
        whole: those of the page.
        start: where the page's upper left corner lies in the part.
        flags: of pdfium.
        form: the document's forms, of which is drawn what was filled in; None draws none.
    """
    import PIL.Image
    import pypdfium2
    from pypdfium2 import raw

    bitmap = pypdfium2.PdfBitmap.new_native(*size, raw.FPDFBitmap_BGR)
    with contextlib.closing(bitmap):
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, *size)
        raw.FPDF_RenderPageBitmap(bitmap, page, *start, *whole, 0, flags)
        if form:
            raw.FPDF_FFLDraw(form, bitmap, page, *start, *whole, 0, flags)
        return PIL.Image.frombytes("RGB", size, bitmap.buffer, "raw", "BGR", bitmap.stride)


def read_content(file: StoredFile, cache: Cache | None = None) -> PdfContent:
    """What a document says, from the cache where it was read before.

    Args:
        file: the PDF.
        cache: where it is kept by the document's content; None keeps nothing.

    Raises:
        DocumentError: the document is encrypted, damaged or has no pages.
    """
    key = digest(file.digest, pdfium.pdfium_version(), _VERSION)
    stored = None if cache is None else cache.get("text", key)
    if stored is not None:
        return _unpacked(stored)
    content = _extract(file.path)
    if cache is not None:
        cache.put("text", key, _packed(content))
    return content


def _packed(content: PdfContent) -> bytes:
    """A document's content for the cache: compressed JSON, a line a page, made page by page to hold little memory."""
    packer = zlib.compressobj(level=1)
    parts = [packer.compress(json.dumps([content.attachments, content.makes_pages]).encode())]
    for page in content.pages:
        line = json.dumps(None if page is None else [getattr(page, name) for name in PdfPage.__slots__])
        parts.append(packer.compress(b"\n" + line.encode()))
    return b"".join((*parts, packer.flush()))


def _unpacked(stored: bytes) -> PdfContent:
    first, *lines = zlib.decompress(stored).split(b"\n")
    attachments, makes_pages = json.loads(first)
    return PdfContent([_unpacked_page(json.loads(line)) for line in lines], attachments, makes_pages)


def _unpacked_page(values: list[Any] | None) -> PdfPage | None:
    if values is None:
        return None
    values[-1] = [Region(*region) for region in values[-1]]
    return PdfPage(*values)


def _extract(path: Path) -> PdfContent:
    from pypdfium2 import raw

    with pdfium.open_document(path) as document:
        total = len(document)
        if total == 0:
            raise DocumentError(pdfium.NO_PAGES)
        count = raw.FPDFDoc_GetAttachmentCount(document)
        attachments = [document.get_attachment(i).get_name() for i in range(count)]
        makes_pages = pdfium.form_type(document) == raw.FORMTYPE_XFA_FULL
        labels = document.get_page_label if document.get_page_label(0) else None
        pages = [_read_page(document, index, labels and labels(index)) for index in range(total)]
        return PdfContent(pages, attachments, makes_pages)


def _read_page(document: Any, index: int, label: str | None) -> PdfPage | None:
    from pypdfium2 import PdfiumError

    try:
        with pdfium.open_page(document, index) as page:
            size = page.get_size()
            shown = PageFrame.of(page)
            with text_page(page) as layer:
                raw = read_layer(page, layer, document.formenv)
                text, problem = clean(raw.text), layer_problem(raw.text)
                unlikely = [] if problem else unlikely_lines(text)
                if unlikely:
                    unlikely = sorted({*unlikely, *_lines_in_bad_fonts(layer, raw)})
                found = regions(raw.pictures, shown, page.get_bbox()) if raw.pictures and not problem else []
                if found:
                    found = _placed(found, text, _line_boxes(page, layer, raw, _spans(text)), shown)
    except (PageError, PdfiumError):
        return None
    return PdfPage(
        text,
        problem,
        unlikely,
        round(raw.coverage, 3),
        round(raw.unseen, 3),
        raw.hidden,
        label or None,
        size,
        found,
    )


def _spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each line of a text."""
    ends = list(accumulate(len(line) + 1 for line in text.split("\n")))
    return list(zip([0, *ends[:-1]], (end - 1 for end in ends), strict=True))


def _placed(found: Sequence[Region], text: str, boxes: Sequence[Sequence[Rect]], shown: PageFrame) -> list[Region]:
    """Regions with their places among the lines of the page's text."""
    lines = text.split("\n")
    seen = [[shown(rect) for rect in rects] for rects in boxes]
    return [region._replace(line=line_before(region.box, lines, seen)) for region in found]


def _lines_in_bad_fonts(layer: Any, raw: RawLayer) -> set[int]:
    """Lines of the text in normal form of which some character is drawn in a font whose letters form no words."""
    own = layer.get_text_range()
    text, places = clean_places(raw.text)
    origins = [raw.origins[place] for place in places]
    line_of = {origin: text.count("\n", 0, i) for i, origin in enumerate(origins) if isinstance(origin, int)}
    found: set[int] = set()
    for positions in characters_by_font(layer, own, character_indices(layer, own)).values():
        mine = set(positions)
        if is_unlikely("".join(char if i in mine else " " for i, char in enumerate(own))):
            found.update(line_of[i] for i in positions if i in line_of and own[i].isalpha())
    return found
