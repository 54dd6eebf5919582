"""Plots of an evaluation as inline SVG. Colours are those of the page that holds them, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

WIDTH = 360
_PAD = 8
_VALUE = 92
"""Width kept at the right for numbers."""


def forest(rows: Sequence[tuple[str, float, Sequence[float] | None]], label: str) -> Markup:
    """Differences with intervals, one a row, around zero.

    Args:
        rows: (name, value, [low, high] or None).
        label: what it shows, for those who cannot see it.
    """
    left, right, step, top = 108, WIDTH - _VALUE, 24, 6
    shown = [0.0, *(v for _, value, interval in rows for v in (value, *(interval or ())))]
    low, high = min(shown), max(shown)
    span = max(high - low, 0.02)
    low, high = low - 0.06 * span, low + 1.06 * span

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    bottom = top + step * len(rows)
    out = []
    for tick in ticks(low, high):
        out.append(_line(x(tick), top, x(tick), bottom, "zero" if tick == 0 else "rule"))
        out.append(_text(x(tick), bottom + 14, f"{tick:+.2f}" if tick else "0", "soft middle"))
    for i, (name, value, interval) in enumerate(rows):
        y = top + step * i + step / 2
        kind = "plain" if interval is None else "good" if interval[0] > 0 else "bad" if interval[1] < 0 else "plain"
        out.append(_text(0, y + 4, name, ""))
        if interval is not None:
            out.append(_line(x(interval[0]), y, x(interval[1]), y, f"whisker {kind}"))
        out.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4.5" class="dot {}"/>').format(x(value), y, kind))
        out.append(_text(WIDTH, y + 4, f"{value:+.3f}", f"end {kind}"))
    return _svg(bottom + 22, out, label)


def dumbbells(rows: Sequence[tuple[str, int, float, float]], label: str) -> Markup:
    """A value in [0, 1] before and after, one group a row.

    Args:
        rows: (name, questions, before, after).
        label: what it shows.
    """
    left, right, step, top = 4, WIDTH - _VALUE - 12, 34, 4
    bottom = top + step * len(rows)

    def x(value: float) -> float:
        return left + min(max(value, 0.0), 1.0) * (right - left)

    out = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        out.append(_text(x(tick), bottom + 13, f"{tick:g}", "soft middle" if tick else "soft"))
    for i, (name, n, before, after) in enumerate(rows):
        y = top + step * i + 24
        kind = "good" if after > before else "bad" if after < before else "plain"
        short = name if len(name) <= 40 else name[:39] + "…"
        caption = Markup('{} <tspan class="soft">{}</tspan>').format(short, n)
        out.append(_text(0, y - 10, caption, ""))
        out.append(_line(left, y, right, y, "rule"))
        out.append(_line(x(before), y, x(after), y, f"whisker {kind}"))
        out.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4" class="ring"/>').format(x(before), y))
        out.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4.5" class="dot {}"/>').format(x(after), y, kind))
        out.append(_text(WIDTH, y + 4, f"{before:.2f} → {after:.2f}", f"end {kind}"))
    return _svg(bottom + 20, out, label)


def bars(rows: Sequence[tuple[str, float, float, float | None]], label: str) -> Markup:
    """A value before and after as two bars, with a mark at the best that could be had.

    Args:
        rows: (name, before, after, best or None).
        label: what it shows.
    """
    left, right, step, top = 72, WIDTH - 46, 40, 4
    out = []

    def x(value: float) -> float:
        return left + min(max(value, 0.0), 1.0) * (right - left)

    for i, (name, before, after, best) in enumerate(rows):
        y = top + step * i
        out.append(_text(0, y + 20, name, ""))
        for offset, value, kind in ((3, before, "before"), (18, after, "after")):
            out.append(_rect(left, y + offset, x(value) - left, 13, f"bar {kind}"))
            out.append(_text(WIDTH, y + offset + 11, f"{value:.3f}", "end" if kind == "after" else "end soft"))
        if best is not None:
            out.append(_line(x(best), y, x(best), y + 34, "best"))
    return _svg(top + step * len(rows) + 2, out, label)


def grid(counts: Mapping[tuple[int, int], int], size: int, label: str) -> Markup:
    """How many questions went from one place to another.

    Args:
        counts: (place before, place after) → questions; places from 1, 0 where it is not among the candidates.
        size: the last place shown; what lies beyond counts there.
        label: what it shows.
    """
    left, top = 34, 30
    cell = (WIDTH - left - 2) / size
    placed: dict[tuple[int, int], int] = {}
    for (before, after), n in counts.items():
        if before and after:
            key = min(before, size), min(after, size)
            placed[key] = placed.get(key, 0) + n
    most = max(placed.values(), default=1)
    out = [_text(left, 11, "place after →", "soft"), _text(0, top - 6, "before", "soft")]
    for place in range(1, size + 1):
        out.append(_text(left + (place - 0.5) * cell, top - 6, str(place), "soft middle"))
        out.append(_text(left - 8, top + (place - 0.5) * cell + 4, str(place), "soft end"))
    for before in range(1, size + 1):
        for after in range(1, size + 1):
            n = placed.get((before, after), 0)
            kind = "good" if after < before else "bad" if after > before else "plain"
            spot = left + (after - 1) * cell, top + (before - 1) * cell
            heat = 0.15 + 0.85 * math.sqrt(n / most) if n else 0.04
            out.append(_rect(spot[0] + 1, spot[1] + 1, cell - 2, cell - 2, f"cell {kind}", f"{heat:.2f}"))
            if n:
                kind = "count hot" if heat > 0.6 else "count"
                out.append(_text(spot[0] + cell / 2, spot[1] + cell / 2 + 4, str(n), f"middle {kind}"))
    return _svg(top + size * cell + 4, out, label)


def ticks(low: float, high: float) -> list[float]:
    """One to six round numbers in a range, zero among them when it lies inside."""
    raw = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= raw)
    first = math.ceil(low / step)
    return [round(step * i, 10) for i in range(first, math.floor(high / step) + 1)]


def _svg(height: float, parts: Sequence[Markup], label: str) -> Markup:
    return Markup('<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, label, Markup("").join(parts)
    )


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format(x, y, kind, escape(text))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, kind)


def _rect(x: float, y: float, width: float, height: float, kind: str, opacity: str = "1") -> Markup:
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2" class="{}" opacity="{}"/>').format(
        x, y, max(width, 0.0), height, kind, opacity
    )
