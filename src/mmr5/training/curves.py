"""The curves of a run as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmr5.errors import missing_extra
from mmr5.storage.atomic import writing

PANELS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    ("loss", (("loss", "loss"),)),
    ("token accuracy", (("mean_token_accuracy", "on targets"),)),
    ("rewards, 0 to 1", (("rewards/ranking_reward/mean", "ranking"), ("rewards/format_reward/mean", "format"))),
    ("deviation within a group", (("reward_std", "of the total reward"),)),
    ("reply length, tokens", (("completions/mean_length", "mean"), ("completions/max_length", "longest"))),
    ("share of replies", (("clean_share", "clean"), ("truncated_share", "truncated"))),
    ("share of groups", (("diverse_groups", "with different replies"), ("agreeing_groups", "whose rewards all agree"))),
    ("KL to the reference", (("kl", "KL"),)),
    ("learning rate", (("learning_rate", "rate"),)),
    ("gradient norm", (("grad_norm", "norm"),)),
)
_COLORS = ("#2a6f97", "#e07a1f")


def draw(history: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> int:
    """Draw every curve that the history holds.

    Args:
        history: the trainer's records, each with a ``step``.
        path: the PNG to write.
        title: above the picture.

    Returns:
        How many panels were drawn; no file is written for none.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_extra("matplotlib", "train", "draw the curves") from error
    panels = [(name, lines) for name, curves in PANELS if (lines := _lines(history, curves))]
    if not panels:
        return 0
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 2.7 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    for place, (name, lines) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, place + 1)
        for color, (label, steps, values) in zip(_COLORS, lines, strict=False):
            axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
            axes.plot(steps, smooth(values), color=color, linewidth=1.6, label=label)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("optimizer step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        if len(lines) > 1:
            axes.legend(fontsize=8, frameon=False)
    with writing(path) as file:
        figure.savefig(file, format="png", dpi=130)
    return len(panels)


def smooth(values: Sequence[float]) -> list[float]:
    """A running mean over a twentieth of the curve on each side."""
    reach = len(values) // 20
    windows = (values[max(0, i - reach) : i + reach + 1] for i in range(len(values)))
    return [sum(w) / len(w) for w in windows]


def _lines(history: Sequence[Mapping[str, Any]], curves: Sequence[tuple[str, str]]) -> list[tuple[str, list[float], list[float]]]:
    found = []
    for key, label in curves:
        points = [(float(h["step"]), float(h[key])) for h in history if isinstance(h.get(key), int | float) and "step" in h]
        if points:
            found.append((label, [s for s, _ in points], [v for _, v in points]))
    return found
