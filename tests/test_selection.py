"""Which pages of a ranking are given back."""

import pytest

from mmr5 import Reranker, Searcher
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError
from mmr5.selection import EVERYTHING, Selection

ORDER, RELEVANCE = [2, 0, 1], [0.5, 0.1, 0.9]
TEXTS = ["two words", None, "three more words"]


def words(text):
    return len(text.split())


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (EVERYTHING, [2, 0, 1]),
        (Selection(min_relevance=0.5), [2, 0]),
        (Selection(top_n=1), [2]),
        (Selection(0.6, 2), [2]),
        (Selection(max_context_tokens=2), []),
        (Selection(max_context_tokens=3), [2]),
        (Selection(max_context_tokens=4), [2]),
        (Selection(max_context_tokens=5), [2, 0, 1]),
        (Selection(min_relevance=0.2, max_context_tokens=5), [2, 0]),
        (Selection(top_n=1, max_context_tokens=5), [2]),
    ],
)
def test_limits_hold_in_order(selection, expected):
    assert selection.of(ORDER, RELEVANCE, TEXTS, words) == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"min_relevance": -0.1}, "it is a probability"),
        ({"min_relevance": 1.1}, "it is a probability"),
        ({"top_n": 0}, "top_n is 0"),
        ({"max_context_tokens": 0}, "max_context_tokens is 0"),
    ],
)
def test_impossible_limits_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        Selection(**values)


def test_relevance_that_nobody_knows_is_no_limit():
    with pytest.raises(ConfigError, match="needs a calibration"):
        Selection(0.5).of(ORDER, None, TEXTS, words)


def test_the_library_keeps_pages_while_their_text_fits():
    reranker = Reranker(ScriptedEngine(), view="text", method="likelihood")
    pages = ["the harbour was dredged", "ships", "harbour dredged again in spring"]
    whole = reranker.rerank("When was the harbour dredged?", pages)
    size = reranker.engine.count_tokens(pages[whole.order[0]])
    for few in (reranker, Searcher(reranker, "none")):
        ask = few.rerank if few is reranker else few.search
        assert ask("When was the harbour dredged?", pages, max_context_tokens=size).order == whole.order[:1]
        assert ask("When was the harbour dredged?", pages, max_context_tokens=size - 1).order == ()


def test_without_a_model_tokens_are_counted_by_words():
    assert Reranker.from_pretrained("none").engine.count_tokens("one two three four") == 6
