import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.excerpts import best_passage, excerpt, passage_scores, passages, truncate
from mmr5.languages import is_unspaced


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
    found = passages(text, size)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(passage.strip() == passage != "" for passage in found)
    if not is_unspaced(text):
        assert " ".join(found).split() == text.split()


@given(st.text("水泵の 。「」ก่า\nab", max_size=200), st.integers(1, 5))
def test_unspaced_text_is_cut_without_loss(text, size):
    found = passages(text, size)
    assert "".join("".join(found).split()) == "".join(text.split())
    assert max((sum(2 if c in "水泵の" else 0 for c in p) for p in found), default=0) <= 4 * size


def test_the_best_passage_is_the_one_that_answers():
    assert "31 euros" in best_passage("What does a yacht's berth cost, which fee?", PAGE, size=20)
    assert best_passage("anything", "") is None
    assert best_passage("zebra", PAGE, size=5).startswith("Harbour report")


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


CHINESE = "码头工人共有六十二名，全年无休。" * 12 + "养蜂场的蜂箱去年增加到四十个。" + "借书证每年收费二十元，学生免费！" * 12
JAPANESE = "港の工事は去年の春に終わりました。" * 10 + "りんごの収穫量は二割減りました。" + "図書館は九時に開きます。" * 10
THAI = "ห้องสมุดเปิดเวลาเก้าโมงเช้าทุกวัน" * 10 + "\nค่าซ่อมแซมท่าเรือสูงขึ้นมาก\n" + "ชาวประมงออกเรือตอนเช้ามืด" * 10
PUNCTUATED = {
    "ar": (
        "كم تكلفة إصلاح المضخة؟",
        "هل المكتبة مفتوحة؟ " * 12 + "تكلفة إصلاح المضخة ألف ليرة. " + "الميناء مغلق اليوم؛ " * 12,
        "ألف ليرة",
    ),
    "ur": ("پمپ کی مرمت", "کتب خانہ کھلا ہے۔ " * 15 + "پمپ کی مرمت مہنگی ہے۔ " + "بندرگاہ بند ہے۔ " * 15, "پمپ کی مرمت"),
    "hi": ("पंप की मरम्मत", "पुस्तकालय खुला है। " * 15 + "पंप की मरम्मत महंगी है। " + "बंदरगाह बंद है। " * 15, "पंप की मरम्मत"),
    "hy": ("պոմպի նորոգումը", "Գրադարանը բաց է։ " * 15 + "Պոմպի նորոգումը թանկ է։ " + "Նավահանգիստը փակ է։ " * 15, "նորոգումը"),
    "el": (
        "κόστος της επισκευής",
        "Η βιβλιοθήκη είναι ανοιχτή. " * 15 + "Το κόστος της επισκευής αυξήθηκε. " + "Το λιμάνι έκλεισε; " * 15,
        "επισκευής",
    ),
    "he": ("תיקון משאבה", "הספרייה פתוחה היום. " * 15 + "עלות תיקון המשאבה גבוהה. " + "הנמל סגור היום. " * 15, "תיקון המשאבה"),
    "ru": (
        "ремонт насоса",
        "Библиотека открыта днём. " * 15 + "Ремонтом насосов занят Брандт. " + "Порт закрыт. " * 15,
        "Брандт",
    ),
    "zh": ("蜂箱有多少个？", CHINESE, "四十个"),
    "ja": ("りんごの収穫量は？", JAPANESE, "二割"),
    "th": ("ค่าซ่อมแซมท่าเรือ", THAI, "ค่าซ่อมแซมท่าเรือ"),
    "ko": (
        "수리비는 얼마인가",
        "도서관은 매일 문을 연다. " * 15 + "펌프 수리비가 천원이다. " + "항구는 문을 닫았다. " * 15,
        "천원",
    ),
}


