"""A built wheel in a clean environment without extras: the command answers, and says which extra to add.  Budget: 90 s."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a clean environment's programs, with the wheel and its own requirements alone."""
    place = tmp_path_factory.mktemp("wheel")
    done = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(place), str(ROOT)]
    subprocess.run(done, check=True)
    (wheel,) = place.glob("mmr5-*.whl")
    venv.create(place / "env", with_pip=True)
    programs = place / "env" / "bin"
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", *constraints, str(wheel)], check=True)
    return programs


def run(clean: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "MMR5_CACHE": str(cache), "COLUMNS": "200"}
    env.pop("PYTHONPATH", None)
    return subprocess.run([clean / "mmr5", *arguments], capture_output=True, text=True, env=env, cwd=cache, timeout=120)


def test_help_and_the_models_need_no_extra(clean, tmp_path):
    done = run(clean, tmp_path, "--help")
    assert done.returncode == 0, done.stderr
    assert "rerank" in done.stdout
    done = run(clean, tmp_path, "models")
    assert done.returncode == 0, done.stderr
    assert "mini" in done.stdout


@pytest.mark.parametrize("model", ["mini", "mini-lm", "i2vec/MM-R5"])
def test_a_missing_extra_is_named(clean, tmp_path, model):
    command = ["rerank", "What is this?", str(ROOT / "examples" / "harbour-report.pdf"), "--retriever", "bm25", "--model", model]
    done = run(clean, tmp_path, *command)
    assert done.returncode == 1
    assert "mmr5[local]" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_needs_no_extra_runs_without_one(clean, tmp_path):
    command = ["rerank", "Who raised the fog bell?", str(ROOT / "examples" / "harbour-report.pdf"), "--engine", "scripted"]
    done = run(clean, tmp_path, *command, "--retriever", "bm25", "--ocr", "never", "--json")
    assert done.returncode == 0, done.stderr
    assert '"rank": 1' in done.stdout


def test_every_verb_answers_without_an_extra(clean, tmp_path):
    for verb in ("serve", "evaluate", "data", "train"):
        done = run(clean, tmp_path, verb, "--help")
        assert done.returncode == 0, (verb, done.stderr)
