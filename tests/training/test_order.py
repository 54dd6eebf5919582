"""Stage two on orders, for every kind of model that gives scores: what is trained is what ranks, it learns, and it goes on."""

import json
import math
from pathlib import Path

import pytest
import torch

from mmr5 import Reranker, Searcher, read_pages
from mmr5.engines.late_interaction import WEIGHTS, read_head
from mmr5.errors import ConfigError
from mmr5.training import order_models, order_policy
from mmr5.training.late_config import load_late_config
from mmr5.training.late_interaction import train_late
from mmr5.training.order_config import load_order_config
from mmr5.training.order_models import open_model
from mmr5.training.order_policy import train_order
from support.corpora import draw_pdf, write_corpus
from support.encoders import cross_encoder, sentence_encoder
from support.tiny import text_model

THINGS = ["kettle", "ladder", "window", "carpet"]


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """Stage one of every kind, hardly trained, and what they are taught on: the first stage puts another page before the relevant."""
    home = tmp_path_factory.mktemp("order")
    pages = [f"Shelf {i}\nA {thing} is kept.\nNo {THINGS[i - 1]}, no {THINGS[i - 1]}." for i, thing in enumerate(THINGS)]
    draw_pdf(home / "shop" / "pdf" / "shop.pdf", pages)
    asked = [{"doc_name": "shop", "question": f"Where is the {t}?", "page_ids": [i]} for i, t in enumerate(THINGS)]
    asked.append({"doc_name": "shop", "question": "Where is the anchor?", "page_ids": [], "kind": "missing_detail"})
    write_corpus(home / "shop", [{"doc_name": "shop", "domain": "none", "pages": len(pages)}], asked)
    base = sentence_encoder(home / "encoder", prompts={"query": "query: ", "document": "passage: "})
    late = home / "late.toml"
    late.write_text(
        f'[model]\nbase = "{base}"\nlayer = 1\ndimension = 8\npassage_words = 6\n[data]\ncorpora = ["{home / "shop"}"]\nsplit = ""\n'
        f'retriever = "bm25"\ndepth = 4\n[optim]\nbatch = 4\npasses = 1\n[run]\nout = "{home / "late"}"\n'
    )
    train_late(load_late_config(late))
    return {
        "corpus": home / "shop",
        "late-interaction": home / "late",
        "pointwise": text_model(home / "text"),
        "logits": home / "text",
        "cross-encoder": cross_encoder(home / "pairs"),
    }


@pytest.fixture
def settings(starts, tmp_path):
    """``settings(kind, "optim.passes=2", …)``: the configuration of a run."""

    def make(kind, *overrides):
        file = tmp_path / f"{kind}.toml"
        model = [f'start = "{starts[kind]}"']
        model += ['engine = "cross-encoder"'] if kind == "cross-encoder" else []
        model += [f'method = "{kind}"', "page_tokens = 60"] if kind in ("pointwise", "logits") else []
        rates = {"late-interaction": (1e-2, 0.3), "pointwise": (1e-2, 0), "logits": (1e-2, 0), "cross-encoder": (5e-3, 0)}[kind]
        file.write_text(
            "[model]\n"
            + "\n".join(model)
            + f'\n[data]\ncorpora = ["{starts["corpus"]}"]\nsplit = ""\nretriever = "bm25"\ndepth = 3\n'
            f"[lora]\nenabled = false\n[optim]\nbatch = 2\npasses = 15\norders = 16\nwarmup = 2\nkl_weight = 0.0\n"
            f'learning_rate = {rates[0]}\nscale_rate = {rates[1]}\n[run]\nout = "{tmp_path / kind}"\nsave_steps = 2\nlog_steps = 2\n'
        )
        return load_order_config(file, overrides)

    return make


def reranker_of(folder, kind):
    engine = {"engine": "cross-encoder"} if kind == "cross-encoder" else {}
    return Reranker.from_pretrained(str(folder), dtype="float32", **engine)


def candidates_of(reranker, starts, question):
    pages = read_pages(starts["corpus"] / "pdf" / "shop.pdf")
    searcher = Searcher(reranker, "bm25", candidates=3)
    return searcher, searcher.candidates(question, pages)


KINDS = ("late-interaction", "pointwise", "logits", "cross-encoder")


@pytest.mark.parametrize("kind", KINDS)
def test_training_raises_the_reward_and_what_is_saved_ranks_by_it(settings, starts, tmp_path, kind):
    """The optimum is known: each question's own page first, reward 1."""
    passes = {"late-interaction": 60, "logits": 8}.get(kind, 25)
    train_order(settings(kind, f"optim.passes={passes}"))
    history = json.loads((tmp_path / kind / "history.json").read_text())["history"]
    earned = [point["reward"] for point in history]
    assert sum(earned[-3:]) / 3 > sum(earned[:3]) / 3 + 0.2, earned
    reranker = reranker_of(tmp_path / kind, kind)
    assert reranker.method == kind
    hits = 0
    for i, thing in enumerate(THINGS):
        searcher, candidates = candidates_of(reranker, starts, f"Where is the {thing}?")
        [ranking] = searcher.rank([candidates])
        hits += candidates.index_of(ranking.order[0]) == i
    assert hits >= 3, hits


