"""The report's pictures: cover, chart and plan of the harbour."""

from __future__ import annotations

import io
import math

from reportlab.lib.colors import Color, HexColor, white
from reportlab.pdfgen.canvas import Canvas

from harbour import facts
from harbour.style import BRASS, DEEP, HEIGHT, INK, MARGIN, RUST, SAND, SEA, SOFT, WIDTH, font_path, mix

NIGHT, DAWN, FOAM = HexColor("#0d2536"), HexColor("#e9b872"), HexColor("#f7f3ea")


def cover(canvas: Canvas) -> None:
    """A lighthouse at dusk over layered water, with the title in the sky."""
    canvas.linearGradient(0, HEIGHT, 0, 250, (NIGHT, HexColor("#1f5570"), HexColor("#7f9c9b"), DAWN), (0, 0.45, 0.8, 1))
    _beam(canvas, 437, 437)
    canvas.setFillColor(HexColor("#f6e3bd"))
    canvas.circle(150, 332, 40, stroke=0, fill=1)
    _waves(canvas)
    _lighthouse(canvas, 437, 200)
    _boat(canvas, 168, 236)
    canvas.setFillColor(white)
    canvas.setFont("Sans", 11)
    canvas.drawString(MARGIN, HEIGHT - 92, "PORT OF LINDHOLM", charSpace=3.2)
    canvas.setStrokeColor(BRASS)
    canvas.setLineWidth(1.4)
    canvas.line(MARGIN, HEIGHT - 106, MARGIN + 62, HEIGHT - 106)
    canvas.setFont("Serif", 62)
    canvas.drawString(MARGIN - 3, HEIGHT - 178, "Harbour")
    canvas.drawString(MARGIN - 3, HEIGHT - 238, "Report")
    canvas.setFont("Serif-Italic", 33)
    canvas.setFillColor(HexColor("#f1d9ab"))
    canvas.drawString(MARGIN, HEIGHT - 284, "2025")
    canvas.setFont("Serif-Italic", 13.5)
    canvas.setFillColor(FOAM)
    canvas.drawString(MARGIN, 58, "Cargo, wages, tides and the weather of one small port,")
    canvas.drawString(MARGIN, 41, "set down by the harbour office")


def _beam(canvas: Canvas, x: float, y: float) -> None:
    canvas.saveState()
    for reach, alpha in ((120, 0.05), (88, 0.06), (52, 0.07)):
        canvas.setFillColor(Color(1, 0.93, 0.75, alpha=alpha))
        path = canvas.beginPath()
        path.moveTo(x, y)
        path.lineTo(-20, y + 112 + reach)
        path.lineTo(-20, y + 112 - reach)
        path.close()
        canvas.drawPath(path, stroke=0, fill=1)
    canvas.restoreState()


def _waves(canvas: Canvas) -> None:
    layers = 7
    for layer in range(layers):
        share = layer / (layers - 1)
        base, swell = 268 - 40 * layer, 5 + 2.2 * layer
        canvas.setFillColor(mix(HexColor("#5d8791"), NIGHT, share))
        path = canvas.beginPath()
        path.moveTo(-10, 0)
        path.lineTo(-10, base)
        step = 10
        for i in range(0, int(WIDTH) + 30, step):
            path.lineTo(i, base + swell * math.sin(i / (62 + 11 * layer) + 1.7 * layer) + 0.4 * swell * math.sin(i / 23 + layer))
        path.lineTo(WIDTH + 20, 0)
        path.close()
        canvas.drawPath(path, stroke=0, fill=1)


