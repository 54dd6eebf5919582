import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mmr5 import Page, Reranker
from mmr5.corpora import Corpus, Document, Question
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError, CorpusError, EngineError
from mmr5.evaluation.benchmark import evaluate
from mmr5.evaluation.runs import RunLine, open_run, parse_line, read_first_stage, read_run, trec_qrels, trec_run
from mmr5.evaluation.statistics import gold_position, intervals, latencies, parse_shares, summarise
from mmr5.metrics import score
from mmr5.settings import EvaluationSettings

TOPICS = ["crane", "seal", "ferry", "pilot", "tide", "wage", "storm", "letter", "fee", "cargo", "anchor", "buoy"]


class Store:
    """Pages that are made on the spot."""

    def __init__(self):
        self.read = []

    def pages(self, document):
        self.read.append(document.doc_name)
        return [
            Page(document.doc_name, i + 1, text=f"{document.doc_name} speaks of the {TOPICS[i]} here.")
            for i in range(document.pages)
        ]


def corpus():
    documents = (Document("one", "Guidebook", 12, "dev"), Document("two", "News", 4, "dev"), Document("three", "News", 5, "dev"))
    asked = [("one", "where is the seal?", (1,), "text"), ("one", "the ferry and the tide", (2, 4), "table"), ("one", "the seal again", (1,), None),
             ("two", "pilot", (3,), "text"), ("three", "wage or crane", (0,), "figure")]  # fmt: skip
    counts = {}
    questions = []
    for name, text, pages, kind in asked:
        k = counts[name] = counts.get(name, -1) + 1
        questions.append(Question(name, text, pages, f"{name}#{k}", type=kind, split="dev"))
    return Corpus("test", documents, tuple(questions), Store())


def setup(**options):
    return EvaluationSettings("test", retriever="bm25", **options)


def reranker(method="likelihood", script=None):
    return Reranker(ScriptedEngine(script), view="text", method=method)