@pytest.mark.parametrize("kind", KINDS)
def test_the_scores_in_training_are_those_that_rank(settings, starts, kind):
    model = open_model(settings(kind), None)
    one = next(one for one in model.lists if one.answerable)
    with torch.no_grad():
        found = model.scores(one).tolist()
    reranker = (
        reranker_of(starts[kind], kind)
        if kind in ("cross-encoder", "late-interaction")
        else Reranker.from_pretrained(str(starts[kind]), method=kind, view="text", page_tokens=60, dtype="float32")
    )
    _, candidates = candidates_of(reranker, starts, "Where is the kettle?")
    if kind == "late-interaction":
        [ranking] = reranker.rank_many([candidates])
        first = read_head(starts[kind]).weights["first_stage"]
        scores = [float(first) * candidates.scale * s + m for s, m in zip(candidates.scores, ranking.scores, strict=True)]
        assert found == pytest.approx(scores, abs=6e-2)  # vectors are kept in float16
        return
    [ranking] = reranker.rank_many([candidates])
    turned = {"pointwise": lambda p: math.log(p / (1 - p)), "logits": math.log, "cross-encoder": float}[kind]
    assert found == pytest.approx([turned(s) for s in ranking.scores], abs=1e-4)


def test_a_killed_run_goes_on_to_the_same_weights(settings, tmp_path, monkeypatch):
    whole = settings("late-interaction", f'run.out="{tmp_path / "whole"}"', "optim.passes=4", "data.unanswerable=true")
    train_order(whole)
    cut = settings("late-interaction", f'run.out="{tmp_path / "cut"}"', "optim.passes=4", "data.unanswerable=true")
    learn, steps = order_policy.Policy.learn, []

    def until_killed(self, batch):
        if len(steps) == 5:
            raise KeyboardInterrupt
        steps.append(len(batch))
        return learn(self, batch)

    monkeypatch.setattr(order_policy.Policy, "learn", until_killed)
    with pytest.raises(KeyboardInterrupt):
        train_order(cut)
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="add --resume"):
        train_order(cut)
    with pytest.raises(ConfigError, match=r"other settings \(optim\.orders\)"):
        train_order(
            settings(
                "late-interaction", f'run.out="{tmp_path / "cut"}"', "optim.passes=4", "data.unanswerable=true", "optim.orders=8"
            ),
            resume=True,
        )
    train_order(cut, resume=True)
    one, other = (read_head(tmp_path / name).weights for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not (tmp_path / "cut" / "state.pt").exists()
    with pytest.raises(ConfigError, match="has ended"):
        train_order(cut, resume=True)


def test_questions_that_no_page_answers_are_one_more_place(settings):
    """Their list counts only where it is asked for; "none of these" begins at the best score of such lists."""
    config = settings("late-interaction", "data.unanswerable=true")
    model = open_model(config, None)
    reference = {one.qid: [float(v) for v in model.scores(one)] for one in model.lists}
    policy = order_policy.Policy(model, config, reference)
    [bare] = [one for one in model.lists if not one.answerable]
    assert float(policy._none.detach()) == pytest.approx(max(reference[bare.qid]))
    before = policy._none.detach().clone()
    reward = policy.learn([bare])
    assert 0 < reward < 1
    assert policy._none.detach() > before
    assert not order_models.useful(bare.relevant, bare.answerable, unanswerable=False)
    assert order_models.useful(bare.relevant, bare.answerable, unanswerable=True)


def test_an_adapter_is_saved_with_its_base(settings, tmp_path):
    train_order(settings("pointwise", "lora.enabled=true", "optim.passes=1"))
    out = tmp_path / "pointwise"
    assert (out / "adapter_model.safetensors").is_file() and not (out / WEIGHTS).exists()
    assert Reranker.from_pretrained(str(out), dtype="float32").method == "pointwise"


@pytest.mark.parametrize(
    ("kind", "override", "said"),
    [
        ("late-interaction", "optim.orders=1", "optim.orders is 1: it is at least 2"),
        ("late-interaction", "optim.temperature=0", r"optim.temperature is 0.0: it is above 0"),
        ("late-interaction", 'data.only=["nothing"]', "nothing can be learnt"),
        ("pointwise", 'data.retriever="none"', "whose scores have no scale"),
        ("logits", 'model.method="auto"', "give model.method pointwise or logits"),
    ],
)
def test_what_cannot_be_trained_is_refused(settings, kind, override, said, tmp_path):
    with pytest.raises(ConfigError, match=said):
        train_order(settings(kind, override))
    assert not Path(tmp_path / kind / "provenance.json").exists()
