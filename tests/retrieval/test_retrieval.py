import logging
import math
import re
from pathlib import Path

import pytest

from mmr5.errors import ConfigError
from mmr5.pages.read import read_pages
from mmr5.retrieval import hybrid, open_retriever, standardise, top_candidates
from mmr5.retrieval.base import NoRetriever, SumRetriever, find_candidates
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
    """Lucene's BM25, k1 1.5, b 0.75: idf = ln(1 + (N - n + .5) / (n + .5)), over the sum of the idf of the question's terms."""
    pages = [Page("a", 1, text="harbour harbour seal"), Page("a", 2, text="harbour"), Page("a", 3, text="crane")]
    mean = 5 / 3
    parts = [tf / (tf + 1.5 * (1 - 0.75 + 0.75 * length / mean)) for tf, length in ((2, 3), (1, 1))]
    assert BM25Retriever(pages).scores("harbour") == pytest.approx([*parts, 0.0], rel=1e-5)
    held, absent = math.log(1 + (3 - 2 + 0.5) / (2 + 0.5)), math.log(1 + (3 + 0.5) / 0.5)
    expected = [held * part / (held + absent) for part in parts]
    assert BM25Retriever(pages).scores("harbour zebra") == pytest.approx([*expected, 0.0], rel=1e-5)


def test_bm25_of_a_page_is_a_share_whatever_stands_beside_it():
    same = Page("a", 1, text="The crane lifts boats.")
    others = [Page("a", i, text=f"page {i} on seals and boats") for i in range(2, 30)]
    for pages in ([same], [same, *others]):
        assert 0 < BM25Retriever(pages).scores("crane boats")[0] <= 1
    long = Page("a", 1, text="crane " * 400)
    assert 0.9 < BM25Retriever([long, *others]).scores("crane")[0] <= 1


def test_bm25_without_words_scores_nothing():
    assert BM25Retriever([Page("a", 1), Page("a", 2, text="")]).scores("x") == [0.0, 0.0]
    assert BM25Retriever(PAGES).scores("the of and") == [0.0] * 4
    assert BM25Retriever(PAGES).scores("zebra") == [0.0] * 4


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
    scale = None

    def __init__(self, values, name="fixed"):
        self.values = values
        self.name = name

    def scores(self, query):
        return self.values


def test_a_sum_is_of_z_scores():
    total = SumRetriever(Fixed([1.0, 2.0, 3.0]), Fixed([30.0, 10.0, 20.0]), name="a+b")
    assert total.scores("q") == pytest.approx([0.0, -1.2247, 1.2247], abs=1e-4)
    assert total.scale is None


@pytest.fixture
def signals(monkeypatch):
    """Fixed values of the three signals instead of models."""
    values = {"bm25": [], "dense": [], "minilm": []}
    asked = []
    monkeypatch.setattr(hybrid, "BM25Retriever", lambda pages: Fixed(values["bm25"]))

    def dense(pages, *, name="dense", **_):
        asked.append((name, [page.number for page in pages]))
        return Fixed(values[name][: len(pages)])

    monkeypatch.setattr(hybrid, "DenseRetriever", dense)
    return values, asked


ENGLISH_TEXT = "The keeper of the station writes down when the ship has passed and what the weather was on that day."
GERMAN_TEXT = "Der Wärter der Station schreibt auf, wann das Schiff vorbei war und wie das Wetter an dem Tag gewesen ist."


def test_hybrid_is_a_weighted_sum_by_the_group_of_question_and_page(signals):
    values, asked = signals
    values.update(bm25=[0.5, 0.2, 0.0], dense=[0.9, 0.8, -1.0], minilm=[0.4])
    pages = [Page("a", 1, text=ENGLISH_TEXT), Page("b", 1, text=GERMAN_TEXT), Page("b", 2, text="")]
    index = hybrid.HybridRetriever(pages)
    assert asked == [("dense", [1, 1, 2]), ("minilm", [1])]
    known = hybrid.weights()
    english = "When does the keeper write down what the weather was on that day?"
    assert index.groups(english) == ["english", "cross", "cross"]
    e, c = known["english"], known["cross"]
    expected = [
        e.bm25 * 0.5 + e.dense * 0.9 + e.minilm * 0.4 + e.bias,
        c.bm25 * 0.2 + c.dense * 0.8 + c.bias,
        c.dense * c.floor + c.bias,
    ]
    assert index.scores(english) == pytest.approx(expected)
    assert index.groups("Wann schreibt der Wärter auf, wie das Wetter gewesen ist?") == ["cross", "same", "same"]
    assert index.groups("Kelmar 1987") == ["english", "same", "same"]
    assert index.groups("苹果产量") == ["cross"] * 3


