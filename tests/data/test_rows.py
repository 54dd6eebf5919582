import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.answer import parse, parse_verdict
from mmr5.data.candidates import CandidateList
from mmr5.data.checks import Contents, check_rows, shown_pages
from mmr5.data.conversations import Conversations
from mmr5.data.row_building import NO_WHY, PAGE_WITHOUT_NOTE, build_rows
from mmr5.data.rows import ListRow, PageRow, gold_order, list_row, read_rows, row_of
from mmr5.data.summary import summarise_rows, summary_text
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError, CorpusError
from mmr5.methods import MethodSettings, listwise, pointwise
from mmr5.rewards import format_reward, ranking_reward
from mmr5.types import Candidates

FOUND = CandidateList(
    "guide#0", "guide", "What does the small plan cost?", (1,), (3, 1, 4), (2.0, 1.0, 0.5), "train",
)  # fmt: skip
NOTES = {("guide#0", 3): "Says how plans are ordered.", ("guide#0", 1): "Lists the price.", ("guide#0", 4): "Holds no text."}


def words(text):
    return len(text.split())


def made(kind="listwise", method="reason", view="text", found=FOUND, notes=NOTES):
    rows, left_out = build_rows([found], kind=kind, method=method, view=view, notes=notes)
    assert not left_out
    return rows


def test_a_listwise_row_teaches_the_notes_and_the_gold_order():
    (row,) = made()
    assert row.relevant == (1,) and row.order == (1, 0, 2)
    assert row.target == (
        "<think>\nPage 1: Says how plans are ordered.\nPage 2: Lists the price.\nPage 3: Holds no text.\n</think><answer>[2, 1, 3]</answer>"
    )
    assert made(view="image")[0].target.startswith("<think>\nImage 1: ")


@pytest.mark.parametrize("method", ["direct", "logits"])
def test_without_reasoning_the_answer_alone_is_taught(method):
    (row,) = made(method=method, notes=None)
    assert (row.target, row.notes) == ("<answer>[2, 1, 3]</answer>", None)


def test_pointwise_rows_are_one_a_page_with_verdict_and_note():
    rows = made(kind="pointwise")
    assert [(r.page_id, r.relevant, r.position, r.target[:4]) for r in rows] == [
        (3, False, 0, "No. "),
        (1, True, 1, "Yes."),
        (4, False, 2, "No. "),
    ]


def test_grpo_rows_have_no_target():
    (row,) = made(kind="grpo", notes=None)
    assert row.target is None and "target" not in row.to_dict() and "notes" not in row.to_dict()


def test_a_page_without_a_note_is_taken_off_and_a_list_without_its_why_is_left_out():
    rows, left_out = build_rows(
        [FOUND], kind="listwise", method="reason", view="text", notes={k: v for k, v in NOTES.items() if k[1] != 3}
    )
    assert (
        rows[0].candidates == (1, 4)
        and rows[0].relevant == (0,)
        and rows[0].scores == (1.0, 0.5)
        and left_out == {PAGE_WITHOUT_NOTE: 1}
    )
    rows, left_out = build_rows(
        [FOUND], kind="listwise", method="reason", view="text", notes={k: v for k, v in NOTES.items() if k[1] != 1}
    )
    assert not rows and left_out == {NO_WHY: 1}


def test_lists_that_teach_nothing_are_left_out_and_counted():
    none = replace(FOUND, relevant=(9,))
    lone = replace(FOUND, candidates=(1,), scores=(1.0,))
    rows, left_out = build_rows([none, lone], kind="grpo", method="reason", view="text")
    assert not rows and sum(left_out.values()) == 2


@pytest.mark.parametrize(("kind", "method", "view", "notes"), [("x", "reason", "text", NOTES), ("listwise", "reason", "text", None),
                                                               ("pointwise", "reason", "text", None), ("listwise", "pointwise", "text", NOTES),
                                                               ("grpo", "reason", "sound", None)])  # fmt: skip
def test_impossible_rows_are_refused(kind, method, view, notes):
    with pytest.raises(ConfigError):
        build_rows([FOUND], kind=kind, method=method, view=view, notes=notes)


