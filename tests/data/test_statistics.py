"""Counts of corpora, and what is nearly the same in two splits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmr5.cli.main import main
from mmr5.corpora.records import Question
from mmr5.data.statistics import alike_questions, alike_texts, statistics

LONG = " ".join(f"word{i} of the long page" for i in range(20))


def question(qid, split, words):
    return Question("d", words, (0,), qid, split=split)


def test_questions_of_two_splits_that_differ_in_a_word_are_found():
    asked = [
        question("a#0", "train", "What does a night in the north harbour cost for a boat of nine metres"),
        question("b#0", "dev", "What does a night in the south harbour cost for a boat of nine metres?"),
        question("b#1", "dev", "When was the north pump replaced"),
        question("a#1", "train", "What does a night in the north harbour cost for a boat of nine metres"),
    ]
    found = alike_questions(asked)
    assert [pair[:2] for pair in found] == [("a#0", "b#0"), ("b#0", "a#1")]
    assert all(0.8 <= share < 1 for *_, share in found)


def test_pages_of_two_splits_are_compared_by_runs_of_words():
    changed = LONG.replace("word7 of", "another of")
    assert alike_texts([("a:0", "train", LONG), ("b:0", "dev", changed)]) == [("a:0", "b:0", 0.84)]
    assert alike_texts([("a:0", "train", LONG), ("b:0", "train", LONG)]) == []
    assert alike_texts([("a:0", "train", "a short page"), ("b:0", "dev", "a short page")]) == []
    turned = " ".join(LONG.split()[::-1])
    assert alike_texts([("a:0", "train", LONG), ("b:0", "dev", turned)]) == []


def test_a_corpus_in_numbers(corpus):
    found = statistics([corpus])
    assert found.counts["total"] == {"documents": 2, "pages": 12, "questions": 3}
    assert found.counts["split"] == {"train": 2, "dev": 1}
    assert found.counts["relevant pages"] == {"1": 2, "2": 1}
    assert found.lengths["gold position"].most == pytest.approx(0.6)
    assert found.alike == {"questions": [], "pages": []}
    unanswered = replace(corpus.questions[0], page_ids=(), kind="neighbour", qid="guide#9")
    counts = statistics([replace(corpus, questions=(*corpus.questions, unanswered))], pages=False).counts
    assert (counts["answerable"], counts["kind"]) == ({"yes": 3, "no": 1}, {"neighbour": 1})


def test_pages_without_a_label_may_be_alike(corpus):
    corpus.store.texts["guide"][0] = corpus.store.texts["held"][0] = LONG
    assert statistics([corpus]).alike["pages"] == []
    corpus.store.texts["guide"][1] = corpus.store.texts["held"][1] = LONG + " more"
    assert [pair[:2] for pair in statistics([corpus]).alike["pages"]][0] == ("guide:1", "held:1")


def test_the_command_counts_and_fails_on_what_is_in_two_splits(pdf_corpus, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["data", "stats", str(pdf_corpus)])
    assert ended.value.code == 0
    assert "documents 1, pages 8, questions 4" in capsys.readouterr().out
