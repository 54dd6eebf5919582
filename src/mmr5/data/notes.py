"""A notes file: what a teacher wrote, one record a line of a journal, and the offline teacher ``annotations``.

Records (all have ``key``, the content hash under which the work is done once)::

    {"kind": "note", "qid", "question_hash", "doc_name", "page_id", "relevant", "note", "origin", "teacher", "problem", "asks",
     "prompt_tokens", "completion_tokens"}
    {"kind": "list", "qid", "question_hash", "doc_name", "candidates", "notes", "teacher", "problem", "asks", "prompt_tokens",
     "completion_tokens"}

A ``note`` or ``notes`` of null stands for what the teacher could not write; ``problem`` says why. A ``list`` holds the notes of a
list rewritten together, and counts before the single ones. ``question_hash`` is
:func:`mmr5.corpora.records.question_hash`: ids may shift when a question is inserted, and a note stays with its words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.corpora import Corpus
from mmr5.corpora.records import question_hash
from mmr5.data.annotations import NAME as ANNOTATIONS
from mmr5.data.annotations import annotation_note
from mmr5.data.candidates import CandidateList
from mmr5.data.consistency import problem_with
from mmr5.errors import CorpusError
from mmr5.storage.cache import digest
from mmr5.storage.journal import Journal
from mmr5.storage.jsonl import Record, dumps, read_jsonl
from mmr5.types import Page, Progress

NO_WHY = "the corpus has no reason for a relevant page"


@dataclass(frozen=True, slots=True)
class Annotated:
    """What the teacher ``annotations`` did.

    Attributes:
        written: notes by origin: ``why``, ``near_miss``, ``gist``, ``heading``, ``blank``.
        dropped: pages without a note, by reason.
        present: notes that were in the file already.
    """

    written: Counter[str]
    dropped: Counter[str]
    present: int


def open_notes(path: Path) -> Journal[Record]:
    """A notes file to go on with; its ``values`` are the records by key.

    Raises:
        OutputError: the file cannot be written, or another process writes it.
    """
    return Journal(path, _keyed)


def _keyed(line: bytes, where: str) -> tuple[str, Record] | None:
    del where
    try:
        value: Any = json.loads(line)
    except ValueError:
        return None
    return (value["key"], value) if isinstance(value, dict) and isinstance(value.get("key"), str) else None


def read_notes(path: Path, lists: Iterable[CandidateList]) -> dict[tuple[str, int], str]:
    """The notes of a file on the questions of some lists, by question and page.

    Where a page was written about twice, a rewritten list counts first, then the last note.

    Raises:
        CorpusError: the file is missing or breaks the format, or all that it has on a question's id was written on other words.
    """
    asked = {found.qid: found for found in lists}
    hashes = {qid: question_hash(found.question) for qid, found in asked.items()}
    single: dict[tuple[str, int], str] = {}
    together: dict[tuple[str, int], str] = {}
    known: set[str] = set()
    foreign: dict[str, str] = {}
    for number, record in read_jsonl(path):
        try:
            qid = str(record["qid"])
            if qid not in hashes:
                continue
            if record.get("question_hash") != hashes[qid]:
                foreign.setdefault(qid, f"{path}, line {number}")
                continue
            known.add(qid)
            if record["kind"] == "note" and record["note"] is not None:
                single[qid, int(record["page_id"])] = str(record["note"])
            elif record["kind"] == "list" and record["notes"] is not None:
                for page_id, note in zip(record["candidates"], record["notes"], strict=True):
                    together[qid, int(page_id)] = str(note)
        except (KeyError, TypeError, ValueError) as error:
            raise CorpusError(f"{path}, line {number}: this is no line of a notes file ({error})") from error
    if wrong := [qid for qid in foreign if qid not in known]:
        raise CorpusError(
            f"{foreign[wrong[0]]}: the note was not written on {wrong[0]!r} ({asked[wrong[0]].question!r}), and so on for "
            f"{len(wrong)} questions: ids have shifted, or the words have changed. Run mmr5 data reason on these lists again"
        )
    return single | together


def annotate(
    lists: Iterable[CandidateList], corpus: Corpus, journal: Journal[Record], *, progress: Progress | None = None
) -> Annotated:
    """Write the annotators' notes on every page of every list into a notes file, by the rule of :mod:`mmr5.data.annotations`.

    Args:
        lists: the candidate lists.
        corpus: holds their documents, questions and gists.
        journal: the notes file; what is in it is not written again.
        progress: told of the documents.

    Raises:
        CorpusError: a list names a document that the corpus lacks.
    """
    asked = {q.qid: q for q in corpus.questions}
    written: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    present = 0
    groups = by_document(lists)
    for done, (doc_name, found) in enumerate(groups.items()):
        if progress is not None:
            progress("notes of the annotators", done, len(groups))
        pages = corpus.document_pages(doc_name)
        gists = corpus.gists.get(doc_name, {})
        records: list[Record] = []
        for one in found:
            question = asked.get(one.qid) if one.source == ANNOTATIONS else None
            why = one.why if question is None else question.why
            near_misses = {} if question is None else question.near_misses
            for page_id in one.candidates:
                record = _record(one, page_id, pages[page_id], why, near_misses, gists)
                if record["key"] in journal.values:
                    present += 1
                    continue
                records.append(record)
                if record["note"] is None:
                    dropped[record["problem"]] += 1
                else:
                    written[record["origin"]] += 1
        journal.append(map(dumps, records))
    if progress is not None:
        progress("notes of the annotators", len(groups), len(groups))
    return Annotated(written, dropped, present)


def by_document(lists: Iterable[CandidateList]) -> dict[str, list[CandidateList]]:
    """The lists of each document, in the order in which documents first appear."""
    groups: dict[str, list[CandidateList]] = {}
    for found in lists:
        groups.setdefault(found.doc_name, []).append(found)
    return groups


def _record(
    found: CandidateList,
    page_id: int,
    page: Page,
    why: Mapping[int, str],
    near_misses: Mapping[int, str],
    gists: Mapping[int, str],
) -> Record:
    relevant = page_id in found.relevant
    made = annotation_note(page_id, relevant=relevant, why=why, near_misses=near_misses, gists=gists, page=page)
    note, origin = made if made is not None else (None, None)
    problem = NO_WHY if note is None else problem_with(note, relevant, found.question)
    return {
        "key": digest(ANNOTATIONS, found.qid, found.question, str(page_id), str(relevant), note or ""),
        "kind": "note",
        "qid": found.qid,
        "question_hash": question_hash(found.question),
        "doc_name": found.doc_name,
        "page_id": page_id,
        "relevant": relevant,
        "note": None if problem is not None else note,
        "origin": origin,
        "teacher": ANNOTATIONS,
        "problem": problem,
    }
