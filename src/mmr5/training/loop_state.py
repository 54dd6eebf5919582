"""What a training loop of our own keeps, so that a killed run goes on: weights, optimizer, schedule, step, history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmr5.engines.loading import import_torch
from mmr5.storage.atomic import writing


def write_state(
    path: Path,
    weights: Mapping[str, Any],
    optimizer: Any,
    schedule: Any,
    *,
    step: int,
    history: Sequence[Mapping[str, Any]],
    further: Mapping[str, Any] | None = None,
) -> None:
    """Write the file, whole or not at all.

    Args:
        path: the file.
        weights: tensors by name.
        optimizer: of torch.
        schedule: of torch.
        step: steps that are done.
        history: what was logged, plain JSON values.
        further: further tensors by name.
    """
    with writing(path) as stream:
        import_torch().save(
            {
                "weights": {name: value.detach() for name, value in weights.items()},
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step,
                "history": json.dumps(list(history)),
                "further": dict(further or {}),
            },
            stream,
        )


def read_state(
    path: Path, weights: Mapping[str, Any], optimizer: Any, schedule: Any
) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Fill weights, optimizer and schedule from a file of :func:`write_state`; returns its step, history and further tensors."""
    torch = import_torch()
    state = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, value in weights.items():
            value.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return state["step"], json.loads(state["history"]), state["further"]
