"""What is shown of a page beside its place."""

import re
import time

import numpy as np
import pytest

from mmr5 import Page, Reranker
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import PageError
from mmr5.evidence import JOIN, MOST_WORDS, find_evidence, find_passages, share_held
from mmr5.evidence_features import MATCHES, TERMS, Matches, cut, running_lines, token_spans
from mmr5.evidence_weights import WEIGHTS, WEIGHTS_OF_TERMS
from mmr5.languages import words

FERRY = "The ferry leaves at nine. " * 12 + "\nA ticket for the ferry costs twelve crowns.\n" + "The light burns at night. " * 12


def test_without_a_model_it_is_one_passage_by_terms():
    assert "costs twelve crowns" in find_evidence("What does a ticket cost?", FERRY)
    assert find_evidence("What does a ticket cost?", "") is None
    assert find_evidence("What does a ticket cost?", None) is None
    assert find_passages("?", " \n ") == []


def matches_at(text, *found, tokens=2):
    """Matches of a question of ``tokens`` tokens: cosine .9 at the words given, .1 elsewhere."""
    spans = [(m.start(), m.end()) for m in re.finditer(r"\S+", text)]
    cosines = np.full((tokens, len(spans)), 0.1)
    for row, word in enumerate(found):
        cosines[row, [i for i, (a, b) in enumerate(spans) if text[a:b] == word]] = 0.9
    return Matches(spans, cosines, np.full(tokens, 1 / tokens))


FILLER = [
    f"Line {n} speaks of the weather over the town and of nothing else at all that anyone has asked for." for n in range(30)
]


def test_a_model_finds_what_shares_no_word_with_the_question():
    other = "Nobody has said how much the fee of the year before last was."
    text = "\n".join([*FILLER[:4], other, *FILLER[4:24], "Die Gebühr beträgt zwölf Kronen.", *FILLER[24:]])
    question = "How much is the fee?"
    assert "Gebühr" not in find_evidence(question, text)
    assert "Die Gebühr beträgt zwölf Kronen." in find_evidence(question, text, matches_at(text, "Gebühr", "Kronen."))


def test_two_places_are_shown_in_reading_order():
    text = "\n".join([*FILLER[:6], "Alpha holds one.", *FILLER[6:24], "Beta holds the other.", *FILLER[24:]])
    first, second = find_passages("Q", text, matches_at(text, "Alpha", "Beta"))
    assert "Alpha holds one." in first.text
    assert "Beta holds the other." in second.text
    assert find_evidence("Q", text, matches_at(text, "Alpha", "Beta")) == first.text + JOIN + second.text


def test_all_passages_together_have_few_words():
    text = "\n".join([*FILLER[:6], "Alpha holds one.", *FILLER[6:24], "Beta holds the other.", *FILLER[24:]])
    for matches in (None, matches_at(text), matches_at(text, "Alpha", "Beta")):
        assert sum(len(words(p.text)) for p in find_passages("weather town", text, matches)) <= MOST_WORDS
    assert len(find_evidence("Q", " ".join(["word"] * 500)).split()) <= MOST_WORDS


def test_passages_are_whole_sentences_where_lines_break_them():
    lines = [
        "The keeper of the lighthouse was, as the",
        "council had decided, paid twelve crowns",
        "a month, and no more.",
        "Ships wait.",
    ]
    text = "\n".join([*FILLER[:12], *lines, *FILLER[12:]])
    found = find_evidence("What was the keeper paid?", text, matches_at(text, "paid", "crowns"))
    assert "The keeper of the lighthouse was, as the council had decided, paid twelve crowns a month, and no more." in found


def test_rows_of_a_table_are_whole():
    rows = [f"Berth {n} 12 m {n}00 crowns no. {n} east" for n in range(40)]
    [passage, *_] = find_passages("What does berth 17 cost?", "\n".join(rows))
    assert "Berth 17 12 m 1700 crowns no. 17 east" in passage.text
    assert passage.text.startswith("Berth ")
    assert passage.text.endswith(" east")


