"""Build ``examples/harbour-report.pdf``; the same versions of the tools give the same bytes.

Needs ``pip install reportlab matplotlib`` and Debian's ``fonts-ebgaramond-extra``, ``fonts-lato`` and ``fonts-gnutypewriter``:

    python examples/make_harbour_report.py
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from reportlab.lib.utils import ImageReader
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

from harbour import drawings, facts, prose
from harbour.facts import thousands
from harbour.scan import typed_letter
from harbour.style import (
    BODY,
    BRASS,
    CAPTION,
    DEEP,
    HEIGHT,
    INK,
    MARGIN,
    MEASURE,
    RULE,
    SAND,
    SEA,
    SMALL,
    SOFT,
    WIDTH,
    flow,
    heading,
    place,
    register_fonts,
    table,
)  # fmt: skip

DEFAULT_OUT = Path(__file__).with_name("harbour-report.pdf")


def build(out: Path) -> None:
    """Write the report, page by page."""
    register_fonts()
    canvas = Canvas(str(out), pagesize=(WIDTH, HEIGHT), invariant=1, pageCompression=1)
    canvas.setTitle("Port of Lindholm: Harbour Report 2025")
    canvas.setAuthor("The harbour office of Lindholm (fictional)")
    canvas.setSubject("Example document of mmr5; CC0 1.0")
    pages = (cover, contents, master, stories, cargo, boxes, staff, fees, tides, plan, letter, works)
    for number, page in enumerate(pages, start=1):
        page(canvas, number)
        canvas.showPage()
    canvas.save()


def cover(canvas: Canvas, number: int) -> None:
    del number
    drawings.cover(canvas)


def contents(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "Contents", "What is in this report, and where", number) - 4
    for title, gist, page in prose.CONTENTS:
        canvas.setFont("Serif", 14)
        canvas.setFillColor(DEEP)
        canvas.drawString(MARGIN, y - 12, title)
        canvas.drawRightString(WIDTH - MARGIN, y - 12, str(page))
        canvas.setStrokeColor(BRASS)
        canvas.setLineWidth(0.8)
        canvas.setDash(0.8, 4)
        canvas.line(MARGIN + stringWidth(title, "Serif", 14) + 10, y - 10, WIDTH - MARGIN - 22, y - 10)
        canvas.setDash()
        canvas.setFont("Serif-Italic", 11)
        canvas.setFillColor(SOFT)
        canvas.drawString(MARGIN, y - 26, gist)
        y -= 41.5
    box, y = 118, y - 10
    canvas.setFillColor(SAND)
    canvas.rect(MARGIN - 14, y - box, MEASURE + 28, box, stroke=0, fill=1)
    for i, (value, label) in enumerate(prose.NUMBERS):
        x, row = MARGIN + 10 + (i % 3) * MEASURE / 3, y - 34 - (i // 3) * 51
        canvas.setFillColor(SEA)
        canvas.setFont("Serif", 24)
        canvas.drawString(x, row, value)
        canvas.setFillColor(INK)
        canvas.setFont("Sans", 8.6)
        canvas.drawString(x, row - 14, label)


def master(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "From the harbour master", "A late harvest, a tired crane, and a night without sleep", number)
    y = flow(canvas, prose.MASTER, y, BODY.clone("letter", fontSize=14.2, leading=20.6, spaceAfter=12))
    canvas.setFont("Serif-Italic", 19)
    canvas.setFillColor(DEEP)
    canvas.drawString(MARGIN, y - 22, "Marta Lindqvist")
    canvas.setFont("Sans", 8.6)
    canvas.setFillColor(SOFT)
    canvas.drawString(MARGIN, y - 38, "Harbour master, January 2026")


def stories(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "Four small stories", "Told in the canteen, checked in the log", number) - 2
    gap = 26
    width = (MEASURE - gap) / 2
    for row in (0, 2):
        ends = []
        for column in (0, 1):
            title, text = prose.STORIES[row + column]
            x = MARGIN + column * (width + gap)
            canvas.setFillColor(SEA)
            canvas.setFont("Serif", 18)
            canvas.drawString(x, y - 14, title)
            ends.append(flow(canvas, [text], y - 24, SMALL.clone("story", fontSize=13.2, leading=18.2), x, width))
        canvas.setStrokeColor(RULE)
        canvas.setLineWidth(0.6)
        canvas.line(WIDTH / 2, y, WIDTH / 2, min(ends) + 6)
        y = min(ends) - 26


def cargo(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "Cargo by terminal and quarter", "Thousands of tonnes over the quay, 2025", number)
    columns = [sum(row[q] for row in facts.CARGO.values()) for q in range(4)]
    rows = [("", *facts.QUARTERS, "2025", "2024")]
    rows += [(name, *map(str, row), thousands(sum(row)), thousands(facts.CARGO_2024[name])) for name, row in facts.CARGO.items()]
    rows += [("All terminals", *map(str, columns), thousands(facts.TOTAL_CARGO), thousands(facts.TOTAL_2024))]
    y = place(canvas, table(rows, (129, 55, 55, 55, 55, 55, 55), total=True), y) - 14
    y = flow(canvas, prose.CARGO, y) - 6
    rows = [("", *facts.QUARTERS, "2025"), ("Ships that called", *map(str, facts.CALLS), thousands(facts.TOTAL_CALLS))]
    y = place(canvas, table(rows, (129, 55, 55, 55, 55, 55)), y) - 40
    _share_bars(canvas, y)


def _share_bars(canvas: Canvas, y: float) -> None:
    """Each terminal's share of the year as a bar."""
    canvas.setFont("Serif-Italic", 13)
    canvas.setFillColor(DEEP)
    canvas.drawString(MARGIN, y, "Share of the year’s tonnes")
    for name, row in facts.CARGO.items():
        y -= 25
        share = sum(row) / facts.TOTAL_CARGO
        canvas.setFillColor(INK)
        canvas.setFont("Serif", 11.5)
        canvas.drawString(MARGIN, y, name)
        canvas.setFillColor(SEA)
        canvas.rect(MARGIN + 112, y - 2, share * 270, 12, stroke=0, fill=1)
        canvas.setFillColor(INK)
        canvas.setFont("Sans", 8.6)
        canvas.drawString(MARGIN + 118 + share * 270, y + 1, f"{share:.0%}")


