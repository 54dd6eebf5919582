import re
from importlib.resources import files

import pytest

from mmr5.render.html import environment, mark_terms
from mmr5.render.labels import ISSUES, movement
from mmr5.types import Issue, ScoreKind


def test_every_issue_has_its_own_sentence():
    assert set(ISSUES) == set(Issue)
    assert len(set(ISSUES.values())) == len(Issue)
    assert all(sentence.endswith(".") and not any(issue in sentence for issue in Issue) for sentence in ISSUES.values())


def test_the_page_names_scores_as_the_package_does():
    script = (files("mmr5") / "server" / "static" / "cards.js").read_text(encoding="utf-8")
    named = dict(re.findall(r'^  (\w+): "(.*)",$', script.partition("const KINDS = {")[2].partition("};")[0], re.MULTILINE))
    raw = [kind for kind in ScoreKind if kind not in (ScoreKind.LOGISTIC_FUSED, ScoreKind.CROSS_ENCODER_PROBABILITY)]
    assert named == {k.value: k.label for k in raw if k is not ScoreKind.LINEAR_RANK and "token" not in k}


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


def test_words_of_other_languages_are_marked():
    assert mark_terms("今年<b>苹果产量</b>下降", "苹果产量") == "今年&lt;b&gt;<mark>苹果产量</mark>&lt;/b&gt;下降"
    assert mark_terms("Die Häuser sind rot.", "Welches Haus ist das?") == "Die <mark>Häuser</mark> sind rot."


def test_one_strict_environment():
    assert environment() is environment()
    assert environment().from_string("{{ x }}").render(x="<b>") == "&lt;b&gt;"
    with pytest.raises(Exception, match="undefined"):
        environment().from_string("{{ missing }}").render()
