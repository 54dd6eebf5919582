import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmr5.answer import format_verdict
from mmr5.data.rows import ListRow, PageRow
from mmr5.engines.chat_template import question_tokens
from mmr5.errors import ConfigError, ContextLengthError, EngineError
from mmr5.rewards import verdict_format_reward
from mmr5.training.grpo_pointwise import dataset, page_prompts, reward_functions, shared_gains
from mmr5.training.grpo_rewards import Watch
from mmr5.training.sft_pointwise import make_groups


def page_text(page_id):
    """Pages of different lengths, so that a batch of them is padded."""
    return f"Page {page_id} says that it costs {page_id} euros." + " And so on." * page_id


def row(qid, page_id, relevant, note="It names the price."):
    return PageRow(
        qid,
        "guide",
        f"What does {qid} cost?",
        page_id,
        relevant,
        page_id,
        1.0 / (1 + page_id),
        "text",
        note,
        format_verdict(relevant, note),
    )


ROWS = [row(q, p, p == 1) for q in ("plan", "room", "card") for p in range(6)]


def test_a_group_is_a_relevant_page_and_others_of_its_question():
    groups = make_groups(ROWS, pages=4, passes=5, seed=3)
    assert len(groups) == 15
    for group in groups:
        assert len({r.qid for r in group}) == 1
        assert [r.relevant for r in group] == [True, False, False, False]
        assert len({r.page_id for r in group}) == 4
    for start in range(0, 15, 3):
        assert {g[0].qid for g in groups[start : start + 3]} == {"plan", "room", "card"}
    assert groups == make_groups(ROWS, pages=4, passes=5, seed=3) != make_groups(ROWS, pages=4, passes=5, seed=4)
    assert len({tuple(r.page_id for r in g) for g in groups if g[0].qid == "plan"}) > 1


def test_a_question_without_both_kinds_has_no_group():
    rows = [*ROWS, row("lone", 1, True)]
    assert {g[0].qid for g in make_groups(rows, 9, 1, 0)} == {"plan", "room", "card"}
    assert all(len(g) == 6 for g in make_groups(rows, 9, 1, 0))
    with pytest.raises(ConfigError, match="relevant and an irrelevant"):
        make_groups([row("lone", 1, True)], 4, 1, 0)
    with pytest.raises(ConfigError, match="at least 2 pages"):
        make_groups(ROWS, 1, 1, 0)


def test_the_question_is_found_by_its_last_occurrence():
    rendered = "cost? page\ncost? end"
    offsets = [(0, 4), (4, 5), (5, 10), (10, 11), (11, 13), (13, 16), (16, 20)]
    assert question_tokens(rendered, "cost?", offsets) == (4, 6)
    assert question_tokens(rendered, "ost", offsets) == (4, 6)
    with pytest.raises(EngineError, match="word for word"):
        question_tokens(rendered, "price?", offsets)
    with pytest.raises(EngineError, match="nothing to rest on"):
        question_tokens("cost", "cost", [(0, 4)])


