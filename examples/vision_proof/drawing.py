"""Scenes → pictures, drawn large; a model sees them reduced to its pixel budget."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from vision_proof.scenes import PLACES, Scene

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 336
"""Pixels on a side of a drawn page."""
INK = {
    "red": (214, 40, 40), "green": (30, 150, 70), "blue": (40, 80, 220), "yellow": (240, 190, 20), "purple": (150, 60, 180),
    "cyan": (40, 190, 210), "black": (20, 20, 20),
}  # fmt: skip
EDGE = 10
"""Width of a black outline: what a form is does not depend on its color."""
PAPER = (255, 255, 255)
OTHER = ((160, 160, 160), (95, 100, 110), (240, 140, 40), (120, 80, 45), (240, 130, 170), (130, 150, 60))
"""Inks that no question asks for."""


def draw(scene: Scene) -> Image:
    """One page: RGB, :data:`SIDE` pixels square."""
    import PIL.Image
    import PIL.ImageDraw

    page = PIL.Image.new("RGB", (SIDE, SIDE), PAPER)
    pen = PIL.ImageDraw.Draw(page)
    rng = random.Random(scene.seed)  # noqa: S311 - a seeded drawing
    {"shape": _shape, "bars": _bars, "line": _line, "layout": _layout, "axis": _axis}[scene.kind](pen, scene, rng)
    return page


def _shape(pen: Any, scene: Scene, rng: random.Random) -> None:
    radius = rng.uniform(90, 130)
    _figure(pen, scene.b, _jitter(rng, 168, 30), _jitter(rng, 168, 30), radius, _tint(INK[scene.a], rng))


def _bars(pen: Any, scene: Scene, rng: random.Random) -> None:
    highest = PLACES.index(scene.a)
    _axes(pen)
    for place, color in enumerate(scene.bars):
        height = rng.uniform(240, 290) if place == highest else rng.uniform(50, 180)
        left = 34 + place * 74
        pen.rectangle((left, 318 - height, left + 56, 318), fill=_tint(INK[color], rng), outline=INK["black"], width=EDGE)


def _line(pen: Any, scene: Scene, rng: random.Random) -> None:
    low, high = rng.uniform(255, 290), rng.uniform(45, 90)
    levels = {
        "rising": (low, (low + high) / 2, high),
        "falling": (high, (low + high) / 2, low),
        "peaked": (low, high, low),
        "dipped": (high, low, high),
    }[scene.b]
    _axes(pen)
    places = (40, 176, 312)
    points = [(x, y + rng.uniform(-14, 14)) for x, y in zip(places, levels, strict=True)]
    pen.line(points, fill=INK[scene.a], width=rng.randrange(16, 28), joint="curve")
    for x, y in points:
        pen.ellipse((x - 14, y - 14, x + 14, y + 14), fill=INK[scene.a])


def _layout(pen: Any, scene: Scene, rng: random.Random) -> None:
    across, down = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "inside": (0, 0)}[scene.a]
    radius, size = rng.uniform(68, 84), 30.0
    x, y = _jitter(rng, 168.0, 36), _jitter(rng, 190.0, 36)
    _figure(pen, scene.b, x, y, radius, _tint(rng.choice(OTHER), rng))
    x, y = x + across * (radius + 40), y + down * (1.2 * radius + 40)
    pen.ellipse((x - size, y - size, x + size, y + size), fill=INK["black"])


def _axis(pen: Any, scene: Scene, rng: random.Random) -> None:
    _axes(pen)
    top, bottom = 40, 318
    for step in range(6):
        y = bottom - (bottom - top) * step / 5
        pen.line((28, y, 320, y), fill=(205, 205, 205), width=3)
    height = (bottom - top) * int(scene.b) / 100
    left = rng.uniform(60, 180)
    pen.rectangle((left, bottom - height, left + 90, bottom), fill=INK[scene.a])


def _axes(pen: Any) -> None:
    pen.line((24, 20, 24, 320), fill=INK["black"], width=5)
    pen.line((22, 320, 320, 320), fill=INK["black"], width=5)


def _figure(pen: Any, shape: str, x: float, y: float, radius: float, fill: tuple[int, int, int]) -> None:
    if shape == "circle":
        points = [(math.cos(t * math.pi / 24), math.sin(t * math.pi / 24)) for t in range(48)]
    elif shape == "square":
        points = [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]
    elif shape == "triangle":
        points = [(1.2 * math.cos(t), 1.2 * math.sin(t)) for t in (-math.pi / 2, math.pi / 6, 5 * math.pi / 6)]
    elif shape == "diamond":
        points = [(0.0, -1.15), (0.75, 0.0), (0.0, 1.15), (-0.75, 0.0)]
    elif shape == "star":
        turns = [(t * math.pi / 5 - math.pi / 2, 0.48 if t % 2 else 1.2) for t in range(10)]
        points = [(r * math.cos(t), r * math.sin(t)) for t, r in turns]
    else:
        quarter = [(0.34, -1.0), (0.34, -0.34), (1.0, -0.34)]
        points = [(dx * u - dy * v, dx * v + dy * u) for u, v in ((1, 0), (0, 1), (-1, 0), (0, -1)) for dx, dy in quarter]
    corners = [(x + radius * dx, y + radius * dy) for dx, dy in points]
    pen.polygon(corners, fill=fill)
    pen.line([*corners, *corners[:2]], fill=INK["black"], width=EDGE, joint="curve")


def _tint(ink: tuple[int, int, int], rng: random.Random) -> tuple[int, int, int]:
    """The ink, a little lighter or darker, warmer or colder."""
    red, green, blue = (min(255, max(0, value + rng.randint(-18, 18))) for value in ink)
    return red, green, blue


def _jitter(rng: random.Random, middle: float, reach: float) -> float:
    return middle + rng.uniform(-reach, reach)
