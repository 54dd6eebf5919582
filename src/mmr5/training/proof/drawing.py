"""Scenes → pictures, drawn large; a model sees them reduced to its pixel budget."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

from mmr5.training.proof.scenes import COLORS, Scene

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 336
"""Pixels on a side of a drawn page."""
INK = {"red": (214, 40, 40), "green": (30, 150, 70), "blue": (40, 80, 220), "yellow": (240, 190, 20), "black": (20, 20, 20)}
PAPER = (255, 255, 255)
OTHER = ((150, 150, 150), (95, 100, 110), (150, 70, 170), (240, 140, 40), (120, 80, 45), (50, 180, 180))
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
    _figure(pen, scene.b, _jitter(rng, 168, 30), _jitter(rng, 168, 30), radius, INK[scene.a])


def _bars(pen: Any, scene: Scene, rng: random.Random) -> None:
    middle = [c for c in COLORS if c not in (scene.a, scene.b)]
    heights = {scene.a: rng.uniform(240, 290), scene.b: rng.uniform(25, 60)}
    heights |= {color: rng.uniform(110, 190) for color in middle}
    order = list(COLORS)
    rng.shuffle(order)
    _axes(pen)
    for place, color in enumerate(order):
        left = 34 + place * 74
        pen.rectangle((left, 318 - heights[color], left + 56, 318), fill=INK[color])


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
    radius = rng.uniform(112, 132) if scene.a == "inside" else rng.uniform(70, 86)
    across, down = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "inside": (0, 0)}[scene.a]
    x, y = _jitter(rng, 168.0 - 60 * across, 12), _jitter(rng, 168.0 - 45 * down, 12)
    _figure(pen, scene.b, x, y, radius, rng.choice(OTHER))
    reach, size = radius + 56, 32.0
    x, y = x + across * reach, y + down * reach
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
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif shape == "square":
        side = radius * 0.88
        pen.rectangle((x - side, y - side, x + side, y + side), fill=fill)
    elif shape == "triangle":
        turns = (-math.pi / 2, math.pi / 6, 5 * math.pi / 6)
        pen.polygon([(x + 1.2 * radius * math.cos(t), y + 1.2 * radius * math.sin(t)) for t in turns], fill=fill)
    else:
        arm = radius * 0.34
        pen.rectangle((x - radius, y - arm, x + radius, y + arm), fill=fill)
        pen.rectangle((x - arm, y - radius, x + arm, y + radius), fill=fill)


def _jitter(rng: random.Random, middle: float, reach: float) -> float:
    return middle + rng.uniform(-reach, reach)
