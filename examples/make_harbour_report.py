"""Build harbour-report.pdf, the example document (CC0-1.0): a made-up port's annual report of eleven pages.

It needs reportlab and Pillow: pip install reportlab pillow. The file is the same at every run.
"""

import io
import math
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib import colors
from reportlab.lib.enums import TA_CENTER
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Frame, NextPageTemplate, PageBreak, PageTemplate, Paragraph, Spacer, Table, TableStyle
from reportlab.platypus import Image as Picture

HERE = Path(__file__).parent
SEA, INK, SOFT, SAND = colors.HexColor("#17608a"), colors.HexColor("#20242a"), colors.HexColor("#667080"), colors.HexColor("#f3efe6")

BODY = ParagraphStyle("body", fontName="Times-Roman", fontSize=13.5, leading=20, textColor=INK, spaceAfter=11)
H1 = ParagraphStyle("h1", fontName="Helvetica-Bold", fontSize=21, leading=26, textColor=SEA, spaceAfter=12)
H2 = ParagraphStyle("h2", fontName="Helvetica-Bold", fontSize=12.5, leading=16, textColor=INK, spaceBefore=8, spaceAfter=5)
SMALL = ParagraphStyle("small", fontName="Helvetica", fontSize=8.5, leading=11, textColor=SOFT, spaceAfter=6)
CENTRE = ParagraphStyle("centre", parent=SMALL, alignment=TA_CENTER)


def p(text, style=BODY):
    return Paragraph(text, style)


def table(rows, widths, *, right_from=1):
    made = Table(rows, colWidths=[w * mm for w in widths], repeatRows=1)
    made.setStyle(
        TableStyle(
            [
                ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 10.5),
                ("FONT", (0, 1), (-1, -1), "Helvetica", 10.5),
                ("TEXTCOLOR", (0, 0), (-1, 0), colors.white),
                ("BACKGROUND", (0, 0), (-1, 0), SEA),
                ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, SAND]),
                ("ALIGN", (right_from, 0), (-1, -1), "RIGHT"),
                ("LINEBELOW", (0, -1), (-1, -1), 0.8, SEA),
                ("TOPPADDING", (0, 0), (-1, -1), 8),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
            ]
        )
    )
    return made


def font(name, size):
    for folder in ("/usr/share/fonts/truetype/dejavu",):
        file = Path(folder) / name
        if file.exists():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


def png(image, quality=None):
    buffer = io.BytesIO()
    if quality:
        image.save(buffer, "JPEG", quality=quality)
    else:
        image.save(buffer, "PNG", optimize=True)
    buffer.seek(0)
    return buffer


