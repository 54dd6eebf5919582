"""A run goes on after a kill, one writer at a time, and what was read once is not read again."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mmr5.corpora import load_corpus
from mmr5.errors import OutputError
from mmr5.evaluation.benchmark import BATCH, evaluate
from mmr5.evaluation.runs import RunLine, open_run, read_run
from mmr5.pages.ocr import Recognition
from mmr5.settings import EvaluationSettings

TIMES = {"latency_ms"}


def without_times(folder):
    return [{k: v for k, v in json.loads(x.to_json()).items() if k not in TIMES} for x in read_run(folder)]


def test_a_run_has_one_writer(tmp_path):
    with open_run(tmp_path / "run.jsonl") as writer:
        writer.append([RunLine("a#0", "a", "x", "q", (0,), (0,), (0,)).to_json()])
        with pytest.raises(OutputError, match="another process"):
            open_run(tmp_path / "run.jsonl")
    with open_run(tmp_path / "run.jsonl") as writer:
        assert list(writer.values) == ["a#0"]


class Encoder:
    """Counts what is embedded."""

    def __init__(self):
        self.seen = []

    def encode(self, texts, *_):
        self.seen += texts
        rows = np.array([[len(t), t.count("e") + 1, 1.0] for t in texts], dtype=np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_a_second_evaluation_reads_recognises_and_embeds_nothing_again(harbour, tmp_path, monkeypatch):
    """Text layers, OCR of the scanned pages, embeddings and pictures come from the cache; only questions are embedded."""
    encoder = Encoder()
    recognised = []
    monkeypatch.setattr("mmr5.retrieval.dense._bundled", lambda *_: encoder)
    monkeypatch.setattr(
        "mmr5.pages.ocr.recognise", lambda image: recognised.append(image.size) or Recognition("a letter about a late berth")
    )
    setup = EvaluationSettings(str(harbour), retriever="hybrid", model="none")
    first = evaluate(setup, load_corpus(harbour), tmp_path / "a")
    questions = {x.question for x in read_run(tmp_path / "a")}
    assert recognised
    assert set(encoder.seen) > questions
    encoder.seen.clear()
    monkeypatch.setattr("mmr5.pages.ocr.recognise", lambda _: pytest.fail("recognised again"))
    monkeypatch.setattr("mmr5.pages.pdf._extract", lambda _: pytest.fail("text was extracted again"))
    monkeypatch.setattr("mmr5.pages.pdf.render_page", lambda *_: pytest.fail("rendered again"))
    start = time.perf_counter()
    second = evaluate(setup, load_corpus(harbour), tmp_path / "b")
    assert time.perf_counter() - start < 5
    assert set(encoder.seen) == questions
    assert second["reranked"] == first["reranked"]
    assert without_times(tmp_path / "a") == without_times(tmp_path / "b")


@pytest.mark.slow
def test_a_killed_command_goes_on_and_ends_with_the_same_numbers(harbour, tmp_path):
    """`mmr5 evaluate` is killed with SIGKILL three times while it writes. Budget: 60 s."""
    asked = [json.loads(x) for x in (harbour / "questions.jsonl").read_text().splitlines()]
    many = [{**asked[i % len(asked)], "question": f"{asked[i % len(asked)]['question']} ({i})"} for i in range(1200)]
    (harbour / "questions.jsonl").write_text("".join(json.dumps(x) + "\n" for x in many))
    load_corpus(harbour, ocr="auto").document_pages("harbour")

    def command(out, *rest):
        words = [
            "evaluate",
            str(harbour),
            "--out",
            str(out),
            "--retriever",
            "bm25",
            "--engine",
            "scripted",
            "--model",
            "scripted",
        ]
        words += ["--method", "reason", "--view", "text", *rest]
        return [sys.executable, "-m", "mmr5.cli.main", *words]

    subprocess.run(command(tmp_path / "whole"), check=True, capture_output=True)
    cut, sizes = tmp_path / "cut", [0]
    for wanted in (8, 300, 700):
        process = subprocess.Popen(command(cut, "--resume"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        run = cut / "run.jsonl"
        while process.poll() is None and (not run.exists() or run.read_bytes().count(b"\n") < wanted):
            time.sleep(0.002)
        assert process.poll() is None, process.stderr.read().decode()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        sizes.append(run.read_bytes().count(b"\n"))
        assert not (cut / "scores.json").exists()
    assert sizes == sorted(set(sizes))
    assert all(size % BATCH == 0 for size in sizes)
    subprocess.run(command(cut, "--resume"), check=True, capture_output=True)
    qids = [x.qid for x in read_run(cut)]
    assert len(qids) == len(set(qids)) == 1200
    assert without_times(cut) == without_times(tmp_path / "whole")
    before, after = (json.loads((folder / "scores.json").read_text()) for folder in (tmp_path / "whole", cut))
    for part in ("retriever", "reranked", "delta", "ci95", "by_domain", "parse", "n_questions"):
        assert before[part] == after[part]
