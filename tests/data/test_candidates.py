import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.cli.main import main
from mmr5.corpora import load_corpus
from mmr5.corpora.questions import captions, headings, index_entries, with_questions
from mmr5.corpora.records import Question
from mmr5.data.annotations import annotation_note, heading
from mmr5.data.candidates import CandidateList, build_lists, candidate_list, evaluation_list, read_lists, training_list
from mmr5.data.consistency import problem_with
from mmr5.data.notes import NO_WHY, annotate, open_notes, read_notes
from mmr5.data.sampling import balanced_sample, quantile_bins
from mmr5.errors import ConfigError, CorpusError
from mmr5.types import Page

GOLD = st.sets(st.integers(0, 29), min_size=1, max_size=6)
SCORES = st.lists(st.floats(-5, 5, allow_nan=False), min_size=30, max_size=30)


@given(GOLD, SCORES, st.integers(1, 40))
def test_an_evaluation_list_is_the_first_stages_top_and_no_gold_is_added(gold, scores, n):
    found = evaluation_list(Question("d", "q", tuple(gold), "d#0"), scores, n)
    best = sorted(range(30), key=lambda i: (-scores[i], i))[:n]
    assert list(found.candidates) == best and found.relevant == tuple(sorted(gold))


def test_gold_outside_the_top_stays_outside():
    scores = [float(-i) for i in range(30)]
    found = evaluation_list(Question("d", "q", (29,), "d#0"), scores, 10)
    assert 29 not in found.candidates and found.positions == ()


@given(GOLD, SCORES, st.integers(0, 3), st.booleans())
def test_a_training_list_holds_all_gold_and_the_hardest_others_in_retriever_order(gold, scores, seed, shuffle):
    found = training_list(Question("d", "q", tuple(gold), "d#7"), scores, seed=seed, shuffle=shuffle)
    again = training_list(Question("d", "q", tuple(gold), "d#7"), scores, seed=seed, shuffle=shuffle)
    assert found == again and gold <= set(found.candidates) and max(3, len(gold) + 1) <= len(found.candidates) <= 10
    order = sorted(range(30), key=lambda i: (-scores[i], i))
    others = [p for p in order if p not in gold][: len(found.candidates) - len(gold)]
    assert set(found.candidates) == gold | set(others)
    if not shuffle:
        assert list(found.candidates) == [p for p in order if p in set(found.candidates)]


def test_sizes_are_drawn_and_near_misses_may_go_first():
    scores = [float(-i) for i in range(30)]
    sizes = {len(training_list(Question("d", "q", (0,), f"d#{k}"), scores).candidates) for k in range(100)}
    assert sizes == set(range(3, 11))
    near = Question("d", "q", (0,), "d#0", near_misses={25: "no"}, negatives=(26,))
    assert {25, 26} <= set(training_list(near, scores, sizes=(3, 3), near_misses_first=True).candidates)
    with pytest.raises(ConfigError, match="5 to 4"):
        training_list(near, scores, sizes=(5, 4))


def test_lists_survive_their_file_and_a_broken_line_is_named(tmp_path):
    found = CandidateList("d#0", "d", "q", (1,), (1, 2), (0.5, 0.1), "train", "heading", {1: "Holds it."})
    (tmp_path / "l.jsonl").write_text(json.dumps(found.to_dict()) + "\n")
    assert read_lists(tmp_path / "l.jsonl") == [found]
    for change, said in (
        ({"scores": [1]}, "1 scores for 2"),
        ({"candidates": [1, 1]}, "each page once"),
        ({"relevant": "x"}, "no list"),
    ):
        with pytest.raises(CorpusError, match=said):
            candidate_list(found.to_dict() | change, "l.jsonl, line 1")
    with pytest.raises(CorpusError, match="'qid' is missing"):
        candidate_list({}, "l.jsonl, line 1")


def test_a_first_stage_with_too_few_scores_is_refused(corpus):
    class Short:
        def scores(self, query):
            return [1.0]

    with pytest.raises(CorpusError, match="gave 1 scores for 6 pages"):
        list(build_lists(corpus, lambda pages: Short(), evaluation_list))