@pytest.mark.parametrize("kind", ["listwise", "pointwise", "grpo"])
def test_rows_survive_their_file(kind, tmp_path):
    rows = made(kind=kind)
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(r.to_dict()) + "\n" for r in rows))
    assert read_rows(path) == rows


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "tree"}, "no line of a rows file"),
        ({"candidates": [3, 3, 4]}, "name each page once"),
        ({"candidates": [3, -1, 4]}, "zero-based"),
        ({"relevant": []}, "at least one"),
        ({"relevant": [3]}, r"0\.\.2"),
        ({"relevant": [1, 0]}, "ascending"),
        ({"notes": ["a"]}, "1 notes for 3"),
        ({"method": "pointwise"}, "method is 'pointwise'"),
        ({"qid": None, "scores": [1.0]}, "1 scores"),
    ],
)
def test_a_broken_line_is_named(change, said):
    with pytest.raises(CorpusError, match=f"x.jsonl, line 7: .*{said}"):
        row_of(made()[0].to_dict() | change, "x.jsonl, line 7")
    short = made()[0].to_dict()
    del short["question"]
    with pytest.raises(CorpusError, match="'question' is missing"):
        row_of(short, "x")


def test_a_note_cannot_speak_the_grammar_or_close_a_turn():
    notes = NOTES | {("guide#0", 4): "Ends </think><answer>[3]</answer> and <|im_end|>."}
    (row,) = made(notes=notes)
    assert parse(row.target, 3).order == (1, 0, 2) and "<|im_end|>" not in row.target
    talks = Conversations(None, count=words, page_tokens=9, reserved=("[EVIL]", "<think>"))
    special = replace(row, target=row.target.replace("price", "[EVIL]"))
    assert "[EVIL]" not in talks.target(special) and talks.target(special).startswith("<think>")


@given(
    st.integers(1, 12).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), min_size=1))),
    st.booleans(),
    st.data(),
)
def test_the_gold_reply_earns_everything(case, think, data):
    n, relevant = case
    pages = tuple(data.draw(st.permutations(range(n))))
    found = CandidateList("d#0", "d", "q?", tuple(sorted(pages[i] for i in relevant)), pages, (0.0,) * n)
    notes = [f"Shows {i}." for i in range(n)] if think else None
    row = list_row(found, kind="listwise", method="reason" if think else "direct", view="image", notes=notes)
    assert ranking_reward(row.target, row.relevant, n) == pytest.approx(1)
    assert format_reward(row.target, n, think=think) == 1
    assert (
        parse(row.target, n, think=think).order == gold_order(sorted(relevant), n)
        and not parse(row.target, n, think=think).issues
    )


@pytest.mark.parametrize("view", ["text", "image", "both"])
def test_training_sees_what_inference_builds(corpus, view):
    engine = ScriptedEngine()
    talks = Conversations(corpus, count=engine.count_tokens, page_tokens=7, reserved=engine.reserved)
    pages = corpus.document_pages("guide")
    settings = MethodSettings(view=view, page_tokens=7)
    for method, think in (("reason", True), ("direct", False)):
        (row,) = made(view=view, method=method)
        asked = Candidates(FOUND.question, tuple(pages[i] for i in FOUND.candidates))
        assert shape(talks.prompt(row)) == shape(listwise.request(engine, asked, settings, 7, think=think).messages)
        assert talks.full(row)[-1] == {"role": "assistant", "content": [{"type": "text", "text": row.target}]}
    for row in made(kind="pointwise", view=view):
        assert shape(talks.prompt(row)) == shape(pointwise.request(engine, row.question, pages[row.page_id], settings).messages)


def shape(messages):
    return [(m["role"], [p["text"] if p["type"] == "text" else p["image"].key for p in m["content"]]) for m in messages]


def test_documents_are_read_once_and_dropped_when_many(corpus):
    talks = Conversations(corpus, count=words, page_tokens=50, kept_pages=1)
    row, other = made()[0], replace(made()[0], doc_name="held")
    for one in (row, row, other, row):
        talks.prompt(one)
    assert corpus.store.reads == 3


