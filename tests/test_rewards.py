import time

import pytest

from mmr5.answer import format_reply
from mmr5.rewards import discounted_gain, format_reward, ranking_reward


def reply(answer):
    return f"<think>because</think><answer>{answer}</answer>"


@pytest.mark.parametrize(("rank", "value"), [(1, 1.0), (2, 0.125), (3, 1 / 27), (4, 1 / 64), (5, 1 / 125)])
def test_one_relevant_page_by_its_rank(rank, value):
    order = [i for i in range(5) if i != 2]
    order.insert(rank - 1, 2)
    assert ranking_reward(format_reply(order, ["x"] * 5), [2], 5) == pytest.approx(value)


def test_the_papers_worked_value():
    assert ranking_reward(reply("[2, 1, 4, 3, 5]"), [1, 3], 5) == pytest.approx(0.9218, abs=5e-5)


def test_gold_scores_one_and_an_empty_reply_nothing():
    gold = format_reply([3, 1, 0, 2], ["x"] * 4)
    assert ranking_reward(gold, [1, 3], 4) == 1
    assert format_reward(gold, 4) == 1
    assert ranking_reward("", [1], 4) == format_reward("", 4) == 0


def test_repeating_the_relevant_page_is_not_rewarded():
    assert ranking_reward(reply("[3, 3, 3, 3, 3]"), [2], 5) == 1
    assert format_reward(reply("[3, 3, 3, 3, 3]"), 5) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ("[ 3, 1, 2, 4, 5]", 1.0),
        ("[3,\n1, 2, 4, 5]", 1.0),
        ("[3]", 0.2),
        ("[3, 1, 2, 4, 5, 3, 3]", 0.6),
        ("[5, 1, 2, 3, 4, 5]", 0.8),
        ("[3, 3, 3, 3, 3]", 0.2),
        ("[3" + ", 3" * 9 + "]", 0.0),
        ("[3, 1, 2, 4, 5, 9]", 0.8 * 5 / 6),
        ("3, 1, 2, 4, 5", 1.0),
        ("[3, 1, 2, 4, 5", 0.0),
        ("3, 1, 2, 4, 5]", 0.0),
        ("1. 3\n2. 1\n3. 2\n4. 4\n5. 5", 0.0),
        ("[" + "9" * 5000 + ", 1, 2, 3, 4]", 0.8),
        ("[1, 2, 3, 4]", 0.8),
        ("[1, 2, 3, 4, 9]", 0.8),
        ("[" + ", ".join(str(i) for i in range(1, 16)) + "]", 0.0),
        ("[1.5, 2]", 0.0),
    ],
)
def test_format_reward(answer, value):
    assert format_reward(reply(answer), 5) == pytest.approx(value)


def test_one_candidate_can_earn_the_format_reward():
    assert format_reward(reply("[1]"), 1) == 1


def test_nothing_is_appended_before_scoring():
    assert ranking_reward(reply("[1]"), [1], 2) == 0
    assert ranking_reward("no tags [2, 1]", [1], 2) == 0


@pytest.mark.parametrize(
    "text",
    [
        "<think>because</think><answer>[2, 1]",
        "<think>because</think>[2, 1]</answer>",
        "<think>because</think>[2, 1]",
        "<think>because</think><answer>[2, 1</answer>",
        "<think>because</think><answer>2, 1]</answer>",
        "<think>because <answer>[2, 1]</answer>",
    ],
)
def test_an_answer_without_both_its_tags_and_brackets_earns_nothing(text):
    assert ranking_reward(text, [1], 2) == format_reward(text, 2) == 0


def test_what_is_served_is_rewarded_for_its_order():
    assert ranking_reward(reply("1. Image 2\n2. Image 1"), [1], 2) == 1
    assert ranking_reward(reply("1. the fees\n2. the pier"), [0], 2) == 0
    assert ranking_reward("I say " + reply("[2, 1]"), [1], 2) == 1


def test_strangers_do_not_hold_a_rank():
    assert ranking_reward(reply("[9, 2, 1]"), [1], 2) == 1


def test_direct_answers_have_a_format_too():
    assert format_reward("<answer>[2, 1]</answer>", 2, think=False) == 1
    assert format_reward("<answer>[2, 1]</answer>", 2) == 0


def test_impossible_calls_are_refused():
    with pytest.raises(ValueError, match="relevant is empty"):
        discounted_gain([0], [])
    with pytest.raises(ValueError, match="at least one candidate"):
        format_reward("", 0)


FIVE = "[3, 1, 2, 4, 5]"
UPSTREAM = [
    # reply, ranking, format: |G| = {3}, N = 5, values of the released functions
    (reply("[3, 3, 3, 3, 3]"), 1.0, 1.0),
    (reply("[ 3, 1, 2, 4, 5]"), 1.0, 0.0),
    (reply("[3,\n1, 2, 4, 5]"), 0.0, 0.0),
    (f"before {reply(FIVE)} after", 1.0, 1.0),
    (reply(FIVE) + "<answer>[1, 2, 3, 4, 5]</answer>", 1.0, 1.0),
    (f"<think>perhaps <answer>{FIVE}</answer></think><answer>[1, 2, 3, 4, 5]</answer>", 1.0, 1.0),
    (f"<answer>{FIVE}</answer>", 1.0, 0.0),
    (reply("[3]"), 1.0, 0.0),
    (reply("[03, 1, 2, 4, 5]"), 1.0, 0.0),
    (reply("[" + ", ".join(["1, 2, 3, 4, 5"] * 3) + "]"), 1 / 27, -1.0),
    (reply("[9, 3, 1, 2, 4]"), 0.125, 0.8),
    (reply("[3, one]"), 0.0, 0.0),
    (reply("[3, 1, 2, 4, 5, 3, 3]"), 1.0, 0.6),
    (f"<think>a</think> <think>b</think>\n<answer>{FIVE}</answer>", 1.0, 1.0),
    (f"<think>a</think> so <answer>{FIVE}</answer>", 1.0, 0.0),
    (f"a</think><answer>{FIVE}</answer><think>", 1.0, 0.0),
    (reply("[3, " + "9" * 5000 + "]"), 0.0, 0.0),
    ("", 0.0, 0.0),
]


@pytest.mark.parametrize(("text", "ranking", "format_"), UPSTREAM)
def test_values_of_the_released_functions(text, ranking, format_):
    assert ranking_reward(text, [2], 5, compat="upstream") == pytest.approx(ranking)
    assert format_reward(text, 5, compat="upstream") == pytest.approx(format_)


@pytest.mark.parametrize(
    "text", ["<think>" * 100_000, "<think>x" + "</think> " * 100_000, "<answer>[" + "1," * 500_000, "9" * 900_000]
)
def test_the_released_functions_read_hostile_replies_in_time(text):
    start = time.process_time()
    assert format_reward(text, 5, compat="upstream") == ranking_reward(text, [2], 5, compat="upstream") == 0
    assert time.process_time() - start < 0.5


def test_one_candidate_never_earns_the_released_format_reward():
    assert format_reward(reply("[1]"), 1, compat="upstream") == 0


def test_the_papers_worked_value_holds_for_both():
    assert ranking_reward(reply("[2, 1, 4, 3, 5]"), [1, 3], 5, compat="upstream") == pytest.approx(0.9218, abs=5e-5)


def test_an_unknown_compatibility_is_refused():
    with pytest.raises(ValueError, match="compat is 'old'"):
        ranking_reward("", [0], 2, compat="old")
    with pytest.raises(ValueError, match="compat is 'old'"):
        format_reward("", 2, compat="old")
