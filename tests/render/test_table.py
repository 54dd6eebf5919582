import io
from dataclasses import replace

from rich.console import Console

from mmr5.render.terminal import cut_around, result_table
from mmr5.types import Answerable


def printed(result, width=80, named=None):
    console = Console(width=width, record=True, force_terminal=False, file=io.StringIO())
    console.print(result_table(result, named=named, width=width))
    return console.export_text()


def test_it_fits_80_columns_and_holds_every_page(result):
    text = printed(result)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("What are the fees?", "notes.txt p. 1", "0.93", "3 ↑", "1 ↓", "It lists the fees."):
        assert words in text


def test_one_document_is_named_by_its_pages_only(result):
    text = printed(replace(result, ranking=result.ranking[:3]))
    assert "p. 1" in text
    assert "a.pdf" not in text


def test_the_document_is_named_where_several_were_read(result):
    text = printed(replace(result, ranking=result.ranking[:1]), named=True)
    assert "a.pdf p. 1" in text


LONG = "The weather was fine. " * 30 + "A berth costs forty-eight crowns a night. " + "The light burns at night. " * 30


def test_a_passage_is_cut_around_what_the_question_asks_for():
    shown = cut_around(LONG, "What does a berth cost?", 120)
    assert len(shown) <= 120
    assert "A berth costs forty-eight crowns" in shown
    assert shown.startswith("… ")
    assert shown.endswith(" …")
    middle = shown.index("berth") / len(shown)
    assert 0.3 < middle < 0.6
    assert cut_around(LONG, "zebra", 120).startswith("The weather was fine.")
    assert cut_around("A berth costs.", "berth", 120) == "A berth costs."
    han = "天气很好。" * 60 + "港口费用为十二克朗。" + "灯塔亮着。" * 60
    assert "港口费用" in cut_around(han, "港口费用是多少？", 40)
    assert len(cut_around(han, "港口费用是多少？", 40)) <= 40


def test_a_wide_terminal_shows_more(result):
    ranking = (replace(result[0], reason=None, evidence=LONG),)
    found = replace(result, ranking=ranking, query="What does a berth cost?")
    narrow, wide = printed(found), printed(found, 160)
    assert "berth costs" in " ".join(narrow.split())
    assert len(wide.split()) > 1.5 * len(narrow.split())


def test_a_long_reason_is_cut(result):
    text = printed(replace(result, ranking=(replace(result[0], reason="word " * 200),)))
    assert "…" in text
    assert len(text.splitlines()) < 15


def test_where_some_pages_have_no_reason_their_passage_is_told_from_one(result):
    text = printed(
        replace(result, ranking=(replace(result[0], reason=None), replace(result[1], reason="Names the fee.", rank=2)))
    )
    assert "reason, or “passage”" in text
    assert "“" in text.split("passage”")[1] and "“Names" not in text
    whole = printed(replace(result, ranking=(replace(result[1], reason="Names the fee."),)))
    assert "passage" not in whole


def test_without_reasons_the_column_is_evidence(result):
    text = printed(replace(result, ranking=(replace(result[0], reason=None), replace(result[1], rank=2))))
    assert "evidence" in text
    assert "48 crowns" in text
    assert "(no text)" in text


def test_page_text_cannot_steer_the_terminal(result):
    line = replace(result[0], reason="\x1b[2J\x9b31m[bold red]x[/bold red]\nnew line\r\u202e", source="\x1b]0;title\x07a.pdf")
    text = printed(replace(result, query="q\x1b[2J[/nope]", ranking=(line, replace(result[3], source="\x1b[1mb"))))
    assert not any(c in text for c in "\x1b\x9b\x07\r\u202e")
    assert "[bold red]x[/bold red]" in text
    assert "[/nope]" in text


def test_a_narrow_terminal_and_an_empty_result(result):
    assert max(map(len, printed(result, 50).splitlines())) <= 50
    assert "What are the fees?" in printed(replace(result, ranking=()))


def test_an_empty_table_says_why(result):
    none = replace(result, ranking=())
    assert "No page is inside the limits" in printed(none)
    assert "Probably not" not in printed(none)
    missing = printed(replace(none, answerable=Answerable(0.1, "no")))
    assert "Probably not in these documents. No page is inside the limits" in " ".join(missing.split())
    assert "The pages above are the best guesses." in printed(replace(result, answerable=Answerable(0.1, "no")))
