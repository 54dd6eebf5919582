"""What the vision proof measured, against its goals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmr5.rewards import format_reward, ranking_reward
from mmr5.storage.jsonl import write_json
from vision_proof.corpus import PAGES

GOAL_SFT = 0.9
"""Recall@1 after SFT, where chance is .2."""
GOAL_GAIN = 0.03
"""Gain of Recall@1 by GRPO over the half-trained checkpoint."""
EVALUATED = {"sft": "sft-test", "half_sft": "half-test", "grpo": "grpo-test"}
"""Model → folder of its evaluation."""
SAMPLED = {"half_sft": "half-sampled", "grpo": "grpo-sampled"}
"""Model → folder of its evaluation with sampled replies: the policy whose rewards GRPO raises."""


def summarise(folder: Path, *, seconds: float | None = None) -> dict[str, Any]:
    """Read the evaluations, and write ``summary.json``.

    Args:
        folder: of the proof.
        seconds: what all of it took, drawing and evaluation included; None adds up the two stages alone.

    Returns:
        Recall@1 of each model's greedy replies on held-out combinations; mean rewards, before and after GRPO those of sampled
        replies (temperature 1); values read off an axis apart; seconds of both stages; and which goals hold.
    """
    found: dict[str, Any] = {"chance": 1 / PAGES}
    for name, where in EVALUATED.items():
        scores = json.loads((folder / where / "scores.json").read_text(encoding="utf-8"))
        found[f"{name}_recall@1"] = scores["reranked"]["micro"]["recall@1"]
        ranking, form = rewards(folder / SAMPLED.get(name, where) / "run.jsonl")
        found |= {f"{name}_ranking_reward": ranking, f"{name}_format_reward": form, f"{name}_reward": ranking + form}
    axis = folder / "axis-test" / "scores.json"
    if axis.is_file():
        found["sft_axis_recall@1"] = json.loads(axis.read_text(encoding="utf-8"))["reranked"]["micro"]["recall@1"]
    stages = [json.loads((folder / s / "history.json").read_text(encoding="utf-8"))["facts"]["seconds"] for s in ("sft", "grpo")]
    found |= {"sft_seconds": stages[0], "grpo_seconds": stages[1], "seconds": sum(stages) if seconds is None else seconds}
    found["goals"] = {
        "sft sees": found["sft_recall@1"] >= GOAL_SFT,
        "grpo ranks better": found["grpo_recall@1"] - found["half_sft_recall@1"] >= GOAL_GAIN,
        "grpo earns more for ranking": found["grpo_ranking_reward"] > found["half_sft_ranking_reward"],
        "grpo earns more for format": found["grpo_format_reward"] > found["half_sft_format_reward"],
    }
    write_json(folder / "summary.json", found)
    return found


def rewards(run: Path) -> tuple[float, float]:
    """Mean ranking and format reward of the replies in a ``run.jsonl``."""
    lines = [json.loads(line) for line in run.read_text(encoding="utf-8").splitlines()]
    ranking, form = [], []
    for line in lines:
        wanted = [line["candidates"].index(p) for p in line["relevant"] if p in line["candidates"]]
        n = len(line["candidates"])
        ranking.append(ranking_reward(line["reply"] or "", wanted, n) if wanted else 0.0)
        form.append(format_reward(line["reply"] or "", n))
    return sum(ranking) / len(ranking), sum(form) / len(form)
