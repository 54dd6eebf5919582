"""A deliberately half-trained checkpoint: what stage two starts from in the vision proof."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mmr5.errors import InputError
from mmr5.storage.jsonl import write_json
from vision_proof.corpus import CURRICULUM

HALF = "half"


def take_half(folder: Path) -> dict[str, object]:
    """Copy the last SFT checkpoint of before the part of the curriculum that is of full lists alone.

    It tells two or three pages apart and has seen few lists of five: what it can do is more than what it does when five come, and
    that is what rewards can bring out. (A checkpoint that does not see yet fails for want of sight, which so few rewards
    do not teach.)

    Args:
        folder: of the proof; ``half/`` and ``half.json`` are written into it.

    Returns:
        The checkpoint's step, that of the last one, and the step at which the part of full lists begins.

    Raises:
        InputError: SFT left no checkpoint, or none of before.
    """
    steps = sorted(int(p.name.partition("-")[2]) for p in (folder / "sft").glob("checkpoint-*"))
    if not steps:
        raise InputError(f"{folder / 'sft'} holds no checkpoint: run the first stage before")
    plan = json.loads((folder / CURRICULUM).read_text(encoding="utf-8"))
    begins = steps[-1] * plan["before_full_lists"] / plan["rows"]
    if steps[0] > begins:
        raise InputError(
            f"the first checkpoint in {folder / 'sft'} is of step {steps[0]}, and full lists begin at step {begins:.0f}: "
            "lower run.save_steps, or raise run.keep"
        )
    step = max(one for one in steps if one <= begins)
    target = folder / HALF
    if target.exists():
        shutil.rmtree(target)
    left = shutil.ignore_patterns("optimizer.pt", "scheduler.pt", "rng_state*", "trainer_state.json", "training_args.bin")
    shutil.copytree(folder / "sft" / f"checkpoint-{step}", target, ignore=left)
    told: dict[str, object] = {"step": step, "of": steps[-1], "full_lists_from": round(begins)}
    write_json(folder / "half.json", told)
    return told
