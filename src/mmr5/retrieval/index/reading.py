"""Files → documents ready to be stored, read by several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from mmr5.errors import MMR5Error
from mmr5.pages import read_pages
from mmr5.pages.files import StoredFile, read_head
from mmr5.pages.read import SourceFile
from mmr5.retrieval.index.rows import ReadDocument, key_of, prepared
from mmr5.settings import ReadingSettings
from mmr5.storage.cache import Cache
from mmr5.types import Problem

AHEAD = 3
"""Documents that are read ahead, for each process."""
CRASHED = "it ends the process that reads it, and was left out: open and save it anew, or print it to a PDF"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to be read.

    Attributes:
        file: the file and the name by which it is shown.
        metadata: the caller's fields of it.
    """

    file: SourceFile
    metadata: Mapping[str, Any]


def reading_of(settings: ReadingSettings) -> str:
    """The settings in a word, to tell whether a document has to be read anew."""
    return f"ocr={settings.ocr} picture_pages={settings.picture_pages}"


def read_document(wanted: Wanted, settings: ReadingSettings, cache: Cache) -> ReadDocument | Problem:
    """Read a file; what cannot be read is a problem."""
    name, problems = wanted.file.name, list[Problem]()
    try:
        read_head(wanted.file.path)  # says in words what is not there
        stored = StoredFile.of(wanted.file.path)
        pages = read_pages(
            wanted.file.path,
            ocr=settings.ocr,
            picture_pages=settings.picture_pages,
            cache=cache,
            progress=_silent,
            on_problem=problems.append,
        )
        about = {
            "key": key_of(str(stored.path)),
            "source": name,
            "path": str(stored.path),
            "digest": stored.digest,
            "size": stored.size,
            "mtime_ns": stored.mtime_ns,
            "kind": stored.path.suffix.lower().removeprefix(".") or "file",
            "added": now(),
            "reading": reading_of(settings),
            "metadata": dict(wanted.metadata),
            "problems": tuple(replace(problem, source=name) for problem in problems),
        }
        return prepared([replace(page, source=name) for page in pages], about)
    except (MMR5Error, OSError) as error:
        words = str(error).removeprefix(f"{wanted.file.path}: ")
        return Problem(name, None, words)


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _silent(stage: str, done: int, total: int | None) -> None:
    del stage, done, total


def read_documents(
    wanted: Sequence[Wanted], settings: ReadingSettings, cache: Cache, workers: int
) -> Iterator[ReadDocument | Problem]:
    """Read files, in the order in which they are done.

    A file that ends the process that reads it becomes a problem, and no other file is lost.

    Args:
        wanted: the files.
        settings: how they are read.
        cache: where texts are kept.
        workers: processes, at least 1; with 1, or a single file, this process reads.
    """
    if workers == 1 or len(wanted) == 1:
        for one in wanted:
            yield read_document(one, settings, cache)
        return
    left, suspected = list(wanted), list[Wanted]()
    while left:
        count = 1 if suspected else min(workers, len(left))
        running: dict[Future[ReadDocument | Problem], Wanted] = {}
        with _pool(count) as pool:
            try:
                for done, found in _read_by(pool, suspected or left, settings, cache, 1 if suspected else AHEAD * count, running):
                    left.remove(done)
                    yield found
                suspected = []
            except BrokenProcessPool:
                if suspected:  # one at a time: this one it was
                    [one] = running.values()
                    left.remove(one)
                    yield Problem(one.file.name, None, CRASHED)
                suspected = [one for one in (suspected or running.values()) if one in left]


def _read_by(
    pool: ProcessPoolExecutor,
    wanted: Sequence[Wanted],
    settings: ReadingSettings,
    cache: Cache,
    ahead: int,
    running: dict[Future[ReadDocument | Problem], Wanted],
) -> Iterator[tuple[Wanted, ReadDocument | Problem]]:
    """Each file once it is read; ``running`` holds those that are not. Raises BrokenProcessPool where a process ended."""
    waiting = iter(list(wanted))
    while True:
        while len(running) < ahead and (one := next(waiting, None)) is not None:
            running[pool.submit(read_document, one, settings, cache)] = one
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            found = future.result()
            yield running.pop(future), found


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that are started anew: the table's threads must not be copied into them."""
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
