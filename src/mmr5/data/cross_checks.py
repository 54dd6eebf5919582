"""Proofs over what rows are made of: candidate lists, notes, and rows against both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmr5.corpora import Corpus
from mmr5.corpora.questions import SOURCES
from mmr5.corpora.records import Question, question_hash
from mmr5.data.annotations import NAME as ANNOTATIONS
from mmr5.data.candidates import CandidateList
from mmr5.data.checks import ANNOTATED, Fault
from mmr5.data.consistency import problem_with
from mmr5.data.rows import ListRow, PageRow, Row
from mmr5.prompt import neutralise
from mmr5.storage.cache import digest
from mmr5.storage.jsonl import Record, read_jsonl


def check_lists(lists: Sequence[CandidateList], corpus: Corpus) -> list[Fault]:
    """What does not hold of candidate lists: their questions, labels and pages are the corpus's, and their scores fall."""
    asked = {question.qid: question for question in corpus.questions}
    lengths = {document.doc_name: document.pages for document in corpus.documents}
    faults = []
    for place, found in enumerate(lists):
        problems = _list_problems(found, asked.get(found.qid), lengths.get(found.doc_name))
        faults += [Fault(place, found.qid, problem) for problem in problems]
    return faults


def _list_problems(found: CandidateList, question: Question | None, n_pages: int | None) -> Iterable[str]:
    if n_pages is None:
        yield f"the corpus has no document {found.doc_name!r}"
        return
    if outside := [page_id for page_id in (*found.candidates, *found.relevant) if page_id >= n_pages]:
        yield f"{found.doc_name} has {n_pages} pages, and page id {outside[0]} is listed"
    if found.source not in SOURCES:
        yield f"its source is {found.source!r}: use one of {', '.join(SOURCES)}"
    if question is None and found.source == ANNOTATED:
        yield "the corpus has no question of that id"
    if question is not None:
        if (found.question, found.doc_name) != (question.question, question.doc_name):
            yield f"the question is {found.question!r} of {found.doc_name}, and the corpus asks {question.question!r}"
        elif found.relevant != tuple(sorted(set(question.page_ids))):
            gold = sorted(set(question.page_ids))
            yield f"pages {list(found.relevant)} are marked relevant, and in the corpus pages {gold} are"
    if len(set(found.scores)) > 2 and list(found.scores) == sorted(found.scores):
        yield "the scores rise from the first candidate to the last: scores or candidates are reversed"


def check_notes(path: Path, corpus: Corpus) -> list[Fault]:
    """What does not hold of a notes file: each note is on the question and page that it names, and fits its label.

    Notes of the annotators are also held to the corpus's words by their key; what a model wrote can be held to its label alone.

    Raises:
        CorpusError: the file is missing or breaks the format.
    """
    asked = {question.qid: question for question in corpus.questions}
    faults = []
    for place, (_, record) in enumerate(read_jsonl(path)):
        qid = str(record.get("qid"))
        problem = _note_problem(record, asked.get(qid))
        if problem is not None:
            faults.append(Fault(place, qid, problem))
    return faults


def _note_problem(record: Record, question: Question | None) -> str | None:
    if question is None:
        return None
    if record.get("question_hash") != question_hash(question.question):
        return f"the note was written on another question than {question.question!r}"
    if record.get("kind") != "note":
        return None
    page_id, relevant, note = int(record.get("page_id", -1)), record.get("relevant"), record.get("note")
    if relevant is not (page_id in question.page_ids):
        return f"page {page_id} is marked {'relevant' if relevant else 'not relevant'}, and in the corpus it is not so"
    if note is None:
        return None
    if record.get("teacher") == ANNOTATIONS:
        key = digest(ANNOTATIONS, question.qid, question.question, str(page_id), str(relevant), note)
        if record.get("key") != key:
            return f"the note on page {page_id} is not the one that was written for it: {note!r}"
        written = {"why": question.why, "near_miss": question.near_misses}.get(str(record.get("origin")))
        if written is not None and " ".join(written.get(page_id, "").split()) != note:
            return f"the corpus says other words of page {page_id} than {note!r}"
    return problem_with(note, bool(relevant), question.question)


def check_origin(
    rows: Sequence[Row], lists: Sequence[CandidateList] | None, notes: Mapping[tuple[str, int], str] | None
) -> list[Fault]:
    """What does not hold of rows against the lists and notes that they were made of.

    Args:
        rows: the rows.
        lists: None leaves them out.
        notes: as :func:`mmr5.data.notes.read_notes` gives them; None leaves them out.
    """
    known = None if lists is None else {found.qid: found for found in lists}
    faults = []
    for place, row in enumerate(rows):
        problems = [] if known is None else list(_differences(row, known.get(row.qid)))
        if notes is not None:
            problems += _note_differences(row, notes)
        faults += [Fault(place, row.qid, problem) for problem in problems]
    return faults


def _differences(row: Row, found: CandidateList | None) -> Iterable[str]:
    if found is None or (row.doc_name, row.question) != (found.doc_name, found.question):
        yield "the lists have no such question"
        return
    known = dict(zip(found.candidates, found.scores, strict=True))
    scored = [(row.page_id, row.score)] if isinstance(row, PageRow) else list(zip(row.candidates, row.scores, strict=True))
    for page_id, score in scored:
        if page_id not in known:
            yield f"page {page_id} is not in the list"
        elif score != known[page_id]:
            yield f"page {page_id} has score {score}, and in the list {known[page_id]}"
    if isinstance(row, PageRow):
        if row.relevant is not (row.page_id in found.relevant):
            yield f"page {row.page_id} is marked {row.relevant}, and in the list it is not so"
        return
    kept = [page_id for page_id in found.candidates if page_id in row.candidates]
    if kept != list(row.candidates):
        yield f"the candidates {list(row.candidates)} stand in another order than in the list, {kept}"
    marked = sorted(row.candidates[i] for i in row.relevant)
    if marked != sorted(page_id for page_id in kept if page_id in found.relevant):
        yield f"pages {marked} are marked relevant, and in the list pages {list(found.relevant)} are"


def _note_differences(row: Row, notes: Mapping[tuple[str, int], str]) -> list[str]:
    shown = _shown_notes(row)
    problems = []
    for page_id, note in shown:
        written = notes.get((row.qid, page_id))
        if written is None:
            problems.append(f"there is no note on page {page_id}")
        elif neutralise(written) != note:
            problems.append(f"the note on page {page_id} is {note!r}, and {written!r} was written")
    return problems


def _shown_notes(row: Row) -> list[tuple[int, str]]:
    if isinstance(row, ListRow):
        return [] if row.notes is None else list(zip(row.candidates, row.notes, strict=True))
    return [(row.page_id, row.note)]
