"""What is shown of a page beside its place."""

import pytest

from mmr5 import Page, Reranker
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import PageError
from mmr5.evidence import JOIN, MOST_WORDS, best_passages, find_evidence, find_passages, share_held

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


PORT = "The  port.\n\nA crane lifts\n boxes. Ships wait."


def test_passages_say_where_they_stand_in_the_text():
    judged = [("The port.", 1.0), ("A crane lifts boxes.", 2.0), ("Ships wait.", 3.0)]
    [both] = find_passages("?", PORT, judged)
    assert both.text == "A crane lifts boxes. Ships wait."
    assert PORT[slice(*both.span)] == "A crane lifts\n boxes. Ships wait."
    best, second = find_passages("?", PORT, [judged[0], (judged[1][0], 0.0), judged[2]])
    assert [PORT[slice(*passage.span)] for passage in (best, second)] == ["Ships wait.", "The  port."]
    assert find_evidence("?", PORT, [judged[0], (judged[1][0], 0.0), judged[2]]) == f"Ships wait.{JOIN}The port."


def test_a_passage_by_terms_says_where_it_stands():
    [passage] = find_passages("What does a ticket cost?", FERRY)
    start, end = passage.span
    assert FERRY[start:end].split() == passage.text.split()
    assert "costs twelve crowns" in passage.text


def test_the_place_of_other_words_is_not_known():
    assert [passage.span for passage in find_passages("?", PORT, [("other words", 1.0)])] == [None]
    assert find_passages("?", None) == []


def test_a_result_has_boxes_where_the_page_knows_them():
    class Lines:
        def of(self, start, end):
            return [(0.1, start / 100, 0.9, end / 100)]

    class Gone:
        def of(self, start, end):
            raise PageError("the document is gone")

    pages = [Page("a.pdf", 1, text=PORT, boxes=Lines()), Page("a.pdf", 2, text=PORT, boxes=Gone()), Page("a.pdf", 3, text="")]
    lines = {line.page: line for line in Reranker(ScriptedEngine(), view="text", method="likelihood").rerank("crane", pages)}
    [shown] = lines[1].evidence_passages
    assert shown.boxes == ((0.1, 0.0, 0.9, len(PORT) / 100),)
    assert lines[1].to_dict()["evidence_passages"] == [{"text": lines[1].evidence, "boxes": [[0.1, 0.0, 0.9, len(PORT) / 100]]}]
    assert lines[2].to_dict()["evidence_passages"] == [{"text": lines[2].evidence, "boxes": []}]
    assert lines[3].evidence is None
    assert lines[3].to_dict()["evidence_passages"] == []