def passengers_chart():
    """Ferry passengers a month; the numbers stand in the picture only."""
    values = [41, 38, 47, 62, 88, 121, 164, 172, 104, 71, 49, 53]
    image = Image.new("RGB", (1240, 620), "white")
    draw = ImageDraw.Draw(image)
    left, bottom, top, width = 90, 540, 60, 92
    for value in range(0, 201, 50):
        y = bottom - (bottom - top) * value / 200
        draw.line((left, y, 1220, y), fill="#dddad2", width=2)
        draw.text((left - 16, y), str(value), font=font("DejaVuSans.ttf", 22), fill="#667080", anchor="rm")
    for i, (month, value) in enumerate(zip("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), values, strict=True)):
        x = left + 16 + i * width
        y = bottom - (bottom - top) * value / 200
        draw.rectangle((x, y, x + 62, bottom), fill="#c4562f" if value == max(values) else "#17608a")
        draw.text((x + 31, y - 8), str(value), font=font("DejaVuSans-Bold.ttf", 22), fill="#20242a", anchor="mb")
        draw.text((x + 31, bottom + 12), month, font=font("DejaVuSans.ttf", 22), fill="#20242a", anchor="mt")
    draw.text((left, 14), "thousand passengers", font=font("DejaVuSans.ttf", 22), fill="#667080")
    return image


def harbour_map():
    """A sketch of the port: four terminals around two basins."""
    image = Image.new("RGB", (1240, 800), "#dcebf2")
    draw = ImageDraw.Draw(image)
    draw.polygon([(0, 0), (1240, 0), (1240, 170), (980, 190), (960, 420), (800, 430), (790, 200), (430, 210), (420, 470), (240, 470), (230, 250), (0, 300)], fill="#efe8d8")
    draw.polygon([(0, 640), (330, 610), (620, 700), (900, 640), (1240, 690), (1240, 800), (0, 800)], fill="#efe8d8")
    bold, plain = font("DejaVuSans-Bold.ttf", 28), font("DejaVuSans.ttf", 24)
    for (x, y), name, note in [
        ((330, 330), "West Quay", "grain, timber"), ((610, 120), "Old Basin", "yachts"), ((880, 310), "East Quay", "containers"),
        ((620, 740), "South Pier", "ferries"), ((110, 180), "Yard", "repairs"),
    ]:  # fmt: skip
        draw.text((x, y), name, font=bold, fill="#20242a", anchor="mm")
        draw.text((x, y + 34), note, font=plain, fill="#4a5260", anchor="mm")
    draw.line((700, 800, 1030, 560), fill="#c4562f", width=6)
    draw.ellipse((1010, 535, 1056, 581), fill="#c4562f")
    draw.text((1066, 556), "lighthouse", font=plain, fill="#c4562f", anchor="lm")
    draw.line((560, 640, 560, 480), fill="#17608a", width=4)
    draw.polygon([(560, 450), (544, 486), (576, 486)], fill="#17608a")
    draw.text((584, 520), "fairway, 11.5 m deep", font=plain, fill="#17608a")
    return image


def letter():
    """A typewritten letter, scanned a little askew: no text layer."""
    lines = """PILOT STATION LINDHOLM
                                      3 November 2025

To the Harbour Council

Gentlemen, ladies,

you asked for the facts of the night of 14 October.

At 02.40 the coaster MARGIT, bound for West Quay with
timber, lost her steering in the fairway. Wind was
south-west, force 9. Pilot Hanne Ulvik had boarded her
at the outer buoy. She had both anchors let go within
two minutes and held the ship clear of the ferry berth
until the tug BISON came alongside at 03.25.

No one was hurt. The ship's only damage is a bent
rudder stock. Had she drifted another hundred metres
she would have closed the fairway for days.

I propose Pilot Ulvik for the council's silver medal.

                         Yours faithfully,
                         A. Torgersen, chief pilot""".splitlines()
    rng = random.Random(7)
    image = Image.new("L", (1240, 1754), 238)
    draw = ImageDraw.Draw(image)
    type_font = font("DejaVuSansMono.ttf", 31)
    for row, line in enumerate(lines):
        for column, letter_ in enumerate(line):
            shade = rng.randint(25, 70)
            draw.text((130 + column * 18.6, 210 + row * 50 + rng.uniform(-1.2, 1.2)), letter_, font=type_font, fill=shade)
    draw.ellipse((880, 1380, 1090, 1590), outline=150, width=5)
    draw.text((985, 1485), "RECEIVED\n5 NOV 2025", font=font("DejaVuSans-Bold.ttf", 24), fill=140, anchor="mm", align="center")
    noise = Image.effect_noise(image.size, 26)
    image = Image.blend(image, noise, 0.12).rotate(0.7, resample=Image.Resampling.BICUBIC, fillcolor=225)
    return image.filter(ImageFilter.GaussianBlur(0.6))


def cover(canvas, _):
    width, height = A4
    canvas.setFillColor(SEA)
    canvas.rect(0, 0, width, height, fill=1, stroke=0)
    canvas.setStrokeColor(colors.Color(1, 1, 1, alpha=0.35))
    canvas.setLineWidth(1.4)
    for row in range(26):
        path = canvas.beginPath()
        for step in range(61):
            x = width * step / 60
            y = 60 + row * 13 + math.sin(step / 3.2 + row * 0.55) * (3 + row * 0.28)
            path.moveTo(x, y) if step == 0 else path.lineTo(x, y)
        canvas.drawPath(path)
    canvas.setFillColor(colors.white)
    canvas.setFont("Helvetica-Bold", 40)
    canvas.drawString(25 * mm, height - 80 * mm, "Port of Lindholm")
    canvas.setFont("Helvetica", 22)
    canvas.drawString(25 * mm, height - 94 * mm, "Harbour report 2025")
    canvas.setFont("Helvetica", 11)
    canvas.drawString(25 * mm, height - 104 * mm, "A year of cargo, ferries, storms and seals")


def footer(canvas, document):
    canvas.setFont("Helvetica", 8.5)
    canvas.setFillColor(SOFT)
    canvas.drawString(25 * mm, 14 * mm, "Port of Lindholm · Harbour report 2025")
    canvas.drawRightString(A4[0] - 25 * mm, 14 * mm, str(document.page))


def scan(canvas, _):
    canvas.drawImage(ImageReader(png(letter(), quality=55)), 0, 0, *A4)


def story():
    page = [NextPageTemplate("page"), PageBreak()]
    yield from page
    yield p("Contents", H1)
    for title, number in [
        ("The year in brief", 3), ("Cargo by terminal", 4), ("Ferries and passengers", 5), ("Map of the port", 6), ("Berthing fees", 7),
        ("Storms, and the night of the MARGIT", 8), ("A letter from the pilot station", 9), ("People and wages", 10),
        ("Seals, water and silence", 11),
    ]:  # fmt: skip
        yield p(f"{title} <font color='#667080'>&nbsp;·&nbsp; {number}</font>")
    yield Spacer(1, 10 * mm)
    yield p("Figures are for the calendar year 2025 unless another year is named. Money is in euros without value added tax. "
            "Questions on fees, cargo, passengers, pilots or wages: the harbour office, Old Basin 1.", SMALL)  # fmt: skip
    yield PageBreak()

    yield p("The year in brief", H1)
    yield p("Lindholm is a small port with a long memory, and 2025 was a year that it will remember. Cargo grew for the third year in a "
            "row. The ferry to Sankt Olav carried more people than ever before. In October a ship came within a hundred metres of closing "
            "the fairway, and did not, because one person kept her head.")  # fmt: skip
    yield p("The council's largest decision was about power. From 2027 every ship that lies at South Pier for more than two hours will "
            "take its electricity from the shore. The cable, the transformers and the two connection towers cost 6.4 million euros, of "
            "which the county pays half. When the work is done, ferries will be silent at night for the first time since 1931.")  # fmt: skip
    yield p("Three things went less well. The dredger arrived five weeks late, so that the fairway had its full depth only in June. The "
            "new crane at East Quay stood still for nineteen days for want of a bearing. And the harbour café, loved by all, closed in "
            "September; we are looking for somebody who can bake.")  # fmt: skip
    yield p("Details of cargo, passengers and fees follow on the next pages.", SMALL)
    yield PageBreak()

    yield p("Cargo by terminal", H1)
    yield p("Tonnes handled in each quarter. East Quay overtook West Quay for the first time, thanks to the weekly container line to "
            "Gdynia that opened in March.")  # fmt: skip
    yield table(
        [["Terminal", "Q1", "Q2", "Q3", "Q4", "2025", "2024"], ["West Quay", "84,200", "79,900", "71,300", "88,100", "323,500", "341,700"],
         ["East Quay", "61,400", "83,700", "97,200", "102,600", "344,900", "248,300"], ["South Pier", "9,100", "12,800", "15,500", "10,200", "47,600", "45,900"],
         ["Old Basin", "1,200", "1,900", "2,400", "1,100", "6,600", "6,400"], ["Port", "155,900", "178,300", "186,400", "202,000", "722,600", "642,300"]],
        [30, 20, 20, 20, 20, 24, 24],
    )  # fmt: skip
    yield Spacer(1, 6 * mm)
    yield p("What it was", H2)
    yield table(
        [["Goods", "Tonnes", "Share"], ["Containers", "318,000", "44 %"], ["Timber", "187,900", "26 %"], ["Grain", "130,100", "18 %"],
         ["Ferry freight", "47,600", "7 %"], ["Other", "39,000", "5 %"]],
        [50, 30, 25],
    )  # fmt: skip
    yield PageBreak()

    yield p("Ferries and passengers", H1)
    yield p("Two ships sail to Sankt Olav: the <i>Lumme</i>, built in 1998, and the <i>Alke</i>, which replaced the <i>Teist</i> in April and "
            "runs on batteries for the last mile. The picture shows how many people they carried month by month.")  # fmt: skip
    yield Picture(png(passengers_chart()), width=160 * mm, height=80 * mm)
    yield p("Ferry passengers in 2025, by month", CENTRE)
    yield p("Summer is the season of visitors, but the winter sailings matter more than their number says: they bring the island's children "
            "to school and its sick to the doctor. No winter sailing was cancelled in 2025 for want of crew; eleven were cancelled for wind.")  # fmt: skip
    yield PageBreak()

    yield p("Map of the port", H1)
    yield Picture(png(harbour_map()), width=160 * mm, height=103 * mm)
    yield p("The port from above; not for navigation", CENTRE)
    yield p("Depths are given at mean low water. Ships of more than 90 metres need a tug when the wind is above force 6.")
    yield PageBreak()

    yield p("Berthing fees", H1)
    yield p("From 1 April 2026 these prices hold for visiting boats in the Old Basin, per night, water and showers included. They rise by "
            "three per cent on average; the shortest class stays as it is.")  # fmt: skip
    yield table(
        [["Length of boat", "2025", "2026", "Winter storage a month"], ["up to 8 m", "18.00", "18.00", "95"], ["8 to 12 m", "26.00", "27.00", "140"],
         ["12 to 15 m", "34.00", "35.50", "190"], ["15 to 20 m", "47.00", "49.00", "260"], ["over 20 m", "by agreement", "by agreement", "by agreement"]],
        [40, 32, 32, 46],
    )  # fmt: skip
    yield Spacer(1, 5 * mm)
    yield p("Commercial ships pay by gross tonnage: 0.31 a ton for the first day and 0.12 for each day after it. A ship that can take power "
            "from the shore pays ten per cent less.")  # fmt: skip
    yield PageBreak()

    yield p("Storms, and the night of the MARGIT", H1)
    yield p("The tide gauge at the lighthouse has stood since 1904. In 2025 it saw four surges of more than a metre above mean high water.")
    yield table(
        [["Date", "Surge", "Wind", "What happened"], ["11 January", "1.12 m", "NW 9", "car park flooded"], ["2 February", "1.31 m", "NW 10", "flood gate closed for nine hours"],
         ["14 October", "1.04 m", "SW 9", "MARGIT adrift, see the letter"], ["20 December", "1.18 m", "W 9", "two yachts sunk at their moorings"]],
        [28, 22, 22, 78], right_from=9,
    )  # fmt: skip
    yield Spacer(1, 5 * mm)
    yield p("Of the October night the chief pilot has written to the council; his letter is printed as it came, on the page after this one. "
            "The council has since bought a second tow line for the tug and moved the outer buoy 300 metres to the west.")  # fmt: skip
    yield NextPageTemplate("scan")
    yield PageBreak()
    yield Spacer(1, 1)
    yield NextPageTemplate("page")
    yield PageBreak()

    yield p("People and wages", H1)
    yield p("At the end of the year 143 people worked for the port, nine more than a year before. Two of every five crane drivers are now women; "
            "ten years ago there was one.")  # fmt: skip
    yield table(
        [["Work", "People", "Women", "Mean monthly wage"], ["Crane and quay", "58", "21", "3,420"], ["Pilots and tug", "17", "5", "5,180"],
         ["Ferry berth", "24", "13", "3,050"], ["Yard", "26", "3", "3,610"], ["Office", "18", "11", "3,890"]],
        [45, 25, 25, 45],
    )  # fmt: skip
    yield Spacer(1, 5 * mm)
    yield p("The oldest of us, Edvard Lie, has tied up ships for forty-six years and will go on until his granddaughter has finished her "
            "apprenticeship in May. Seven apprentices began in August: four at the cranes, two in the yard, one as a pilot's clerk.")  # fmt: skip
    yield PageBreak()

    yield p("Seals, water and silence", H1)
    yield p("Grey seals have come back to the skerries outside the lighthouse. In the count of May there were 212 adults and 37 pups, against 164 and "
            "22 the year before. The pilot boat now keeps half a mile away from the skerries from April to July.")  # fmt: skip
    yield p("The water in the Old Basin was clear enough for bathing on 71 of 92 summer days. It failed on days after heavy rain, when the town's "
            "old drains spill over; the town will rebuild them by 2028.")  # fmt: skip
    yield p("Noise at night was measured at the school for a year. The loudest hour is the one in which the late ferry lies at the pier with its "
            "engines running. Shore power will end that.")  # fmt: skip


def main():
    target = HERE / "harbour-report.pdf"
    frame = Frame(25 * mm, 24 * mm, A4[0] - 50 * mm, A4[1] - 46 * mm, id="f")
    document = BaseDocTemplate(str(target), pagesize=A4, title="Port of Lindholm: Harbour report 2025", author="the mmr5 project (CC0-1.0)", invariant=1)
    document.addPageTemplates(
        [PageTemplate("cover", [frame], onPage=cover), PageTemplate("page", [frame], onPage=footer), PageTemplate("scan", [frame], onPage=scan)]
    )
    document.build([Spacer(1, 1), *story()], canvasmaker=lambda *a, **k: Canvas(*a, **{**k, "invariant": 1}))
    print(f"{target.name}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
