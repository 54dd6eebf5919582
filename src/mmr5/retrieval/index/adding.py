"""Documents → the table of a collection: stored in batches, embedded, and the table kept in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from mmr5.errors import PageError
from mmr5.languages import ENGLISH
from mmr5.pages.files import StoredFile
from mmr5.pages.read import SourceFile
from mmr5.retrieval.base import PageEncoder
from mmr5.retrieval.index.reading import Wanted, now
from mmr5.retrieval.index.rows import Document, ReadDocument, key_of, prepared, to_page, to_table, vector_column
from mmr5.retrieval.index.snapshot import ENGLISH_ONLY, Parts
from mmr5.retrieval.index.table import Table
from mmr5.retrieval.index.where import Value
from mmr5.storage.cache import digest
from mmr5.types import Page, Problem, Progress

BATCH_PAGES = 512
"""Pages whose texts are stored together: what a kill can cost."""
EMBED_PAGES = 128
"""Pages that are embedded and stored together."""
MAINTAIN_PAGES = 20_000
"""Pages after which the table is put in order while more are being added."""
MOST_WORKERS = 8
"""Processes that read files, unless told otherwise; never more than there are cores."""
MUCH_FILES, MUCH_BYTES = 8, 2_000_000
"""So many files, or bytes of them, are worth the start of further processes."""


@dataclass(frozen=True, slots=True)
class Added:
    """What :meth:`Index.add` did.

    Attributes:
        added: documents that are new.
        updated: documents whose content, metadata or reading had changed.
        unchanged: documents that were left alone.
        pages: pages that were read and stored.
        problems: what was passed over.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    pages: int = 0
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class Adding:
    """A running :meth:`Index.add`: documents are gathered, embedded and stored in batches."""

    store: Table
    parts: Parts
    progress: Progress | None
    on_problem: Callable[[Problem], None] | None
    held: dict[str, Document] = field(default_factory=dict)
    waiting: list[ReadDocument] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    total: int = 0
    seen: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    pages: int = 0
    embedded: int = 0
    since: int = 0

    def say(self, problem: Problem) -> None:
        """Hand on what was passed over."""
        self.problems.append(problem)
        if self.on_problem is not None:
            self.on_problem(problem)

    def start(self, total: int) -> None:
        """So many documents are to come."""
        self.total = total
        if not self.held:
            self.refresh()

    def refresh(self) -> None:
        """What is stored now."""
        self.held = {key: Document.read(about) for key, about in self.store.abouts().items()}

    def todo(
        self, files: Sequence[SourceFile], metadata: Sequence[Mapping[str, Value]], reading: str, *, told: bool
    ) -> list[Wanted]:
        """The files that are not stored as they are; where only metadata or the time of change are new, that is told."""
        self.refresh()
        found: dict[str, Wanted] = {}
        for file, own in zip(files, metadata, strict=True):
            path = file.path.absolute()
            held = self.held.get(key_of(str(path)))
            fields = held.metadata if held is not None and not told else own
            if held is None or held.reading != reading or not same_content(held, path):
                found[str(path)] = Wanted(file, fields)
                continue
            self._tell(held, path, fields)
        return list(found.values())

    def _tell(self, held: Document, path: Path, fields: Mapping[str, Value]) -> None:
        status = path.stat()
        now_known = replace(held, metadata=fields, size=status.st_size, mtime_ns=status.st_mtime_ns)
        if now_known == held:
            self.unchanged += 1
            return
        with self.store.writing():
            self.store.latest()
            self.store.tell(held.key, now_known.about())
        self.held[held.key] = now_known
        if dict(fields) == dict(held.metadata):
            self.unchanged += 1
        else:
            self.updated += 1

    def take(self, found: ReadDocument | Problem) -> None:
        """A document that was read, or why it was not."""
        self.seen += 1
        if isinstance(found, Problem):
            self.say(found)
        else:
            for problem in found.document.problems:
                self.say(problem)
            self.waiting.append(found)
        if self.progress is not None:
            self.progress("adding documents", self.seen, self.total)
        if sum(len(document.pages) for document in self.waiting) >= BATCH_PAGES:
            self.commit()

    def take_pages(self, source: str, pages: Sequence[Page], metadata: Mapping[str, Value] | None) -> None:
        """Pages of one document that were handed over."""
        pages = sorted(pages, key=lambda page: page.number)
        path = Path(source).expanduser().absolute()
        stored = StoredFile.of(path) if path.is_file() else None
        key = key_of(source if stored is None else str(path))
        held = self.held.get(key)
        content = digest(*(f"{page.number} {page.text}" for page in pages)) if stored is None else stored.digest
        fields = metadata if metadata is not None else held.metadata if held is not None else {}
        reading = "given " + digest(*(f"{page.number} {page.text}" for page in pages))[:16]
        if held is not None and (held.digest, held.reading) == (content, reading) and dict(held.metadata) == dict(fields):
            self.unchanged += 1
            self.seen += 1
            return
        about = {
            "key": key, "source": source, "path": None if stored is None else str(path), "digest": content,
            "size": 0 if stored is None else stored.size, "mtime_ns": 0 if stored is None else stored.mtime_ns,
            "kind": "pages" if stored is None else path.suffix.lower().removeprefix("."), "added": now(), "reading": reading,
            "metadata": dict(fields), "problems": (),
        }  # fmt: skip
        self.take(prepared(pages, about))

    def commit(self) -> None:
        """Store what was gathered, as the only writer, but for what another one has stored meanwhile."""
        if not self.waiting:
            return
        batch, self.waiting = self.waiting, []
        pages = [stored.page for document in batch for stored in document.pages]
        mains = [stored.main for document in batch for stored in document.pages]
        vectors = {column: _of_language(column, encoder.known, pages, mains) for column, encoder in self.parts.encoders.items()}
        with self.store.writing():
            self.refresh()
            before = set(self.held)
            kept, rows = list[ReadDocument](), list[int]()
            start = 0
            for document in batch:
                own = range(start, start + len(document.pages))
                start = own.stop
                if self._is_stored(document.document):
                    self.unchanged += 1
                    continue
                kept.append(self._named(document))
                rows += own
            if kept:
                chosen = {column: [found[i] for i in rows] for column, found in vectors.items()}
                replaced = [document.document.key for document in kept if document.document.key in before]
                self.store.put(to_table(kept, chosen, self.store.shape), replaced)
                self.updated += len(replaced)
                self.added += len(kept) - len(replaced)
                self.pages += len(rows)
                self.since += len(rows)
            if self.since >= MAINTAIN_PAGES:
                self.refresh()
                self._maintain()

    def _is_stored(self, document: Document) -> bool:
        """Whether another writer has stored the same meanwhile."""
        held = self.held.get(document.key)
        same = held is not None and (held.digest, held.reading) == (document.digest, document.reading)
        return same and held is not None and dict(held.metadata) == dict(document.metadata)

    def _named(self, document: ReadDocument) -> ReadDocument:
        """The document under a name that no other one has."""
        own = document.document
        name = own.source
        if any(one.source == name for key, one in self.held.items() if key != own.key):
            name = own.path or f"{name} ({own.key})"
        known = replace(own, source=name)
        self.held[own.key] = known
        return replace(document, document=known)

    def _maintain(self) -> None:
        pages = sum(document.pages for document in self.held.values())
        self.store.maintain(pages, None if self.progress is None else self._stage)
        self.since = 0

    def _stage(self, words: str) -> None:
        if self.progress is not None:
            self.progress(words, 0, None)

    def embed(self) -> None:
        """Embed the pages that wait, and store each batch."""
        total = self.embedded + self.store.count_waiting()
        while len(rows := self.store.waiting(EMBED_PAGES)):
            self.refresh()
            wanted = [row for row in rows.drop_columns([*self.parts.encoders]).to_pylist() if row["document"] in self.held]
            if not wanted:  # another writer has removed them meanwhile
                continue
            pages = [to_page(row, self.held[row["document"]]) for row in wanted]
            made = {"id": [row["id"] for row in wanted], "text": [row["text"] for row in wanted]}
            for column, encoder in self.parts.encoders.items():
                own = _of_language(column, partial(self._embedded, encoder), pages, [row["main"] for row in wanted])
                made[column] = vector_column(own, self.store.shape.field(column).type)
            with self.store.writing():
                self.store.embedded(made)
                self.embedded += len(wanted)
                self.since += len(wanted)
                if self.since >= MAINTAIN_PAGES:
                    self.refresh()
                    self._maintain()
            if self.progress is not None:
                self.progress("embedding pages", self.embedded, max(total, self.embedded))

    def _embedded(self, encoder: PageEncoder, pages: Sequence[Page]) -> list[Any]:
        """The vectors of pages; a page that cannot be embedded, such as a picture that is gone, has none."""
        try:
            return encoder.pages(pages)
        except PageError as error:
            if len(pages) > 1:
                return [self._embedded(encoder, [page])[0] for page in pages]
            self.say(Problem(pages[0].source, pages[0].number, f"it is not found by its picture: {error}"))
            return [None]

    def finish(self, *, embed: bool) -> Added:
        """Store the rest, embed what waits, and put the table in order."""
        self.commit()
        if embed and self.parts.encoders:
            if self.since:  # so that what is stored is searched fast meanwhile
                self._in_order()
            self.embed()
        if self.since or self.updated:
            self._in_order()
        return Added(self.added, self.updated, self.unchanged, self.pages, tuple(self.problems))

    def _in_order(self) -> None:
        with self.store.writing():
            self.refresh()
            self._maintain()


def _of_language(
    column: str, make: Callable[[Sequence[Page]], list[Any]], pages: Sequence[Page], mains: Sequence[str]
) -> list[Any]:
    """What is made of each page; None where a column holds English pages only and the page counts as another language's."""
    if column != ENGLISH_ONLY:
        return make(pages)
    english = [main == ENGLISH for main in mains]
    found = iter(make([page for page, own in zip(pages, english, strict=True) if own]))
    return [next(found) if own else None for own in english]


def is_much(todo: Sequence[Wanted]) -> bool:
    """Whether files are worth the start of further processes."""
    return len(todo) >= MUCH_FILES or sum(one.file.path.stat().st_size for one in todo if one.file.path.is_file()) >= MUCH_BYTES


def same_content(held: Document, path: Path) -> bool:
    """Whether a file has the content that is stored; it is read only where its size or time of change is another."""
    try:
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (held.size, held.mtime_ns):
            return True
        return StoredFile.of(path).digest == held.digest
    except OSError:
        return False
