"""The benchmark of rerank-run measures what it says: whole runs, through the driver, over a made corpus."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "rerank_run.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("rerank_run_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["rerank_run_benchmark"] = module
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("rerank_run_benchmark", None)


def test_the_driver_alone_writes_every_question_once(bench, capsys):
    bench.driver(150)
    found = json.loads(capsys.readouterr().out)
    assert found["questions"] == 150
    assert found["run_bytes_a_question"] > 1500
    assert found["first_stage_bytes_a_question"] > 300
    assert found["run_s"] > 0


def test_the_made_corpus_has_what_was_asked_for(bench, tmp_path):
    from mmr5.data.corpus import load_corpus
    from mmr5.evaluation.runs import read_first_stage

    folder = bench.large_corpus(tmp_path / "c", 130)
    corpus = load_corpus(str(folder), ocr="never")
    assert (len(corpus.documents), len(corpus.questions)) == (2, 130)
    given = read_first_stage(folder / "first.trec").rankings
    assert set(given) == {q.qid for q in corpus.questions}
    assert {len(ranked) for ranked in given.values()} == {10}
