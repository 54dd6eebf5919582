import math

import pytest

from mmr5.errors import ConfigError
from mmr5.retrieval import open_retriever, standardise, top_candidates
from mmr5.retrieval.base import HybridRetriever, NoRetriever
from mmr5.retrieval.bm25 import BM25Retriever
from mmr5.types import Page

PAGES = [
    Page("a", 1, text="Contents and list of figures"),
    Page("a", 2, text="Berthing fees for yachts: 31 euros. Fees rise."),
    Page("a", 3, text=None),
    Page("a", 4, text="The seals of the outer harbour"),
]


def test_bm25_finds_the_page_with_the_words():
    scores = BM25Retriever(PAGES).scores("What fee does a yacht pay for a berth?")
    assert scores.index(max(scores)) == 1
    assert scores[2] == 0


def test_bm25_equals_the_formula():
    """Lucene's BM25, k1 1.5, b 0.75: idf = ln(1 + (N - n + .5) / (n + .5))."""
    pages = [Page("a", 1, text="harbour harbour seal"), Page("a", 2, text="harbour"), Page("a", 3, text="crane")]
    scores = BM25Retriever(pages).scores("harbour")
    idf, mean = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), 5 / 3
    expected = [idf * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * length / mean)) for tf, length in ((2, 3), (1, 1))]
    assert scores == pytest.approx([*expected, 0.0], rel=1e-5)


def test_bm25_without_words_scores_nothing():
    assert BM25Retriever([Page("a", 1), Page("a", 2, text="")]).scores("x") == [0.0, 0.0]
    assert BM25Retriever(PAGES).scores("the of and") == [0.0] * 4
    assert BM25Retriever(PAGES).scores("zebra") == [0.0] * 4


def test_bm25_by_passages_takes_the_best_one():
    long = Page("a", 1, text="seal " + "filler " * 80)
    short = Page("a", 2, text="seal " + "filler " * 12)
    by_passage = BM25Retriever([long, short], passage_words=10).scores("seal")
    whole = BM25Retriever([long, short]).scores("seal")
    assert by_passage[0] == pytest.approx(by_passage[1], rel=1e-4)
    assert whole[0] < whole[1]


def test_standardise():
    assert standardise([1.0, 2.0, 3.0]) == pytest.approx([-1.2247, 0, 1.2247], abs=1e-4)
    assert standardise([5.0, 5.0]) == [0.0, 0.0]
    assert standardise([]) == []


class Fixed:
    name = "fixed"

    def __init__(self, values):
        self.values = values

    def scores(self, query):
        return self.values


def test_hybrid_is_the_sum_of_z_scores():
    hybrid = HybridRetriever(Fixed([1.0, 2.0, 3.0]), Fixed([30.0, 10.0, 20.0]))
    assert hybrid.scores("q") == pytest.approx([0.0, -1.2247, 1.2247], abs=1e-4)


def test_top_candidates_are_the_best_with_ties_in_page_order():
    found = top_candidates("q", PAGES, [1.0, 3.0, 1.0, 2.0], 3)
    assert found.indices == (1, 3, 0)
    assert found.scores == (3.0, 2.0, 1.0)
    assert found.pages[0] is PAGES[1]
    assert top_candidates("q", PAGES, [0.0] * 4, None, scored=False).scores is None
    assert len(top_candidates("q", PAGES, [0.0] * 4, 99)) == 4
    with pytest.raises(ConfigError, match="at least 1"):
        top_candidates("q", PAGES, [0.0] * 4, 0)
    with pytest.raises(ValueError, match="2 scores for 4 pages"):
        top_candidates("q", PAGES, [0.0] * 2, 1)


def test_opening_by_name():
    assert isinstance(open_retriever("none", PAGES), NoRetriever)
    assert open_retriever("none", PAGES).scores("q") == [0.0] * 4
    assert open_retriever("bm25", PAGES).name == "bm25"
    with pytest.raises(ConfigError, match="hybrid, bm25, dense, none"):
        open_retriever("psychic", PAGES)


def test_dense_finds_a_paraphrase_and_caches_its_embeddings(real_cache, tmp_path, monkeypatch):
    """With the real sentence embeddings."""
    import mmr5.retrieval.dense as dense
    from mmr5.cache import Cache
    from mmr5.models.weights import DENSE, obtain

    folder = obtain(DENSE)
    monkeypatch.setenv(DENSE.env, str(folder))
    cache = Cache(root=tmp_path / "cache")
    retriever = open_retriever("dense", PAGES, cache=cache)
    scores = retriever.scores("How much does it cost to moor a boat?")
    assert scores.index(max(scores)) == 1
    assert scores[2] == -1
    assert all(-1.01 <= s <= 1.01 for s in scores)

    calls = []
    real = dense.DenseRetriever._embed
    monkeypatch.setattr(
        dense.DenseRetriever, "_embed", lambda self, texts, progress: calls.append(list(texts)) or real(self, texts, progress)
    )
    again = open_retriever("dense", PAGES, cache=cache)
    assert calls == [[]]
    assert again.scores("How much does it cost to moor a boat?") == pytest.approx(scores, abs=2e-3)
    hybrid = open_retriever("hybrid", PAGES, cache=cache)
    assert hybrid.name == "hybrid"
    assert max(range(4), key=lambda i: hybrid.scores("boat mooring fees")[i]) == 1
