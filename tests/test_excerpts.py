import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.excerpts import best_passage, excerpt, passage_scores, passages, terms, truncate


def count(text):
    return len(text.split())


PAGE = "\n".join(
    ["Harbour report, chapter four."]
    + [f"Line {i} speaks of weather and of nothing else at all." for i in range(40)]
    + ["The berthing fees for yachts rise to 31 euros a night."]
    + [f"Line {i} speaks of seals and of their young on the rocks." for i in range(40)]
)


def test_passages_hold_every_word_in_order():
    found = passages(PAGE, 20)
    assert " ".join(found).split() == PAGE.split()
    assert max(len(p.split()) for p in found) <= 20
    assert passages("") == []
    assert passages("a " * 130, 60) == [" ".join(["a"] * 60), " ".join(["a"] * 60), " ".join(["a"] * 10)]
    with pytest.raises(ValueError, match="at least one word"):
        passages("a", 0)


@given(st.text(max_size=400), st.integers(1, 30))
def test_any_text_is_cut_without_loss(text, size):
    assert " ".join(passages(text, size)).split() == text.split()


def test_the_best_passage_is_the_one_that_answers():
    assert "31 euros" in best_passage("What does a yacht's berth cost, which fee?", PAGE, size=20)
    assert best_passage("anything", "") is None
    assert best_passage("zebra", PAGE, size=5).startswith("Harbour report")


def test_terms_fold_simple_endings_and_drop_stop_words():
    assert terms("The fees are rising, and 2.5-inch files") == ["fee", "ris", "2.5-inch", "fil"]


def test_scores_are_zero_where_no_word_is_shared():
    scores = passage_scores("berthing fees", ["seals and rocks", "the berthing fees of 2025", "fees"])
    assert scores[0] == 0
    assert scores[1] > scores[2] > 0
    assert passage_scores("x", []) == []


def test_an_excerpt_keeps_to_its_budget_and_holds_the_head_and_the_answer():
    text = excerpt("What does a yacht berth cost? fees", PAGE, 80, count, size=20)
    assert count(text) <= 80
    assert text.startswith("Harbour report, chapter four.")
    assert "31 euros" in text
    assert text.index("Harbour") < text.index("31 euros")
    assert "…" in text


def test_a_text_that_fits_is_whole():
    assert excerpt("q", "one\n\n two  three", 10, count) == "one two three"
    assert excerpt("q", "  ", 10, count) == ""


def test_a_tiny_budget_still_gives_words():
    assert count(excerpt("berthing fees", PAGE, 4, count, size=20)) == 4
    with pytest.raises(ValueError, match="budget"):
        excerpt("q", PAGE, 0, count)


@given(st.text(max_size=600), st.text(max_size=40), st.integers(1, 60))
def test_no_excerpt_exceeds_its_budget(text, query, budget):
    assert count(excerpt(query, text, budget, count, size=12)) <= budget


def test_truncate():
    assert truncate("a b c d", 3, count) == "a b c"
    assert truncate("a b", 9, count) == "a b"
    assert truncate("a b", 0, count) == ""
