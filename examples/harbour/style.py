"""Fonts, colours, paragraph and table styles of the report, and the furniture of a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from reportlab.lib.colors import Color, HexColor
from reportlab.lib.enums import TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Table, TableStyle

WIDTH, HEIGHT = A4
MARGIN = 68
MEASURE = WIDTH - 2 * MARGIN

INK, SOFT, SEA, DEEP = HexColor("#1c2b33"), HexColor("#6a7880"), HexColor("#2f6f8f"), HexColor("#123347")
BRASS, RUST, SAND, MIST, RULE = (
    HexColor("#b1813c"),
    HexColor("#a4452c"),
    HexColor("#f3ecdf"),
    HexColor("#e6eef1"),
    HexColor("#cfd6d9"),
)

FONT_FILES = {
    "Serif": "ebgaramond/EBGaramond12-Regular.ttf",
    "Serif-Italic": "ebgaramond/EBGaramond12-Italic.ttf",
    "Serif-Bold": "ebgaramond/EBGaramond12-Bold.ttf",
    "Sans": "lato/Lato-Regular.ttf",
    "Sans-Bold": "lato/Lato-Bold.ttf",
}
FONT_FOLDER = Path("/usr/share/fonts/truetype")


def font_path(name: str) -> Path:
    """The file of a font by the name that is used here."""
    return FONT_FOLDER / FONT_FILES[name]


def register_fonts() -> None:
    """Make the fonts known to reportlab; they are embedded as subsets."""
    for name in FONT_FILES:
        pdfmetrics.registerFont(TTFont(name, str(font_path(name))))
    pdfmetrics.registerFontFamily("Serif", normal="Serif", bold="Serif-Bold", italic="Serif-Italic", boldItalic="Serif-Bold")


BODY = ParagraphStyle("body", fontName="Serif", fontSize=12.4, leading=17.2, textColor=INK, alignment=TA_JUSTIFY, spaceAfter=8)
SMALL = ParagraphStyle("small", parent=BODY, fontSize=11, leading=14.6, spaceAfter=6)
LEAD = ParagraphStyle("lead", parent=BODY, fontName="Serif-Italic", fontSize=14, leading=19, textColor=SEA, alignment=0)
CAPTION = ParagraphStyle(
    "caption", parent=BODY, fontName="Serif-Italic", fontSize=10.5, leading=13.5, textColor=SOFT, alignment=0
)


def flow(
    canvas: Canvas, texts: Sequence[str], y: float, style: ParagraphStyle = BODY, x: float = MARGIN, width: float = MEASURE
) -> float:
    """Set paragraphs from ``y`` downwards; gives the y below the last."""
    for text in texts:
        paragraph = Paragraph(text, style)
        _, height = paragraph.wrap(width, HEIGHT)
        y -= height
        paragraph.drawOn(canvas, x, y)
        y -= style.spaceAfter
    return y


def heading(canvas: Canvas, title: str, lead: str, number: int) -> float:
    """Running head, page number, title and lead; gives the y where the page's own matter begins."""
    canvas.setFont("Sans", 7.6)
    canvas.setFillColor(SOFT)
    canvas.drawString(MARGIN, HEIGHT - 46, "PORT OF LINDHOLM", charSpace=1.1)
    canvas.drawRightString(WIDTH - MARGIN, HEIGHT - 46, "HARBOUR REPORT 2025", charSpace=1.1)
    canvas.setStrokeColor(BRASS)
    canvas.setLineWidth(0.7)
    canvas.line(MARGIN, HEIGHT - 54, WIDTH - MARGIN, HEIGHT - 54)
    canvas.setFont("Serif", 11)
    canvas.drawCentredString(WIDTH / 2, 38, str(number))
    canvas.setFillColor(DEEP)
    canvas.setFont("Serif", 29)
    canvas.drawString(MARGIN, HEIGHT - 108, title)
    return flow(canvas, [lead], HEIGHT - 119, LEAD) - 8


def table(rows: Sequence[Sequence[str]], widths: Sequence[float], *, total: bool = False, size: float = 11.2) -> Table:
    """A calm table: first row as its head, numbers to the right, and a rule above the total."""
    made = Table([list(row) for row in rows], colWidths=list(widths), rowHeights=size + 10)
    style: list[tuple[object, ...]] = [
        ("FONT", (0, 0), (-1, -1), "Serif", size),
        ("FONT", (1, 1), (-1, -1), "Sans", size - 1.8),
        ("FONT", (0, 0), (-1, 0), "Sans-Bold", 8.2),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("TEXTCOLOR", (0, 0), (-1, 0), SEA),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
        ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.9, DEEP),
        ("LINEBELOW", (0, 1), (-1, -2), 0.3, RULE),
        ("LINEBELOW", (0, -1), (-1, -1), 0.9, DEEP),
        ("LEFTPADDING", (0, 0), (-1, -1), 5),
        ("RIGHTPADDING", (0, 0), (-1, -1), 5),
    ]
    if total:
        style += [
            ("FONT", (0, -1), (0, -1), "Serif-Bold", size),
            ("FONT", (1, -1), (-1, -1), "Sans-Bold", size - 1.8),
            ("BACKGROUND", (0, -1), (-1, -1), SAND),
        ]
    made.setStyle(TableStyle(style))
    return made


def place(canvas: Canvas, made: Table, y: float, x: float = MARGIN) -> float:
    """Draw a table with its top at ``y``; gives the y below it."""
    _, height = made.wrap(MEASURE, HEIGHT)
    made.drawOn(canvas, x, y - height)
    return y - height


def mix(a: Color, b: Color, share: float) -> Color:
    """A colour between two, ``share`` of the way from the first."""
    return Color(*(x + (z - x) * share for x, z in zip(a.rgb(), b.rgb(), strict=True)))
