"""The offline difficulty filter: prompts whose sampled replies all earn the same teach GRPO nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mmr5.data.rows import ListRow, Row
from mmr5.engines.protocol import Engine, Reply, Request, Sampling
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ConfigError
from mmr5.storage.jsonl import write_json
from mmr5.training import passthrough
from mmr5.training.config import GrpoConfig
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
    config, model = run.config, run.model
    rows = [row for row in run.rows if isinstance(row, ListRow)]
    file = Path(config.run.out) / FILE
    if not file.is_file():
        training, held = model.training, model.generation_config
        with passthrough.spoken(run.processor, run.template):
            engine = TransformersEngine(model.eval(), run.processor, name="policy", max_pixels=config.data.max_pixels)
            measured = measure(engine, run, rows)
        model.generation_config = held
        model.train(training)
        write_json(file, {"samples": config.grpo.difficulty_samples, "rows": measured})
    totals = json.loads(file.read_text(encoding="utf-8"))["rows"]
    kept: list[Row] = [row for row, found in zip(rows, totals, strict=True) if not found["agrees"]]
    if not kept:
        raise ConfigError(
            f"all {len(rows)} prompts earn the same reward with every reply: train more or less before, raise grpo.temperature, "
            "or set grpo.difficulty_samples = 0"
        )
    return kept


def measure(engine: Engine, run: Run, rows: Sequence[ListRow]) -> list[dict[str, Any]]:
    """For each row: its question's id, whether its replies' rewards agree, and the mean of each reward."""
    grpo = run.config.grpo
    found: list[dict[str, Any]] = []
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        requests = [Request(run.talk.prompt(row), think=row.think) for row in part for _ in range(grpo.difficulty_samples)]
        sampling = Sampling(grpo.max_new_tokens, grpo.temperature, grpo.top_p, seed=run.config.optim.seed + start)
        replies = iter(engine.generate(requests, sampling))
        found += [_rewards(row, list(islice(replies, grpo.difficulty_samples)), grpo) for row in part]
        if run.progress is not None:
            run.progress("difficulty", len(found), len(rows))
    return found


def _rewards(row: ListRow, replies: Sequence[Reply], grpo: GrpoConfig) -> dict[str, Any]:
    rollouts = [
        score(row.qid, r.text, row.relevant, len(row.candidates), think=row.think, ended=r.finish == "stop", compat=grpo.compat)
        for r in replies
    ]
    return {
        "qid": row.qid,
        "agrees": agrees(rollouts, (grpo.ranking_weight, grpo.format_weight)),
        "ranking": sum(r.ranking for r in rollouts) / len(rollouts),
        "format": sum(r.format for r in rollouts) / len(rollouts),
    }
