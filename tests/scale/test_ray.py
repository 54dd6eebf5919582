"""rerank-run on Ray, its workers and its driver killed. The model is a server in this process, so that workers start fast.

Budget: 150 s (20 kills: 90 s).
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from mmr5.corpora import load_corpus
from mmr5.errors import ConfigError
from mmr5.evaluation.runs import read_run
from mmr5.scale import cluster
from mmr5.scale.driver import rerank_run
from mmr5.scale.worker import Job
from mmr5.settings import EvaluationSettings, WorkerSettings
from scale.conftest import corpus_folder, model_server

pytestmark = pytest.mark.slow


def command(folder, out, url, *more):
    run = [sys.executable, "-m", "mmr5.cli.main", "rerank-run", str(folder), str(folder / "first.trec"), "--out", str(out)]
    how = ["--engine", "openai", "--base-url", url, "--model", "m", "--method", "direct", "--view", "text", "--ocr", "never"]
    return [*run, *how, "--workers", "2", "--json", *more]


def processes():
    """pid → (parent, command line) of every process."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                found[int(entry.name)] = parent, (entry / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
    return found


def workers_of(driver):
    """Processes below a driver that run its workers."""
    there = processes()

    def below(pid):
        while pid in there:
            pid = there[pid][0]
            if pid == driver:
                return True
        return False

    return [pid for pid, (_, line) in there.items() if line.startswith("ray::MapWorker") and below(pid)]


def lines(out):
    path = out / "run.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def test_twenty_random_kills_lose_and_double_nothing(tmp_path):
    chance = random.Random(20)
    folder, out = corpus_folder(tmp_path / "corpus", documents=8, questions=40), tmp_path / "out"
    drivers_to_kill, workers_to_kill, kept = 3, 17, 0
    with model_server(seconds=0.1) as (url, asked):
        while True:
            log = (tmp_path / "log").open("w")
            process = subprocess.Popen(
                command(folder, out, url, "--batch", "2", *(["--resume"] if lines(out) else [])), stdout=log, stderr=log
            )
            before = lines(out)
            until = time.monotonic() + 60
            while process.poll() is None and lines(out) < before + 4:
                assert time.monotonic() < until, "no line within a minute"
                time.sleep(0.05)
            quota = workers_to_kill if drivers_to_kill == 0 else min(workers_to_kill, 5)
            while process.poll() is None and quota:
                there = workers_of(process.pid)
                if there:
                    os.kill(chance.choice(there), signal.SIGKILL)
                    quota -= 1
                    workers_to_kill -= 1
                time.sleep(chance.uniform(0.1, 0.7))
            if drivers_to_kill and process.poll() is None:
                process.kill()
                drivers_to_kill -= 1
            code = process.wait(120)
            assert lines(out) >= kept
            kept = lines(out)
            if code == 0:
                break
            assert code == -signal.SIGKILL, (tmp_path / "log").read_text()
            assert kept < 320, "the work ended before the kills: make it longer"
    assert (drivers_to_kill, workers_to_kill) == (0, 0)
    found = Counter(x.qid for x in read_run(out))
    assert set(found) == {f"d{d}#{k}" for d in range(8) for k in range(40)}
    assert set(found.values()) == {1}
    assert all(x.ranking == tuple(reversed(x.candidates)) for x in read_run(out))
    again = len(asked) - 320
    print(f"20 kills: 320 questions, {again} asked a second time")
    assert (
        again <= 20 * 2 * 2 * 2 * 2
    )  # a kill costs at most what the workers held: 2 workers, 2 shards each, 2 questions a piece


def job(folder, url="", engine="openai"):
    model = {"model": "m", "engine": engine, "base_url": url or None, "method": "direct", "view": "text"}
    return Job(EvaluationSettings(str(folder), retriever=str(folder / "first.trec"), ocr="never", **model))


def test_results_that_wait_for_the_writer_are_bounded_in_memory(tmp_path, monkeypatch):
    """A writer slower than its workers: 240 MB of replies pass through a store in which 16 MB may wait."""
    monkeypatch.setattr(cluster, "OUTCOME_BYTES", 16 * 2**20)
    folder, out = corpus_folder(tmp_path / "corpus", documents=3, questions=40), tmp_path / "out"
    seen = []

    def slow(stage, done, total):
        seen.append(stored())
        time.sleep(0.05)

    def stored():
        from ray._private.internal_api import memory_summary

        text = memory_summary(stats_only=True)
        return float(text.split("Plasma memory usage ")[1].split()[0])

    with model_server(padding=2 * 10**6) as (url, asked):
        loaded = load_corpus(folder, ocr="never")
        tally = rerank_run(job(folder, url), loaded, out, WorkerSettings(2), batch=1, progress=slow)
    assert (tally.written, len(asked)) == (120, 120)
    print(f"most in the store: {max(seen):.0f} MiB of 240 MB that passed through")
    assert max(seen) < 64


def test_what_cannot_be_had_is_said(tmp_path):
    folder = corpus_folder(tmp_path / "corpus", documents=1, questions=1)
    loaded = load_corpus(folder, ocr="never")
    with pytest.raises(ConfigError, match=r"need 1 GPUs, and the cluster has 0"):
        rerank_run(job(folder, engine="scripted"), loaded, tmp_path / "a", WorkerSettings(1, gpus=1.0))
    with pytest.raises(ConfigError, match="no Ray at"):
        rerank_run(job(folder, engine="scripted"), loaded, tmp_path / "b", WorkerSettings(1, address="127.0.0.1:9"))
    with pytest.raises(ConfigError, match="base_url"):
        rerank_run(job(folder, "http://x", engine="scripted"), loaded, tmp_path / "c", WorkerSettings(1))


def test_an_existing_cluster_is_used_and_left_alone(tmp_path):
    ray = cluster.import_ray()
    folder, out = corpus_folder(tmp_path / "corpus", documents=2, questions=4), tmp_path / "out"
    context = ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=cluster.STORE_BYTES)
    try:
        with model_server() as (url, asked):
            done = subprocess.run(
                command(folder, out, url, "--address", context.address_info["gcs_address"]),
                capture_output=True,
                text=True,
                timeout=90,
            )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"total": 8, "present": 0, "written": 8, "failed": 0, "failures": []}
        assert ray.cluster_resources()["CPU"] == 2
    finally:
        ray.shutdown()
    assert len(asked) == len(read_run(out)) == 8
