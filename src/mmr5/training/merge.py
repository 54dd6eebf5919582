"""An adapter and its base → one checkpoint that any program can load."""

from __future__ import annotations

import shutil
from pathlib import Path

from mmr5.engines.loading import pick_device, pick_dtype
from mmr5.errors import ModelNotFoundError
from mmr5.models.recipes import FILE as RECIPE
from mmr5.training.config import TrainingConfig
from mmr5.training.folder import PROVENANCE
from mmr5.training.loading import load, save_whole

FOLDER = "merged"


def merge(config: TrainingConfig) -> Path:
    """Merge a finished run's adapter into its base.

    Returns:
        The folder with the merged checkpoint, its recipe and provenance: ``merged`` within the run's folder.

    Raises:
        ModelNotFoundError: the run holds no adapter.
    """
    out = Path(config.run.out)
    if not (out / "adapter_config.json").is_file():
        raise ModelNotFoundError(f"{out} holds no adapter: train it first; a run without an adapter is a whole checkpoint itself")
    device = pick_device(config.model.device)
    model, processor = load(
        str(out), device=device, dtype=pick_dtype(config.model.dtype, device), attention=config.model.attention
    )
    target = out / FOLDER
    save_whole(model, processor, target)
    for name in (RECIPE, PROVENANCE):
        if (out / name).is_file():
            shutil.copyfile(out / name, target / name)
    return target