def boxes(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "The box terminal, month by month", "Saltholm in one drawing", number)
    y = flow(canvas, prose.BOXES[:2], y)
    picture = ImageReader(io.BytesIO(drawings.chart()))
    wide, high = picture.getSize()
    height = MEASURE * high / wide
    canvas.drawImage(picture, MARGIN, y - height, MEASURE, height)
    flow(canvas, prose.BOXES[2:], y - height - 2, CAPTION)


def staff(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "Staff and wages", "Sixty-six people, nine trades", number)
    y = flow(canvas, prose.STAFF[:1], y) - 4
    rows = [("", "People", "Crowns a month", "Together")]
    rows += [(role, str(count), thousands(wage), thousands(count * wage)) for role, count, wage in facts.STAFF]
    rows += [("All", str(facts.PEOPLE), "", thousands(facts.PAYROLL))]
    y = place(canvas, table(rows, (215, 70, 94, 80), total=True), y) - 16
    y = flow(canvas, prose.STAFF[1:], y) - 26
    canvas.setFillColor(SAND)
    canvas.rect(MARGIN, y - 78, MEASURE, 78, stroke=0, fill=1)
    quote = "“You do not throw the line to the ship. <br/>You throw it to the hand you know is there.”"
    style = SMALL.clone("quote", fontName="Serif-Italic", fontSize=15, leading=20, textColor=DEEP, alignment=1)
    end = flow(canvas, [quote], y - 10, style, MARGIN + 22, MEASURE - 44)
    flow(canvas, ["Ingrid Solberg, linesman 1984 to 2025"], end + 2, CAPTION.clone("by", alignment=1))


def fees(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "Berthing fees", "What a night alongside costs from 1 January 2026", number)
    y = flow(canvas, prose.FEES[:1], y) - 4
    rows = [("Length overall", "October–April", "May–September"), *facts.FEES]
    y = place(canvas, table(rows, (219, 120, 120), size=12.4), y) - 20
    y = flow(canvas, prose.FEES[1:], y) - 8
    canvas.setStrokeColor(BRASS)
    canvas.setLineWidth(0.8)
    canvas.line(MARGIN, y, MARGIN + 62, y)
    example = "An example: a ketch of 14 metres that stays three nights in July pays three times 48, or 144 crowns."
    y = flow(canvas, [example], y - 8, CAPTION.clone("example", fontSize=12, leading=16))
    _hulls(canvas, y - 134)


