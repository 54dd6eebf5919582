"""The offline difficulty filter: prompts whose sampled replies all earn the same teach GRPO nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmr5.data.conversations import Conversations
from mmr5.data.rows import PageRow, Row
from mmr5.engines.base import Request, Sampling
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ConfigError
from mmr5.storage.jsonl import write_json
from mmr5.training.config import TrainingConfig
from mmr5.training.rollouts import agrees, score
from mmr5.types import Progress

FILE = "difficulty.json"
AT_ONCE = 16
"""Rows whose replies are sampled together."""


def keep_instructive(
    config: TrainingConfig,
    rows: Sequence[Row],
    talk: Conversations,
    model: Any,
    processor: Any,
    *,
    progress: Progress | None = None,
) -> list[Row]:
    """Sample replies with the model as it is, and keep the rows whose rewards differ.

    What was measured stands in ``difficulty.json``; a run that is gone on with reads it and samples nothing.

    Args:
        config: ``grpo.difficulty_samples`` replies a row, at the run's temperature.
        rows: the rows.
        talk: makes their prompts.
        model: the policy at the start.
        processor: its processor or tokenizer.
        progress: told of rows.

    Raises:
        ConfigError: no row is left.
    """
    file = Path(config.run.out) / FILE
    if not file.is_file():
        training, held = model.training, model.generation_config
        engine = TransformersEngine(model.eval(), processor, name="policy", max_pixels=config.data.max_pixels)
        measured = measure(engine, config, rows, talk, progress)
        model.generation_config = held
        model.train(training)
        write_json(file, {"samples": config.grpo.difficulty_samples, "rows": measured})
    totals = json.loads(file.read_text(encoding="utf-8"))["rows"]
    kept = [row for row, found in zip(rows, totals, strict=True) if not found["agrees"]]
    if not kept:
        raise ConfigError(
            f"all {len(rows)} prompts earn the same reward with every reply: train more or less before, raise grpo.temperature, "
            "or set grpo.difficulty_samples = 0"
        )
    return kept


def measure(
    engine: TransformersEngine, config: TrainingConfig, rows: Sequence[Row], talk: Conversations, progress: Progress | None
) -> list[dict[str, Any]]:
    """For each row: whether its replies' rewards agree, and their means."""
    grpo = config.grpo
    weights = (grpo.ranking_weight, grpo.format_weight)
    found: list[dict[str, Any]] = []
    for start in range(0, len(rows), AT_ONCE):
        part = [r for r in rows[start : start + AT_ONCE] if not isinstance(r, PageRow)]
        requests = [Request(talk.prompt(r)) for r in part for _ in range(grpo.difficulty_samples)]
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
