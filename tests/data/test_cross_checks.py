"""What was swapped, reversed or attached to another question is found and named."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from mmr5.cli.main import main
from mmr5.corpora import load_corpus
from mmr5.corpora.records import question_hash
from mmr5.data.candidates import CandidateList, read_lists, training_list
from mmr5.data.checks import check_rows
from mmr5.data.cross_checks import check_lists, check_notes, check_origin
from mmr5.data.notes import annotate, open_notes, read_notes
from mmr5.data.passages import build_passage_rows
from mmr5.data.row_building import ALL_RELEVANT, build_rows
from mmr5.data.rows import read_rows
from mmr5.errors import CorpusError
from mmr5.storage.jsonl import read_jsonl, write_jsonl

SCORES = {"guide#0": (0.1, 3.0, 0.4, 2.0, 0.0, 0.6), "guide#1": (0.1, 0.2, 3.0, 0.3, 0.0, 2.0)}


@pytest.fixture
def made(corpus, tmp_path):
    """Lists, a notes file and rows over pages of the corpus's two training questions."""
    questions = [q for q in corpus.questions if q.qid in SCORES]
    lists = [training_list(q, SCORES[q.qid], sizes=(4, 4)) for q in questions]
    path = tmp_path / "notes.jsonl"
    with open_notes(path) as journal:
        annotate(lists, corpus, journal)
    rows, _ = build_rows(lists, kind="pointwise", method="reason", view="text", notes=read_notes(path, lists))
    return lists, path, rows


def problems(faults):
    return [fault.problem for fault in faults]


def test_what_was_made_holds(made, corpus):
    lists, path, rows = made
    assert check_lists(lists, corpus) == []
    assert check_notes(path, corpus) == []
    assert check_origin(rows, lists, read_notes(path, lists)) == []


def tampered_list(lists, **changes):
    return [replace(lists[0], **changes), *lists[1:]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"relevant": (3,)}, r"pages \[3\] are marked relevant, and in the corpus pages \[1\] are"),
        ({"question": "Another one?"}, "the question is 'Another one\\?' of guide, and the corpus asks"),
        ({"source": "heading", "relevant": (3,)}, r"pages \[3\] are marked relevant"),
        ({"source": "guessed"}, "its source is 'guessed'"),
        ({"qid": "guide#9"}, "the corpus has no question of that id"),
        ({"doc_name": "nowhere"}, "the corpus has no document 'nowhere'"),
        ({"candidates": (1, 3, 5, 17)}, "guide has 6 pages, and page id 17 is listed"),
        ({"scores": (0.4, 0.6, 2.0, 3.0)}, "scores or candidates are reversed"),
    ],
)
def test_a_changed_list_is_found(changes, said, made, corpus):
    (problem,) = problems(check_lists(tampered_list(made[0], **changes), corpus))
    import re

    assert re.search(said, problem)


def test_rows_are_held_to_their_lists(made):
    lists, path, rows = made
    notes = read_notes(path, lists)
    assert problems(check_origin([replace(rows[0], score=9.0)], lists, None)) == [
        f"page {rows[0].page_id} has score 9.0, and in the list 3.0"
    ]
    (wrong,) = problems(check_origin([replace(rows[0], relevant=False)], lists, None))
    assert "is marked False, and in the list it is not so" in wrong
    (wrong,) = problems(check_origin([replace(rows[0], qid="guide#7")], lists, None))
    assert wrong == "the lists have no such question"
    swapped = [replace(rows[0], note=rows[1].note), replace(rows[1], note=rows[0].note)]
    assert len(check_origin(swapped, lists, notes)) == 2
    assert "and 'Gives the price" in check_origin(swapped, lists, notes)[0].problem


def test_lists_in_rows_are_held_to_their_lists(made):
    lists, path, _ = made
    notes = read_notes(path, lists)
    (row, *_), _ = build_rows(lists, kind="listwise", method="reason", view="text", notes=notes)
    assert check_origin([row], lists, notes) == []
    turned = replace(row, candidates=row.candidates[::-1], scores=row.scores[::-1])
    said = " ".join(problems(check_origin([turned], lists, None)))
    assert "stand in another order than in the list" in said
    reversed_scores = replace(row, scores=row.scores[::-1])
    assert "has score" in " ".join(problems(check_origin([reversed_scores], lists, None)))


def rewrite(path, change):
    records = [record for _, record in read_jsonl(path)]
    change(records)
    write_jsonl(path, records)


def swap(records, field):
    records[0][field], records[1][field] = records[1][field], records[0][field]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: swap(r, "note"), "is not the one that was written for it"),
        (lambda r: r[0].update(note="Lists something else."), "is not the one that was written for it"),
        (lambda r: r[0].update(question_hash="0" * 16), "was written on another question than 'What does the small plan cost?'"),
        (lambda r: r[0].update(relevant=not r[0]["relevant"]), "and in the corpus it is not so"),
    ],
)
def test_a_changed_note_is_found(change, said, made, corpus):
    rewrite(made[1], change)
    assert any(said in problem for problem in problems(check_notes(made[1], corpus)))