def _hulls(canvas: Canvas, y: float) -> None:
    """Five hulls in proportion to the lengths of the fee table, afloat on one line."""
    x = MARGIN + 6
    for metres in (8, 12, 16, 24, 30):
        long = metres * 4.1
        canvas.setFillColor(DEEP)
        hull = canvas.beginPath()
        hull.moveTo(x, y + long * 0.10)
        hull.lineTo(x + long, y + long * 0.13)
        hull.curveTo(x + long * 0.93, y + long * 0.02, x + long * 0.9, y - 3, x + long * 0.84, y - 3)
        hull.lineTo(x + long * 0.06, y - 3)
        hull.close()
        canvas.drawPath(hull, stroke=0, fill=1)
        canvas.rect(x + long * 0.52, y + long * 0.1, 1.2, long * 0.72, stroke=0, fill=1)
        for color, back in ((BRASS, 0.10), (SAND, 0.90)):
            canvas.setFillColor(color)
            canvas.setStrokeColor(BRASS)
            canvas.setLineWidth(0.4)
            sail = canvas.beginPath()
            sail.moveTo(x + long * (0.5 if back < 0.5 else 0.56), y + long * 0.18)
            sail.lineTo(x + long * (0.5 if back < 0.5 else 0.56), y + long * 0.78)
            sail.lineTo(x + long * back, y + long * 0.2)
            sail.close()
            canvas.drawPath(sail, stroke=1, fill=1)
        x += long + 16
    canvas.setStrokeColor(SEA)
    canvas.setLineWidth(1)
    wave = canvas.beginPath()
    wave.moveTo(MARGIN, y)
    for step in range(0, int(MEASURE), 17):
        wave.curveTo(MARGIN + step + 5, y + 3, MARGIN + step + 12, y - 3, MARGIN + step + 17, y)
    canvas.drawPath(wave, stroke=1, fill=0)


def tides(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "The tide gauge", "Centimetres above chart datum, 2025", number)
    y = flow(canvas, prose.TIDES[:1], y) - 4
    rows = [("", "Highest", "Day", "Hour", "Lowest", "Mean level")]
    rows += [(m, str(h), d, at, str(low), str(mean)) for m, (h, d, at, low, mean) in zip(facts.MONTHS, facts.TIDES, strict=True)]
    y = place(canvas, table(rows, (119, 68, 60, 68, 68, 76)), y) - 16
    y = flow(canvas, prose.TIDES[1:], y) - 14
    _tide_line(canvas, y - 92)


def _tide_line(canvas: Canvas, y: float) -> None:
    """A small drawing of the monthly range between lowest and highest water."""
    step = MEASURE / 12
    for i, (high, _, _, low, mean) in enumerate(facts.TIDES):
        x = MARGIN + (i + 0.5) * step
        canvas.setFillColor(BRASS if high == max(t[0] for t in facts.TIDES) else SEA)
        canvas.roundRect(x - 5, y + low * 0.22, 10, (high - low) * 0.22, 4, stroke=0, fill=1)
        canvas.setFillColor(SAND)
        canvas.circle(x, y + mean * 0.22, 2.4, stroke=0, fill=1)
        canvas.setFillColor(SOFT)
        canvas.setFont("Sans", 7.4)
        canvas.drawCentredString(x, y - 12, facts.MONTHS[i][:3])
    flow(canvas, ["The range of each month; the dot is the mean level."], y - 20, CAPTION)


def plan(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "A plan of the harbour", "Not to be used for navigation, nor for bets", number) - 2
    height = 470
    drawings.plan(canvas, MARGIN, y - height, MEASURE, height)
    flow(canvas, prose.PLAN, y - height - 12, SMALL)


def letter(canvas: Canvas, number: int) -> None:
    del number
    canvas.drawImage(ImageReader(io.BytesIO(typed_letter(prose.LETTER))), 0, 0, WIDTH, HEIGHT)


def works(canvas: Canvas, number: int) -> None:
    y = heading(canvas, "Works and accounts", "Thousands of crowns, 2025", number)
    y = flow(canvas, prose.WORKS, y) - 4
    rows = [("Works", "Planned", "Spent"), *((name, thousands(a), thousands(b)) for name, a, b in facts.WORKS)]
    rows += [("All works", thousands(sum(a for _, a, _ in facts.WORKS)), thousands(facts.SPENT_ON_WORKS))]
    y = place(canvas, table(rows, (299, 80, 80), total=True), y) - 22
    half = (MEASURE - 22) / 2
    income = [("Income", ""), *((name, thousands(v)) for name, v in facts.INCOME), ("", "")]
    income += [("All income", thousands(facts.TOTAL_INCOME))]
    spending = [("Spending", ""), *((name, thousands(v)) for name, v in facts.SPENDING)]
    spending += [("All spending", thousands(facts.TOTAL_SPENDING))]
    place(canvas, table(income, (half - 60, 60), total=True), y)
    y = place(canvas, table(spending, (half - 60, 60), total=True), y, MARGIN + half + 22) - 16
    left = thousands(facts.TOTAL_INCOME - facts.TOTAL_SPENDING)
    y = flow(
        canvas, [f"What is left, {left} thousand crowns, goes to the fund for the outer mole, as the council decided in 2022."], y
    )
    flow(canvas, [prose.COLOPHON], 128, CAPTION)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_OUT)
