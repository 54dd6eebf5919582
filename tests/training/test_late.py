"""Late interaction from documents to a model that reranks: what is learnt from, what is learnt, and going on after a kill."""

import json
from pathlib import Path

import pytest
import torch

from mmr5 import Reranker, Searcher, read_pages
from mmr5.engines.runtime.late_head import LateHead
from mmr5.errors import ConfigError
from mmr5.models.late import LateConfig
from mmr5.models.recipes import load_recipe
from mmr5.training import late_interaction
from mmr5.training.late_config import load_late_config
from mmr5.training.late_data import States, prepare, wanted
from mmr5.training.late_interaction import score, train_late, training_order, useful
from support.corpora import draw_pdf, write_corpus
from support.encoders import sentence_encoder

THINGS = ["kettle", "ladder", "window", "carpet", "basket", "hammer", "bottle", "pillow"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return sentence_encoder(tmp_path_factory.mktemp("late") / "base", prompts={"query": "query: ", "document": "passage: "})


@pytest.fixture
def settings(base, tmp_path):
    """``settings("optim.passes=2", …)``: the configuration of a run over two documents of eight pages."""
    for name in ("one", "two"):
        folder = tmp_path / name
        draw_pdf(
            folder / "pdf" / f"{name}.pdf", [f"Shelf {i}\nA {t} is kept on this shelf of {name}." for i, t in enumerate(THINGS)]
        )
        asked = [
            {"doc_name": name, "question": f"Where is the {t} kept?", "page_ids": [i], "quotes": {str(i): f"A {t} is kept"}}
            for i, t in enumerate(THINGS)
        ]
        asked.append({"doc_name": name, "question": "Where is the anchor kept?", "page_ids": [], "kind": "missing_detail"})
        write_corpus(folder, [{"doc_name": name, "domain": "none", "pages": 8}], asked)
    file = tmp_path / "late.toml"
    file.write_text(
        f'[model]\nbase = "{base}"\nlayer = 1\ndimension = 16\npassage_words = 6\n'
        f'[data]\ncorpora = ["{tmp_path / "one"}", "{tmp_path / "two"}"]\nsplit = ""\nretriever = "bm25"\ndepth = 6\n'
        f'[optim]\nbatch = 4\npasses = 6\nwarmup = 2\n[run]\nout = "{tmp_path / "run"}"\nsave_steps = 3\nlog_steps = 3\n'
    )
    return lambda *overrides: load_late_config(file, overrides)


def test_a_trained_model_is_better_than_an_untrained_one_and_reranks(settings, tmp_path):
    config = settings()
    facts = train_late(config)
    assert facts["questions"] == 16
    assert facts["documents"] == 2
    assert facts["steps"] == 24
    out = tmp_path / "run"
    losses = [point["loss"] for point in json.loads((out / "history.json").read_text())["history"]]
    assert losses[-1] < 0.7 * losses[0], losses
    recipe = load_recipe(out)
    assert (recipe.method, recipe.view, recipe.notes) == ("late-interaction", "text", 0)
    assert recipe.fusion == pytest.approx(1 / facts["first_stage_weight"], abs=1e-3)
    assert LateConfig.read(out).layer == 1
    assert {p.name for p in out.iterdir()} >= {"model.safetensors", "config.json", "recipe.json", "provenance.json", "curves.png"}
    pages = read_pages(tmp_path / "one" / "pdf" / "one.pdf")
    reranker = Reranker.from_pretrained(str(out), dtype="float32")
    result = Searcher(reranker, "bm25").search("Where is the hammer kept?", pages)
    assert (result.method, result[0].page) == ("late-interaction", 6)
    assert "hammer" in result[0].evidence
    assert result.settings["fusion"] == recipe.fusion


def test_the_score_of_training_is_the_score_of_the_engine(settings, tmp_path):
    config = settings()
    train_late(config)
    states = States(config.states)
    head = LateHead(late_interaction_weights(tmp_path / "run"))
    example = states.examples("two")[2]
    with torch.inference_mode():
        total, own = score(head, states, example)
    pages = read_pages(tmp_path / "two" / "pdf" / "two.pdf")
    searcher = Searcher(Reranker.from_pretrained(str(tmp_path / "run")), "bm25", candidates=6)
    candidates = searcher.candidates(example.question, pages)
    assert [candidates.index_of(i) for i in range(6)] == list(example.pages)
    [ranking] = searcher.reranker.rank_many([candidates])
    assert ranking.scores == pytest.approx(own.pages.tolist(), abs=2e-2)
    [fused] = searcher.rank([candidates])
    weight = float(head.weights["first_stage"])
    assert [weight * s for s in fused.scores] == pytest.approx(total.tolist(), abs=3e-2)


def late_interaction_weights(folder):
    from safetensors.torch import load_file

    return {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}


def test_a_killed_run_goes_on_to_the_same_weights(settings, tmp_path, monkeypatch):
    whole = settings(f'run.out="{tmp_path / "whole"}"', f'data.states="{tmp_path / "states"}"')
    train_late(whole)
    cut = settings(f'run.out="{tmp_path / "cut"}"', f'data.states="{tmp_path / "states"}"')
    learn, steps = late_interaction._Run.learn, []

    def until_killed(self, batch, states):
        if len(steps) == 8:
            raise KeyboardInterrupt
        steps.append(len(batch))
        return learn(self, batch, states)

    monkeypatch.setattr(late_interaction._Run, "learn", until_killed)
    with pytest.raises(KeyboardInterrupt):
        train_late(cut)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="add --resume"):
        train_late(cut)
    with pytest.raises(ConfigError, match=r"other settings \(optim\.passes\)"):
        train_late(settings(f'run.out="{tmp_path / "cut"}"', "optim.passes=7"), resume=True)
    train_late(cut, resume=True)
    one, other = (late_interaction_weights(tmp_path / name) for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "cut" / "state.pt").exists()
    with pytest.raises(ConfigError, match="has ended"):
        train_late(cut, resume=True)


