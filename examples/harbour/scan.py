"""The keeper's letter as a scan: typed, creased, a little askew, and without a text layer."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from harbour.style import FONT_FOLDER, font_path

SIZE = (1240, 1754)  # A4 at 150 dots an inch
PAPER, TYPE = 228, 52
SEED = 1951


def typed_letter(text: str) -> bytes:
    """The letter as a grey JPEG; the same text gives the same bytes with the same versions of Pillow and NumPy."""
    random = np.random.default_rng(SEED)
    sheet = Image.new("L", SIZE, PAPER)
    _letterhead(sheet)
    _type(sheet, text, random)
    _sign(sheet)
    _stamp(sheet)
    sheet = sheet.rotate(-0.8, Image.Resampling.BICUBIC, fillcolor=PAPER).filter(ImageFilter.GaussianBlur(0.6))
    aged = _age(np.asarray(sheet, dtype=np.float64), random)
    buffer = io.BytesIO()
    Image.fromarray(aged).save(buffer, "JPEG", quality=48, optimize=True)
    return buffer.getvalue()


def _letterhead(sheet: Image.Image) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.truetype(str(font_path("Serif")), 40)
    draw.text((620, 120), "LINDHOLM LIGHTS AND BUOYS", font=font, fill=88, anchor="mm")
    small = ImageFont.truetype(str(font_path("Serif-Italic")), 27)
    draw.text((620, 166), "Station: Skerry Light", font=small, fill=96, anchor="mm")
    draw.line((200, 200, 1040, 200), fill=110, width=2)
    draw.line((200, 206, 1040, 206), fill=130, width=1)


def _type(sheet: Image.Image, text: str, random: np.random.Generator) -> None:
    font = ImageFont.truetype(str(FONT_FOLDER / "gnutypewriter/GNUTypewriter.ttf"), 29)
    draw = ImageDraw.Draw(sheet)
    pitch, y = 17.6, 262.0
    for line in text.splitlines():
        for column, letter in enumerate(line):
            x = 190 + column * pitch + random.normal(0, 0.45)
            draw.text((x, y + random.normal(0, 0.8)), letter, font=font, fill=int(np.clip(random.normal(TYPE, 16), 20, 110)))
        y += 38.5


def _sign(sheet: Image.Image) -> None:
    font = ImageFont.truetype(str(font_path("Serif-Italic")), 64)
    ink = Image.new("L", (460, 130), 0)
    pen = ImageDraw.Draw(ink)
    pen.text((20, 30), "J. Aalberg", font=font, fill=190)
    pen.line([(20, 108), (130, 98), (270, 104), (400, 84), (360, 100)], fill=170, width=3, joint="curve")
    ink = ink.transform(ink.size, Image.Transform.AFFINE, (1, 0.28, -16, 0.06, 1, -8), Image.Resampling.BICUBIC)
    sheet.paste(Image.new("L", ink.size, 45), (440, 1500), ink)


def _stamp(sheet: Image.Image) -> None:
    stamp = Image.new("L", (270, 270), 0)
    pen = ImageDraw.Draw(stamp)
    pen.ellipse((8, 8, 262, 262), outline=130, width=5)
    pen.ellipse((24, 24, 246, 246), outline=110, width=2)
    font = ImageFont.truetype(str(font_path("Sans-Bold")), 29)
    for y, words in ((95, "HARBOUR"), (135, "OFFICE"), (178, "17 MAR 1951")):
        pen.text((135, y), words, font=font, fill=125, anchor="mm")
    stamp = stamp.rotate(14, Image.Resampling.BICUBIC)
    sheet.paste(Image.new("L", stamp.size, 80), (860, 1380), stamp)


def _age(sheet: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Two creases, a darker rim, clouds of age and the scanner's grain."""
    height, width = sheet.shape
    ys, xs = np.mgrid[0:height, 0:width]
    for crease in (height // 3, 2 * height // 3):
        distance = np.abs(ys - crease - 0.012 * xs)
        sheet = sheet - 26 * np.exp(-((distance / 2.2) ** 2)) + 7 * np.exp(-(((distance - 7) / 5) ** 2))
    rim = np.minimum.reduce([xs, width - 1 - xs, ys, height - 1 - ys])
    sheet = sheet - 46 * np.exp(-rim / 26.0)
    clouds = Image.fromarray(random.normal(128, 55, (18, 13)).clip(0, 255).astype(np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    sheet = sheet + (np.asarray(clouds, dtype=np.float64) - 128) * 0.085
    return (sheet + random.normal(0, 4.2, sheet.shape)).clip(0, 255).astype(np.uint8)