@pytest.mark.parametrize("spoken", PUNCTUATED)
def test_evidence_is_a_passage_in_every_script(spoken):
    query, text, answer = PUNCTUATED[spoken]
    found = best_passage(query, text, size=20)
    assert answer in found
    assert len(found) <= 0.4 * len(text)


def characters(text):
    return len("".join(text.split()))


@pytest.mark.parametrize("spoken", ["zh", "ja", "th"])
@pytest.mark.parametrize("budget", [40, 60, 150])
def test_a_page_without_spaces_gives_an_excerpt_with_the_answer(spoken, budget):
    query, text, answer = PUNCTUATED[spoken]
    found = excerpt(query, text, budget, characters, size=15)
    assert answer in found
    assert characters(found) <= budget


def test_passages_without_spaces_end_with_sentences():
    assert passages("水泵坏了。谁修？「他修。」好！", 2) == ["水泵坏了。", "谁修？", "「他修。」", "好！"]
    assert passages("水泵坏了。谁修？", 60) == ["水泵坏了。谁修？"]
    assert passages("水泵\n坏了 pump A\nB", 60) == ["水泵坏了 pump A B"]
    assert passages("水" * 9, 2) == ["水" * 4, "水" * 4, "水"]
    assert [len(p) for p in passages("ก" * 20, 2)] == [8, 8, 4]
    assert passages("पंप बंद है। पंप खुला है।", 3) == ["पंप बंद है।", "पंप खुला है।"]


@given(st.text(min_size=1, max_size=300).filter(str.strip), st.text(max_size=30), st.integers(1, 40))
def test_a_page_with_text_always_gives_an_excerpt(text, query, budget):
    found = excerpt(query, text, budget, characters, size=8)
    assert found.strip()
    assert characters(found) <= budget


def test_a_best_passage_that_is_too_long_is_cut_and_not_passed_over():
    text = "\n".join(["seals " * 3, "weather " * 25 + "the fee is 31 euros " + "weather " * 35, "rocks " * 3])
    assert "fee is 31 euros" in excerpt("Which fee?", text, 40, count, size=64)


def test_truncate_cuts_within_where_there_are_no_spaces():
    assert truncate("水泵坏了 pump", 3, characters) == "水泵坏"
    assert truncate("水泵坏了 pump", 8, characters) == "水泵坏了 pump"
    assert truncate("0123456789 b", 4, len) == "0123"
    assert truncate("水", 1, lambda text: 3 * len(text)) == "水"  # one character has more tokens than there may be
    assert truncate("  ", 4, len) == ""


def test_an_excerpt_counts_no_more_often_than_its_passages():
    calls = []
    excerpt("蜂箱", CHINESE, 60, lambda text: calls.append(text) or characters(text), size=15)
    assert len(calls) <= len(passages(CHINESE, 15)) + 1


def test_a_caption_stays_with_its_labels_and_a_tables_rows_with_its_caption():
    prose = "\n".join(f"Line {i} of the text has some nine words here." for i in range(5))
    figure = "pump\nvalve\nbasin\n12 m\nFigure 3: The pumps of Kelmar station\nand their valves."
    table = "Table 2. Litres a minute\nnorth 312 87 11\nsouth 290 81 10"
    found = passages(f"{prose}\n{figure}\n{prose}\n{table}\n{prose}", 60)
    assert any(" ".join(figure.split()) in passage for passage in found)
    assert any(" ".join(table.split()) in passage for passage in found)
    assert " ".join(" ".join(found).split()) == " ".join(f"{prose}\n{figure}\n{prose}\n{table}\n{prose}".split())
    assert not any(passage.startswith("Figure 3") for passage in found)


def test_a_figure_that_is_too_large_keeps_its_nearest_labels():
    labels = [f"label {i}" for i in range(40)]
    (*_, last) = passages("\n".join([*labels, "Figure 1. Many labels."]), 20)
    assert last == " ".join([*labels[-8:], "Figure 1. Many labels."])
