"""The driver of ``mmr5 data reason``: a teacher writes a note on every page of every list, many at a time (paper section 3.2.1).

Everything that the teacher finished is in the journal before it counts as done, under a key made of the teacher, its prompt and
settings, the question, the label and the page's content. So a run that was interrupted or killed goes on where it stopped:
nothing that was written is lost, and nothing that was written is asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from mmr5.corpora import Corpus
from mmr5.corpora.records import question_hash
from mmr5.data.candidates import CandidateList
from mmr5.data.notes import by_document
from mmr5.data.teacher import TeacherSettings, Written, failure_kind, refine_notes, teacher_fingerprint, write_note
from mmr5.data.teacher_run import LOOK_SECONDS, Interrupts, Reporter, Tally, held_interrupts
from mmr5.engines.protocol import Engine
from mmr5.errors import ContextLengthError, CorpusError, EngineError, PageError
from mmr5.storage.cache import digest
from mmr5.storage.journal import FAILURES_IN_A_ROW, Journal
from mmr5.storage.jsonl import Record, dumps
from mmr5.types import Page, Progress

_QUEUED = 2
"""Jobs that wait for each worker; more would only hold pages in memory."""


@dataclass(frozen=True, slots=True)
class _Job:
    """One piece of work: its key, the record that it will be, and how it is asked for."""

    key: str
    record: Record
    ask: Callable[[], Written]


def reason(
    lists: Sequence[CandidateList],
    corpus: Corpus,
    engine: Engine,
    journal: Journal[Record],
    settings: TeacherSettings,
    *,
    progress: Progress | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Tally:
    """Write a note on every page of every list, then, with ``settings.refine``, rewrite the notes of each list together.

    An interrupt lets the requests that are under way finish, keeps them, and is raised again.

    Args:
        lists: the candidate lists.
        corpus: holds their documents.
        engine: the teacher.
        journal: the notes file; what is in it is not asked for again.
        settings: how the teacher is asked.
        progress: told of the work, with rate, tokens and failures in the name of the stage.
        clock: seconds.

    Returns:
        What was done. Failures are counted there and do not stop the others.

    Raises:
        CorpusError: a list names a document or page that the corpus lacks.
        ConfigError: a page lacks what the view needs.
        EngineError: :data:`~mmr5.storage.journal.FAILURES_IN_A_ROW` requests failed one after the other.
        OutputError: the journal cannot be written.
    """
    tally = Tally(total=sum(len(found.candidates) for found in lists), started=clock())
    stages = [_note_jobs(lists, corpus, engine, journal, settings, tally)]
    if settings.refine:
        tally.total += len(lists)
        stages.append(_list_jobs(lists, engine, journal, settings, tally))
    report = Reporter(progress, tally, clock)
    with held_interrupts() as interrupts, ThreadPoolExecutor(settings.workers, thread_name_prefix="mmr5-teacher") as pool:
        for jobs in stages:
            _run(pool, jobs, journal, tally, interrupts, report, settings, engine.model)
    report(force=True)
    return tally


def note_key(engine: Engine, settings: TeacherSettings, found: CandidateList, page_id: int, page: Page, *, relevant: bool) -> str:
    """The content hash of one note: teacher, prompt, settings, question, label and the page as the view shows it."""
    return digest(
        "note",
        *_teacher(engine, "note", settings),
        str(settings.page_tokens),
        found.qid,
        found.question,
        found.doc_name,
        str(page_id),
        str(relevant),
        "" if settings.view == "image" else page.text or "",
        "" if settings.view == "text" or page.image is None else page.image.key,
    )


def list_key(
    engine: Engine, settings: TeacherSettings, found: CandidateList, page_ids: Sequence[int], notes: Sequence[str]
) -> str:
    """The content hash of a list's notes, rewritten together."""
    parts = [f"{page_id}:{page_id in found.relevant}:{note}" for page_id, note in zip(page_ids, notes, strict=True)]
    return digest("list", *_teacher(engine, "refine", settings), found.qid, found.question, found.doc_name, *parts)


def _teacher(engine: Engine, prompt_name: str, settings: TeacherSettings) -> list[str]:
    return [
        engine.name,
        engine.model,
        teacher_fingerprint(prompt_name),
        settings.view,
        str(settings.note_tokens),
        str(settings.asks),
        str(settings.temperature),
        str(settings.seed),
    ]