def test_losses_are_what_they_say():
    import torch

    from mmr5.training.config import GroupConfig
    from mmr5.training.sft_pointwise import Encoded, collate, losses

    torch.manual_seed(0)
    groups = [
        [Encoded((5, 6, 7, 8, 1, 9), 3, (1, 3), 5, True, 2.0), Encoded((5, 6, 2, 7, 8, 2, 9, 9), 4, (1, 4), 6, False, -1.0)],
        [Encoded((4, 3, 3, 2, 1), 2, (1, 2), 4, True), Encoded((4, 4, 3, 3, 2, 2), 3, (1, 3), 5, False)],
    ]
    batch = collate(groups, pad=0)
    assert batch["input_ids"].shape == (4, 8) and batch["group"].tolist() == [0, 0, 1, 1]
    head = torch.nn.Linear(6, 10, bias=False)
    hidden = torch.randn(4, 8, 6)
    found = losses(hidden, head, batch, (1, 2), GroupConfig())
    logprobs = head(hidden).log_softmax(-1)
    pages = [page for group in groups for page in group]
    margin = torch.stack([logprobs[i, p.verdict, 1] - logprobs[i, p.verdict, 2] for i, p in enumerate(pages)])
    asked = torch.stack([
        sum(logprobs[i, t - 1, p.ids[t]] for t in range(*p.question)) for i, p in enumerate(pages)
    ])  # fmt: skip
    note = [-logprobs[i, t - 1, p.ids[t]] for i, p in enumerate(pages) for t in range(p.note, len(p.ids))]

    def first_of_two(values):
        return (torch.logsumexp(values[:2], 0) - values[0] + torch.logsumexp(values[2:], 0) - values[2]) / 2

    labels = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert float(found["lce"]) == pytest.approx(float(first_of_two(margin)), rel=1e-4)
    shares = GroupConfig(question_share=0.3, first_stage_share=0.5)
    score = margin + 0.3 * asked + 0.5 * torch.tensor([2.0, -1.0, 0.0, 0.0])
    assert float(losses(hidden, head, batch, (1, 2), shares)["lce"]) == pytest.approx(float(first_of_two(score)), rel=1e-4)
    assert float(found["verdict"]) == pytest.approx(float(torch.log1p(torch.exp(-labels * margin)).mean()), rel=1e-4)
    assert float(found["note"]) == pytest.approx(float(torch.stack(note).mean()), rel=1e-4)
    for name, values in (("hits", margin), ("margin_hits", margin), ("question_hits", asked)):
        assert float(found[name]) == float(((values[0] > values[1]).float() + (values[2] > values[3]).float()) / 2)


def test_losses_by_hand():
    """A vocabulary of ten, flat but for the verdicts: odds of 3 and 1 in one group, of 1 and 1/2 in the other."""
    import torch

    from mmr5.training.config import GroupConfig
    from mmr5.training.sft_pointwise import Encoded, collate, losses, weigh

    ids = (4, 5, 6, 7, 1, 9)  # a question of two tokens, "?", the verdict's token 1 and one token of note
    odds = [(3.0, 1.0), (1.0, 0.5)]
    groups = [[Encoded(ids, 3, (1, 3), 5, i == 0) for i in range(2)] for _ in odds]
    hidden = torch.zeros(4, len(ids), 10)
    hidden[:, 3, 1] = torch.tensor([o for pair in odds for o in pair]).log()  # the margin is the logarithm of the odds
    found = losses(hidden, lambda states: states, collate(groups, pad=0), (1, 2), GroupConfig())
    # LCE, softmax over the group: 3 of 3 + 1, and 1 of 1 + 1/2
    assert float(found["lce"]) == pytest.approx((math.log(4 / 3) + math.log(3 / 2)) / 2)
    # cross-entropy of "Yes" against "No": relevant pages 3/4 and 1/2 sure, the others 1 - 1/2 and 1 - 1/3
    assert float(found["verdict"]) == pytest.approx((math.log(4 / 3) + math.log(2) + math.log(2) + math.log(3 / 2)) / 4)
    assert float(found["note"]) == pytest.approx(math.log(10))
    assert float(found["hits"]) == 1.0
    # a question of two tokens out of ten equally likely ones is worth the same on every page
    even = losses(hidden, lambda states: states, collate(groups, pad=0), (1, 2), GroupConfig(question_share=1.0))
    assert float(even["lce"]) == pytest.approx(float(found["lce"]))
    total = weigh(found, GroupConfig(lce_weight=2.0, verdict_weight=0.5, note_weight=0.1))
    assert float(total) == pytest.approx(2 * float(found["lce"]) + 0.5 * float(found["verdict"]) + 0.1 * math.log(10))


