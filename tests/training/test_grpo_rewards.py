import pytest

from mmr5.answer import format_reply
from mmr5.errors import EngineError
from mmr5.training.grpo_rewards import Watch, agrees, assert_diverse, facts, groups, reward_functions, score, text_of

GOOD, BAD = format_reply([1, 0], ["a", "b"]), format_reply([0, 1], ["a", "b"])


def rollout(prompt, reply, *, ended=True):
    return score(prompt, reply, [1], 2, think=True, ended=ended)


def test_a_reply_is_scored_by_both_rewards():
    found = rollout("p", GOOD)
    assert (found.ranking, found.format, found.clean) == (1.0, 1.0, True)
    assert (rollout("p", BAD).ranking, rollout("p", "no").format) == (0.125, 0.0)
    assert not rollout("p", GOOD, ended=False).clean


def test_groups_are_counted():
    made = [rollout("p", GOOD), rollout("p", BAD), rollout("q", GOOD), rollout("q", GOOD, ended=False)]
    assert [len(g) for g in groups(made)] == [2, 2]
    assert [agrees(g) for g in groups(made)] == [False, True]
    found = facts(made)
    assert (found.clean_share, found.truncated_share, found.agreeing_groups, found.diverse_groups) == (0.75, 0.25, 0.5, 0.5)


def test_weights_decide_what_agrees():
    group = [rollout("p", GOOD), rollout("p", BAD)]
    assert agrees(group, (0.0, 1.0))
    assert not agrees(group, (1.0, 0.0))


def test_rollouts_that_are_all_alike_are_refused():
    with pytest.raises(EngineError, match=r"raise grpo\.temperature"):
        assert_diverse([rollout("p", GOOD), rollout("p", GOOD), rollout("q", BAD), rollout("q", BAD)])
    assert_diverse([rollout("p", GOOD), rollout("p", BAD), rollout("q", BAD), rollout("q", BAD)])


def test_only_the_first_generation_must_be_diverse():
    watch = Watch((1.0, 1.0))
    watch.see([rollout("p", GOOD), rollout("p", BAD)])
    watch.see([rollout("p", GOOD), rollout("p", GOOD, ended=False)])
    assert watch.counts == {"rollouts": 4, "truncated_rollouts": 1, "groups": 2, "agreeing_groups": 1}


def test_the_functions_that_trl_calls():
    logged = {}
    watch = Watch((1.0, 1.0))
    ranking, format_ = reward_functions(watch, end_ids=[7], compat="paper", gather=lambda rollouts: rollouts)
    columns = {
        "prompts": [[], []], "row": [0, 0], "opening": ["", ""], "relevant": [[1], [1]], "n": [2, 2], "think": [True, True],
        "completions": [[{"role": "assistant", "content": GOOD}], [{"role": "assistant", "content": "cut"}]],
        "completion_ids": [[1, 7], [1, 2]], "images": [[], []], "log_metric": logged.__setitem__, "trainer_state": None,
    }  # fmt: skip
    assert ranking(**columns) == [1.0, 0.0]
    assert format_(**columns) == [1.0, 0.0]
    assert (ranking.__name__, format_.__name__) == ("ranking_reward", "format_reward")
    assert logged == {"clean_share": 0.5, "truncated_share": 0.5, "agreeing_groups": 0.0, "diverse_groups": 1.0}


def test_a_reply_in_either_of_trls_shapes():
    assert text_of("x") == text_of([{"content": "x"}]) == text_of([{"content": [{"type": "text", "text": "x"}]}]) == "x"