def _lighthouse(canvas: Canvas, x: float, foot: float) -> None:
    canvas.setFillColor(HexColor("#10202a"))
    rock = canvas.beginPath()
    rock.moveTo(x - 120, foot - 28)
    for dx, dy in ((-92, -2), (-66, 6), (-44, 22), (-6, 27), (40, 24), (62, 10), (98, 4), (170, -30)):
        rock.lineTo(x + dx, foot + dy)
    rock.close()
    canvas.drawPath(rock, stroke=0, fill=1)
    top, bands = foot + 214, 5
    for band in range(bands):
        low, high = foot + 22 + band * 192 / bands, foot + 22 + (band + 1) * 192 / bands
        wide_low, wide_high = 25 - 9 * band / bands, 25 - 9 * (band + 1) / bands
        canvas.setFillColor(RUST if band % 2 == 0 else FOAM)
        path = canvas.beginPath()
        path.moveTo(x - wide_low, low)
        path.lineTo(x - wide_high, high)
        path.lineTo(x + wide_high, high)
        path.lineTo(x + wide_low, low)
        path.close()
        canvas.drawPath(path, stroke=0, fill=1)
    canvas.setFillColor(HexColor("#10202a"))
    canvas.rect(x - 23, top, 46, 5, stroke=0, fill=1)
    canvas.rect(x - 11, top + 5, 22, 30, stroke=0, fill=1)
    canvas.setFillColor(HexColor("#ffe9b0"))
    canvas.rect(x - 8, top + 9, 16, 22, stroke=0, fill=1)
    canvas.setFillColor(HexColor("#10202a"))
    roof = canvas.beginPath()
    roof.moveTo(x - 15, top + 35)
    roof.lineTo(x, top + 53)
    roof.lineTo(x + 15, top + 35)
    roof.close()
    canvas.drawPath(roof, stroke=0, fill=1)
    for height in (62, 112, 162):
        canvas.rect(x - 3, foot + height, 6, 11, stroke=0, fill=1)


def _boat(canvas: Canvas, x: float, y: float) -> None:
    canvas.setFillColor(HexColor("#152a36"))
    hull = canvas.beginPath()
    hull.moveTo(x - 34, y)
    hull.lineTo(x + 38, y)
    hull.curveTo(x + 30, y - 16, x + 20, y - 16, x + 10, y - 16)
    hull.lineTo(x - 24, y - 16)
    hull.close()
    canvas.drawPath(hull, stroke=0, fill=1)
    canvas.rect(x - 1, y, 2, 66, stroke=0, fill=1)
    canvas.setFillColor(HexColor("#efe0c2"))
    for points in (((3, 4), (3, 62), (33, 4)), ((-3, 6), (-3, 56), (-28, 6))):
        sail = canvas.beginPath()
        sail.moveTo(x + points[0][0], y + points[0][1])
        for dx, dy in points[1:]:
            sail.lineTo(x + dx, y + dy)
        sail.close()
        canvas.drawPath(sail, stroke=0, fill=1)


