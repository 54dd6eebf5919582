"""An adapter and its base → one checkpoint that any program can load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from mmr5.engines.loading import import_torch, import_transformers, load_model, pick_device, pick_dtype
from mmr5.errors import ModelNotFoundError
from mmr5.models.recipes import FILE as RECIPE
from mmr5.provenance import FILE as PROVENANCE
from mmr5.training.base_model import save_whole
from mmr5.training.config import TrainingConfig

FOLDER = "merged"


def merge(config: TrainingConfig) -> Path:
    """Merge a finished run's adapter into its base.

    Args:
        config: names the run's folder; ``model.dtype`` is that of the merged weights, ``auto`` for that of the base.

    Returns:
        The folder with the merged checkpoint, its recipe and provenance: ``merged`` within the run's folder.

    Raises:
        ModelNotFoundError: the run holds no adapter.
    """
    out = Path(config.run.out)
    if not (out / "adapter_config.json").is_file():
        raise ModelNotFoundError(f"{out} holds no adapter: train it first; a run without an adapter is a whole checkpoint itself")
    device = pick_device(config.model.device)
    dtype = _base_dtype(out) if config.model.dtype == "auto" else pick_dtype(config.model.dtype, device)
    model, processor = load_model(str(out), device=device, dtype=dtype, attention=config.model.attention)
    target = out / FOLDER
    save_whole(model, processor, target)
    for name in (RECIPE, PROVENANCE):
        if (out / name).is_file():
            shutil.copyfile(out / name, target / name)
    return target


def _base_dtype(adapter: Path) -> Any:
    """The dtype that the weights below an adapter are kept in; float32 where they do not say."""
    base = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    return import_transformers().AutoConfig.from_pretrained(base).dtype or import_torch().float32
