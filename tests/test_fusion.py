"""First stage and model as one score a page."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mmr5 import Recipe, Reranker, Searcher
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError, InputError
from mmr5.fusion import SPREAD, fuse, log_odds
from mmr5.models.recipes import parse_recipe
from mmr5.types import Candidates, Issue, Page, Ranking


def candidates(scores, scale=1.0, texts=None):
    pages = tuple(Page("a", i + 1, text=text) for i, text in enumerate(texts or ["x"] * len(scores)))
    return Candidates("Which page is it?", pages, None if scores is None else tuple(scores), scale=scale)


def test_log_odds_are_summed_page_by_page():
    ranking = Ranking((0, 1, 2), (0.5, 0.9, 0.1), "relevance_probability")
    fused = fuse(candidates([3.0, 0.0, 1.0]), ranking, 2.0)
    assert fused.scores == pytest.approx((3.0, 2 * math.log(9), 1 - 2 * math.log(9)))
    assert (fused.order, fused.score_kind) == ((1, 0, 2), "fused")
    assert fuse(candidates([3.0, 0.0, 1.0], scale=10.0), ranking, 0.5).scores[0] == 30.0
    assert fuse(candidates([3.0, 0.0, 1.0]), ranking, 0).order == (0, 2, 1)
    assert fuse(candidates([3.0, 0.0, 1.0]), ranking, [0.0, 1.0, 0.0]).scores == pytest.approx((3.0, math.log(9), 1.0))


@pytest.mark.parametrize(
    ("kind", "score", "worth"),
    [
        ("relevance_log_odds", -2.5, -2.5),
        ("mean_log_likelihood", -1.5, -1.5),
        ("cross_encoder", 4.0, 4.0),
        ("choice_probability", 0.25, math.log(0.25)),
        ("relevance_probability", 0.25, log_odds(0.25)),
    ],
)
def test_a_page_scores_alike_in_any_company(kind, score, worth):
    alone = fuse(candidates([1.0]), Ranking((0,), (score,), kind), 1.5)
    beside = fuse(candidates([1.0, 7.0]), Ranking((0, 1), (score, 0.9), kind), 1.5)
    assert alone.scores[0] == beside.scores[0] == pytest.approx(1.0 + 1.5 * worth)


def test_orders_and_foreign_scores_count_within_their_list():
    z = 1.224744871391589
    by_place = fuse(candidates([0.0] * 3), Ranking((2, 0, 1)), 1.0)
    assert by_place.scores == pytest.approx((0.0, -SPREAD * z, SPREAD * z))
    foreign = fuse(candidates([30.0, 10.0, 20.0], scale=None), Ranking((0, 1, 2), (0.5,) * 3, "relevance_probability"), 1.0)
    assert foreign.scores == pytest.approx((SPREAD * z, -SPREAD * z, 0.0))


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", ["relevance_log_odds", "relevance_probability", "choice_probability", "borda"])
def test_a_score_that_is_no_number_abstains(kind, broken):
    ranking = Ranking((0, 1, 2), (broken, 0.8, 0.2), kind)
    fused = fuse(candidates([2.0, 1.0, 0.0]), ranking, 1.0)
    assert fused.scores[0] == 2.0
    assert fused.scores[1] - 1.0 > fused.scores[2]
    assert fused.issues == (Issue.NOT_A_NUMBER,)
    healthy = Ranking((0, 1, 2), (0.5, 0.8, 0.2), kind)
    assert fuse(candidates([broken, 1.0, 0.0]), healthy, 0.0).scores == (0.0, 1.0, 0.0)
    assert fuse(candidates([broken, 1.0, 0.0]), healthy, 0.0).issues == ()


def test_without_first_stage_scores_the_ranking_is_left_alone():
    ranking = Ranking((1, 0), (0.1, 0.2), "borda")
    assert fuse(candidates(None, texts=["a", "b"]), ranking, 1.0) is ranking


ENGLISH = "The keeper of the station writes down when the ship has passed and what the weather was on that day."
GERMAN = "Der Wärter der Station schreibt auf, wann das Schiff vorbei war und wie das Wetter an dem Tag gewesen ist."
QUESTION = "When does the keeper write down what the weather was on that day?"


def searcher(**recipe):
    made = Recipe(method="pointwise", view="text", page_tokens=50, fusion=1.0, languages=("en",), **recipe)
    return Searcher(Reranker(ScriptedEngine(), recipe=made), "bm25")


def asked(question, languages=(None, None)):
    pages = [Page("a", 1, text=ENGLISH, language=languages[0]), Page("a", 2, text=GERMAN, language=languages[1])]
    return Candidates(question, tuple(pages), (0.5, 0.4), scale=1.0)


def test_pages_in_other_languages_count_by_their_own_weight():
    found = asked(QUESTION)
    [alone] = searcher().reranker.rank_many([found])
    odds = [log_odds(p) for p in alone.scores]
    [ranking] = searcher().rank([found])
    assert ranking.scores == pytest.approx((0.5 + odds[0], 0.4))
    assert Issue.LANGUAGE in ranking.issues
    [ranking] = searcher(other_fusion=0.25).rank([found])
    assert ranking.scores == pytest.approx((0.5 + odds[0], 0.4 + 0.25 * odds[1]))


def test_a_question_in_another_language_counts_for_all_pages():
    [ranking] = searcher().rank([asked("Wann schreibt der Wärter auf, wie das Wetter an dem Tag gewesen ist?")])
    assert ranking.scores == pytest.approx((0.5, 0.4))
    assert Issue.LANGUAGE in ranking.issues


def test_what_is_known_of_a_page_counts_before_its_words():
    [ranking] = searcher().rank([asked(QUESTION, ("en", "en"))])
    assert Issue.LANGUAGE not in ranking.issues


def test_a_model_without_languages_is_for_any():
    made = Recipe(method="pointwise", view="text", page_tokens=50, fusion=1.0)
    reranker = Reranker(ScriptedEngine(), recipe=made)
    [ranking] = Searcher(reranker, "bm25").rank([asked(QUESTION)])
    assert ranking.issues == ()
    assert reranker.knows_pages(asked(QUESTION)) == [True, True]


def test_languages_are_read_from_a_recipe():
    found = parse_recipe('{"languages": ["en", "de"], "other_fusion": 0.5}', "recipe.json")
    assert found.languages == ("en", "de")
    assert (found.knows("de"), found.knows("fr"), found.knows(None)) == (True, False, True)
    for wrong in ('"en"', "[1]"):
        with pytest.raises(ConfigError, match=r"languages is .* give a list of ISO 639-1 codes"):
            parse_recipe(f'{{"languages": {wrong}}}', "recipe.json")


class Counting(ScriptedEngine):
    """Counts the prompts that it is asked about."""

    asked = 0

    def score_choices(self, requests, *arguments, **named):
        self.asked += len(requests)
        return super().score_choices(requests, *arguments, **named)


@pytest.mark.parametrize("verb", ["rank", "rank_each"])
def test_a_list_that_the_model_counts_nothing_in_is_not_read_by_it(verb):
    engine = Counting()
    made = Recipe(method="pointwise", view="text", page_tokens=50, fusion=1.0, languages=("en",), notes=0)
    german = asked("Wann schreibt der Wärter auf, wie das Wetter an dem Tag gewesen ist?")
    batch = [german, asked(QUESTION), german]
    rankings = getattr(Searcher(Reranker(engine, recipe=made), "bm25"), verb)(batch)
    assert engine.asked == 2
    assert [ranking.scores[0] == 0.5 for ranking in rankings] == [True, False, True]
    assert all(Issue.LANGUAGE in ranking.issues for ranking in rankings)
    assert rankings[0].order == (0, 1)
    for more in ({"notes": 2}, {"other_fusion": 0.5}):
        Searcher(Reranker(engine, recipe=replace(made, **more)), "bm25").rank([german])
    Searcher(Reranker(engine, recipe=made), "none").rank([replace(german, scores=None)])
    assert engine.asked == 8
    with pytest.raises(InputError, match="question is empty"):
        Searcher(Reranker(engine, recipe=made), "bm25").rank([replace(german, query=" ")])