def chart() -> bytes:
    """Boxes and waiting hours by month as a PNG: their figures are in the picture only."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.font_manager import FontProperties, fontManager
    from PIL import Image

    for name in ("Sans", "Serif-Italic"):
        fontManager.addfont(str(font_path(name)))
    sans, italic = FontProperties(fname=font_path("Sans")), FontProperties(fname=font_path("Serif-Italic"))
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 6.3), dpi=170, height_ratios=(3, 2), sharex=True)
    places = range(12)
    low = facts.BOXES.index(min(facts.BOXES))
    top.bar(places, facts.BOXES, color=["#a4452c" if i == low else "#7fa6b6" for i in places], width=0.72)
    for i, value in enumerate(facts.BOXES):
        top.text(i, value + 130, f"{value:,}", ha="center", fontproperties=sans, fontsize=7.4, color="#1c2b33")
    top.set_ylim(0, 11200)
    top.set_title("Boxes lifted, by month", fontproperties=italic, fontsize=13, loc="left", color="#123347")
    bottom.plot(places, facts.WAITING, color="#123347", lw=1.8, marker="o", ms=4.5, mfc="#f3ecdf", mec="#123347", zorder=3)
    for i, value in enumerate(facts.WAITING):
        shift = {6: -0.3, 8: 0.36}.get(i, 0)
        bottom.text(i + shift, value + 1.0, f"{value:.1f}", ha="center", fontproperties=sans, fontsize=7.8, color="#1c2b33")
    bottom.axhspan(4, 6, color="#e6eef1", zorder=0)
    bottom.text(11.45, 2.5, "promised: 4 to 6", ha="right", fontproperties=italic, fontsize=9, color="#6a7880")
    bottom.set_ylim(0, 18)
    bottom.set_title(
        "Hours at anchor before a berth was free, mean", fontproperties=italic, fontsize=13, loc="left", color="#123347"
    )
    bottom.set_xticks(list(places), [month[:3] for month in facts.MONTHS], fontproperties=sans, fontsize=8.6)
    for axes in (top, bottom):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color("#6a7880")
        axes.tick_params(length=0, colors="#1c2b33")
        axes.set_yticks([])
    figure.tight_layout(h_pad=1.6)
    raw, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="png", metadata={"Software": None})
    plt.close(figure)
    Image.open(raw).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
    return packed.getvalue()


def plan(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    """The harbour from above in a frame: land, quays, channels with depths, lights, compass and scale."""
    canvas.saveState()
    frame = canvas.beginPath()
    frame.rect(x, y, width, height)
    canvas.clipPath(frame, stroke=0)
    canvas.setFillColor(HexColor("#cfe0e6"))
    canvas.rect(x, y, width, height, stroke=0, fill=1)
    canvas.translate(x, y)
    canvas.scale(width / 460, height / 430)
    _shallows_and_land(canvas)
    _channels(canvas)
    _quays(canvas)
    _lights(canvas)
    _compass(canvas, 416, 372)
    _scale_bar(canvas, 318, 22)
    canvas.restoreState()
    canvas.setStrokeColor(DEEP)
    canvas.setLineWidth(1.1)
    canvas.rect(x, y, width, height, stroke=1, fill=0)


def _curve(canvas: Canvas, points: list[tuple[float, float]], color: Color) -> None:
    """A closed smooth shape through the middles of a polygon's sides."""
    middles = [((a[0] + b[0]) / 2, (a[1] + b[1]) / 2) for a, b in zip(points, points[1:] + points[:1], strict=True)]
    path = canvas.beginPath()
    path.moveTo(*middles[-1])
    for corner, end, start in zip(points, middles, middles[-1:] + middles[:-1], strict=True):
        near = [(s + 2 * c) / 3 for s, c in zip(start, corner, strict=True)]
        far = [(e + 2 * c) / 3 for e, c in zip(end, corner, strict=True)]
        path.curveTo(near[0], near[1], far[0], far[1], end[0], end[1])
    path.close()
    canvas.setFillColor(color)
    canvas.drawPath(path, stroke=0, fill=1)


NORTH_SHORE = [
    (-60, 470),
    (520, 470),
    (520, 320),
    (430, 330),
    (352, 352),
    (262, 318),
    (196, 268),
    (116, 262),
    (40, 246),
    (-60, 262),
]
SOUTH_SHORE = [(-60, -60), (250, -60), (238, 40), (210, 84), (168, 128), (96, 150), (20, 172), (-60, 176)]
SKERRY = [(318, 128), (344, 118), (360, 134), (348, 152), (322, 150)]
BACK = [(262, 196), (302, 184), (330, 198), (300, 212)]


def _shallows_and_land(canvas: Canvas) -> None:
    for shape, cx, cy in ((NORTH_SHORE, 230, 420), (SOUTH_SHORE, 60, 20), (SKERRY, 339, 136), (BACK, 298, 198)):
        grow = 1.55 if shape in (SKERRY, BACK) else 1.09
        _curve(canvas, [(cx + (px - cx) * grow, cy + (py - cy) * grow) for px, py in shape], HexColor("#e2edf0"))
    for shape in (NORTH_SHORE, SOUTH_SHORE, SKERRY):
        _curve(canvas, shape, HexColor("#efe5cf"))
    _curve(canvas, BACK, HexColor("#e7dcc0"))
    _words(canvas, "LINDHOLM", 92, 356, "Serif", 21, DEEP, 4)
    _words(canvas, "Quay Street", 128, 281, "Serif-Italic", 8.5, SOFT)
    _words(canvas, "Vanna road", 24, 60, "Serif-Italic", 9.5, SOFT)
    _words(canvas, "Skerry Light, fog bell", 312, 101, "Serif-Italic", 10.5, RUST)
    _words(canvas, "Cat’s Back (dries)", 264, 216, "Serif-Italic", 9, SOFT)
    _words(canvas, "River Aske", 8, 205, "Serif-Italic", 12, SEA)
    _words(canvas, "anchorage", 372, 212, "Serif-Italic", 11, SEA)