def test_running_titles_and_page_numbers_are_left_out():
    own = [
        f"The {name} of the town is what this line speaks of." for name in ("mayor", "tower", "bridge", "well", "gate", "mill")
    ]
    texts = ["\n".join(["HARBOUR REPORT 2025", *own[i:], *own[:i], f"Port of Lindholm {i}", f"- {i} -"]) for i in range(3)]
    running = running_lines(texts)
    assert running == {"harbour report 0", "port of lindholm 0", "- 0 -"}
    shown = find_evidence("harbour report lindholm", texts[0], None, running)
    assert not {"HARBOUR", "Lindholm", "-"} & set(shown.split())
    assert "HARBOUR REPORT 2025" in find_evidence("harbour report", texts[0])
    assert not running_lines(texts[:1] * 3)  # one page, three times
    assert find_evidence("harbour", "HARBOUR REPORT 2025\nIt is open.", None, running) == "HARBOUR REPORT 2025 It is open."


def test_units_of_a_script_without_spaces():
    text = "港口费用为十二克朗。\n灯塔在夜间亮着。船在等待。" * 3
    units = cut(text)
    assert units.texts[:3] == ("港口费用为十二克朗。", "灯塔在夜间亮着。", "船在等待。")
    assert all(text[a:b] == one for (a, b), one in zip(units.spans, units.texts, strict=True))
    assert find_passages("港口费用", "港口费用为\n十二克朗。")[0].text == "港口费用为十二克朗。"


def test_tokens_stand_where_their_characters_do():
    text = "A  crane\nlifts boxes."
    assert token_spans(text, ["A crane", "lifts boxes."], [[(0, 1), (1, 7)], [(0, 5), (5, 6), (6, 12)]]) == [
        (0, 1), (3, 8), (9, 14), (15, 15), (15, 21)]  # fmt: skip


@pytest.mark.parametrize("line", ["----", "The weather over the town is fine.", "港口费用为十二克朗。"])
def test_a_very_long_text_takes_seconds(line):
    text = "\n".join([line] * 5_000 + ["A ticket for the ferry costs twelve crowns."] + [line] * 5_000)
    start = time.perf_counter()
    shown = find_evidence("What does a ticket cost?", text)
    assert "costs twelve crowns" in shown
    assert time.perf_counter() - start < 30


def test_weights_are_for_all_features():
    assert tuple(WEIGHTS) == (*MATCHES, *TERMS)
    assert tuple(WEIGHTS_OF_TERMS) == TERMS


@pytest.mark.parametrize(
    ("quote", "text", "share"), [("a b c d", "d c x", 0.5), ("a a", "a", 0.5), ("", "a", 0.0), ("A b", "a B", 1.0)]
)
def test_the_share_of_a_quote(quote, text, share):
    assert share_held(quote, text) == share


PORT = "The  port.\n\nA crane lifts\n boxes. Ships wait."


def test_a_passage_by_terms_says_where_it_stands():
    [passage] = find_passages("What does a ticket cost?", FERRY)
    start, end = passage.span
    assert FERRY[start:end].split() == passage.text.split()
    assert "costs twelve crowns" in passage.text


def test_a_result_has_boxes_where_the_page_knows_them():
    class Lines:
        def of(self, start, end):
            return [(0.1, start / 100, 0.9, end / 100)]

    class Gone:
        def of(self, start, end):
            raise PageError("the document is gone")

    pages = [Page("a.pdf", 1, text=PORT, boxes=Lines()), Page("a.pdf", 2, text=PORT, boxes=Gone()), Page("a.pdf", 3, text="")]
    lines = {line.page: line for line in Reranker(ScriptedEngine(), view="text", method="likelihood").rerank("crane", pages)}
    [shown] = lines[1].evidence_passages
    assert shown.boxes == ((0.1, 0.0, 0.9, len(PORT) / 100),)
    assert lines[1].to_dict()["evidence_passages"] == [{"text": lines[1].evidence, "boxes": [[0.1, 0.0, 0.9, len(PORT) / 100]]}]
    assert lines[2].to_dict()["evidence_passages"] == [{"text": lines[2].evidence, "boxes": []}]
    assert lines[3].evidence is None
    assert lines[3].to_dict()["evidence_passages"] == []
