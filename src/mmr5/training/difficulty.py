"""The offline difficulty filter: prompts whose sampled replies all earn the same teach GRPO nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmr5.data.rows import PageRow, Row
from mmr5.engines.base import Engine, Request, Sampling
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ConfigError
from mmr5.training import folder
from mmr5.training.grpo_rewards import agrees, score
from mmr5.training.trainer import Run

FILE = "difficulty.json"
AT_ONCE = 16
"""Rows whose replies are sampled together."""


def keep_instructive(run: Run) -> list[Row]:
    """Sample replies with the model as it is, and keep the rows whose rewards differ.

    What was measured stands in ``difficulty.json``; a run that is gone on with reads it and samples nothing.

    Args:
        run: of ``grpo.difficulty_samples`` replies a row, at the run's temperature; its progress is told of rows.

    Raises:
        ConfigError: no row is left.
    """
    config, rows, model = run.config, run.rows, run.model
    file = Path(config.run.out) / FILE
    if not file.is_file():
        training, held = model.training, model.generation_config
        engine = TransformersEngine(model.eval(), run.processor, name="policy", max_pixels=config.data.max_pixels)
        measured = measure(engine, run)
        model.generation_config = held
        model.train(training)
        folder.write(file, json.dumps({"samples": config.grpo.difficulty_samples, "rows": measured}, indent=1) + "\n")
    totals = json.loads(file.read_text(encoding="utf-8"))["rows"]
    kept = [row for row, found in zip(rows, totals, strict=True) if not found["agrees"]]
    if not kept:
        raise ConfigError(
            f"all {len(rows)} prompts earn the same reward with every reply: train more or less before, raise grpo.temperature, "
            "or set grpo.difficulty_samples = 0"
        )
    return kept


def measure(engine: Engine, run: Run) -> list[dict[str, Any]]:
    """For each row: whether its replies' rewards agree, and their means."""
    config, rows, progress = run.config, run.rows, run.progress
    grpo = config.grpo
    weights = (grpo.ranking_weight, grpo.format_weight)
    found: list[dict[str, Any]] = []
    for start in range(0, len(rows), AT_ONCE):
        part = [r for r in rows[start : start + AT_ONCE] if not isinstance(r, PageRow)]
        requests = [Request(run.talk.prompt(r)) for r in part for _ in range(grpo.difficulty_samples)]
        sampling = Sampling(grpo.max_new_tokens, grpo.temperature, seed=config.optim.seed + start)
        replies = iter(engine.generate(requests, sampling))
        for offset, row in enumerate(part):
            group = [
                score(
                    start + offset, reply.text, row.relevant, len(row.candidates),
                    think=row.think, ended=reply.finish == "stop", compat=grpo.compat,
                )
                for reply in (next(replies) for _ in range(grpo.difficulty_samples))
            ]  # fmt: skip
            found.append(
                {
                    "qid": row.qid,
                    "agrees": agrees(group, weights),
                    "ranking": sum(r.ranking for r in group) / len(group),
                    "format": sum(r.format for r in group) / len(group),
                }
            )
        if progress is not None:
            progress("difficulty", min(start + AT_ONCE, len(rows)), len(rows))
    return found
