"""The command at its edges: devices, pipes, encodings, interrupts. Each ends with a named error, never as an internal one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[2] / "examples" / "harbour-report.pdf"
COMMAND = [sys.executable, "-m", "mmr5.cli.main"]
DRY = ["--engine", "scripted", "--retriever", "bm25", "--ocr", "never", "--method", "likelihood", "--view", "text"]
RERANK = [*COMMAND, "rerank", "berthing fees: Gebühren, 料金 ↑", str(REPORT), *DRY, "--top-n", "3"]
FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no device that is always full")


def run(command, **options):
    return subprocess.run(command, text=True, timeout=120, check=False, **{"stderr": subprocess.PIPE, **options})


@needs_full
@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        (RERANK, "utf-8"),
        (RERANK, "ascii"),
        ([*RERANK, "--json"], "ascii"),
        ([*COMMAND, "rerank", "--help"], "utf-8"),
        ([*COMMAND, "--version"], "ascii"),
    ],
)
def test_a_full_output_device_is_named(command, encoding):
    with FULL.open("w") as full:
        done = run(command, stdout=full, env={**os.environ, "PYTHONIOENCODING": encoding})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "error: cannot write the result: no space left on the device. Free some, or send the result elsewhere"
    )
    assert "internal error" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.parametrize("command", [[*RERANK, "--json"], [*COMMAND, "rerank", "--help"]])
def test_a_closed_pipe_is_named(command):
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(command, stdout=writing)
    finally:
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot write the result: what was to read it has ended.")
    assert "Exception ignored" not in done.stderr


def test_a_closed_stdout_is_named():
    done = run(["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "--version"])
    assert (done.returncode, done.stderr[:30]) == (1, "error: cannot write the result")


@needs_full
@pytest.mark.parametrize("stderr", ["2>/dev/full", "2>&-"])
def test_a_result_is_not_lost_with_what_is_said_beside_it(stderr):
    done = run(["sh", "-c", f'exec "$@" {stderr}', "sh", *RERANK, "--json"], stdout=subprocess.PIPE)
    assert done.returncode == 0
    assert json.loads(done.stdout)["n_pages"] == 12
    assert run(["sh", "-c", f'exec "$@" {stderr}', "sh", *COMMAND, "rerank"]).returncode == 2


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "C"},
        {"PYTHONIOENCODING": "latin-1"},
    ],
)
def test_a_terminal_that_lacks_characters_shows_question_marks(settings):
    done = subprocess.run(
        RERANK, capture_output=True, timeout=120, check=False, env={**os.environ, "PYTHONUTF8": "0", **settings}
    )
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode("utf-8" if settings == {"LC_ALL": "C"} else settings.get("PYTHONIOENCODING", "ascii"))
    assert "p. 8" in shown
    assert "fees: Geb" in shown


def test_what_is_no_text_in_any_encoding_is_shown_and_stays_json():
    question = "fees \udcff"
    command = [*COMMAND, "rerank", question, str(REPORT), *DRY]
    assert run(command, stdout=subprocess.PIPE).returncode == 0
    done = run([*command, "--json"], stdout=subprocess.PIPE)
    assert json.loads(done.stdout)["query"].startswith("fees ")


def test_a_cache_that_cannot_be_made_is_named():
    done = run([*COMMAND, "models"], stdout=subprocess.PIPE, env={**os.environ, "MMR5_CACHE": "/proc/mmr5"})
    assert done.returncode == 1
    assert done.stderr.startswith("error: cannot make /proc/mmr5")
    assert "Set MMR5_CACHE to a writable folder" in done.stderr
    done = run(RERANK, stdout=subprocess.PIPE, env={**os.environ, "MMR5_CACHE": "/proc/mmr5"})
    assert done.returncode == 0
    assert "warning: the cache at /proc/mmr5 cannot be used" in done.stderr


@pytest.mark.parametrize("module", ["mmr5.cli.rerank", "mmr5.pages"])
def test_an_interrupt_while_loading_shows_no_traceback(module):
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from mmr5.cli.main import main\n"
        f"main(['rerank', 'q', {str(REPORT)!r}])"
    )
    done = run([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
