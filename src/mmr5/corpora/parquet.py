"""Rows of parquet files, read in bounded memory.

A parquet file is read a row group at a time at best. MMDocIR's page file is published as one row group of 2.5 GB, in which no
row can be reached without reading all before it: :func:`repack` copies such a file once into groups of a few rows. Reading
works without it too, forward through the file, and says so in a warning.
"""

from __future__ import annotations

import bisect
import io
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.errors import CorpusError, MMR5Warning, PageError, missing_extra
from mmr5.storage.atomic import writing
from mmr5.types import Progress

if TYPE_CHECKING:
    from PIL.Image import Image

GROUP_ROWS = 16
"""Rows in a group of a repacked file."""
BATCH_ROWS = 32
"""Rows that are held in memory at a time."""
LARGE_GROUP_BYTES = 256_000_000
"""A row group with more bytes than this is worth repacking."""
_OPEN_FILES = 8


def open_parquet(path: Path) -> Any:
    """A ``pyarrow.parquet.ParquetFile`` that reads as a stream.

    Raises:
        CorpusError: the file is missing or is no parquet file.
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow
        import pyarrow.parquet as pq
    except ImportError as error:
        raise missing_extra("pyarrow", "eval", "read MMDocIR's parquet files") from error
    try:
        return pq.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)
    except FileNotFoundError as error:
        raise CorpusError(f"there is no file {path}") from error
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise CorpusError(f"{path} is no readable parquet file ({error}): fetch it again") from error


def check_columns(path: Path, needed: Sequence[str]) -> set[str]:
    """The columns of a file.

    Raises:
        CorpusError: one that is needed is not there.
    """
    names = set(open_parquet(path).schema_arrow.names)
    if missing := [name for name in needed if name not in names]:
        raise CorpusError(f"{path} has no column {', '.join(missing)}; it has {', '.join(sorted(names))}")
    return names


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every row of some columns, in file order.

    Raises:
        CorpusError: the file is missing, is no parquet file, or lacks a column.
    """
    check_columns(path, columns)
    for batch in open_parquet(path).iter_batches(batch_size=1024, columns=list(columns)):
        yield from batch.to_pylist()


def read_range(path: Path, start: int, stop: int, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows ``start..stop-1`` of some columns; of those columns, the row groups that hold them are read.

    Raises:
        CorpusError: the rows are not in the file.
    """
    file = open_parquet(path)
    starts = _group_starts(file)
    if not 0 <= start <= stop <= starts[-1]:
        raise CorpusError(f"{path} has {starts[-1]} rows, and rows {start}..{stop - 1} were asked for")
    groups = [g for g, (first, end) in enumerate(pairwise(starts)) if first < stop and start < end]
    if start == stop:
        return []
    rows: list[dict[str, Any]] = (
        file.read_row_groups(groups, columns=list(columns)).slice(start - starts[groups[0]], stop - start).to_pylist()
    )
    return rows


def has_large_groups(path: Path) -> bool:
    """Whether a row can only be reached by reading much before it."""
    meta = open_parquet(path).metadata
    return any(
        meta.row_group(i).total_byte_size > LARGE_GROUP_BYTES and meta.row_group(i).num_rows > GROUP_ROWS
        for i in range(meta.num_row_groups)
    )


def repack(source: Path, target: Path, progress: Progress | None = None) -> None:
    """Copy a parquet file into groups of :data:`GROUP_ROWS` rows, in bounded memory; rows, columns and their order stay.

    Raises:
        CorpusError: ``source`` is missing or is no parquet file.
        OutputError: ``target`` cannot be written.
    """
    import pyarrow.parquet as pq

    file = open_parquet(source)
    total, done = file.metadata.num_rows, 0
    with writing(target) as made, pq.ParquetWriter(made, file.schema_arrow) as writer:
        for batch in file.iter_batches(batch_size=GROUP_ROWS):
            writer.write_batch(batch, row_group_size=GROUP_ROWS)
            done += len(batch)
            if progress is not None:
                progress(f"repacking {source.name}", done, total)


@dataclass(frozen=True, slots=True)
class ParquetImage:
    """The picture in one row of a parquet file, read when asked for.

    Attributes:
        path: the file.
        column: holds the image's bytes, or a struct with a field ``bytes``.
        row: zero-based row.
    """

    path: Path
    column: str
    row: int

    @property
    def key(self) -> str:
        """Digest of the image's bytes."""
        from mmr5.pages import ImageBytes

        return ImageBytes(self.read()).key

    def read(self) -> bytes:
        """The image's bytes.

        Raises:
            PageError: the row holds no image.
        """
        value = _reader(self.path, self.column).value(self.row)
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes) or not data:
            raise PageError(f"{self.path}, row {self.row}: column {self.column!r} holds no image")
        return data

    def load(self, max_pixels: int | None = None) -> Image:
        """Decode to RGB of at most ``max_pixels`` pixels.

        Raises:
            PageError: there is no image, or it cannot be decoded.
        """
        from mmr5.pages.images import decode

        try:
            return decode(io.BytesIO(self.read()), max_pixels=max_pixels)
        except PageError as error:
            raise PageError(f"{self.path.name}, row {self.row}: {error}") from error


class _Reader:
    """One column of a file, by row; holds at most :data:`BATCH_ROWS` values."""

    def __init__(self, path: Path, column: str) -> None:
        self._file = open_parquet(path)
        self._column = column
        self._starts = _group_starts(self._file)
        self._lock = threading.Lock()
        self._batches: Iterator[Any] | None = None
        self._first = 0
        self._values: list[Any] = []
        if has_large_groups(path):
            warnings.warn(
                f"{path.name} has large row groups: pages are found by reading forward, which is slow out of order. "
                "Run 'mmr5 data fetch mmdocir --from FOLDER' once to repack it",
                MMR5Warning,
                stacklevel=4,
            )

    def value(self, row: int) -> Any:
        """The value at a row.

        Raises:
            CorpusError: there is no such row.
        """
        if not 0 <= row < self._starts[-1]:
            raise CorpusError(f"row {row} was asked for, and the file has {self._starts[-1]} rows")
        with self._lock:
            group = bisect.bisect_right(self._starts, row) - 1
            beyond = row >= self._first + len(self._values)
            if self._batches is None or row < self._first or (beyond and self._starts[group] > self._first):
                self._batches = self._file.iter_batches(
                    batch_size=BATCH_ROWS, row_groups=list(range(group, len(self._starts) - 1)), columns=[self._column]
                )
                self._first, self._values = self._starts[group], []
            while row >= self._first + len(self._values):
                try:
                    values = next(self._batches).column(0).to_pylist()
                except Exception:  # of any kind: it goes on, and the next call begins the group anew
                    self._batches = None
                    raise
                self._first += len(self._values)
                self._values = values
            return self._values[row - self._first]


@lru_cache(maxsize=_OPEN_FILES)
def _reader(path: Path, column: str) -> _Reader:
    return _Reader(path, column)


def _group_starts(file: Any) -> list[int]:
    """First row of each row group, and the number of rows at the end."""
    meta = file.metadata
    return [0, *accumulate(meta.row_group(i).num_rows for i in range(meta.num_row_groups))]
