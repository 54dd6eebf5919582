import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # 120 s
def test_two_processes_equal_one(settings, pages_corpus):
    from importlib import resources

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
    ]
    config = Path(str(resources.files("mmr5"))) / "configs" / "smoke" / "sft.toml"
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
    assert norms[1] == pytest.approx(norms[0], rel=5e-3)
    # Adam turns a gradient of nearly nothing into a step of either sign, so single weights may differ by the learning rate
    one, two = (load_file(pages_corpus / name / "adapter_model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    apart = [float((one[k] - two[k]).abs().mean()) for k in one]
    assert sum(apart) / len(apart) < 0.1 * both.optim.learning_rate
