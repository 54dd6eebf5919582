"""What scores mean: never against the order, never invented, and null outside the setting."""

import json
import math
from dataclasses import replace

import pytest

from mmr5 import Reranker, Searcher
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError
from mmr5.models import Recipe
from mmr5.models.recipes import parse_recipe
from mmr5.relevance import Calibration, Setting, find, list_features
from mmr5.reranker import build_result, read_calibrations
from mmr5.selection import Selection
from mmr5.types import Candidates, Page, Ranking, ScoreKind

HERE = Setting("pointwise", "text", "none", None)
CALIBRATION = Calibration(
    HERE, slope=2.0, intercept=-1.0, knee=9.0, weights=(1.0, 0.5, 0.0), bias=-2.0, no_below=0.2, yes_from=0.8
)


def result(scores, *, calibrations=(CALIBRATION,), sources=("d",), **options):
    reranker = Reranker(ScriptedEngine(), recipe=Recipe(method="pointwise", view="text", calibrations=calibrations))
    pages = tuple(Page(sources[i % len(sources)], i + 1, text=f"page {i}") for i in range(len(scores)))
    order = tuple(sorted(range(len(scores)), key=lambda i: -scores[i]))
    ranking = Ranking(order, tuple(scores), ScoreKind.RELEVANCE_LOG_ODDS)
    return build_result(reranker, Candidates("?", pages), ranking, n_pages=len(scores), **options)


def test_relevance_is_a_logistic_function_of_the_score_and_falls_with_it():
    found = result([0.5, 2.0, -3.0])
    assert [line.relevance for line in found] == pytest.approx([1 / (1 + math.exp(-(2 * s - 1))) for s in (2.0, 0.5, -3.0)])
    assert found.to_dict()["ranking"][0]["relevance"] == found[0].relevance
    [alone] = result([0.5])
    assert alone.relevance == found[1].relevance


@pytest.mark.parametrize(
    ("scores", "verdict"), [([4.0, 0.0], "yes"), ([1.0, 0.5], "unsure"), ([-3.0, -3.5, -4.0], "no"), ([-3.0], "no")]
)
def test_the_verdict_goes_by_the_cuts(scores, verdict):
    found = result(scores)
    best, lead, spread = list_features(scores, 9.0)
    expected = 1 / (1 + math.exp(-(best + 0.5 * lead - 2)))
    assert found.answerable.probability == pytest.approx(expected)
    assert found.answerable.verdict == verdict
    assert found.to_dict()["answerable"] == {"probability": found.answerable.probability, "verdict": verdict}
    assert spread == best - (
        sorted(scores)[-2] if len(scores) == 2 else sorted(scores)[0] / 2 + sorted(scores)[-2] / 2 if len(scores) > 2 else best
    )


def test_list_features():
    assert list_features([1.0], 9.0) == (1.0, 0.0, 0.0)
    assert list_features([1.0, 5.0, 3.0], 9.0) == (5.0, 2.0, 3.0)
    assert list_features([1.0, 5.0, 3.0, 2.0], 9.0) == (5.0, 2.0, 3.0)
    ten = [9.0, 7.0, 6.0, 5.0, 4.0, 4.0, 3.0, 3.0, 2.0, 2.0]
    assert list_features([*ten, *([-9.0] * 40)], 9.0) == list_features(ten, 9.0), "a longer list means the same"
    assert list_features([1.0, 5.0, 3.0], 4.0) == (4.0, 2.0, 3.0), "above the knee a higher score says no more"


def test_outside_its_setting_there_is_neither():
    searched = replace(CALIBRATION, setting=replace(HERE, retriever="bm25"))
    pooled = replace(CALIBRATION, setting=replace(HERE, retriever="bm25", scope="pooled"))
    of_two = {"sources": ("a", "b"), "retriever": "bm25"}
    for other in (result([1.0, 0.0], calibrations=()), result([1.0, 0.0], calibrations=(searched,), **of_two)):
        assert other.answerable is None
        assert [line.relevance for line in other] == [None, None]
    assert result([1.0, 0.0], calibrations=(searched, pooled), **of_two).answerable is not None
    assert result([1.0, 0.0], sources=("a", "b")).answerable is not None, "documents that are handed in are no collection"
    assert find([CALIBRATION], replace(HERE, view="image")) is None
    assert result([1.0, 0.0], retriever="bm25").answerable is None
    assert result([]).answerable is None


def test_pages_below_the_cut_are_left_out_before_top_n_and_the_verdict_is_of_the_whole_list():
    whole = result([3.0, 1.0, -2.0])
    cut = result([3.0, 1.0, -2.0], selection=Selection(0.5))
    assert [line.index for line in cut] == [0, 1]
    assert cut.answerable == whole.answerable
    assert [line.index for line in result([3.0, 1.0, -2.0], selection=Selection(0.5, 1))] == [0]
    assert len(result([-3.0, -4.0], selection=Selection(0.5))) == 0
    with pytest.raises(ConfigError, match="needs a calibration"):
        result([3.0], calibrations=(), selection=Selection(0.5))
    with pytest.raises(ConfigError, match=r"in \[0, 1\]"):
        Selection(min_relevance=1.5)


def test_the_library_takes_a_least_relevance():
    reranker = Reranker(ScriptedEngine(), recipe=Recipe(method="pointwise", view="text", notes=0, calibrations=(CALIBRATION,)))
    pages = ["The mast is tall.", "The boom swings."]
    kind = reranker.rerank("How tall is the mast?", pages).ranking[0].score_kind
    assert kind is not None
    assert len(reranker.rerank("How tall is the mast?", pages, min_relevance=0.0)) == 2
    assert len(reranker.rerank("How tall is the mast?", pages, min_relevance=1.0)) == 0
    with pytest.raises(ConfigError, match="needs a calibration"):
        Searcher(reranker, "bm25").search("How tall is the mast?", pages, min_relevance=0.5)


def test_a_calibration_is_kept_in_a_recipe_and_read_back(tmp_path):
    recipe = Recipe(method="pointwise", view="text", calibrations=(CALIBRATION,))
    assert parse_recipe(recipe.to_json(), "recipe.json") == recipe
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    (tmp_path / "calibration.json").write_text(json.dumps([CALIBRATION.to_dict()]))
    assert read_calibrations(tmp_path / "recipe.json") == read_calibrations(tmp_path / "calibration.json") == [CALIBRATION]
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds no calibrations"):
        read_calibrations(tmp_path / "calibration.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slope": -1.0}, "slope is -1.0"),
        ({"slope": math.nan}, "finite numbers"),
        ({"weights": [1.0]}, "finite numbers"),
        ({"setting": {"method": "x"}}, "holds no calibration"),
        ({"colour": 1}, "holds no calibration"),
    ],
)
def test_impossible_calibrations_are_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        Calibration.from_dict({**CALIBRATION.to_dict(), **change}, "recipe.json")
    with pytest.raises(ConfigError, match="calibrations is 3"):
        Recipe(calibrations=3)
