"""The vision proof, a tenth of it: every step of the script, with its figures read back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # 240 s
@pytest.mark.timeout(1200)
def test_a_tenth_of_the_vision_proof_runs_from_drawing_to_summary(tmp_path):
    from vision_proof.summary import rewards

    out = tmp_path / "smoke"
    few = "--set optim.max_steps=2 --set optim.batch_size=16 --set run.save_steps=2"
    told = {"OUT": str(out), "BIN": str(Path(sys.executable).parent), "SFT": "--set run.save_steps=20", "GRPO": few}
    done = subprocess.run(
        ["sh", "scripts/smoke.sh", "0.1"], cwd=ROOT, env={**os.environ, **told}, capture_output=True, text=True, timeout=1100
    )
    assert done.returncode == 0, done.stderr[-3000:]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["chance"] == 0.2 and summary["seconds"] > summary["sft_seconds"] + summary["grpo_seconds"] > 0
    losses = [point["loss"] for point in json.loads((out / "sft" / "history.json").read_text())["history"] if "loss" in point]
    assert losses[-1] < 0.2 * losses[0]
    assert summary["sft_format_reward"] > 0.5, "the form of the replies is learnt in a tenth of the steps"
    for name, folder in (("sft", "sft-test"), ("half_sft", "half-test"), ("grpo", "grpo-test")):
        lines = [json.loads(line) for line in (out / folder / "run.jsonl").read_text().splitlines()]
        first = sum(line["ranking"][0] in line["relevant"] for line in lines) / len(lines)
        assert summary[f"{name}_recall@1"] == pytest.approx(first)
        rewarded = out / folder.replace("half-test", "half-sampled").replace("grpo-test", "grpo-sampled") / "run.jsonl"
        assert (summary[f"{name}_ranking_reward"], summary[f"{name}_format_reward"]) == rewards(rewarded)
    greedy, sampled = ((out / f"half-{way}" / "run.jsonl").read_text().splitlines() for way in ("test", "sampled"))
    pairs = zip(greedy, sampled, strict=True)
    assert any(json.loads(a)["reply"] != json.loads(b)["reply"] for a, b in pairs), "--temperature reaches the model"
    for stage in ("sft", "grpo"):
        assert {"curves.png", "provenance.json", "README.md"} <= {p.name for p in (out / stage).iterdir()}
