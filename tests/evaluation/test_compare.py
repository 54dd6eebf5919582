import json

import pytest

from mmr5.cli.main import main
from mmr5.corpora import load_corpus
from mmr5.errors import ConfigError
from mmr5.evaluation.benchmark import evaluate
from mmr5.evaluation.comparison import compare, comparison_html, comparison_markdown, pair, run_pages
from mmr5.evaluation.runs import RunLine, read_run
from mmr5.settings import EvaluationSettings


@pytest.fixture
def runs(harbour, tmp_path):
    """Three runs of the same questions."""
    corpus = load_corpus(harbour, ocr="never")
    for model in ("none", "random", "oracle"):
        evaluate(EvaluationSettings(str(harbour), retriever="bm25", model=model, candidates=6), corpus, tmp_path / model)
    return tmp_path


def test_the_difference_is_that_of_the_runs(runs):
    scores = {m: json.loads((runs / m / "scores.json").read_text()) for m in ("none", "oracle")}
    found = compare(pair(runs / "none", runs / "oracle"), resamples=50)
    for kind in ("macro", "micro"):
        assert found["a"][kind] == scores["none"]["reranked"][kind]
        assert found["b"][kind] == scores["oracle"]["reranked"][kind]
        for name, value in found["delta"][kind].items():
            assert value == pytest.approx(scores["oracle"]["delta"][kind][name])
    total = found["questions"]
    assert total["lost"] == 0 < total["won"]
    assert sum(total.values()) == found["n_questions"] == scores["none"]["n_questions"]
    assert found["differ"] == {"model": ["none", "oracle"]}
    places = [(x.qid, x.relevant[0], x.ranking) for x in read_run(runs / "none")]
    won = {qid for qid, gold, ranking in places if gold in ranking[1:]}
    assert {x["qid"] for x in found["won"]} == won


def test_it_is_antisymmetric_and_nothing_against_itself(runs):
    there = compare(pair(runs / "random", runs / "none"), resamples=200)
    back = compare(pair(runs / "none", runs / "random"), resamples=200)
    for name, value in there["delta"]["micro"].items():
        assert value == pytest.approx(-back["delta"]["micro"][name])
    assert set(there["ci95"]["micro"].values()) == {None}
    assert ["below 5 no interval is given" in warning for warning in there["warnings"]] == [True]
    assert {x["qid"] for x in there["won"]} == {x["qid"] for x in back["lost"]}
    assert there["won"] == sorted(there["won"], key=lambda x: -x["gain"])
    same = compare(pair(runs / "none", runs / "none"), resamples=50)
    assert same["questions"]["tied"] == same["n_questions"]
    assert set(same["delta"]["macro"].values()) == {0}


def test_intervals_are_antisymmetric_where_there_are_documents_enough(tmp_path):
    for name, ranking in (("a", (0, 1)), ("b", (1, 0))):
        (tmp_path / name).mkdir()
        lines = [RunLine(f"d{i}#0", f"d{i}", "x", "q", (i % 2,), (0, 1), ranking if i % 3 else (0, 1)) for i in range(6)]
        (tmp_path / name / "run.jsonl").write_text("".join(line.to_json() + "\n" for line in lines))
        facts = {"config": {"retriever": "r", "model": name}, "command": "x"}
        (tmp_path / name / "provenance.json").write_text(json.dumps(facts))
    there, back = (compare(pair(tmp_path / a, tmp_path / b), resamples=200) for a, b in (("a", "b"), ("b", "a")))
    for name in there["delta"]["micro"]:
        assert there["ci95"]["micro"][name] == pytest.approx([-x for x in reversed(back["ci95"]["micro"][name])])
    assert there["warnings"] == []


def test_unequal_candidates_are_said(runs):
    file = runs / "random" / "run.jsonl"
    first, *rest = file.read_text().splitlines(keepends=True)
    record = json.loads(first)
    lost = record["candidates"][0]
    for field in ("candidates", "ranking"):
        record[field] = [page for page in record[field] if page != lost]
    record.update(scores=None, first_stage_scores=None, evidence=None)
    file.write_text(json.dumps(record) + "\n" + "".join(rest))
    found = compare(pair(runs / "none", runs / "random"), resamples=20)
    assert f"other candidates for 1 of {found['n_questions']} questions" in found["warnings"][1]
    assert found["warnings"][1] in comparison_markdown(pair(runs / "none", runs / "random"), found)


def test_only_shared_questions_count(runs):
    file = runs / "random" / "run.jsonl"
    whole = file.read_text().splitlines(keepends=True)
    file.write_text("".join(whole[2:]))
    found = compare(pair(runs / "none", runs / "random"), resamples=20)
    assert (found["n_questions"], found["only_a"], found["only_b"]) == (len(whole) - 2, 2, 0)
    assert "2 questions that only A has" in comparison_markdown(pair(runs / "none", runs / "random"), found)


def test_runs_that_do_not_belong_together_are_refused(runs):
    file = runs / "random" / "run.jsonl"
    lines = [json.loads(x) for x in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**x, "relevant": [11, *x["relevant"]]}) + "\n" for x in lines))
    with pytest.raises(ConfigError, match="mean different things"):
        pair(runs / "none", runs / "random")
    file.write_text("".join(json.dumps({**x, "qid": "other" + x["qid"]}) + "\n" for x in lines))
    with pytest.raises(ConfigError, match="share no question"):
        pair(runs / "none", runs / "random")


def test_the_page_of_losses_has_pictures_of_the_corpus(runs):
    pairing = pair(runs / "oracle", runs / "random")
    page = comparison_html(pairing, compare(pairing, resamples=20), run_pages(pairing.facts_b))
    assert 'start = "loss"' in page
    assert "data:image/jpeg" in page
    assert "lost by B" in page


def test_the_command(runs, harbour, capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    code, out, err = call("compare", runs / "none", runs / "random", "--html", runs / "c.html")
    assert code == 0
    assert "| macro B - A |" in out
    assert "Lost by B" in out
    assert (runs / "c.html").stat().st_size > 10_000
    code, out, _ = call("compare", runs / "none", runs / "random", "--json")
    assert json.loads(out)["n_questions"] == len(read_run(runs / "none"))
    (harbour / "docs.json").unlink()
    code, out, err = call("compare", runs / "none", runs / "random", "--html", runs / "d.html")
    assert code == 0
    assert "has no pictures" in err
    assert "data:image" not in (runs / "d.html").read_text()
    code, _, err = call("compare", runs / "none", runs / "nothing")
    assert code == 1
    assert "no run at" in err