@pytest.fixture
def judge(tiny_text, tmp_path):
    """The tiny text model with a vocabulary in which each verdict is one token."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words, model = AutoTokenizer.from_pretrained(tiny_text), AutoModelForCausalLM.from_pretrained(tiny_text)
    words.add_tokens(["Yes", "No"])
    model.resize_token_embeddings(len(words))
    for part in (words, model):
        part.save_pretrained(tmp_path / "judge")
    return tmp_path / "judge"


@pytest.fixture
def run(judge, tmp_path, monkeypatch):
    """``run("sft", "optim.max_steps=2")`` gives a configuration over a corpus folder whose pages are text."""
    from importlib import resources

    from mmr5 import corpora
    from mmr5.training import row_dataset
    from mmr5.training.config import load_config
    from mmr5.types import Page

    pages = [Page("guide.pdf", i + 1, page_text(i), None) for i in range(6)]

    class Corpus:
        def document_pages(self, name):
            assert name == "guide"
            return pages

    assert callable(corpora.load_corpus)
    monkeypatch.setattr(row_dataset, "load_corpus", lambda *a, **k: Corpus())
    (tmp_path / "sft.jsonl").write_text("".join(json.dumps(r.to_dict()) + "\n" for r in ROWS))
    lists = [
        ListRow(
            "grpo", q, "guide", f"What does {q} cost?", (0, 1, 2, 3), (1,), "pointwise", "text", None, None, (4.0, 3.0, 2.0, 1.0)
        )
        for q in ("plan", "room")
    ]
    (tmp_path / "grpo.jsonl").write_text("".join(json.dumps(r.to_dict()) + "\n" for r in lists))

    def make(stage, *overrides):
        own = [
            f"model.base={judge}", "model.adapter=", "model.dtype=float32", "model.autocast=float32", f"data.rows={tmp_path / stage}.jsonl",
            f"run.out={tmp_path / stage}", r"lora.target='.*\.(q_proj|v_proj)'", "run.save_steps=2",
        ]  # fmt: skip
        return load_config(resources.files("mmr5") / "configs" / "mini" / f"{stage}.toml", [*own, *overrides])

    return make


def test_training_lowers_the_losses_and_measures_what_the_engine_measures(run):
    import torch

    from mmr5 import Reranker
    from mmr5.methods import pointwise
    from mmr5.training import base_model, passthrough, row_dataset
    from mmr5.training.config import GroupConfig
    from mmr5.training.sft import train_sft
    from mmr5.training.sft_pointwise import GroupData, collate, losses, make_trainer, verdict_ids
    from mmr5.training.trainer import Run
    from mmr5.types import Page

    config = run("sft", "optim.max_steps=12", "optim.learning_rate=2e-2", "lora.rank=4", "run.save_steps=6", "run.log_steps=1")
    facts = train_sft(config)
    assert facts["steps"] == 12 and facts["last_loss"] < facts["first_loss"]
    curve = json.loads((Path(config.run.out) / "history.json").read_text())
    assert {"lce", "verdict", "note", "hits", "question_hits"} <= set(curve["history"][0])

    model, processor, _ = base_model.load_for_training(config)
    talk = row_dataset.conversations(config, processor)
    rows = row_dataset.read_training_rows(config, taught=True)
    begun = Run(config, "sft", None, rows, model, processor, passthrough.take(processor), config.model.base, talk, None)
    data = make_trainer(begun).train_dataset
    assert isinstance(data, GroupData) and len(data) == 3
    group = data[0]
    reranker = Reranker.from_pretrained(
        config.model.base, method="pointwise", view="text", dtype="float32", page_tokens=200, question_weight=1.0
    )
    inner = reranker.engine._model
    batch = collate([group], 0)
    shares = GroupConfig(question_share=0.25, first_stage_share=0.5)
    with torch.no_grad():
        hidden = inner.model(batch["input_ids"]).last_hidden_state
        found = losses(hidden, inner.lm_head, batch, verdict_ids(processor), shares)
    shown = make_groups(rows, 4, 1, config.optim.seed)[0]
    assert len({len(page.ids) for page in group}) > 1
    pages = [Page("guide.pdf", r.page_id + 1, page_text(r.page_id), None) for r in shown]
    requests = [pointwise.request(reranker.engine, shown[0].question, page, reranker.settings) for page in pages]
    scored = reranker.engine.score_choices(requests, [("Yes", "No")] * 4)
    margins = torch.tensor([s.logprobs[0] - s.logprobs[1] for s in scored])
    asked = torch.tensor([s.measured.mean_logprob * s.measured.n_tokens for s in scored])
    score = margins + 0.25 * asked + 0.5 * torch.tensor([r.score for r in shown])
    assert float(found["lce"]) == pytest.approx(-float(score.log_softmax(0)[0]), abs=1e-3)


def test_a_recipe_carries_every_setting_that_the_scores_depend_on(run):
    """What was trained with a share of the question's likelihood is scored with it, as the checkpoint and after GRPO."""
    from mmr5 import Reranker
    from mmr5.models.recipes import load_recipe
    from mmr5.prompt import fingerprint
    from mmr5.training.sft import train_sft

    config = run("sft", "optim.max_steps=2", "groups.question_share=0.25", "recipe.fusion=0.5", "recipe.notes=2")
    train_sft(config)
    out = Path(config.run.out)
    wanted = {
        "method": "pointwise", "view": "text", "page_tokens": 200, "fusion": 0.5, "question_weight": 0.25, "notes": 2,
        "max_pixels": None, "prompt_fingerprint": fingerprint("pointwise", "text"), "languages": None, "other_fusion": 0.0,
        "window": None, "overlap": None, "max_new_tokens": None, "ids": "numbers", "prompt": None, "reserved": (),
            "calibrations": (),
    }  # fmt: skip
    for folder in (out, out / "checkpoint-2"):
        assert dataclasses.asdict(load_recipe(folder)) == wanted
    reranker = Reranker.from_pretrained(str(out), device="cpu", dtype="float32")
    assert (reranker.settings.question_weight, reranker.settings.page_tokens) == (0.25, 200)
    assert run("grpo", f"model.adapter={out}").checkpoint_recipe("grpo").question_weight == 0.25


