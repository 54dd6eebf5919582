"""The corpus of docs/data.md is one."""

from __future__ import annotations

import re
from pathlib import Path

from mmr5.corpora.folder import read_folder

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_examples_of_the_corpus_folder_are_read(tmp_path):
    section = PAGE.split("## A corpus folder", 1)[1].split("## Rows", 1)[0]
    documents, questions = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    (tmp_path / "docs.json").write_text(documents)
    joined = re.sub(r"\n (?=\S)", " ", questions)
    (tmp_path / "questions.jsonl").write_text(joined)
    (document,), (first, second), _ = read_folder(tmp_path)
    assert (document.language, document.pages) == ("en", 12)
    assert (first.qid, first.page_ids, first.quotes) == ("tides-next", (4,), {4: "spring tides: 14 March"})
    assert (second.qid, second.answerable, second.kind) == ("tides#1", False, "missing_detail")


def test_every_field_of_a_question_is_in_the_table():
    from dataclasses import fields

    from mmr5.corpora.records import Question

    table = PAGE.split("| field of a question | |", 1)[1].split("\n\n", 1)[0]
    named = set(re.findall(r"`(\w+)`", table))
    assert {f.name for f in fields(Question)} - {"layouts", "negatives", "source"} <= named
