"""The folder of a run: provenance, recipe, model card, curves, checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmr5 import __version__
from mmr5.errors import ConfigError, MMR5Warning
from mmr5.models.recipes import FILE as RECIPE
from mmr5.prompt import fingerprint
from mmr5.provenance import FILE as PROVENANCE
from mmr5.provenance import device_name, environment, file_digest
from mmr5.storage.atomic import make_folder, write_text
from mmr5.storage.jsonl import write_json
from mmr5.training.config import Stage, TrainingConfig

HISTORY = "history.json"
CURVES = "curves.png"
CARD = "README.md"
STATE = "trainer_state.json"
_LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
_FREE = ("run", "model.device", "model.attention", "data.workers")
"""Settings that may change when a run is gone on with."""


def find_checkpoint(config: TrainingConfig, stage: str, *, resume: bool) -> Path | None:
    """The checkpoint in the run's folder to go on from; a folder without one is free.

    Args:
        config: the run.
        stage: ``sft`` or ``grpo``.
        resume: go on with the run that is there; a run that has no checkpoint yet begins anew.

    Returns:
        The last whole checkpoint, or None.

    Raises:
        ConfigError: there is a run and ``resume`` is False, or it was made with other settings.
    """
    out = Path(config.run.out)
    if not is_main():
        return last_checkpoint(out) if resume else None
    before = _read(out / PROVENANCE)
    found = None if before is None else last_checkpoint(out)
    if before is None or (found is None and not (out / RECIPE).is_file()):
        return None
    if not resume:
        raise ConfigError(f"{out} holds a run already: add --resume to go on with it, or name another folder (run.out)")
    if differ := _differences(before, provenance(config, stage)):
        raise ConfigError(f"the run in {out} was made with other settings ({', '.join(differ)}): name another folder (run.out)")
    return found


def check_folder(config: Mapping[str, Any], out: Path, finished: str, *, free: Sequence[str], resume: bool) -> None:
    """Refuse a folder that holds another run, or one that has ended; for runs that keep one checkpoint of their own.

    Args:
        config: the settings of this run, by table.
        out: its folder.
        finished: the file that a finished run leaves.
        free: settings (``table`` or ``table.key``) that may change when a run is gone on with.
        resume: go on with the run that is there.

    Raises:
        ConfigError: there is a run and ``resume`` is False, it has ended, or it was made with other settings.
    """
    before = _read(out / PROVENANCE)
    if before is None:
        return
    if not resume:
        raise ConfigError(f"{out} holds a run already: add --resume to go on with it, or name another folder (run.out)")
    if (out / finished).is_file():
        raise ConfigError(f"the run in {out} has ended: name another folder (run.out)")
    pairs = _settings(before, json.loads(json.dumps(config)))
    if differ := _differing(pairs, free):
        raise ConfigError(f"the run in {out} was made with other settings ({', '.join(differ)}): name another folder (run.out)")


def claim(config: TrainingConfig, stage: str) -> None:
    """Write into the run's folder what is trained there; called once all that can be refused has been read.

    Of several processes the first alone writes.

    Raises:
        OutputError: the folder cannot be written.
    """
    if is_main():
        out = Path(config.run.out)
        make_folder(out)
        write_json(out / PROVENANCE, provenance(config, stage))


def is_main() -> bool:
    """Whether this is the process that writes, as ``accelerate launch`` and ``torchrun`` tell it."""
    return int(os.environ.get("RANK", "0")) == 0


def provenance(config: TrainingConfig, stage: str) -> dict[str, Any]:
    """Version, settings, inputs, libraries, prompt fingerprint and hardware, as plain JSON values."""
    rows = Path(config.data.rows)
    found = {
        **environment(_LIBRARIES, _device(config.model.device)),
        "stage": stage,
        "command": f"mmr5 train {stage}",
        "config": config.to_dict(),
        "inputs": {"rows_sha256": file_digest(rows) if rows.is_file() else None},
        "seed": config.optim.seed,
        "prompt_fingerprint": fingerprint(config.recipe.method, config.recipe.view),
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def last_checkpoint(out: Path) -> Path | None:
    """The last whole checkpoint; one that was cut off while it was written is removed, with a warning.

    A checkpoint is whole when its state, which is written last, can be read.
    """
    found = sorted(
        (p for p in out.glob("checkpoint-*") if p.is_dir() and p.name.partition("-")[2].isdigit()),
        key=lambda p: int(p.name.partition("-")[2]),
        reverse=True,
    )
    for folder in found:
        if _read(folder / STATE) is not None:
            return folder
        if not is_main():
            continue
        warnings.warn(MMR5Warning(f"{folder} was cut off while it was written and is removed"), stacklevel=2)
        shutil.rmtree(folder)
    return None


def finish(
    config: TrainingConfig, stage: Stage, history: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], base: str
) -> None:
    """Write what a finished run leaves beside its weights: recipe, history, curves and model card."""
    out = Path(config.run.out)
    write_text(out / RECIPE, config.checkpoint_recipe(stage).to_json())
    write_json(out / HISTORY, {"facts": dict(facts), "history": list(history)})
    from mmr5.training.curves import draw

    draw(history, out / CURVES, title=f"{stage} · {out.name}")
    write_text(out / CARD, _card(config, stage, facts, base))


def _card(config: TrainingConfig, stage: str, facts: Mapping[str, Any], base: str) -> str:
    kind = "adapter (LoRA)" if config.lora.enabled else "weights"
    lines = [
        "---",
        f"base_model: {base}",
        "library_name: mmr5",
        "tags: [reranking, document-retrieval, mm-r5]",
        "---",
        "",
        f"# {Path(config.run.out).name}",
        "",
        f"A page reranker: {kind} trained by `mmr5 train {stage}` {__version__} from `{base}` on `{config.data.rows}`.",
        "",
        f"Method `{config.recipe.method}`, view `{config.recipe.view}`; the settings are in `{PROVENANCE}`, what the checkpoint "
        f"was made for in `{RECIPE}`, the curves in `{CURVES}`.",
        "",
        "```",
        f'mmr5 rerank "question" report.pdf --model {config.run.out}',
        "```",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in facts.items()),
        "",
        "It orders the pages that it is given; it does not say whether any of them answers. Replies are a model's words and can "
        "be wrong about what a page shows. It has the limits and the licence of its base.",
        "",
    ]
    return "\n".join(lines)


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of the settings and inputs that differ and may not."""
    pairs = {"inputs": (before.get("inputs"), now["inputs"]), **_settings(before, now["config"])}
    pairs["prompt_fingerprint"] = (before.get("prompt_fingerprint"), now["prompt_fingerprint"])
    return _differing(pairs, _FREE)


def _settings(before: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Every setting as ``table.key``, as it was in an earlier provenance and as it is now."""
    old = before.get("config", {})
    return {f"{t}.{key}": (old.get(t, {}).get(key), value) for t, values in config.items() for key, value in values.items()}


def _differing(pairs: Mapping[str, tuple[Any, Any]], free: Sequence[str]) -> list[str]:
    return sorted(
        name for name, (old, new) in pairs.items() if old != new and name not in free and name.partition(".")[0] not in free
    )


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _device(asked: str) -> str:
    from mmr5.engines.loading import pick_device

    return device_name(pick_device(asked))