def test_a_page_scores_alike_in_any_company(signals):
    values, _ = signals
    page, other = Page("a", 1, text=ENGLISH_TEXT), Page("a", 2, text=ENGLISH_TEXT)
    values.update(bm25=[0.5], dense=[0.9], minilm=[0.4])
    alone = hybrid.HybridRetriever([page]).scores("When was the ship there?")[0]
    values.update(bm25=[0.5, 0.9], dense=[0.9, 0.95], minilm=[0.4, 0.1])
    assert hybrid.HybridRetriever([page, other]).scores("When was the ship there?")[0] == alone


def test_what_knows_nothing_abstains(signals):
    values, _ = signals
    values.update(bm25=[0.0, 0.0, math.nan], dense=[0.8, -1.0, 0.8], minilm=[0.1, -1.0, 0.1])
    pages = [Page("a", 1, text=ENGLISH_TEXT), Page("a", 2, text=None), Page("a", 3, text=ENGLISH_TEXT)]
    found = hybrid.HybridRetriever(pages).scores("When was the ship there?")
    assert (found[1], found[2]) == (0.0, 0.0)
    assert math.isfinite(found[0])


def test_weights_of_the_package_are_those_of_every_group():
    known = hybrid.weights()
    assert tuple(known) == hybrid.GROUPS
    for one in known.values():
        assert min(one.bm25, one.dense) > 0
        assert one.bias < 0
        assert 0.6 < one.floor < 0.8
    assert known["english"].minilm > 0


def test_candidates_know_what_their_scores_are_worth(signals):
    values, _ = signals
    values.update(bm25=[0.5], dense=[0.9], minilm=[0.4])
    page = Page("a", 1, text=ENGLISH_TEXT)
    assert find_candidates("q", [page], hybrid.HybridRetriever([page]), 1).scale == 1.0
    assert find_candidates("q", [page], Fixed([1.0]), 1).scale is None
    assert find_candidates("q", [page], open_retriever("none", [page]), 1).scores is None
    assert find_candidates("q", PAGES, open_retriever("bm25", PAGES), 2).scale > 1


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
    with pytest.raises(ConfigError, match="hybrid, bm25, dense, minilm, none"):
        open_retriever("psychic", PAGES)


@pytest.mark.parametrize("name", ["dense", "minilm"])
def test_dense_finds_a_paraphrase_and_caches_its_embeddings(name, real_cache, tmp_path, monkeypatch):
    """With the real sentence embeddings."""
    import mmr5.retrieval.dense as dense
    from mmr5.models.weights import obtain
    from mmr5.storage.cache import Cache

    weights = dense.BUNDLED[name]
    monkeypatch.setenv(weights.env, str(obtain(weights)))
    cache = Cache(root=tmp_path / "cache")
    retriever = open_retriever(name, PAGES, cache=cache)
    scores = retriever.scores("How much does it cost to moor a boat?")
    assert scores.index(max(scores)) == 1
    assert scores[2] == -1
    assert all(-1.01 <= s <= 1.01 for s in scores)
    asked = []
    real = dense.PassageEncoder._embed
    monkeypatch.setattr(
        dense.PassageEncoder, "_embed", lambda self, texts, progress: asked.append(list(texts)) or real(self, texts, progress)
    )
    again = open_retriever(name, PAGES, cache=cache)
    assert asked == [[]]
    assert again.scores("How much does it cost to moor a boat?") == pytest.approx(scores, abs=2e-3)


def test_hybrid_finds_a_page_in_any_of_its_languages(real_cache):
    """With the real models: questions in the pages' languages and in others."""
    texts = [
        "The harbour fees for yachts are 31 euros a night and rise every year in spring.",
        "Die Nordpumpe der Station wurde im Mai ersetzt und fördert nun dreihundert Liter in der Minute.",
        "去年苹果产量比前年增加了三成，主要原因是春天没有霜冻。",
        "Северный насос станции был покрашен в зелёный цвет, а запасные части лежат в подвале.",
    ]
    pages = [Page(f"{i}.pdf", 1, text=text) for i, text in enumerate(texts)]
    index = open_retriever("hybrid", pages)
    for query, wanted in (
        ("What does a night in the port cost for a boat?", 0),
        ("Wie viel Wasser bewegt die Pumpe in einer Minute?", 1),
        ("How much water does the pump of the station move?", 1),
        ("为什么苹果收成更好", 2),
        ("Why was the apple harvest larger?", 2),
        ("Где хранятся запасные части?", 3),
        ("Where are the spare parts of the pump kept?", 3),
    ):
        scores = index.scores(query)
        assert scores.index(max(scores)) == wanted, query


def test_bm25_says_nothing_in_the_callers_log(caplog):
    with caplog.at_level("INFO"):
        BM25Retriever([Page("a.pdf", 1, text="the harbour")])
        assert not logging.getLogger("bm25s").isEnabledFor(logging.DEBUG)  # importing it switches that on