def test_what_cannot_be_trained_in_groups_is_refused(run, tiny_text):
    from mmr5.training.sft import train_sft

    with pytest.raises(ConfigError, match="whole number"):
        train_sft(run("sft", "optim.epochs=1.5"))
    with pytest.raises(ConfigError, match="several tokens"):
        train_sft(run("sft", f"model.base={tiny_text}", "run.out=" + run("sft").run.out + "-2"))
    with pytest.raises(ConfigError, match="at least 2 pages"):
        run("sft", "groups.pages=1")


def test_groups_are_of_page_text(run):
    from mmr5.training.sft_pointwise import check

    assert check(run("sft"), ROWS) == ROWS
    with pytest.raises(ConfigError, match="the rows are list-wise"):
        check(run("sft"), [*ROWS, ListRow("grpo", "q", "d", "?", (0,), (0,), "pointwise", "text", None, None, (1.0,))])
    with pytest.raises(ConfigError, match="groups are trained over page text"):
        check(run("sft", "recipe.view=both"), ROWS)


def test_a_page_that_is_too_long_for_a_group_is_never_cut(run):
    from mmr5.training.sft import train_sft

    with pytest.raises(ContextLengthError, match=r"page id \d, has \d+ tokens, more than 40: .*nothing is cut"):
        train_sft(run("sft", "data.max_tokens=40"))


def test_rollouts_of_a_question_share_the_gain_of_their_order():
    # two pages (the second relevant), two rollouts each
    rows, questions, relevant = [0, 0, 1, 1], [0, 0, 0, 0], [False, False, True, True]
    replies = ["No. It is the index.", "Yes. It is the price.", "Yes. It names the price.", "Yes. It names the price."]
    assert shared_gains(rows, questions, relevant, replies) == [1.0, 0.125, 1.0, 0.125]
    assert shared_gains([3, 4], [1, 1], [True, False], ["gibberish", "Yes. It is."]) == [0.125, 0.125]
    assert shared_gains([3, 4], [1, 1], [True, False], ["gibberish", "nothing"]) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("reply", "ended", "earned"),
    [
        ("Yes. It names the price.", True, 1.0),
        ("No. The index of the book", True, 1.0),
        ("Yes. It names the price.", False, 0.0),
        ("Yes, it names the price.", True, 0.0),
        ("It names the price.", True, 0.0),
        ("Yes.", True, 0.0),
        ("Yes. It names\nthe price.", True, 0.0),
        ("", True, 0.0),
    ],
)
def test_the_format_of_a_verdict(reply, ended, earned):
    assert verdict_format_reward(reply, ended=ended) == earned


