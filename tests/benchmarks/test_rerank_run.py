"""The benchmark of rerank-run measures what it says: whole runs, through the driver, over a made corpus."""

import json

import pytest


@pytest.fixture(scope="module")
def bench(load_benchmark):
    return load_benchmark("rerank_run")


def test_the_driver_alone_writes_every_question_once(bench, capsys):
    bench.driver(150)
    found = json.loads(capsys.readouterr().out)
    assert found["questions"] == 150
    assert found["run_bytes_a_question"] > 1500
    assert found["first_stage_bytes_a_question"] > 300
    assert found["run_s"] > 0


def test_the_made_corpus_has_what_was_asked_for(bench, tmp_path):
    from mmr5.corpora import load_corpus
    from mmr5.evaluation.runs import read_first_stage

    folder = bench.large_corpus(tmp_path / "c", 130)
    corpus = load_corpus(str(folder), ocr="never")
    assert (len(corpus.documents), len(corpus.questions)) == (2, 130)
    given = read_first_stage(folder / "first.trec").rankings
    assert set(given) == {q.qid for q in corpus.questions}
    assert {len(ranked) for ranked in given.values()} == {10}