def test_the_annotators_notes_follow_the_rule(corpus, tmp_path):
    lists = [CandidateList("guide#0", "guide", "What does the small plan cost?", (1,), (0, 1, 2, 3, 4, 5), (0.0,) * 6)]
    with open_notes(tmp_path / "n.jsonl") as journal:
        done = annotate(lists, corpus, journal)
        assert annotate(lists, corpus, journal).present == 6
    assert dict(done.written) == {"gist": 2, "why": 1, "near_miss": 1, "blank": 1, "heading": 1}
    notes = {page_id: note for (_, page_id), note in read_notes(tmp_path / "n.jsonl", lists).items()}
    assert notes == {
        0: "Table of contents.",
        1: "Gives the price of the small plan, 12 euros a month.",
        2: "Shows -r rooms.",
        3: "Says how plans are ordered, but names no price.",
        4: "Holds no text that could be read.",
        5: "Is about “The library was founded in 1901. Fees came later”.",
    }


def test_a_relevant_page_without_a_why_has_no_note(corpus, tmp_path):
    lists = [CandidateList("guide#0", "guide", "q?", (0, 1), (0, 1), (0.0, 0.0))]
    with open_notes(tmp_path / "n.jsonl") as journal:
        assert dict(annotate(lists, corpus, journal).dropped) == {NO_WHY: 1}
    assert set(read_notes(tmp_path / "n.jsonl", lists)) == {("guide#0", 1)}
    assert annotation_note(0, relevant=True, why={0: "  "}, near_misses={}, gists={}) is None
    assert annotation_note(0, relevant=False, why={}, near_misses={}, gists={}, page=Page("a", 1, "")) == (
        "Holds no text that could be read.",
        "blank",
    )
    assert heading("12\n  Opening hours of the house ......... 4\n") == "Opening hours of the house"


@pytest.mark.parametrize(
    ("note", "relevant", "fits"),
    [
        ("Lists the fees for each plan.", True, True),
        ("Lists the fees for each plan.", False, True),
        ("This page does not answer the question.", True, False),
        ("It is irrelevant to the question.", True, False),
        ("Directly answers the question.", False, False),
        ("Nothing on it answers the question.", False, True),
        ("Describes plans, but none of it answers the question.", False, True),
        ("According to the label this is relevant.", True, False),
        ("", True, False),
        ("word " * 91, True, False),
        ("Closes </think> early.", True, False),
    ],
)
def test_a_note_that_fits_its_label(note, relevant, fits):
    assert (problem_with(note, relevant) is None) is fits


def test_every_note_of_our_corpus_fits_its_label():
    asked = load_corpus("opendocs").questions
    bad = [note for q in asked for note in q.why.values() if problem_with(note, True, q.question)]
    bad += [note for q in asked for note in q.near_misses.values() if problem_with(note, False, q.question)]
    assert len(asked) == 1909 and not bad


MANUAL = [
    "Contents\n1 Starting ........ 2\n1.1 Fees and plans ........ 2\n2 Rooms of the house ........ 3\n3 Other things ........ 4",
    "1.1 Fees and plans\nFigure 1: The fees of all plans by year\n1.2 Notes\nsee Figure 1: The fees of all plans by year",
    "2 Rooms of the house\nThe atrium is closed.\nTable 2. shows the rooms",
    "3 Other things\nAn atrium again. The basement too. Appendix.",
    "1. Take the key from the desk",
    *["filler"] * 3,
    "\n".join(
        ["atrium, 2, 3", "basement, 3", "closed, 2", "appendix, 3", "fees, 1", "plans, 1", "notes, 1", "house, 2", "nowhere, 3"]
    ),
]


def test_headings_captions_and_index_entries_become_questions():
    assert [(f.title, f.page_ids) for f in headings(MANUAL)] == [
        ("Fees and plans", (1,)), ("Rooms of the house", (2,)), ("Other things", (3,)),
    ]  # fmt: skip
    assert [(f.title, f.kind, f.page_ids) for f in captions(MANUAL)] == [("The fees of all plans by year", "figure", (1,))]
    found = {f.title: f.page_ids for f in index_entries(MANUAL)}
    assert found["atrium"] == (2, 3) and found["fees"] == (1,) and "nowhere" not in found
    assert index_entries(["a"] * 4) == []
    assert headings(["2 Rooms of the house", "2 Rooms of the house"]) == []


def test_printed_numbers_are_shifted_to_pages_and_a_wrong_index_gives_nothing():
    shifted = ["title page", *MANUAL]
    assert {f.title: f.page_ids for f in index_entries(shifted)}["fees"] == (2,)
    assert index_entries([*["filler"] * 8, MANUAL[-1]]) == []


