"""A stored collection of documents: what is added stays, and a search opens what is stored.

``Index.open("reports.index", create=True).add(["reports/"])`` reads what is new and leaves the rest; ``Searcher(reranker,
index=index).search("…")`` ranks over all of it.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmr5.errors import ConfigError, DocumentError, InputError, SourceNotFoundError
from mmr5.pages.drafts import Problems
from mmr5.pages.files import natural_key
from mmr5.pages.read import find_files
from mmr5.retrieval.base import PageEncoder, open_encoder
from mmr5.retrieval.index.adding import MOST_WORKERS, Added, Adding, is_much, same_content
from mmr5.retrieval.index.reading import read_documents, reading_of
from mmr5.retrieval.index.rows import Document
from mmr5.retrieval.index.snapshot import Parts, Snapshot, chosen_parts
from mmr5.retrieval.index.table import Settings, Table
from mmr5.retrieval.index.where import Value
from mmr5.retrieval.names import check_retriever
from mmr5.settings import ReadingSettings
from mmr5.storage.cache import Cache
from mmr5.types import Candidates, Page, Problem, Progress
from mmr5.watching import watched

_EMBEDDED = {"hybrid": {"dense": "dense", "minilm": "minilm"}, "bm25": {}}
"""First stage → columns of vectors, and the first stages that embed them; every other one has one column."""
_COLUMN = "vectors"
_RESERVED = frozenset({"source", "kind", "pages", "added", "path", "page", "language", "page_label"})


@dataclass(frozen=True, slots=True)
class IndexStats:
    """A collection in numbers.

    Attributes:
        place: where it is.
        retriever: the first stage that it was made for.
        documents: how many it has.
        pages: how many they have.
        without_words: pages of them that hold no word.
        terms: terms on all pages.
        languages: pages by the language of their words, most first.
        waiting: pages that have still to be embedded.
        problems: what was passed over while they were read.
        exact: whether every vector is compared; else they are looked up, and a page can be missed.
        bytes: on disk; None for an object store.
        version: of the table; each change makes a new one.
    """

    place: str
    retriever: str
    documents: int
    pages: int
    without_words: int
    terms: int
    languages: Mapping[str, int]
    waiting: int
    problems: int
    exact: bool
    bytes: int | None
    version: int


class Index:
    """See the module; :meth:`open` makes one. Threads may share it, and processes may have the same collection open."""

    def __init__(self, table: Table, settings: Settings, cache: Cache, encoders: Mapping[str, PageEncoder] | None = None) -> None:
        self._store, self._settings, self._cache = table, settings, cache
        self._encoders = encoders
        self._lock = threading.Lock()
        self._held: Snapshot | None = None

    @classmethod
    def open(cls, place: str | Path, *, create: bool = False, retriever: str | None = None, cache: Cache | None = None) -> Index:
        """Open a collection.

        Args:
            place: its folder, or an address of an object store that LanceDB knows (``s3://bucket/name``).
            create: make an empty one where there is none.
            retriever: the first stage that a new one is made for: ``hybrid`` (the default), ``bm25``, ``dense``, ``minilm``, or
                one that embeds pages (see :func:`mmr5.retrieval.open_retriever`); one that is there keeps its own.
            cache: where texts and embeddings are kept by content; None stands for ``Cache()``.

        Raises:
            SourceNotFoundError: there is none.
            ConfigError: a first stage that cannot be stored, or another than the collection was made for.
            DocumentError: it cannot be read.
            OutputError: it cannot be made.
            MissingExtraError: without the extra ``index``.
        """
        store, table = cache or Cache(), Table(place)
        try:
            settings = table.open()
        except SourceNotFoundError:
            if not create:
                raise
            settings, encoders = cls._new(retriever or "hybrid", store)
            dimensions = {column: int(one.question("a").shape[1]) for column, one in encoders.items()}
            settings = table.make(settings, dimensions)
        if retriever is not None and retriever != settings.retriever:
            raise ConfigError(
                f"the index at {table.place!r} was made for the first stage {settings.retriever!r}, and {retriever!r} was asked: "
                "leave --retriever out, or make another index"
            )
        return cls(table, settings, store)

    @staticmethod
    def _new(retriever: str, cache: Cache) -> tuple[Settings, dict[str, PageEncoder]]:
        check_retriever(retriever)
        if retriever == "none" or "+" in retriever:
            raise ConfigError(
                f"an index cannot be made for the first stage {retriever!r}: use hybrid, bm25, dense, or one that embeds"
            )
        columns = _EMBEDDED.get(retriever, {_COLUMN: retriever})
        encoders = {column: open_encoder(name, cache=cache) for column, name in columns.items()}
        return Settings(retriever, columns, {column: one.identity for column, one in encoders.items()}), encoders

    @property
    def place(self) -> str:
        """Where it is, as it was given."""
        return self._store.place

    @property
    def retriever(self) -> str:
        """The first stage that it was made for."""
        return self._settings.retriever

    def __len__(self) -> int:
        """Pages of the collection."""
        return self.snapshot().n_pages

    def __repr__(self) -> str:
        return f"Index({self.place!r}: {len(self.documents()):,} documents, {len(self):,} pages, {self.retriever})"

    # --- reading ---------------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """The collection as it stands now; later changes do not reach it."""
        with self._lock:
            version = self._store.latest()
            if self._held is None or self._held.version != version:
                self._held = Snapshot(
                    self._store.at(version), version, self._settings.id, self._parts(), self.retriever,
                    self._store.partitions(), self._cache,
                )  # fmt: skip
            return self._held

    def candidates(self, query: str, n: int, *, where: str | None = None, retriever: str | None = None) -> Candidates:
        """The first stage's best pages; see :meth:`mmr5.retrieval.index.snapshot.Snapshot.candidates`."""
        return self.snapshot().candidates(query, n, where=where, retriever=retriever)

    def check(self, retriever: str) -> None:
        """Refuse a first stage that the collection cannot ask.

        Raises:
            ConfigError: it lacks what that needs.
        """
        chosen_parts(retriever, self._parts())

    def documents(self, where: str | None = None) -> list[Document]:
        """The documents in the natural order of their names; with a filter those that have a page which it lets through.

        Raises:
            ConfigError: a filter that cannot be read.
        """
        return self.snapshot().chosen(where)

    def pages(self, source: str) -> list[Page]:
        """The pages of a document.

        Args:
            source: its name, path or key.

        Raises:
            SourceNotFoundError: there is no such document.
        """
        at = self.snapshot()
        return at.pages(self._one(source, at).key)

    def page(self, source: str, number: int) -> Page:
        """A page of a document.

        Args:
            source: its name, path or key.
            number: one-based page.

        Raises:
            SourceNotFoundError: there is no such document or page.
        """
        at = self.snapshot()
        document = self._one(source, at)
        found = at.page(document.key, number)
        if found is None:
            raise SourceNotFoundError(f"{document.source!r} has no page {number} in the index: it has {document.pages}")
        return found

    def _one(self, source: str, at: Snapshot) -> Document:
        path = str(Path(source).expanduser().absolute())
        found = at.by_key.get(source) or next((one for one in at.documents if source == one.source or path == one.path), None)
        if found is None:
            raise SourceNotFoundError(f"no document {source[:200]!r} in the index at {self.place!r}: mmr5 index list names them")
        return found

    def problems(self, sources: Iterable[str]) -> list[Problem]:
        """What is to be said of documents: what was passed over when they were read, files that changed since, pages that wait.

        Args:
            sources: names of documents.
        """
        at, wanted = self.snapshot(), set(sources)
        found: list[Problem] = []
        if at.waiting:
            said = f"{at.waiting:,} of {at.n_pages:,} pages are found by their words alone so far: mmr5 index embed {self.place}"
            found.append(Problem(self.place, None, said))
        for document in at.documents:
            if document.source in wanted:
                found += [*document.problems, *_changed(document)]
        return found

    def stats(self) -> IndexStats:
        """The collection in numbers."""
        at = self.snapshot()
        languages: Counter[str] = Counter()
        for document in at.documents:
            languages.update(document.languages)
        return IndexStats(
            place=self.place,
            retriever=self.retriever,
            documents=len(at.documents),
            pages=at.n_pages,
            without_words=at.n_pages - sum(document.holders for document in at.documents),
            terms=sum(document.terms for document in at.documents),
            languages=dict(languages.most_common()),
            waiting=at.waiting,
            problems=sum(len(document.problems) for document in at.documents),
            exact=not at.partitions,
            bytes=self._store.bytes(),
            version=at.version,
        )

    def _parts(self) -> Parts:
        if self._encoders is None:
            found = {}
            for column, name in self._settings.columns.items():
                found[column] = open_encoder(name, cache=self._cache)
                if found[column].identity != self._settings.identities[column]:
                    raise ConfigError(
                        f"the index at {self.place!r} was made with another model of the first stage {name!r}: make it anew"
                    )
            self._encoders = found
        return Parts(self._settings.words, self._encoders)

    # --- writing ---------------------------------------------------------------------------------------------------

    def add(
        self,
        sources: str | Path | Sequence[str | Path],
        *,
        metadata: Mapping[str, Value] | None = None,
        metadata_of: Mapping[str, Mapping[str, Value]] | None = None,
        reading: ReadingSettings | None = None,
        embed: bool = True,
        workers: int | None = None,
        progress: Progress | None = None,
        on_problem: Callable[[Problem], None] | None = None,
    ) -> Added:
        """Read documents and store their pages; what is stored already with the same content is left alone.

        First all texts are stored, and are found by their words at once; then the pages are embedded (:meth:`embed`). Each batch
        is stored when it is done: after a kill the same call goes on where it was, and nothing is lost or stored twice. A
        document whose file has changed takes the place of what was stored of it.

        Args:
            sources: files and folders, as for :func:`mmr5.read_pages`.
            metadata: fields of all of them, for filters; None leaves those that are stored.
            metadata_of: further fields by a document's name.
            reading: how they are read; ``picture_pages`` counts for each document.
            embed: embed the pages, too; False leaves that to a later call, but for pages whose embedding is in the cache.
            workers: processes that read; None takes one a core, 8 at most, and reads little in this process.
            progress: told ``"adding documents"``, and of the embedding; None shows a line where a person watches.
            on_problem: called for each file, page or part of them that was passed over.

        Raises:
            DocumentError: there is nothing that could be read.
            ConfigError: metadata of a name or kind that cannot be filtered by, or fewer than 1 worker.
            OutputError: the collection cannot be written.
        """
        settings = reading or ReadingSettings()
        if workers is not None and workers < 1:
            raise ConfigError(f"workers is {workers}: give at least 1")
        given = [sources] if isinstance(sources, str | Path) else list(sources)
        if not given:
            raise DocumentError("no sources were given: name at least one PDF, image or folder")
        bad = Problems(strict=False)
        files = find_files(given, bad)
        own = [_checked({**(metadata or {}), **(metadata_of or {}).get(file.name, {})}) for file in files]
        change = Adding(self._store, self._parts(), watched(progress), on_problem)
        for problem in [*(problem for problem, _ in bad.found), *bad.notes]:
            change.say(problem)
        todo = change.todo(files, own, reading_of(settings), told=metadata is not None or metadata_of is not None)
        change.start(len(todo))
        if todo:
            count = workers or (min(MOST_WORKERS, os.cpu_count() or 1) if is_much(todo) else 1)
            for found in read_documents(todo, settings, self._cache, count):
                change.take(found)
        done = change.finish(embed=embed)
        if not done.added + done.updated + done.unchanged:
            first = done.problems[0] if done.problems else "there is nothing"
            raise DocumentError(f"nothing could be added: {first}")
        return done

    def embed(self, *, progress: Progress | None = None) -> int:
        """Embed the pages that wait for it, batch by batch; after a kill the same call goes on.

        Args:
            progress: told of the pages embedded.

        Returns:
            How many were embedded.
        """
        change = Adding(self._store, self._parts(), watched(progress), None)
        change.finish(embed=True)
        return change.embedded

    def add_pages(
        self,
        pages: Iterable[Page],
        *,
        metadata: Mapping[str, Value] | None = None,
        embed: bool = True,
        progress: Progress | None = None,
    ) -> Added:
        """Store pages that the caller has read; those of one ``source`` are a document, in the place of an older one.

        Their pictures are not stored, and are not found again unless they lie in the PDF or image that ``source`` names.

        Args:
            pages: any pages.
            metadata: fields of all their documents.
            embed: as for :meth:`add`.
            progress: told of the documents, and of the embedding.

        Raises:
            ConfigError: metadata that cannot be filtered by.
            InputError: a document has two pages of one number.
        """
        by_source: dict[str, list[Page]] = {}
        for page in pages:
            by_source.setdefault(page.source, []).append(page)
        own = None if metadata is None else _checked(metadata)
        change = Adding(self._store, self._parts(), watched(progress), None)
        change.start(len(by_source))
        for source, found in by_source.items():
            if len({page.number for page in found}) < len(found):
                raise InputError(f"{source!r} has two pages of one number: give each its own")
            change.take_pages(source, found, own)
        return change.finish(embed=embed)

    def remove(self, sources: str | Path | Sequence[str | Path]) -> list[Document]:
        """Remove documents.

        Args:
            sources: names, paths or keys of documents, and folders, whose documents all go.

        Returns:
            Those that were removed.

        Raises:
            SourceNotFoundError: nothing of that name is stored; nothing is then removed.
        """
        given = [os.fspath(sources)] if isinstance(sources, str | Path) else [os.fspath(source) for source in sources]
        with self._store.writing():
            held = [Document.read(about) for about in self._store.abouts().values()]
            found: dict[str, Document] = {}
            for source in given:
                own = [one for one in held if _is_of(one, source)]
                if not own:
                    raise SourceNotFoundError(
                        f"no document {source!r} in the index at {self.place!r}: mmr5 index list {self.place} names them"
                    )
                found |= {one.key: one for one in own}
            if found:
                self._store.drop(list(found))
                self._store.maintain(sum(one.pages for one in held) - sum(one.pages for one in found.values()))
        return sorted(found.values(), key=lambda one: natural_key(one.source))


def _changed(document: Document) -> Iterator[Problem]:
    """That a document's file is gone or is another one now."""
    if document.path is None:
        return
    path = Path(document.path)
    if not path.is_file():
        yield Problem(
            document.source, None, f"its file is not at {path} any more: what was stored of it is shown without pictures"
        )
    elif not same_content(document, path):
        yield Problem(document.source, None, "its file was changed after it was added: add it again")


def _is_of(document: Document, source: str) -> bool:
    """Whether a document is meant by a name, a path, a key, or a folder that it lies in."""
    if source in (document.source, document.key):
        return True
    if document.path is None:
        return False
    path = Path(source).expanduser().absolute()
    return Path(document.path) == path or Path(document.path).is_relative_to(path)


def _checked(metadata: Mapping[str, Value]) -> dict[str, Value]:
    """Metadata that a filter can name.

    Raises:
        ConfigError: a reserved or unprintable name, or a value of another kind.
    """
    for name, value in metadata.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or name in _RESERVED:
            raise ConfigError(f"metadata cannot be called {name!r}: use another name than {', '.join(sorted(_RESERVED))}")
        if not isinstance(value, str | int | float | bool):
            raise ConfigError(f"metadata {name!r} is a {type(value).__name__}: give a text, a number, true or false")
    return {name: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for name, v in metadata.items()}
