"""The difficulty filter, with a policy that says what it is told to say."""

import json
from types import SimpleNamespace

import pytest

from mmr5.answer import format_reply
from mmr5.data.rows import ListRow
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError
from mmr5.training import difficulty
from mmr5.training.config import from_tables
from mmr5.training.trainer import Run
from support.tiny import TEMPLATE, tokenizer

GOOD, BAD = format_reply([1, 0], ["a", "b"]), format_reply([0, 1], ["a", "b"])


def list_row(number):
    return ListRow(
        "grpo", f"guide#{number}", "guide", f"question {number}?", (4, 7), (1,), "reason", "text", None, None, (1.0, 0.5)
    )


class Policy:
    """A model in training, as far as the filter touches it."""

    def __init__(self):
        self.training, self.generation_config = True, "its own"

    def eval(self):
        self.training, self.generation_config = False, "the engine's"
        return self

    def train(self, on):
        self.training = on


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(replies)`` has one row for each list of replies to its prompt; ``.engine`` and ``.told`` say what was asked and told."""

    def make(replies, **grpo):
        told = []
        given = {f"question {n}?": list(own) for n, own in enumerate(replies)}
        engine = ScriptedEngine(lambda request: given[request.messages[0]["content"][0]["text"]].pop(0))
        sampled = []
        plain = engine.generate
        engine.generate = lambda requests, sampling: sampled.append(sampling) or plain(requests, sampling)
        monkeypatch.setattr(difficulty, "TransformersEngine", lambda model, processor, **named: engine)
        config = from_tables(
            {
                "model": {"base": "b"}, "data": {"rows": "r", "corpus": "c"}, "run": {"out": str(tmp_path)}, "optim": {"seed": 5},
                "grpo": {"difficulty_samples": 2, "temperature": 0.9, "top_p": 0.8, "max_new_tokens": 64, **grpo},
                "recipe": {"view": "text", "page_tokens": 50},
            },
            "test",
        )  # fmt: skip
        talk = SimpleNamespace(prompt=lambda row: [{"role": "user", "content": [{"type": "text", "text": row.question}]}])
        rows = [list_row(n) for n in range(len(replies))]
        made = Run(config, "grpo", None, rows, Policy(), tokenizer(), TEMPLATE, "b", talk, lambda *step: told.append(step))
        return SimpleNamespace(run=made, engine=engine, told=told, sampled=sampled)

    return make


def test_prompts_whose_replies_earn_the_same_are_dropped(run, tmp_path):
    given = run([[GOOD, GOOD], [GOOD, BAD], [BAD, "no order"], [BAD, BAD]])
    kept = difficulty.keep_instructive(given.run)
    assert [row.qid for row in kept] == ["guide#1", "guide#2"]
    written = json.loads((tmp_path / "difficulty.json").read_text())
    assert written["samples"] == 2
    assert [row["agrees"] for row in written["rows"]] == [True, False, False, True]
    # the relevant page first earns 1, second 1/8; a reply without an order nothing
    assert [row["ranking"] for row in written["rows"]] == [1.0, (1 + 1 / 8) / 2, 1 / 16, 1 / 8]
    assert [row["format"] for row in written["rows"]] == [1.0, 1.0, 0.5, 1.0]
    assert given.told == [("difficulty", 4, 4)]


def test_replies_are_sampled_as_rollouts_are(run):
    given = run([[GOOD, BAD]])
    difficulty.keep_instructive(given.run)
    (sampling,) = given.sampled
    assert (sampling.max_new_tokens, sampling.temperature, sampling.top_p, sampling.seed) == (64, 0.9, 0.8, 5)


def test_only_the_rewards_that_count_must_differ(run):
    given = run([[GOOD, BAD], [GOOD, "no order"]], ranking_weight=0.0)
    assert [row.qid for row in difficulty.keep_instructive(given.run)] == ["guide#1"]


def test_many_rows_are_sampled_in_parts_and_keep_their_places(run):
    given = run([[GOOD, BAD] if n % 3 == 0 else [GOOD, GOOD] for n in range(40)])
    kept = difficulty.keep_instructive(given.run)
    assert [row.qid for row in kept] == [f"guide#{n}" for n in range(0, 40, 3)]
    assert given.told == [("difficulty", 16, 40), ("difficulty", 32, 40), ("difficulty", 40, 40)]
    assert [s.seed for s in given.sampled] == [5, 21, 37], "no two parts are drawn alike"


def test_the_policy_is_left_as_it_was(run):
    given = run([[GOOD, BAD]])
    difficulty.keep_instructive(given.run)
    assert given.run.model.training is True and given.run.model.generation_config == "its own"


def test_a_run_that_goes_on_reads_what_was_measured(run):
    first = run([[GOOD, BAD], [GOOD, GOOD]])
    difficulty.keep_instructive(first.run)
    again = run([[], []])
    assert [row.qid for row in difficulty.keep_instructive(again.run)] == ["guide#0"]
    assert again.engine.requests == []


def test_prompts_that_all_teach_nothing_stop_the_run(run, tmp_path):
    with pytest.raises(ConfigError, match=r"all 2 prompts earn the same reward with every reply.*grpo\.difficulty_samples = 0"):
        difficulty.keep_instructive(run([[GOOD, GOOD], [BAD, BAD]]).run)
    assert (tmp_path / "difficulty.json").is_file()
