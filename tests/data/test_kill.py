"""A teacher that is killed at any moment loses nothing that was written and asks for nothing that was written."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("killed_teacher.py")
PAGES = 8


def start(folder, lists, seconds):
    process = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(folder), str(lists), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def records(folder):
    """Whole lines of the notes file, as bytes and as work: (qid, page id or "list")."""
    path = folder / "notes.jsonl"
    whole = path.read_bytes().rpartition(b"\n") if path.exists() else (b"", b"", b"")
    lines = [json.loads(line) for line in whole[0].split(b"\n") if line]
    return whole[0], [(r["qid"], "list" if r["kind"] == "list" else str(r["page_id"])) for r in lines]


def asked(folder):
    """All that the teacher was asked, in order; nothing when it was killed before its first question."""
    log = folder / "asks.log"
    return [tuple(line.split()) for line in log.read_text().splitlines()] if log.exists() else []


def kill_and_count(folder, kills, lists, seconds, longest, seed):
    draw = random.Random(seed)
    asked_before = 0
    for number in range(kills):
        bytes_before, done = records(folder)
        process = start(folder, lists, seconds)
        time.sleep(draw.uniform(0, longest))
        process.send_signal(signal.SIGINT if number % 5 == 4 else signal.SIGKILL)
        process.communicate(timeout=30)
        bytes_after, _ = records(folder)
        assert bytes_after.startswith(bytes_before), "something that was written is gone"
        asks = asked(folder)
        assert not set(asks[asked_before:]) & set(done), "something that was written was asked for again"
        asked_before = len(asks)
    _, unfinished = records(folder)
    process = start(folder, lists, seconds)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    _, done = records(folder)
    assert len(done) == len(set(done)) == lists * (PAGES + 1)
    asks = asked(folder)
    assert set(asks) == set(done)
    # What was under way in a worker when the process was killed is asked for once more; nothing else is.
    assert len(asks) - len(done) <= 4 * kills
    return {
        "kills": kills,
        "written before the last run": len(unfinished),
        "asked twice": len(asks) - len(done),
        "last run": out.strip(),
    }


def test_five_kills_lose_and_repeat_nothing(tmp_path):
    found = kill_and_count(tmp_path, 5, 40, 0.01, 0.2, seed=1)
    assert 0 < found["written before the last run"] < 40 * (PAGES + 1)


@pytest.mark.slow  # budget: 180 seconds
def test_a_hundred_kills_lose_and_repeat_nothing(tmp_path):
    found = kill_and_count(tmp_path, 100, 70, 0.02, 0.1, seed=2)
    print(found)
    assert found["written before the last run"] > 100


def test_an_interrupt_keeps_what_is_under_way(tmp_path):
    process = start(tmp_path, 40, 0.05)
    patience = time.monotonic() + 20
    while not asked(tmp_path) and time.monotonic() < patience:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    asks = asked(tmp_path)
    assert set(records(tmp_path)[1]) == set(asks) and asks
