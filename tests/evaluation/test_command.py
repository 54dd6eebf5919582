import dataclasses
import json
import shlex

import pytest

from mmr5.cli.main import main
from mmr5.engines.scripted import ScriptedEngine
from mmr5.evaluation.benchmark import command_of, run_config, searcher_of
from mmr5.reranker import Reranker
from mmr5.settings import EvaluationSettings, MethodSettings


@pytest.fixture
def call(capsys):
    """Run the command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return run


def quick(folder, out, *rest):
    return ("evaluate", folder, "--out", out, "--ocr", "never", "--retriever", "bm25", *rest)


def test_evaluate_writes_what_it_promises_and_prints_the_report(call, harbour, tmp_path):
    out = tmp_path / "run"
    scripted = ("--engine", "scripted", "--model", "scripted", "--method", "reason", "--view", "text", "--think-tokens", "200")
    code, said, err = call(*quick(harbour, out, *scripted))
    assert code == 0
    assert said == (out / "report.md").read_text()
    assert "wrote" in err
    names = {"run.jsonl", "scores.json", "report.md", "report.html", "provenance.json", "run.trec", "qrels.trec"}
    assert names <= {p.name for p in out.iterdir()}
    facts = json.loads((out / "provenance.json").read_text())
    assert facts["config"]["settings"]["think_tokens"] == 200
    words = shlex.split(facts["command"])
    assert words[:3] == ["mmr5", "evaluate", str(harbour)]
    assert {"--engine", "--think-tokens", "--ocr", "--method", "--view"} <= set(words)
    assert len(json.loads((out / "run.jsonl").read_text().splitlines()[0])["notes"]) == 10


def test_the_command_in_the_provenance_does_the_same(call, harbour, tmp_path):
    call(*quick(harbour, tmp_path / "a", "--model", "random", "--seed", "4", "--candidates", "5", "--limit", "3", "--json"))
    words = shlex.split(json.loads((tmp_path / "a" / "provenance.json").read_text())["command"])
    place = words.index(str(tmp_path / "a"))
    code, out, _ = call(*words[1:place], tmp_path / "b", *words[place + 1 :], "--json")
    assert code == 0
    first = json.loads((tmp_path / "a" / "scores.json").read_text())
    assert json.loads(out)["reranked"] == first["reranked"]
    assert first["n_questions"] == 3


def test_bad_requests_say_the_way_out(call, harbour, tmp_path):
    code, _, err = call(*quick(harbour, tmp_path / "a", "--model", "none", "--level", "layout"))
    assert (code, "has no layouts" in err) == (1, True)
    assert call(*quick(harbour, tmp_path / "a", "--model", "none"))[0] == 0, "a start that failed does not claim the folder"
    code, _, err = call(*quick(harbour, tmp_path / "b", "--model", "none", "--split", "test"))
    assert (code, "no questions of split 'test'" in err) == (1, True)
    assert call(*quick(harbour, tmp_path / "c", "--model", "none"))[0] == 0
    code, _, err = call(*quick(harbour, tmp_path / "c", "--model", "none"))
    assert (code, "--resume" in err) == (2, True)
    assert call(*quick(harbour, tmp_path / "c", "--model", "none", "--resume"))[0] == 0
    code, _, err = call(*quick(harbour, tmp_path / "d", "--model", "no-such-model"))
    assert (code, "no-such-model" in err) == (1, True)
    assert not (tmp_path / "d").exists()


def test_the_command_names_what_differs_from_the_defaults():
    setup = EvaluationSettings(
        "opendocs", split="dev", model="i2vec/MM-R5", engine="openai", base_url="http://h/v1", given={"think_tokens": 64}
    )
    assert command_of(setup, "out") == (
        "mmr5 evaluate opendocs --split dev --retriever hybrid --model i2vec/MM-R5 --engine openai --base-url http://h/v1 "
        "--think-tokens 64 --out out"
    )
    assert " --constrain --out" in command_of(EvaluationSettings("opendocs", model="none", given={"constrain": True}), "out")


def test_a_run_keeps_every_setting_that_its_scores_depend_on():
    given = {"constrain": True, "keep": 0.5, "temperature": 0.7, "seed": 3}
    setup = EvaluationSettings("opendocs", base_url="http://h/v1", device="cpu", given=given)
    config = run_config(setup, searcher_of(setup, Reranker(ScriptedEngine(), view="text", method="pointwise", **given)))
    assert {name: config["settings"][name] for name in given} == given
    assert set(config["settings"]) == {f.name for f in dataclasses.fields(MethodSettings)}
    assert (config["method"], config["view"], config["engine"], config["seed"]) == ("pointwise", "text", "scripted", 3)
    assert not {"base_url", "device", "given"} & set(config), "where a model runs does not bind a run"
    assert run_config(EvaluationSettings("opendocs", model="random", given={"seed": 4}), None)["seed"] == 4
