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


def roc(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], label: str) -> Markup:
    """ROC curves in the unit square, with the diagonal of chance.

    Args:
        curves: (name, points from (0, 0) to (1, 1)), six at most; the first is drawn strongest.
        label: what it shows.
    """
    side, left, top = WIDTH - 60, 44, 6
    out = _frame(left, top, side, "unanswerable kept", "answerable kept")
    out.append(_line(left, top + side, left + side, top, "rule"))
    for i, (name, points) in enumerate(curves):
        path = " ".join(f"{left + x * side:.1f},{top + (1 - y) * side:.1f}" for x, y in points)
        out.append(Markup('<polyline points="{}" class="curve c{}"/>').format(path, i))
        y = top + side - 14 * (len(curves) - i)
        out.append(_line(left + side - 168, y - 4, left + side - 150, y - 4, f"curve c{i}"))
        out.append(_text(left + side - 144, y, name, ""))
    return _svg(top + side + 34, out, label)


def reliability(groups: Sequence[tuple[str, Sequence[tuple[float, float, int]]]], label: str) -> Markup:
    """What was said against what was true, a dot a bin, with its count.

    Args:
        groups: (name, bins of (mean probability, share of positives, how many)), two at most.
        label: what it shows.
    """
    side, left, top = WIDTH - 60, 44, 6
    out = _frame(left, top, side, "said", "true")
    out.append(_line(left, top + side, left + side, top, "zero"))
    for i, (name, bins) in enumerate(groups):
        spots = [(left + said * side, top + (1 - true) * side, n) for said, true, n in bins]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in spots)
        out.append(Markup('<polyline points="{}" class="curve c{}"/>').format(path, i))
        for x, y, n in spots:
            out.append(
                Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4" class="mark c{}"><title>{}</title></circle>').format(x, y, i, n)
            )
        y = top + 14 * (i + 1)
        out.append(_line(left + 8, y - 4, left + 26, y - 4, f"curve c{i}"))
        sizes = sorted({n for _, _, n in bins})
        count = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}" if sizes else "0"
        out.append(_text(left + 32, y, f"{name}, {count} a dot", ""))
    return _svg(top + side + 34, out, label)


def histogram(
    groups: tuple[tuple[str, Sequence[float]], tuple[str, Sequence[float]]], cut: float, label: str, bins: int = 20
) -> Markup:
    """Two sets of values as bars above and below a line, each as shares of its set, with a cut.

    Args:
        groups: (name, values): drawn upwards and downwards.
        cut: where the cut lies.
        label: what it shows.
        bins: bars of each.
    """
    values = [v for _, found in groups for v in found]
    low, high = min([*values, cut], default=0.0), max([*values, cut], default=1.0)
    if high == low:
        high = low + 1.0
    left, right, height, top = 4, WIDTH - 4, 84, 20
    middle = top + height

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    shares = []
    for _, found in groups:
        counts = [0] * bins
        for value in found:
            counts[min(bins - 1, int((value - low) / (high - low) * bins))] += 1
        shares.append([n / max(1, len(found)) for n in counts])
    most = max((s for part in shares for s in part), default=0.0) or 1.0
    width = (right - left) / bins
    out = []
    for up, part, kind in ((True, shares[0], "after"), (False, shares[1], "other")):
        for i, share in enumerate(part):
            tall = share / most * (height - 4)
            out.append(_rect(left + i * width + 0.5, middle - tall if up else middle, width - 1, tall, f"bar {kind}"))
    out.append(_line(left, middle, right, middle, "zero"))
    out.append(_line(x(cut), top - 6, x(cut), middle + height, "best"))
    near_end = x(cut) > WIDTH / 2
    out.append(_text(x(cut) + (-4 if near_end else 4), top - 8, f"cut {cut:.2f}", "end soft" if near_end else "soft"))
    out.append(_text(left, top + 8, f"{groups[0][0]}, {len(groups[0][1])}", ""))
    out.append(_text(right, middle + height - 2, f"{groups[1][0]}, {len(groups[1][1])}", "end"))
    for tick in ticks(low, high):
        out.append(_text(x(tick), middle + height + 14, f"{tick:g}", "soft middle"))
    return _svg(middle + height + 20, out, label)


def _frame(left: float, top: float, side: float, across: str, up: str) -> list[Markup]:
    """The unit square with its ticks and the names of its axes."""
    out = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x, y = left + tick * side, top + (1 - tick) * side
        out += [_line(x, top, x, top + side, "rule"), _line(left, y, left + side, y, "rule")]
        out += [_text(x, top + side + 14, f"{tick:g}", "soft middle"), _text(left - 6, y + 4, f"{tick:g}", "soft end")]
    out.append(_text(left + side / 2, top + side + 29, f"{across} →", "soft middle"))
    out.append(
        Markup('<text x="0" y="0" transform="translate(11 {:.0f}) rotate(-90)" class="soft middle">{} →</text>').format(
            top + side / 2, up
        )
    )
    return out


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