def test_prompts_for_rewards_keep_questions_whole():
    scores = (4.0, 3.0, 2.0, 1.0)
    lists = [
        ListRow("grpo", q, "guide", f"{q}?", (9, 8, 7, 6), relevant, "pointwise", "text", None, None, scores)
        for q, relevant in (("a", (2,)), ("b", (0, 1)), ("c", (3,)))
    ]
    made = page_prompts(lists, 3, seed=0)
    parts = [made[i : i + 3] for i in range(0, len(made), 3)]
    assert {p[0].qid for p in parts} == {"a", "b", "c"}
    for part in parts:
        assert len({r.qid for r in part}) == 1 and sum(r.relevant for r in part) == 1
        assert [r.position for r in part] == sorted(r.position for r in part)
    with pytest.raises(ConfigError, match="no list"):
        page_prompts(lists, 6, seed=0)


def test_the_dataset_says_which_question_a_page_belongs_to():
    speech = SimpleNamespace(prompt=lambda row: (f"page {row.page_id}", ""))
    found = dataset([row("plan", 0, False), row("plan", 1, True), row("room", 1, True), row("room", 2, False)], speech, pages=2)
    assert found["question"] == [0, 0, 1, 1] and found["row"] == [0, 1, 2, 3] and found["relevant"] == [False, True, True, False]
    assert found["prompt"][3] == [{"role": "user", "content": "page 2"}]


def test_rewards_as_trl_asks_for_them():
    """Two pages of one question, two replies each; the second reply to the first page is cut off."""
    watch, logged = Watch((1.0, 1.0)), {}
    ranking, format_ = reward_functions(watch, end_ids=[7], gather=lambda rollouts: rollouts)
    columns = {
        "row": [0, 0, 1, 1], "question": [0, 0, 0, 0], "relevant": [False, False, True, True],
        "completions": ["No. It is the index.", "Yes. It is", "Yes. It names the price.", "Yes. It names the price."],
        "completion_ids": [[1, 7], [1, 2], [3, 7], [3, 7]], "log_metric": logged.__setitem__,
    }  # fmt: skip
    assert ranking(**columns) == [1.0, 0.125, 1.0, 0.125]
    assert format_(**columns) == [1.0, 0.0, 1.0, 1.0]
    assert logged == {"clean_share": 0.75, "truncated_share": 0.25, "agreeing_groups": 0.0, "diverse_groups": 0.5}
    assert watch.counts == {"rollouts": 4, "truncated_rollouts": 1, "groups": 2, "agreeing_groups": 0}


def test_a_torn_question_is_refused(run):
    from mmr5.training.grpo import check

    check(run("grpo"))
    with pytest.raises(ConfigError, match="a question must be whole"):
        check(run("grpo", "optim.batch_size=12", "optim.accumulation=2", "grpo.group_size=4"))
    with pytest.raises(ConfigError, match="at least 2"):
        check(run("grpo", "groups.pages=0"))
    for setting in ("grpo.difficulty_samples=2", "grpo.compat=upstream"):
        with pytest.raises(ConfigError, match="both are for lists"):
            check(run("grpo", setting))


def test_a_question_stays_in_one_process(run, monkeypatch):
    from mmr5.training.grpo import check

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="in 2 processes: a question's pages must stay together"):
        check(run("grpo"))


@pytest.mark.slow  # 10 s
def test_rewards_reach_the_pages_of_a_question(run):
    from mmr5.training.grpo import train_grpo

    facts = train_grpo(
        run(
            "grpo",
            "optim.batch_size=8",
            "optim.accumulation=1",
            "grpo.group_size=2",
            "optim.max_steps=2",
            "grpo.max_new_tokens=6",
        )
    )
    assert facts["rollouts"] == 16 and facts["groups"] == 8 and facts["steps"] == 2