def _channels(canvas: Canvas) -> None:
    canvas.setStrokeColor(SEA)
    canvas.setLineWidth(1)
    canvas.setDash(5, 4)
    canvas.bezier(474, 268, 380, 262, 300, 268, 120, 212)
    canvas.bezier(474, 246, 380, 244, 300, 246, 124, 196)
    canvas.bezier(474, 76, 380, 60, 300, 100, 214, 152)
    canvas.setDash()
    _words(canvas, "East Channel  9.4", 330, 251, "Sans-Bold", 8.2, DEEP)
    _words(canvas, "South Gut  4.1", 384, 56, "Sans-Bold", 8.2, DEEP)
    for px, py, depth in (
        (228, 228, "8.8"),
        (160, 214, "7.2"),
        (252, 150, "3.6"),
        (396, 142, "12"),
        (414, 182, "14"),
        (232, 172, "2.9"),
        (290, 44, "3.0"),
        (70, 222, "5.5"),
    ):
        _words(canvas, depth, px, py, "Sans", 7.4, SEA)


def _quays(canvas: Canvas) -> None:
    quays = ((52, 244, 66, 9, 4, "Grain Quay", 44, 262), (188, 262, 62, 9, 27, "Saltholm Terminal", 226, 312))
    quays += ((108, 136, 60, 9, -27, "Timber Wharf", 62, 108), (30, 158, 40, 9, -14, "Fish Dock", 22, 136))
    for px, py, length, depth, turn, name, tx, ty in quays:
        canvas.saveState()
        canvas.translate(px, py)
        canvas.rotate(turn)
        canvas.setFillColor(BRASS)
        canvas.rect(0, 0, length, depth, stroke=0, fill=1)
        canvas.restoreState()
        _words(canvas, name, tx, ty, "Sans-Bold", 8.4, INK)
    canvas.setFillColor(DEEP)
    canvas.rect(14, 238, 9, 9, stroke=0, fill=1)
    _words(canvas, "Lock house, gauge", 6, 228, "Sans", 7.2, INK)


def _lights(canvas: Canvas) -> None:
    for px, py, name in ((339, 136, ""), (446, 280, "No. 1"), (446, 232, "No. 2"), (270, 272, "No. 3")):
        canvas.setFillColor(RUST)
        canvas.circle(px, py, 3.4, stroke=0, fill=1)
        canvas.setStrokeColor(RUST)
        canvas.setLineWidth(0.6)
        for angle in range(0, 360, 45):
            dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            canvas.line(px + 5 * dx, py + 5 * dy, px + 8 * dx, py + 8 * dy)
        _words(canvas, name, px - 30, py + 4, "Sans", 7, RUST)


def _compass(canvas: Canvas, x: float, y: float) -> None:
    for angle, long in ((0, 30), (90, 20), (180, 20), (270, 20)):
        canvas.saveState()
        canvas.translate(x, y)
        canvas.rotate(-angle)
        for side, color in ((-1, DEEP), (1, SAND)):
            path = canvas.beginPath()
            path.moveTo(0, 0)
            path.lineTo(5 * side, 6)
            path.lineTo(0, long)
            path.close()
            canvas.setFillColor(color)
            canvas.setStrokeColor(DEEP)
            canvas.setLineWidth(0.5)
            canvas.drawPath(path, stroke=1, fill=1)
        canvas.restoreState()
    _words(canvas, "N", x - 3.6, y + 34, "Serif-Bold", 11, DEEP)


def _scale_bar(canvas: Canvas, x: float, y: float) -> None:
    canvas.setLineWidth(0.7)
    canvas.setStrokeColor(DEEP)
    for i in range(4):
        canvas.setFillColor(DEEP if i % 2 == 0 else white)
        canvas.rect(x + i * 28, y, 28, 5, stroke=1, fill=1)
    _words(canvas, "0", x - 2, y + 8, "Sans", 7, DEEP)
    _words(canvas, "1,000 m", x + 102, y + 8, "Sans", 7, DEEP)


def _words(canvas: Canvas, text: str, x: float, y: float, font: str, size: float, color: Color, spread: float = 0) -> None:
    canvas.setFont(font, size)
    canvas.setFillColor(color)
    canvas.drawString(x, y, text, charSpace=spread)