def test_questions_from_documents_are_a_choice_and_bring_their_reason(corpus, tmp_path):
    corpus.store.texts["guide"] = MANUAL[:6]
    made = with_questions(corpus, ("heading", "caption"), seed=3)
    assert {q.source for q in made.questions} == {"heading", "caption"} and made == with_questions(
        corpus, ("heading", "caption"), seed=3
    )
    assert all(q.why.keys() == set(q.page_ids) and q.split for q in made.questions)
    both = with_questions(corpus, ("annotations", "heading"))
    assert both.questions[:3] == corpus.questions and len({q.qid for q in both.questions}) == len(both.questions)
    with pytest.raises(ConfigError, match="annotations, heading, caption, index"):
        with_questions(corpus, ("oracle",))
    lists = list(build_lists(made, lambda pages: ByLength(pages), partial(training_list, sizes=(3, 4))))
    with open_notes(tmp_path / "n.jsonl") as journal:
        assert not annotate(lists, made, journal).dropped


class ByLength:
    def __init__(self, pages):
        self.found = [float(len(p.text)) for p in pages]

    def scores(self, query):
        return self.found


@given(st.lists(st.integers(1, 50), min_size=1, max_size=120), st.integers(1, 15), st.integers(0, 3), st.data())
def test_balanced_samples_are_without_replacement_and_complete(sizes, bins, seed, data):
    n = data.draw(st.integers(1, len(sizes)))
    for allotment in ("proportional", "equal"):
        chosen = balanced_sample(sizes, n, bins=bins, allotment=allotment, seed=seed)
        assert len(chosen) == len(set(chosen)) == n and chosen == balanced_sample(
            sizes, n, bins=bins, allotment=allotment, seed=seed
        )
    parts = quantile_bins(sizes, bins)
    assert sorted(i for part in parts for i in part) == list(range(len(sizes))) and len(parts) <= bins
    assert all(max(sizes[i] for i in a) < min(sizes[i] for i in b) for a, b in zip(parts, parts[1:], strict=False))


def test_proportional_keeps_shares_and_equal_levels_them():
    sizes = [1] * 80 + [2] * 20
    share = lambda how: sum(sizes[i] == 2 for i in balanced_sample(sizes, 20, bins=2, allotment=how))  # noqa: E731
    assert (share("proportional"), share("equal")) == (4, 10)
    assert sum(sizes[i] == 2 for i in balanced_sample(sizes, 60, bins=2, allotment="equal")) == 20
    for bad in ({"n": 0}, {"n": 101}, {"n": 5, "bins": 0}, {"n": 5, "allotment": "x"}):
        with pytest.raises(ConfigError):
            balanced_sample(sizes, **bad)


def test_rows_balanced_over_page_sizes_from_the_command_line(pdf_corpus, tmp_path, capsys):
    lists, rows = tmp_path / "l.jsonl", tmp_path / "r.jsonl"
    for arguments, code in (
        (["candidates", pdf_corpus, "--out", lists, "--retriever", "bm25", "--questions", "annotations"], 0),
        (["rows", lists, "--out", rows, "--kind", "grpo", "--sample", 2], 2),
        (["rows", lists, "--out", rows, "--kind", "grpo", "--sample", 2, "--corpus", pdf_corpus], 0),
        (["rows", lists, "--out", rows, "--kind", "grpo", "--sample", 9, "--corpus", pdf_corpus], 2),
        (["check", rows, "--corpus", pdf_corpus, "--json"], 0),
        (["check", rows, "--corpus", pdf_corpus, "--against", "opendocs", "--against-split", "dev"], 0),
        (["check", rows, "--corpus", pdf_corpus, "--against", pdf_corpus], 1),
        (["candidates", pdf_corpus, "--out", lists, "--retriever", "none", "--mode", "evaluation", "--candidates", 2], 0),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["data", *(str(a) for a in arguments)])
        assert ended.value.code == code, arguments
    assert "3 shared with what is held out" in capsys.readouterr().err
    assert len(rows.read_text().splitlines()) == 2 and all(found.candidates == (0, 1) for found in read_lists(lists))


def test_check_fails_on_a_bad_row_and_on_an_empty_file(pdf_corpus, tmp_path, capsys):
    row = {"kind": "grpo", "qid": "gates#0", "doc_name": "gates", "question": "What colour has gate 0?", "candidates": [0, 1], "relevant": [1],
           "method": "reason", "view": "text", "scores": [0, 0], "split": "train", "source": "annotations"}  # fmt: skip
    for name, text in (("bad", json.dumps(row)), ("none", "")):
        (tmp_path / name).write_text(text)
        with pytest.raises(SystemExit) as ended:
            main(["data", "check", str(tmp_path / name), "--corpus", str(pdf_corpus)])
        assert ended.value.code == 1
    assert "pages [1] are marked relevant" in capsys.readouterr().out