def test_notes_stay_with_their_words_when_a_question_is_inserted(made, corpus, tmp_path):
    """The ids of all that follow shift, and no note goes with them."""
    _, path, _ = made
    file = tmp_path / "corpus" / "questions.jsonl"
    records = [record for _, record in read_jsonl(file)]
    records.insert(0, {"doc_name": "guide", "question": "Who orders?", "page_ids": [3], "why": {"3": "Says who."}})
    write_jsonl(file, records)
    shifted = load_corpus(tmp_path / "corpus")
    lists = [training_list(q, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0), sizes=(4, 4)) for q in shifted.questions if q.doc_name == "guide"]
    with pytest.raises(
        CorpusError, match=r"notes.jsonl, line 1: the note was not written on 'guide#0' \('Who orders\?'\).* for 2 questions"
    ):
        read_notes(path, lists)
    assert len(check_notes(path, shifted)) == len([1 for _ in read_jsonl(path)])
    with open_notes(path) as journal:
        annotate(lists, replace(shifted, store=corpus.store), journal)
    assert read_notes(path, lists)["guide#0", 3] == "Says who."


def test_a_question_keeps_its_own_id_and_its_notes(made, corpus, tmp_path):
    assert question_hash(" What  does\nit cost?") == question_hash("What does it cost?") != question_hash("What does it weigh?")
    records = [record for _, record in read_jsonl(tmp_path / "corpus" / "questions.jsonl")]
    for i, record in enumerate(records):
        record["qid"] = f"own-{i}"
    write_jsonl(tmp_path / "corpus" / "questions.jsonl", [records[1], records[0], records[2]])
    assert [q.qid for q in load_corpus(tmp_path / "corpus").questions] == ["own-1", "own-0", "own-2"]


def test_lists_of_relevant_pages_alone_are_left_out_and_refusals_are_rows(corpus):
    whole = CandidateList("guide#1", "guide", "q?", (2, 5), (5, 2), (2.0, 1.0))
    rows, left_out = build_rows([whole], kind="grpo", method="reason", view="text")
    assert (rows, left_out) == ([], {ALL_RELEVANT: 1})
    refusal = CandidateList("guide#3", "guide", "Who painted it?", (), (2, 5), (2.0, 1.0))
    notes = {("guide#3", 2): "Is about “Rooms”.", ("guide#3", 5): "Is about “History”."}
    rows, left_out = build_rows([refusal], kind="pointwise", method="reason", view="text", notes=notes)
    assert [row.target for row in rows] == ["No. Is about “Rooms”.", "No. Is about “History”."]
    assert not left_out


def quoted(corpus, quotes):
    question = replace(corpus.questions[0], quotes=quotes)
    return replace(corpus, questions=(question, *corpus.questions[1:]))


def test_passages_that_hold_the_quote_stand_against_others(made, corpus):
    lists, _, _ = made
    with_quote = quoted(corpus, {1: "the small plan costs 12 euros"})
    rows, left_out = build_passage_rows(lists, with_quote)
    assert [row.relevant for row in rows] == [True, False]
    assert rows[0].passage == "2 Fees The small plan costs 12 euros a month, the large plan 30 euros."
    assert rows[0].target == "Yes. Gives the price of the small plan, 12 euros a month."
    assert (rows[1].page_id, rows[1].target) == (3, "No. Is about “4 Ordering Plans are ordered at the desk. Bring a…”.")
    assert left_out == {"no words are annotated": 2}
    assert check_rows(rows, with_quote) == []
    assert "does not stand on its page" in check_rows([replace(rows[0], passage="Another text.")], with_quote)[0].problem
    _, left_out = build_passage_rows(lists, quoted(corpus, {1: "words that stand nowhere at all"}))
    assert left_out["no passage holds the annotated words"] == 1


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    return ended.value.code


def test_the_commands_prove_lists_and_notes(pdf_corpus, tmp_path, capsys):
    lists, notes, rows = (tmp_path / f"{name}.jsonl" for name in ("lists", "notes", "rows"))
    assert run("data", "candidates", pdf_corpus, "--out", lists, "--retriever", "bm25") == 0
    assert run("data", "reason", lists, "--corpus", pdf_corpus, "--out", notes) == 0
    assert run("data", "rows", lists, "--notes", notes, "--out", rows, "--kind", "pointwise", "--view", "text") == 0
    proof = ("data", "check", rows, "--corpus", pdf_corpus, "--lists", lists, "--notes", notes)
    assert run(*proof) == 0
    capsys.readouterr()
    rewrite(notes, lambda r: swap(r, "note"))
    assert run(*proof, "--json") == 1
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert {next(iter(fault)) for fault in faults} == {"note", "row"}
    assert run("data", "check", rows, "--corpus", pdf_corpus, "--notes", notes) == 2
    rewrite(notes, lambda r: [x.update(note=None) for x in r])
    assert run("data", "rows", lists, "--notes", notes, "--out", tmp_path / "none.jsonl", "--kind", "pointwise") == 1
    assert "no row can be made" in capsys.readouterr().err
    assert not (tmp_path / "none.jsonl").exists()
    assert len(read_rows(rows)) == sum(len(found.candidates) for found in read_lists(lists))
