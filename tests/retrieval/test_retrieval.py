import math
import re
from pathlib import Path

import pytest

from mmr5.errors import ConfigError
from mmr5.pages.read import read_pages
from mmr5.retrieval import open_retriever, standardise, top_candidates
from mmr5.retrieval.base import HybridRetriever, NoRetriever
from mmr5.retrieval.bm25 import BM25Retriever, page_languages
from mmr5.types import Page

CASES = Path(__file__).parent.parent / "pages" / "cases"

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


def best(pages, query):
    scores = BM25Retriever(pages).scores(query)
    first, second = sorted(scores, reverse=True)[:2]
    assert first > second >= 0
    return scores.index(first)


def test_bm25_finds_the_page_of_a_chinese_pdf():
    assert best(read_pages(CASES / "chinese.pdf", ocr="never"), "苹果产量") == 3


def test_bm25_tells_thirty_chinese_chapters_apart():
    pages = read_pages(CASES / "chinese30.pdf", ocr="never")
    subjects = [re.match(r"第\d+章\s+(\S+)", page.text)[1] for page in pages]
    assert len(set(subjects)) == 30
    assert [best(pages, f"{subject}去年的维修费用是多少") for subject in subjects] == list(range(30))


@pytest.mark.parametrize(
    ("texts", "query", "place"),
    [
        (
            ["図書館は九時に開きます。", "りんごの収穫量は二割減りました。", "港の工事は終わりました。"],
            "りんごの収穫はどうでしたか",
            1,
        ),
        (["ห้องสมุดเปิดเวลาเก้าโมง", "เรือออกตอนเช้า", "ค่าซ่อมแซมท่าเรือสูงขึ้น"], "ท่าเรือซ่อมแซมเท่าไหร่", 2),
        (["도서관은 아홉 시에 연다.", "펌프의 수리비가 올랐다.", "항구가 닫혔다."], "수리비는 얼마인가?", 1),
        (["Библиотека открыта.", "Порт закрыт до весны.", "Насосы заменены инженером."], "Когда был заменён насос?", 2),
        (
            ["Die Bücherei ist offen.", "Die Häuser am Hafen wurden gestrichen.", "Der Hafen ist zu."],
            "Welches Haus wurde gestrichen?",
            1,
        ),
        (["Die Bücherei ist offen.", "Die Gebühren für das Boot.", "Der Hafen ist zu."], "Gebuehr", 1),
        (["La bibliothèque est ouverte.", "Le port est fermé.", "L’église a été réparée en mai."], "reparation de l'eglise", 2),
        (["Η βιβλιοθήκη είναι ανοιχτή.", "Οι σταθμοί επισκευάστηκαν.", "Το λιμάνι έκλεισε."], "επισκευή του σταθμού", 1),
        (["المكتبة مفتوحة.", "الميناء مغلق.", "استبدل المهندسون المضخة."], "من هو مهندس مضخة", 2),
        (["הספרייה פתוחה.", "המשאבה הוחלפה.", "הנמל סגור."], "מתי הוחלפה משאבה?", 1),
        (["पुस्तकालय खुला है।", "बंदरगाह बंद है।", "पंपों की मरम्मत महंगी है।"], "पंप की मरम्मत", 2),
        (
            ["The library opens at nine.", "Les pompes sont réparées.", "Die Pumpe wurde ersetzt."],
            "Wann wurden die Pumpen ersetzt?",
            2,
        ),
    ],
)
def test_bm25_in_other_languages(texts, query, place):
    assert best([Page("a", i, text=text) for i, text in enumerate(texts, 1)], query) == place


def test_a_page_of_few_words_is_of_its_documents_language():
    texts = ["Die Häuser sind nicht rot und nicht blau.", "Häuser: 12", None, "Die Pumpe ist nicht grün."]
    pages = [Page("a", i, text=text) for i, text in enumerate(texts, 1)]
    assert page_languages(pages) == ["de"] * 4
    assert page_languages([*pages, Page("b", 1, text="Häuser: 12")]) == ["de"] * 4 + ["en"]
    assert BM25Retriever(pages).scores("Haus")[1] > 0


def test_a_question_in_english_weighs_no_more_where_pages_are_of_two_languages():
    english = [Page("a", 1, text="The pump is painted green."), Page("a", 2, text="The harbour is closed for the winter.")]
    german = Page("b", 1, text="Die Bücherei ist nicht offen.")
    alone, mixed = BM25Retriever(english), BM25Retriever([*english, german])
    assert mixed._languages == ["de", "en"]
    ratio = [mixed.scores(q)[0] / alone.scores(q)[0] for q in ("pump", "pumps painted green")]
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-4)


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
    from mmr5.models.weights import DENSE, obtain
    from mmr5.storage.cache import Cache

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
