"""rerank-run's writing process is killed in the middle of appends, shown to be in the middle, and nothing is lost or doubled."""

import dataclasses
import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mmr5.evaluation.runs import read_run
from scale.conftest import corpus_folder

PROGRAM = Path(__file__).with_name("torn_driver.py")


def start(*arguments):
    return subprocess.Popen([sys.executable, str(PROGRAM), *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def torn(file):
    """Whole lines and the half line after them."""
    whole, end, half = file.read_bytes().rpartition(b"\n")
    return whole + end, half


def kill_in_the_middle(corpus, out, kills, seed):
    """Kill that many processes, each with half an append in the file; what was in the file before each is still there."""
    draw, file = random.Random(seed), out / "run.jsonl"
    before = b""
    for number in range(kills):
        process = start(corpus, out, draw.choice([1, 2]), seed + number)
        written = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL
        whole, half = torn(file)
        assert half, "the kill was not in the middle of a line"
        with pytest.raises(ValueError):
            json.loads(half)
        assert whole.startswith(before), "something that was written is gone"
        assert len(whole) - len(before) + len(half) >= written > 0
        before = whole


def plain(folder):
    """Lines without times, by question."""
    lines = read_run(folder)
    assert len({x.qid for x in lines}) == len(lines), "a question stands twice"
    return {x.qid: dataclasses.replace(x, latency_ms={}) for x in lines}


def check(tmp_path, kills, questions):
    corpus = corpus_folder(tmp_path / "corpus", documents=2, questions=questions)
    kill_in_the_middle(corpus, tmp_path / "killed", kills, seed=7)
    for out in ("killed", "whole"):
        process = start(corpus, tmp_path / out, 0, 0)
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert torn(tmp_path / "killed" / "run.jsonl")[1] == b""
    found = plain(tmp_path / "killed")
    assert len(found) == 2 * questions and found == plain(tmp_path / "whole")


def test_a_run_that_is_killed_in_the_middle_of_an_append_goes_on(tmp_path):
    check(tmp_path, kills=1, questions=3)


@pytest.mark.slow  # budget: 180 seconds
def test_twenty_kills_in_the_middle_of_appends_lose_and_double_nothing(tmp_path):
    check(tmp_path, kills=20, questions=40)