def test_everything_promised_is_written(tmp_path):
    scores = evaluate(setup(model="scripted", candidates=5), corpus(), tmp_path, reranker=reranker())
    assert json.loads((tmp_path / "scores.json").read_text()) == json.loads(json.dumps(scores))
    assert {
        "retriever",
        "reranked",
        "delta",
        "ci95",
        "by_domain",
        "by_type",
        "oracle",
        "candidate_recall",
        "parse",
        "latency_ms",
        "n_questions",
    } <= set(scores)
    for kind in ("macro", "micro"):
        assert list(scores["reranked"][kind]) == ["recall@1", "recall@3", "recall@5", "mrr", "ndcg@5"]
    lines = [json.loads(x) for x in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert [x["qid"] for x in lines] == ["one#0", "one#1", "one#2", "two#0", "three#0"]
    assert {"qid", "doc_name", "question", "relevant", "candidates", "ranking", "scores", "reply", "issues", "latency_ms"} <= set(
        lines[0]
    )
    assert all(sorted(x["ranking"]) == sorted(x["candidates"]) for x in lines)
    assert all(x["scores"] == sorted(x["scores"], reverse=True) for x in lines)
    facts = json.loads((tmp_path / "provenance.json").read_text())
    assert facts["prompt_fingerprint"] == reranker().fingerprint
    assert facts["config"]["retriever"] == "bm25"
    report = (tmp_path / "report.md").read_text()
    assert "| macro gain |" in report
    assert "Guidebook" in report


def test_candidates_are_exactly_the_first_stages_best(tmp_path):
    """No relevant page is ever added, and a short document gives all its pages."""
    evaluate(setup(model="oracle", candidates=3), corpus(), tmp_path)
    lines = {x.qid: x for x in read_run(tmp_path)}
    assert all(len(x.candidates) == 3 for x in lines.values())
    missed = Corpus("test", corpus().documents, (Question("one", "zebra", (11,), "one#0"),), Store())
    evaluate(setup(model="oracle", candidates=3), missed, tmp_path / "missed")
    assert read_run(tmp_path / "missed")[0].candidates == (0, 1, 2)
    evaluate(setup(model="oracle", candidates=10), corpus(), tmp_path / "ten")
    assert {x.qid: len(x.candidates) for x in read_run(tmp_path / "ten")} == {
        "one#0": 10,
        "one#1": 10,
        "one#2": 10,
        "two#0": 4,
        "three#0": 5,
    }


def test_baselines(tmp_path):
    found = {m: evaluate(setup(model=m), corpus(), tmp_path / m) for m in ("none", "oracle", "random")}
    assert found["none"]["reranked"] == found["none"]["retriever"] == found["oracle"]["retriever"]
    assert found["oracle"]["reranked"] == found["oracle"]["oracle"]
    assert found["oracle"]["reranked"]["micro"]["mrr"] == 1
    again = evaluate(setup(model="random"), corpus(), tmp_path / "again")
    assert again["reranked"] == found["random"]["reranked"]
    assert evaluate(setup(model="random", given={"seed": 5}), corpus(), tmp_path / "other")["reranked"] != again["reranked"]


def test_list_wise_rankings_are_the_parse_of_the_reply(tmp_path):
    def reply(request):
        return "<think>\nPage 1: x\n</think><answer>[3, 1, 2]</answer>"

    evaluate(setup(model="scripted", candidates=3), corpus(), tmp_path, reranker=reranker("reason", reply))
    for line in read_run(tmp_path):
        assert line.ranking == (line.candidates[2], line.candidates[0], line.candidates[1])
        assert line.reply.endswith("[3, 1, 2]</answer>")
        assert line.notes[1] == "x"
        assert line.issues == ()


def test_fusion_is_applied_when_asked_for(tmp_path):
    evaluate(setup(model="scripted", fusion=0.0), corpus(), tmp_path, reranker=reranker())
    assert all(x.ranking == x.candidates for x in read_run(tmp_path))


def test_a_run_goes_on_where_it_stopped(tmp_path):
    whole = evaluate(setup(model="scripted"), corpus(), tmp_path / "whole", reranker=reranker())
    evaluate(setup(model="scripted"), corpus(), tmp_path / "cut", reranker=reranker())
    file = tmp_path / "cut" / "run.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:2]) + lines[2][:40])
    engine = ScriptedEngine()
    resumed = evaluate(
        setup(model="scripted"),
        corpus(),
        tmp_path / "cut",
        reranker=Reranker(engine, view="text", method="likelihood"),
        resume=True,
    )
    assert resumed["reranked"] == whole["reranked"]
    assert len(engine.requests) == 10 + 4 + 5
    assert [x.qid for x in read_run(tmp_path / "cut")] == ["one#0", "one#1", "one#2", "two#0", "three#0"]


def test_questions_that_fail_are_named_and_the_others_are_kept(tmp_path):
    class Refusing(ScriptedEngine):
        def score_text(self, requests, texts):
            if "the ferry and the tide" in texts:
                raise EngineError("this one not")
            return super().score_text(requests, texts)

    broken = Reranker(Refusing(), view="text", method="likelihood")
    with pytest.raises(
        EngineError, match=r"1 of 5 questions failed, the first one#1: this one not.*The 4 that were ranked.*--resume"
    ):
        evaluate(setup(model="scripted"), corpus(), tmp_path, reranker=broken)
    assert {x.qid for x in read_run(tmp_path)} == {"one#0", "one#2", "two#0", "three#0"}
    whole = evaluate(setup(model="scripted"), corpus(), tmp_path, reranker=reranker(), resume=True)
    assert whole["n_questions"] == 5


def test_a_run_is_not_overwritten_or_mixed(tmp_path):
    evaluate(setup(model="none"), corpus(), tmp_path)
    with pytest.raises(ConfigError, match="--resume"):
        evaluate(setup(model="none"), corpus(), tmp_path)
    with pytest.raises(ConfigError, match="other settings \\(candidates\\)"):
        evaluate(setup(model="none", candidates=2), corpus(), tmp_path, resume=True)
    assert evaluate(setup(model="none"), corpus(), tmp_path, resume=True)["n_questions"] == 5


def test_runs_can_be_the_first_stage(tmp_path):
    first = evaluate(setup(model="random"), corpus(), tmp_path / "a")
    for name in ("run.trec", "run.jsonl"):
        path = tmp_path / "a" / name
        second = evaluate(EvaluationSettings("test", retriever=str(path), model="none"), corpus(), tmp_path / f"b-{name}")
        assert second["retriever"] == first["reranked"]
    with pytest.raises(CorpusError, match="no run at"):
        evaluate(EvaluationSettings("test", retriever=str(tmp_path / "nothing.trec"), model="none"), corpus(), tmp_path / "c")
    (tmp_path / "bad.trec").write_text("one#0 Q0 one:99 1 0.5 t\n")
    with pytest.raises(CorpusError, match="page 99"):
        evaluate(EvaluationSettings("test", retriever=str(tmp_path / "bad.trec"), model="none"), corpus(), tmp_path / "d")
    (tmp_path / "worse.trec").write_text("one#0 one:99\n")
    with pytest.raises(CorpusError, match=r"worse\.trec:1"):
        evaluate(EvaluationSettings("test", retriever=str(tmp_path / "worse.trec"), model="none"), corpus(), tmp_path / "e")


def line(qid="d#0", domain="x", relevant=(1,), candidates=(0, 1, 2), ranking=None, **more):
    return RunLine(qid, qid.split("#")[0], domain, "q", relevant, candidates, ranking or candidates, **more)


def test_names_with_white_space_survive_trec(tmp_path):
    lines = [line("my doc: a#0", relevant=(2,))]
    (tmp_path / "r.trec").write_text(trec_run(lines, "t"))
    assert read_first_stage(tmp_path / "r.trec").rankings == {"my doc: a#0": [(0, 0.0), (1, -1.0), (2, -2.0)]}
    assert trec_qrels(lines).split() == ["my%20doc:%20a#0", "0", "my%20doc:%20a:2", "1"]


def test_a_broken_line_is_named(tmp_path):
    for bad in ("{", "[]", json.dumps({"qid": "a"}), line().to_json().replace('"ranking": [0, 1, 2]', '"ranking": [0, 1]')):
        with pytest.raises(CorpusError, match="here:7"):
            parse_line(bad, "here:7")
    assert parse_line(line(notes=(None, "a", None)).to_json(), "x") == line(notes=(None, "a", None))
    with pytest.raises(CorpusError, match="no run at"):
        read_run(tmp_path / "nothing")


def test_intervals_hold_the_gain_and_are_seeded():
    lines = [
        line(f"doc{d}#{k}", domain=f"dom{d % 3}", ranking=(1, 0, 2) if (d + k) % 3 else (0, 2, 1))
        for d in range(12)
        for k in range(4)
    ]
    before, after = [score(x.candidates, x.relevant) for x in lines], [score(x.ranking, x.relevant) for x in lines]
    found = intervals(lines, before, after, None, seed=1, resamples=2000)
    gain = sum(b["recall@1"] - a["recall@1"] for a, b in zip(before, after, strict=True)) / len(lines)
    low, high = found["micro"]["recall@1"]
    assert low < gain < high
    assert high - low < 0.3
    assert found == intervals(lines, before, after, None, seed=1, resamples=2000)
    same = intervals(lines, before, before, None, seed=1, resamples=100)
    assert same["macro"]["mrr"] == [0, 0]


def test_below_five_documents_there_is_no_interval():
    lines = [line(f"doc{k % 4}#{k}", ranking=(1, 0, 2)) for k in range(8)]
    found = summarise(lines, resamples=50)
    assert found["ci95"]["micro"]["recall@1"] is None
    assert found["delta"]["micro"]["recall@1"] == 1
    assert summarise([*lines, line("doc9#0", ranking=(1, 0, 2))], resamples=50)["ci95"]["micro"]["recall@1"] == [1, 1]


def test_an_empty_domain_counts_zero_where_the_domains_are_fixed():
    lines = [line("a#0", "x", ranking=(1, 0, 2)), line("b#0", "y", ranking=(1, 0, 2))]
    assert summarise(lines, resamples=20)["reranked"]["macro"]["recall@1"] == 1
    assert summarise(lines, domains=("x", "y", "z", "w"), resamples=20)["reranked"]["macro"]["recall@1"] == 0.5


def test_ceilings_and_positions():
    lines = [line("a#0", relevant=(7,)), line("b#0", relevant=(0, 2))]
    found = summarise(lines, resamples=20)
    assert found["oracle"]["micro"]["recall@3"] == 0.5
    assert found["candidate_recall"]["micro"] == 0.5
    assert [gold_position(x) for x in lines] == ["absent", "01"]


def test_parse_shares_and_latencies():
    lines = [
        line(reply="x", issues=("MISSING", "DUPLICATE")),
        line(reply="y"),
        line(latency_ms={"model": 10.0}),
        line(latency_ms={"model": 30.0}),
    ]
    shares = parse_shares(lines)
    assert (shares["clean"], shares["MISSING"], shares["NO_ANSWER"], shares["n_replies"]) == (0.5, 0.5, 0, 2)
    assert latencies(lines)["model"] == {"p50": 20.0, "p95": pytest.approx(29.0)}


def test_a_kill_at_any_moment_loses_nothing_and_repeats_nothing(tmp_path):
    """A process that appends lines is killed while it writes; what was flushed is there, and the rest is written once."""
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[2])\n"
        "from mmr5.evaluation.runs import RunLine, open_run\n"
        "w = open_run(pathlib.Path(sys.argv[1])); done = w.values\n"
        "for i in range(400):\n"
        "    if f'd#{i}' not in done:\n"
        "        w.append([RunLine(f'd#{i}', 'd', 'x', 'q' * 2000, (1,), (0, 1), (1, 0)).to_json()])\n"
        "        print(i, flush=True)\n"
    )
    path = tmp_path / "run.jsonl"
    for delay in (0.0, 0.05, 0.15):
        process = subprocess.Popen([sys.executable, "-c", program, str(path), ""], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
    subprocess.run([sys.executable, "-c", program, str(path), ""], stdout=subprocess.DEVNULL, check=True)
    assert [x.qid for x in read_run(path)] == [f"d#{i}" for i in range(400)]


def test_a_half_line_is_dropped_when_a_run_is_opened(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_text(line("a#0").to_json() + "\n" + line("a#1").to_json()[:30])
    writer = open_run(path)
    assert list(writer.values) == ["a#0"]
    writer.append([line("a#1").to_json()])
    writer.close()
    assert [x.qid for x in read_run(path)] == ["a#0", "a#1"]


@pytest.mark.parametrize("bad", [{"candidates": 0}, {"limit": 0}])
def test_impossible_setups_are_refused(bad):
    with pytest.raises(ConfigError):
        EvaluationSettings("test", **bad)


def test_a_model_needs_a_reranker(tmp_path):
    with pytest.raises(ConfigError, match="no baseline"):
        evaluate(setup(model="mini"), corpus(), tmp_path)
