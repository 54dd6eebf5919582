"""Memory and seconds a step of both stages at three sizes of the vision proof's model, on this machine.

python benchmarks/training_cost.py [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

PROOF = Path(__file__).parents[1] / "examples" / "vision_proof"
SIZES = {
    "small": {"hidden": 128, "layers": 3, "vision_hidden": 64, "vision_layers": 2},
    "proof": {},
    "large": {"hidden": 384, "layers": 8, "vision_hidden": 192, "vision_layers": 6},
}
"""Name → what differs from the proof's model."""
STEPS = {"sft": 6, "grpo": 6}
"""Optimizer steps that are timed; the first generation's are dropped."""


def main() -> None:
    """Measure all of them, each in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--one", nargs=3, metavar=("STAGE", "SIZE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        sys.stdout.write(json.dumps(measure(*given.one)) + "\n")
        return
    found = []
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder))
        for size in SIZES:
            for stage in STEPS:
                command = [sys.executable, __file__, "--one", stage, size, folder]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                found.append(json.loads(done.stdout.splitlines()[-1]))
                sys.stderr.write(f"{stage} {size}\n")
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "threads": found[0]["threads"]}
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "runs": found}, indent=1) + "\n", encoding="utf-8")
    print("| stage | size | parameters | rows or rollouts a step | seconds a step | peak memory | of which before training |")
    print("|---|---|---|---|---|---|---|")
    for run in found:
        cells = f"{run['seconds_a_step']:.2f} | {run['peak_mib']:,.0f} MiB | {run['before_mib']:,.0f} MiB"
        print(f"| {run['stage']} | {run['size']} | {run['parameters']:,} | {run['rows']} | {cells} |")


def draw(folder: Path) -> None:
    """The rows, and a base of each size."""
    sys.path.insert(0, str(PROOF.parent))
    from vision_proof import base, corpus

    corpus.build(folder, corpus.Amount(train=12, grpo=4, test=1))
    for name, size in SIZES.items():
        base.build(folder / name, base.Size(**size))


def measure(stage: str, size: str, folder: str) -> dict[str, Any]:
    """Train some steps of five pages a row; seconds are the median, memory is this process's peak."""
    import torch

    from mmr5.training.config import load_config
    from mmr5.training.grpo import train_grpo
    from mmr5.training.sft import train_sft

    home = Path(folder)
    rows = home / f"{stage}.jsonl"
    if stage == "sft":
        rows = home / "five.jsonl"
        lines = (home / "sft.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        rows.write_text("".join(line for line in lines if len(json.loads(line)["candidates"]) == 5), encoding="utf-8")
    own = [
        f"model.base={home / size}", f"data.corpus={home / 'corpus'}", f"data.rows={rows}", f"run.out={home / stage / size}",
        f"optim.max_steps={STEPS[stage]}", "run.save_steps=100",
    ]  # fmt: skip
    config = load_config(PROOF / f"{stage}.toml", own)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ticks = [time.perf_counter()]
    run = train_sft if stage == "sft" else train_grpo
    facts = run(config, progress=lambda *_: ticks.append(time.perf_counter()))
    group = config.grpo.iterations if stage == "grpo" else 1
    rounds = [(ticks[i + group] - ticks[i]) / group for i in range(group, len(ticks) - group, group)]
    return {
        "stage": stage,
        "size": size,
        "parameters": facts["parameters"],
        "rows": config.optim.batch_size * config.optim.accumulation,
        "seconds_a_step": median(rounds),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mib": before / 1024,
        "threads": torch.get_num_threads(),
    }


if __name__ == "__main__":
    main()
