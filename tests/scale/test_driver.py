"""Work, workers and the file that keeps the result, without Ray between."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mmr5.corpora import load_corpus
from mmr5.errors import ConfigError, CorpusError, EngineError, ModelNotFoundError, OutputError
from mmr5.evaluation.benchmark import evaluate
from mmr5.evaluation.comparison import compare, pair
from mmr5.evaluation.runs import open_qids, read_first_stage, read_run
from mmr5.reranker import Reranker
from mmr5.scale.driver import FAILURES, rerank_run
from mmr5.scale.shards import Failure, Outcome, Shard, shards
from mmr5.scale.worker import Job, Worker
from mmr5.settings import EvaluationSettings, WorkerSettings
from mmr5.storage.journal import FAILURES_IN_A_ROW
from scale.conftest import corpus_folder


def job(folder, **changes):
    setup = EvaluationSettings(
        str(folder), retriever=str(folder / "first.trec"), model="m", engine="scripted", method="direct", view="text", ocr="never"
    )
    return Job(dataclasses.replace(setup, **changes))


def here(job, work, workers):
    """Outcomes of one worker in this process."""
    worker = Worker(job)
    return (worker.run(piece) for piece in work)


def go(folder, out, *, source=here, resume=False, batch=2, **changes):
    loaded = load_corpus(folder, ocr="never")
    return rerank_run(job(folder, **changes), loaded, out, WorkerSettings(1), resume=resume, batch=batch, source=source)


def plain(lines):
    """Lines by question, without times."""
    return {x.qid: dataclasses.replace(x, latency_ms={}) for x in lines}


def test_the_result_is_the_one_of_evaluate(folder, tmp_path):
    tally = go(folder, tmp_path / "many")
    assert (tally.total, tally.present, tally.written, tally.failures) == (10, 0, 10, [])
    setup = job(folder).setup
    corpus = load_corpus(folder, ocr="never")
    reranker = Reranker.from_pretrained("m", engine="scripted", method="direct", view="text")
    scores = evaluate(setup, corpus, tmp_path / "one", reranker=reranker)
    assert plain(read_run(tmp_path / "many")) == plain(read_run(tmp_path / "one"))
    # and evaluate goes on with it: nothing is left to rank, it scores
    assert evaluate(setup, corpus, tmp_path / "many", reranker=reranker, resume=True)["reranked"] == scores["reranked"]
    found = compare(pair(tmp_path / "many", tmp_path / "one"), seed=0)
    assert json.dumps(found)
    assert len(pair(tmp_path / "many", tmp_path / "one").a) == 10


def test_it_goes_on_where_it_stopped(folder, tmp_path):
    out = tmp_path / "out"

    def dies(job, work, workers):
        for i, outcome in enumerate(here(job, work, workers)):
            if i == 2:
                raise KeyboardInterrupt
            yield outcome

    with pytest.raises(KeyboardInterrupt):
        go(folder, out, source=dies)
    assert len(read_run(out)) == 4
    with (out / "run.jsonl").open("a") as file:
        file.write('{"qid": "d1#3", "doc_n')
    with pytest.raises(ConfigError, match="--resume"):
        go(folder, out)
    seen = []

    def counted(job, work, workers):
        seen.extend(qid for piece in work for qid in piece.qids)
        return here(job, work, workers)

    tally = go(folder, out, source=counted, resume=True)
    assert (tally.present, tally.written, len(seen)) == (4, 6, 6)
    assert sorted(x.qid for x in read_run(out)) == sorted(f"d{d}#{k}" for d in range(2) for k in range(5))
    tally = go(folder, out, source=counted, resume=True)
    assert (tally.present, tally.written, len(seen)) == (10, 0, 6)
    with pytest.raises(ConfigError, match="other settings"):
        (out / "run.jsonl").write_text((out / "run.jsonl").read_text().split("\n")[0] + "\n")
        go(folder, out, resume=True, candidates=3)


def test_outcomes_that_come_twice_are_kept_once(folder, tmp_path):
    def twice(job, work, workers):
        for outcome in here(job, work, workers):
            yield outcome
            yield outcome

    assert go(folder, tmp_path / "out", source=twice).written == 10
    assert len(read_run(tmp_path / "out")) == 10


def test_a_question_that_fails_takes_no_other_with_it(folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    original = Reranker.rank_many
    broken = ["d0#1", "d1#4"]

    def fails(self, batch, **named):
        if any(f"({qid[-1]})" in c.query and c.pages[0].source == f"{qid[:2]}.pdf" for c in batch for qid in broken):
            raise EngineError("no reply")
        return original(self, batch, **named)

    monkeypatch.setattr(Reranker, "rank_many", fails)
    tally = go(folder, out)
    assert (tally.written, [f.qid for f in tally.failures]) == (8, broken)
    assert json.loads((out / FAILURES).read_text().splitlines()[0]) == {
        "qid": "d0#1",
        "kind": "EngineError",
        "message": "no reply",
    }
    broken.clear()
    assert go(folder, out, resume=True).written == 2
    assert not (out / FAILURES).exists()


def test_a_server_that_is_down_stops_the_run(tmp_path):
    folder = corpus_folder(tmp_path / "corpus", documents=3, questions=10)

    def down(job, work, workers):
        for piece in work:
            yield Outcome(Worker(job).facts, {}, tuple(Failure(qid, "EngineError", "down") for qid in piece.qids))

    with pytest.raises(EngineError, match=f"{FAILURES_IN_A_ROW} questions failed one after the other.*down"):
        go(folder, tmp_path / "out", source=down)


def test_a_worker_that_cannot_start_says_why(folder, tmp_path):
    def cannot(job, work, workers):
        yield Outcome({}, {}, fatal=("ModelNotFoundError", "no model 'm'"))

    with pytest.raises(ModelNotFoundError, match="no model 'm'"):
        go(folder, tmp_path / "out", source=cannot)


def test_workers_must_rank_alike(folder, tmp_path):
    def differ(job, work, workers):
        for i, outcome in enumerate(here(job, work, workers)):
            facts = {**outcome.facts, "prompt_fingerprint": str(i)}
            yield dataclasses.replace(outcome, facts=facts)

    with pytest.raises(ConfigError, match=r"do not rank alike \(prompt\)"):
        go(folder, tmp_path / "out", source=differ)


def test_pieces_are_questions_of_one_document(folder):
    corpus = load_corpus(folder, ocr="never")
    given = read_first_stage(folder / "first.trec").rankings
    found = list(shards(corpus, given, {"d0#0"}, candidates=3, size=2))
    assert [(p.doc_name, len(p.qids)) for p in found] == [("d0", 2), ("d0", 2), ("d1", 2), ("d1", 2), ("d1", 1)]
    assert all(len(r) == 3 for p in found for r in p.ranked)
    assert Shard.from_json(found[0].to_json()) == found[0]
    outcome = Outcome({"a": 1}, {"q": "line é"}, (Failure("r", "PageError", "no"),), ("ConfigError", "x"))
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert sum(len(p.qids) for p in shards(corpus, given, (), candidates=3, size=8, limit=7)) == 7
    with pytest.raises(CorpusError, match="no ranking for 'd0#0'"):
        list(shards(corpus, {}, (), candidates=3, size=2))


def test_the_file_has_one_writer_and_keeps_whole_lines(folder, tmp_path):
    go(folder, tmp_path / "out")
    path = tmp_path / "out" / "run.jsonl"
    lines = path.read_text().splitlines()
    with open_qids(path) as keeper:
        assert len(keeper.values) == 10
        with pytest.raises(OutputError, match="another process"):
            open_qids(path)
        assert keeper.append([lines[0]]) == 0
    path.write_text("\n".join(lines[:3]) + "\nno line\n")
    with pytest.raises(CorpusError, match=r"run\.jsonl:4"):
        open_qids(path)
    path.write_text("\n".join(lines[:3]) + '\n{"half')
    with open_qids(path) as keeper:
        assert len(keeper.values) == 3
    assert path.read_text() == "\n".join(lines[:3]) + "\n"
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        open_qids(tmp_path / "file" / "run.jsonl")


def test_a_driver_killed_while_it_writes_loses_and_doubles_nothing(tmp_path):
    """kill -9 at four moments, in the middle of appends of long lines."""
    path = tmp_path / "run.jsonl"
    program = (
        "import sys\nfrom pathlib import Path\nfrom mmr5.evaluation.runs import RunLine, open_qids\n"
        "print('up', flush=True)\n"
        "with open_qids(Path(sys.argv[1])) as keeper:\n"
        "    for i in range(10**6):\n"
        "        line = RunLine(f'd#{i}', 'd', 'x', 'q', (0,), (0,), (0,), reply='r' * 200_000).to_json()\n"
        "        if keeper.append([line]): print(i, flush=True)\n"
    )
    told = -1
    for moment in range(4):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "up\n"
        time.sleep(0.05 + 0.037 * moment)
        process.send_signal(signal.SIGKILL)
        said = [int(n) for n in process.stdout.read().split()]
        process.wait()
        process.stdout.close()
        told = max([told, *said])
        with open_qids(path) as keeper:
            assert keeper.values.keys() >= {f"d#{i}" for i in range(told + 1)}
    ids = [json.loads(line)["qid"] for line in path.read_text().splitlines()]
    assert len(ids) == len(set(ids)) > 4
    assert os.path.getsize(path) > 0


@pytest.mark.parametrize("bad", [{"number": 0}, {"cpus": 0}, {"gpus": -1}])
def test_impossible_workers_are_refused(bad):
    with pytest.raises(ConfigError):
        WorkerSettings(**bad)


def test_no_piece_is_empty(folder, tmp_path):
    with pytest.raises(ConfigError, match="batch is 0"):
        go(folder, tmp_path / "out", batch=0)
