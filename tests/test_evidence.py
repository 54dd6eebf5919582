"""What is shown of a page beside its place."""

import pytest

from mmr5.evidence import JOIN, MOST_WORDS, best_passages, find_evidence, share_held

FERRY = "The ferry leaves at nine. " * 12 + "\nA ticket for the ferry costs twelve crowns.\n" + "The light burns at night. " * 12


def test_without_a_model_it_is_one_passage_by_terms():
    assert "costs twelve crowns" in find_evidence("What does a ticket cost?", FERRY)
    assert find_evidence("What does a ticket cost?", "") is None
    assert find_evidence("What does a ticket cost?", None) is None
    assert find_evidence("What does a ticket cost?", None, ()) is None


def test_a_models_best_two_passages_are_shown_the_best_one_first():
    judged = [("one here", 1.0), ("two here", 5.0), ("three here", 0.0), ("four here", 7.0)]
    assert best_passages(judged) == [3, 1]
    assert find_evidence("?", "", judged) == f"four here{JOIN}two here"
    assert find_evidence("?", "", [*judged[:2], ("three here", 6.0), judged[3]]) == "three here four here"
    assert find_evidence("?", "", judged[:1]) == "one here"


def test_the_second_passage_is_one_that_still_fits():
    long = " ".join(["word"] * 40)
    assert best_passages([(long, 3.0), (long, 2.0), ("a short one", 1.0)]) == [0, 2]
    assert best_passages([(" ".join(["word"] * 80), 3.0), ("short", 1.0)]) == [0]
    assert MOST_WORDS == 60


def test_equal_passages_stand_in_reading_order():
    assert best_passages([("a", 1.0), ("b", 1.0), ("c", 1.0)]) == [0, 1]


@pytest.mark.parametrize(
    ("quote", "text", "share"), [("a b c d", "d c x", 0.5), ("a a", "a", 0.5), ("", "a", 0.0), ("A b", "a B", 1.0)]
)
def test_the_share_of_a_quote(quote, text, share):
    assert share_held(quote, text) == share
