import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # 120 s
def test_two_processes_equal_one(settings, pages_corpus):
    from safetensors.torch import load_file

    from mmr5.training.sft import train_sft

    alone = settings("sft", "optim.max_steps=2", "data.order=file", f"run.out={pages_corpus / 'one'}")
    train_sft(alone)
    both = settings("sft", "optim.max_steps=2", "data.order=file", "optim.batch_size=2", f"run.out={pages_corpus / 'two'}")
    sets = [
        f"--set={table}.{key}={json.dumps(value)}"
        for table, values in both.to_dict().items()
        if table != "grpo"
        for key, value in values.items()
        if value is not None
    ]
    config = ROOT / "examples" / "vision_proof" / "sft.toml"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "mmr5.cli.main", "train", "sft",
        str(config), *sets,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    told = [json.loads((pages_corpus / name / "history.json").read_text())["history"] for name in ("one", "two")]
    losses, norms = ([[h[key] for h in history if key in h] for history in told] for key in ("loss", "grad_norm"))
    assert len(losses[0]) == 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert norms[1] == pytest.approx(norms[0], rel=1e-2)
    # Adam turns a gradient of nearly nothing into a step of either sign, so single weights may differ by the learning rate
    one, two = (load_file(pages_corpus / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    apart = [float((one[k] - two[k]).abs().mean()) for k in one]
    assert sum(apart) / len(apart) < 0.1 * both.optim.learning_rate


def sets(config):
    """A configuration as flags of the command."""
    values = config.to_dict()
    return [
        f"--set={table}.{key}={json.dumps(value)}"
        for table in values
        for key, value in values[table].items()
        if value is not None
    ]


def start(stage, config, *more):
    command = [
        sys.executable,
        "-m",
        "mmr5.cli.main",
        "train",
        stage,
        str(ROOT / "examples" / "vision_proof" / f"{stage}.toml"),
        *sets(config),
        *more,
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow  # 120 s
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_trainer_killed_at_a_random_moment_goes_on_as_if_nothing_had_happened(stage, settings, pages_corpus):
    from safetensors.torch import load_file

    from mmr5.training.grpo import train_grpo
    from mmr5.training.sft import train_sft

    own = ("optim.max_steps=8", "run.keep=8")
    whole = settings(stage, *own, f"run.out={pages_corpus / 'whole'}")
    (train_sft if stage == "sft" else train_grpo)(whole)
    torn = settings(stage, *own, f"run.out={pages_corpus / 'torn'}")
    out = pages_corpus / "torn"
    seed = int.from_bytes(os.urandom(4))
    rng = random.Random(seed)
    for kill in range(2):
        running = start(stage, torn, *(["--resume"] if kill else []))
        wait_for(out / f"checkpoint-{2 * kill + 2}", running)
        time.sleep(rng.uniform(0, 1.5))
        running.kill()
        running.communicate()
    last = start(stage, torn, "--resume")
    _, told = last.communicate(timeout=200)
    assert last.returncode == 0, f"seed {seed}: {told[-3000:]}"
    facts = json.loads((out / "history.json").read_text())["facts"]
    assert facts["steps"] == 8, seed
    one, two = (load_file(Path(c.run.out) / "adapter_model.safetensors") for c in (whole, torn))
    assert max(float((one[k] - two[k]).abs().max()) for k in one) < 1e-5, seed


def wait_for(path, running):
    for _ in range(1200):
        if path.exists() or running.poll() is not None:
            return
        time.sleep(0.1)
    running.kill()
    raise AssertionError(f"{path} did not appear")
