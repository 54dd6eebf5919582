import pytest

from mmr5.render.html import environment, mark_terms
from mmr5.render.words import ISSUES, SCORE_NAMES, SCORES, movement
from mmr5.types import Issue


def test_every_issue_has_its_own_sentence():
    assert set(ISSUES) == set(Issue)
    assert len(set(ISSUES.values())) == len(Issue)
    assert all(sentence.endswith(".") and not any(issue in sentence for issue in Issue) for sentence in ISSUES.values())


def test_every_score_kind_that_the_methods_give_has_words():
    from mmr5.methods import likelihood, logits, pointwise

    kinds = {likelihood.SCORE_KIND, logits.SCORE_KIND, pointwise.SCORE_KIND, "fused", "borda", "reciprocal_rank"}
    assert kinds <= set(SCORES)
    assert set(SCORES) == set(SCORE_NAMES)


@pytest.mark.parametrize(("rank", "before", "said"), [(1, 4, "up 3"), (3, 2, "down 1"), (2, 2, "same"), (1, None, "")])
def test_movement(rank, before, said):
    assert movement(rank, before) == said


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("Fees, and (fees).", "<mark>Fees</mark>, and (<mark>fees</mark>)."),
        ("fee\nline", "<mark>fee</mark>\nline"),
        ("a <b>fees</b> & co", "a &lt;b&gt;<mark>fees</mark>&lt;/b&gt; &amp; co"),
        ("what the tide", "what the tide"),
        ("", ""),
    ],
)
def test_the_words_of_the_question_are_marked_and_the_rest_is_inert(text, marked):
    assert mark_terms(text, "What are the fees?") == marked


def test_one_strict_environment():
    assert environment() is environment()
    assert environment().from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
    with pytest.raises(Exception, match="undefined"):
        environment().from_string("{{ missing }}").render()