def _note_jobs(
    lists: Sequence[CandidateList],
    corpus: Corpus,
    engine: Engine,
    journal: Journal[Record],
    settings: TeacherSettings,
    tally: Tally,
) -> Iterator[_Job]:
    taken: set[str] = set()
    for doc_name, group in by_document(lists).items():
        pages = corpus.document_pages(doc_name)
        for found in group:
            for page_id in found.candidates:
                if page_id >= len(pages):
                    raise CorpusError(f"{found.qid}: {doc_name} has {len(pages)} pages, and the list names page id {page_id}")
                page, relevant = pages[page_id], page_id in found.relevant
                key = note_key(engine, settings, found, page_id, page, relevant=relevant)
                if key in journal.values or key in taken:
                    tally.present += 1
                    continue
                taken.add(key)
                record = {
                    "key": key,
                    "kind": "note",
                    "qid": found.qid,
                    "question_hash": question_hash(found.question),
                    "doc_name": doc_name,
                    "page_id": page_id,
                    "relevant": relevant,
                    "origin": "teacher",
                }
                yield _Job(key, record, partial(write_note, engine, found.question, page, relevant=relevant, settings=settings))


def _list_jobs(
    lists: Sequence[CandidateList], engine: Engine, journal: Journal[Record], settings: TeacherSettings, tally: Tally
) -> Iterator[_Job]:
    """Lists whose relevant pages all have notes; a page without a note is left off, and a list without enough settles itself."""
    written: Mapping[tuple[str, str | None, int], str] = {
        (record["qid"], record.get("question_hash"), record["page_id"]): record["note"]
        for record in journal.values.values()
        if record["kind"] == "note" and record["note"] is not None
    }
    taken: set[str] = set()
    for found in lists:
        asked = (found.qid, question_hash(found.question))
        page_ids = [page_id for page_id in found.candidates if (*asked, page_id) in written]
        if len(page_ids) < 2 or any(found.candidates[i] not in page_ids for i in found.positions):
            tally.total -= 1
            continue
        notes = [written[(*asked, page_id)] for page_id in page_ids]
        key = list_key(engine, settings, found, page_ids, notes)
        if key in journal.values or key in taken:
            tally.present += 1
            continue
        taken.add(key)
        relevant = [i for i, page_id in enumerate(page_ids) if page_id in found.relevant]
        qid, hashed = asked
        record = {
            "key": key,
            "kind": "list",
            "qid": qid,
            "question_hash": hashed,
            "doc_name": found.doc_name,
            "candidates": page_ids,
        }
        yield _Job(key, record, partial(refine_notes, engine, found.question, notes, relevant, settings=settings))


def _run(
    pool: ThreadPoolExecutor,
    jobs: Iterator[_Job],
    journal: Journal[Record],
    tally: Tally,
    interrupts: Interrupts,
    report: Reporter,
    settings: TeacherSettings,
    teacher: str,
) -> None:
    """Keep the workers busy until the jobs are done; on any way out, let what is under way finish."""
    running: dict[Future[Written], _Job] = {}
    try:
        for job in jobs:
            interrupts.check()
            running[pool.submit(_work, job, journal, teacher)] = job
            while len(running) >= _QUEUED * settings.workers:
                _settle(running, tally, report)
                interrupts.check()
            report()
        while running:
            _settle(running, tally, report)
            interrupts.check()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            report.say(f"interrupted: what is under way is let finish and kept (at most {settings.workers} requests)")
        pool.shutdown(wait=True, cancel_futures=True)
        raise


def _work(job: _Job, journal: Journal[Record], teacher: str) -> Written:
    """In a worker: ask, and put what came of it on disk."""
    written = job.ask()
    notes = None if written.notes is None else list(written.notes)
    outcome = {"note": None if notes is None else notes[0]} if job.record["kind"] == "note" else {"notes": notes}
    record = (
        job.record
        | outcome
        | {
            "teacher": teacher,
            "problem": written.problem,
            "asks": written.asks,
            "prompt_tokens": written.usage.prompt_tokens,
            "completion_tokens": written.usage.completion_tokens,
        }
    )
    journal.append([dumps(record)])
    return written


def _settle(running: dict[Future[Written], _Job], tally: Tally, report: Reporter) -> None:
    """Wait a little for at least one job, and count those that are done."""
    done, _ = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
    for future in done:
        del running[future]
        try:
            written = future.result()
        except (EngineError, ContextLengthError, PageError) as error:
            tally.failures[failure_kind(error)] += 1
            tally.in_a_row += isinstance(error, EngineError)
            if tally.in_a_row >= FAILURES_IN_A_ROW:
                raise EngineError(
                    f"{tally.in_a_row} requests failed one after the other, the last: {error}. "
                    "What was written is kept: run again to go on from here"
                ) from error
            continue
        tally.in_a_row = 0
        tally.asks += written.asks
        tally.usage += written.usage
        if written.notes is None:
            tally.dropped += 1
        else:
            tally.written += 1
    report()