def test_pages_that_do_not_answer_score_0_on_average(settings, tmp_path):
    config = settings("optim.passes=2")
    train_late(config)
    states, head = States(config.states), LateHead(late_interaction_weights(tmp_path / "run"))
    others = []
    for name in ("one", "two"):
        for example in states.examples(name):
            if useful(example, 0.0):
                _, own = score(head, states, example)
                others += [float(v) for v, page in zip(own.pages, example.pages, strict=True) if page not in example.relevant]
    assert sum(others) / len(others) == pytest.approx(0.0, abs=0.05)


def test_documents_are_encoded_once_and_left_out_ones_not_learnt_from(settings, tmp_path, monkeypatch):
    config = settings('data.leave_out=["two"]')
    assert prepare(config) == ["one", "two"]
    monkeypatch.setattr("mmr5.training.late_data._encode", lambda *_: pytest.fail("encoded again"))
    assert train_late(config)["documents"] == 1
    with pytest.raises(ConfigError, match=r"states made with other settings \(layer\)"):
        prepare(settings("model.layer=2"))


def test_labels_are_the_passages_that_hold_the_quote():
    texts = ["The ferry leaves at nine.", "A ticket costs", "twelve crowns on board."]
    assert wanted("ferry leaves at nine", texts) == [0]
    assert wanted("ticket costs twelve crowns", texts) == [1, 2]
    assert wanted("something else altogether", texts) == []
    assert wanted("", texts) == []


def test_unanswerable_questions_count_only_in_the_binary_loss(settings):
    config = settings()
    prepare(config)
    [refused] = [e for e in States(config.states).examples("one") if not e.relevant]
    assert not useful(refused, 0.0)
    assert useful(refused, 0.3)
    assert train_late(settings("optim.binary_weight=0.3"))["questions"] == 18


def test_every_pass_has_every_question_once():
    order = training_order([None] * 5, 3, seed=1)
    assert [sorted(order[k : k + 5]) for k in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert order != training_order([None] * 5, 3, seed=2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.depth=1", "data.depth is 1: it is at least 2"),
        ("data.corpora=[]", "data.corpora is empty"),
        ("optim.passes=0", "optim.passes is 0"),
        ("model.layer=0", "layer is 0: give at least 1"),
        ("model.colour=3", "colour is unknown"),
        ("data.retriever=none", "no scale"),
    ],
)
def test_impossible_settings_are_refused(settings, override, said):
    with pytest.raises(ConfigError, match=said):
        prepare(settings(override))


def test_the_command_trains_and_shows_its_help(settings, tmp_path):
    from typer.testing import CliRunner

    from mmr5.cli.main import app

    done = CliRunner().invoke(app, ["train", "late", str(tmp_path / "late.toml"), "--set", "optim.passes=1", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["steps"] == 4
    assert Path(json.loads(done.stdout)["out"], "model.safetensors").is_file()