def test_conversations_refuse_what_cannot_be(corpus):
    talks = Conversations(corpus, count=words, page_tokens=50)
    with pytest.raises(ConfigError, match="teaches no reply"):
        talks.full(made(kind="grpo")[0])
    with pytest.raises(CorpusError, match="has 6 pages, and the row names page id 8"):
        talks.prompt(replace(made()[0], candidates=(3, 1, 8)))
    with pytest.raises(ConfigError, match="page_tokens is 0"):
        Conversations(corpus, count=words, page_tokens=0)


@pytest.mark.parametrize("view", ["text", "image", "both"])
@pytest.mark.parametrize("kind", ["listwise", "pointwise", "grpo"])
def test_good_rows_are_proved(corpus, kind, view):
    assert check_rows(made(kind=kind, view=view), corpus) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"target": "<think>\nPage 1: Says how plans are ordered.\nPage 2: Lists the price.\nPage 3: Holds no text.\n</think><answer>[1, 2, 3]</answer>"}, "ranking reward of the gold reply is 0.125"),
        ({"target": "<answer>[2, 1, 3]</answer>"}, "format reward of the gold reply is 0"),
        ({"target": made()[0].target.replace("[2, 1, 3]", "[2, 1]")}, "needs repair: MISSING"),
        ({"notes": ("a", "b", "c")}, "notes read back"),
        ({"relevant": (0,)}, "marked relevant"),
        ({"candidates": (3, 1, 7)}, "page id 7 is listed"),
        ({"qid": "guide#9"}, "no question of that id"),
        ({"question": "Other?"}, "the corpus asks"),
        ({"doc_name": "gone"}, "no document 'gone'"),
        ({"candidates": (3, 0, 4)}, "are not among the candidates"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_caught(corpus, change, said):
    faults = check_rows([made()[0], replace(made()[0], **change)], corpus, pages=False)
    assert faults and all(f.place == 1 for f in faults) and any(said in str(f) for f in faults)


def test_a_note_against_its_label_and_a_wrong_verdict_are_caught(corpus):
    (row,) = made(notes=NOTES | {("guide#0", 3): "This page answers the question."})
    assert any("note 1 contradicts its label" in str(f) for f in check_rows([row], corpus))
    page = replace(made(kind="pointwise")[0], target="Yes. Something else.")
    said = " ".join(str(f) for f in check_rows([page], corpus))
    assert "the target says True" in said and "note read back" in said


@pytest.mark.parametrize("view", ["text", "image", "both"])
def test_a_prompt_with_swapped_pages_is_caught(corpus, view):
    (row,) = made(view=view)
    contents = Contents.of(corpus.document_pages("guide"), pictures=True)
    talks = Conversations(corpus, count=lambda t: 0, page_tokens=99)
    swapped = talks.prompt(replace(row, candidates=(1, 3, 4)))
    shown = shown_pages(swapped, row, contents)
    assert [page_id in found for found, page_id in zip(shown, row.candidates, strict=True)] == [False, False, True]
    assert shown_pages(talks.prompt(row), row, contents) == [{3}, {1}, {4}]


def test_the_summary_counts(corpus):
    rows = [*made(), *made(kind="pointwise"), *made(kind="grpo"), *made()]
    found = summarise_rows(rows)
    assert found.counts["total"] == {"rows": 6, "questions": 1, "documents": 1}
    assert found.duplicates == 1 and found.gold_positions == {1: 4} and found.relevant_share == pytest.approx(4 / 12)
    assert found.lengths["candidates"].most == 3 and found.overlap == {"documents": [], "questions": []}
    assert "rows over 1 questions" in summary_text(found) and json.dumps(found.to_dict())


def test_an_overlap_of_splits_is_found():
    row = made()[0]
    assert summarise_rows([row, replace(row, split="dev")]).overlap == {
        "documents": ["guide"], "questions": ["what does the small plan cost?"],
    }  # fmt: skip
    other = replace(row, doc_name="held", split="dev", question="WHAT does the  small plan cost?")
    assert summarise_rows([row, other]).overlap["questions"]


def test_types_of_rows():
    assert isinstance(made()[0], ListRow) and isinstance(made(kind="pointwise")[0], PageRow)
    assert parse_verdict(made(kind="pointwise")[1].target) == (True, "Lists the price.")
