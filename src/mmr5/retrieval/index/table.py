"""The table behind a collection: made, opened, written to by one writer at a time, and kept in order.

A collection is a folder (or a place in an object store, such as ``s3://bucket/name``) with one LanceDB table, ``pages``. Every
change is one commit of the table: a reader sees it whole or not at all, and a killed writer leaves nothing behind.
"""

from __future__ import annotations

import json
import math
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import ConfigError, DocumentError, OutputError, SourceNotFoundError, missing_extra
from mmr5.retrieval.index.rows import schema

if TYPE_CHECKING:
    import pyarrow as pa

NAME = "pages"
FORMAT = 1
"""Of the table; it changes with its columns."""
SCANNED_PAGES = 20_000
"""Most pages whose vectors are compared one by one; a larger collection gets an index of them."""
GROWTH = 1.5
"""An index of vectors is made anew once so many times the pages that it was made of are embedded."""
BITS = 2
"""Of each dimension in an index of vectors, or a byte if 8 does not divide the dimension; what a list names is scored exactly."""
INDEX_CACHE_BYTES, METADATA_CACHE_BYTES = 160_000_000, 16_000_000
"""What a process holds of the indices of all its collections, and of their files' heads."""
KEPT = timedelta(minutes=10)
"""How long what nobody reads any more stays on disk."""
_LOCK_FILE = "writer.lock"
_REMOTE = re.compile(r"[a-z][a-z0-9+.\-]+://")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a collection was made for; it never changes.

    Attributes:
        retriever: the first stage.
        columns: column of vectors → name of the first stage that embeds them.
        identities: column of vectors → what its vectors depend on.
        id: of the collection.
        format: of the table.
    """

    retriever: str
    columns: Mapping[str, str]
    identities: Mapping[str, str]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    format: int = FORMAT

    @property
    def words(self) -> bool:
        """Whether pages are found by their words."""
        return self.retriever in {"bm25", "hybrid"}


class Table:
    """See the module.

    Args:
        place: a folder, or an address of an object store.

    Raises:
        MissingExtraError: without the extra ``index``.
    """

    def __init__(self, place: str | Path) -> None:
        os.environ.setdefault("LANCEDB_LOG", "error")  # its warnings, such as of pages alike, say nothing to a user
        try:
            import lancedb
        except ImportError as error:
            raise missing_extra("lancedb", "index", "store an index") from error
        self.place = os.fspath(place)
        self.folder = None if _REMOTE.match(self.place) else Path(self.place).expanduser().absolute()
        self._connect: Callable[[], Any] = lambda: lancedb.connect(
            self.place if self.folder is None else self.folder, session=_session()
        )
        self._table: Any = None
        self.settings: Settings | None = None

    def open(self) -> Settings:
        """Open what is there.

        Raises:
            SourceNotFoundError: there is no collection.
            DocumentError: what is there cannot be read, or was made by a newer version.
        """
        if self.folder is not None and not (self.folder / f"{NAME}.lance").is_dir():
            raise SourceNotFoundError(f"no index at {self.place!r}: make one with mmr5 index add {self.place} SOURCE…")
        try:
            table = self._connect().open_table(NAME)
            told = json.loads((table.schema.metadata or {})[b"mmr5"])
        except Exception as error:  # the library raises ValueError, RuntimeError, OSError
            if self.folder is None and "not found" in str(error).lower():
                raise SourceNotFoundError(f"no index at {self.place!r}: make one with mmr5 index add") from error
            raise DocumentError(f"the index at {self.place!r} cannot be read ({str(error)[:200]}): make it anew") from error
        if told.get("format") != FORMAT:
            raise DocumentError(
                f"the index at {self.place!r} is of format {told.get('format')}, and this version reads {FORMAT}: make it anew"
            )
        self._table, self.settings = table, Settings(**told)
        return self.settings

    def make(self, settings: Settings, dimensions: Mapping[str, int]) -> Settings:
        """Open what is there, or make an empty collection.

        Args:
            settings: of a new one.
            dimensions: column of vectors → its dimension.

        Raises:
            OutputError: it cannot be written.
            DocumentError: as :meth:`open`.
        """
        from lancedb.index import FTS, Bitmap, BTree

        if self.folder is not None:
            if self.folder.is_file():
                raise OutputError(f"{self.place} is a file, and an index is a folder: name another")
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"cannot make {self.place}: {error.strerror or error}") from error
        with self.writing():
            try:
                return self.open()
            except SourceNotFoundError:
                pass
            try:
                table = self._connect().create_table(NAME, schema=schema(dimensions, json.dumps(asdict(settings))))
                self._table, self.settings = table, settings
                table.create_index("document", config=BTree())
                table.create_index("main", config=Bitmap())
                words = FTS(base_tokenizer="whitespace", with_position=False, max_token_length=None, lower_case=False, stem=False,
                            remove_stop_words=False, ascii_folding=False)  # fmt: skip
                table.create_index("terms", config=words)
            except (OSError, RuntimeError, ValueError) as error:
                raise OutputError(f"cannot write the index at {self.place} ({str(error)[:200]})") from error
        return settings

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only writer of a folder; others wait. An object store has no such lock."""
        if self.folder is None:
            yield
            return
        from filelock import FileLock

        try:
            lock = FileLock(self.folder / _LOCK_FILE)
            lock.acquire()
        except OSError as error:
            raise OutputError(f"cannot write to the index at {self.place} ({error.strerror or error})") from error
        try:
            yield
        finally:
            lock.release()

    @property
    def shape(self) -> pa.Schema:
        """Its columns."""
        return self._table.schema

    def latest(self) -> int:
        """The newest version, which the table is set to."""
        self._table.checkout_latest()
        return int(self._table.version)

    def at(self, version: int) -> Any:
        """The table as it was at a version, for reading."""
        table = self._connect().open_table(NAME)
        table.checkout(version)
        return table

    def abouts(self) -> dict[str, str]:
        """Key of each document → what is known of it, at the newest version."""
        self.latest()
        found = self._table.search().where("page = 0").select(["document", "about"]).limit(None).to_arrow()
        return dict(zip(found["document"].to_pylist(), found["about"].to_pylist(), strict=True))

    def put(self, rows: pa.Table, replaced: Sequence[str]) -> None:
        """Store documents in one commit.

        Args:
            rows: of :func:`mmr5.retrieval.index.rows.to_table`.
            replaced: keys of those that stand here already.
        """
        if not replaced:
            self._table.add(rows)
            return
        merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.when_not_matched_by_source_delete(_among(replaced)).execute(rows)

    def waiting(self, most: int | None = None) -> pa.Table:
        """Rows of pages that have still to be embedded, with their ids; at most so many."""
        self.latest()
        return self._table.search().where("page > 0 AND embedded = false").limit(most).to_arrow()

    def count_waiting(self) -> int:
        """Pages that have still to be embedded."""
        self.latest()
        return int(self._table.count_rows("page > 0 AND embedded = false"))

    def embedded(self, made: Mapping[str, Any]) -> None:
        """Store vectors.

        Args:
            made: ``id``, ``text`` as it was embedded, and the columns of vectors; a page that has other words by now is left.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = pa.table(dict(made))
        self.latest()
        ids = ", ".join(repr(one) for one in rows["id"].to_pylist())
        held = self._table.search().where(f"id IN ({ids})").select(["id", "text"]).limit(None).to_arrow()
        now = dict(zip(held["id"].to_pylist(), held["text"].to_pylist(), strict=True))
        same = [i in now and now[i] == text for i, text in zip(rows["id"].to_pylist(), rows["text"].to_pylist(), strict=True)]
        kept = rows.filter(pa.array(same)).drop_columns(["text"])
        if len(kept):
            kept = kept.append_column("embedded", pc.is_valid(kept["id"]))
            self._table.merge_insert("id").when_matched_update_all().execute(kept)

    def tell(self, key: str, about: str) -> None:
        """Change what is known of a document."""
        self._table.update(where=f"id = '{key}/0'", values={"about": about})

    def drop(self, keys: Sequence[str]) -> None:
        """Remove documents in one commit."""
        self._table.delete(_among(keys))

    def partitions(self) -> dict[str, int]:
        """Column of vectors that has an index → how many partitions it has."""
        return {column: max(own)[1] for column, own in self._vector_indices().items()}

    def _vector_indices(self) -> dict[str, list[tuple[int, int, str]]]:
        """Column → its indices: embedded pages that each was made of, its partitions (both stand in its name), and its name.

        There are two where a writer was killed between making one and dropping the other.
        """
        found: dict[str, list[tuple[int, int, str]]] = {}
        for one in self._table.list_indices():
            parts = one.name.rsplit("_", 2)
            if self.settings is not None and one.columns and one.columns[0] in self.settings.columns:
                found.setdefault(one.columns[0], []).append((int(parts[1]), int(parts[2]), one.name))
        return found

    def maintain(self, pages: int, progress: Callable[[str], None] | None = None) -> None:
        """Join small parts, take new rows into the indices, and make those of vectors where there are many.

        Args:
            pages: how many the collection has.
            progress: told what is being made.
        """
        self.latest()
        self._index_vectors(pages, progress)
        try:
            self._table.optimize(cleanup_older_than=KEPT)
        except RuntimeError as error:
            made = [name for own in self._vector_indices().values() for _, _, name in own]
            if not made or "Not found" not in str(error):
                raise
            for name in made:  # a kill before this left one that cannot take in rows without vectors
                self._table.drop_index(name)
            self._index_vectors(pages, progress)
            self._table.optimize(cleanup_older_than=KEPT)

    def _index_vectors(self, pages: int, progress: Callable[[str], None] | None) -> None:
        """One index for each column that has many vectors."""
        from lancedb.index import IvfRq, IvfSq

        assert self.settings is not None
        held = self._vector_indices()
        for column in self.settings.columns if pages > SCANNED_PAGES else ():
            own = sorted(held.get(column, []))
            embedded = int(self._table.count_rows(f"{column} IS NOT NULL"))  # texts are stored before their vectors
            if embedded > SCANNED_PAGES and (not own or embedded >= GROWTH * own[-1][0]):
                if progress is not None:
                    progress(f"indexing {column} vectors")
                partitions = max(16, round(math.sqrt(embedded)))
                told: Any = {"distance_type": "cosine", "num_partitions": partitions, "max_iterations": 20, "sample_rate": 64}
                dimension = self.shape.field(column).type.value_type.list_size
                config = IvfSq(**told) if dimension % 8 else IvfRq(num_bits=BITS, **told)
                self._table.create_index(column, config=config, name=f"{column}_{embedded}_{partitions}")
                own.append((embedded, partitions, ""))
            for _, _, name in own[:-1]:
                self._table.drop_index(name)

    def bytes(self) -> int | None:
        """What the folder takes on disk; None for an object store."""
        return None if self.folder is None else sum(file.stat().st_size for file in self.folder.rglob("*") if file.is_file())


@lru_cache(maxsize=1)
def _session() -> Any:
    """What the connections of this process share."""
    import lancedb

    return lancedb.Session(index_cache_size_bytes=INDEX_CACHE_BYTES, metadata_cache_size_bytes=METADATA_CACHE_BYTES)


def _among(keys: Sequence[str]) -> str:
    """A condition; keys are hex digits."""
    if any(not re.fullmatch("[0-9a-f]+", key) for key in keys):
        raise ConfigError(f"{list(keys)} are no keys of documents")
    return f"document IN ({', '.join(repr(key) for key in keys)})"
