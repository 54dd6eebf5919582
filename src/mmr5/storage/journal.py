"""An append-only file of lines, each known by its key: what is in it survives kill -9 and is kept once.

Lines are appended by one write and synced to disk before :meth:`Journal.append` returns. A process that dies while writing leaves
half a line at most; the next one to open the file drops that half.
"""

from __future__ import annotations

import errno
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from mmr5.errors import MMR5Error, MMR5Warning, OutputError
from mmr5.storage.atomic import make_folder, output_error

if TYPE_CHECKING:
    from filelock import BaseFileLock

FAILURES_IN_A_ROW = 20
"""A run whose engine fails so often without one success between stops: the server is down, or refuses everything."""

V = TypeVar("V")
ReadLine = Callable[[bytes, str], tuple[str, V] | None]
"""``(line without its end, where it stands)`` → its key and what is held of it, or None for what is no record."""


class Journal(Generic[V]):
    """The lines of a file, on disk and, as far as ``read`` keeps them, in memory. Safe between threads; one writer at a time.

    Args:
        path: the file; it is made where there is none.
        read: gives a line's key and what is held of it. What it gives None for is passed over with a warning; what it raises an
            error for is refused.

    Attributes:
        values: key → what ``read`` gave, the first one of each key, in the order of the file.
        repaired: bytes of a half-written last line that were dropped on opening.

    Raises:
        OutputError: the file cannot be written, or another process writes it.
        MMR5Error: what ``read`` raised for a line of the file.
    """

    def __init__(self, path: Path, read: ReadLine[V]) -> None:
        self.path = path
        self.values: dict[str, V] = {}
        self._read = read
        self._guard = threading.Lock()
        self._lock = _locked(path)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                self.repaired = self._load()
            except BaseException:
                os.close(self._file)
                raise
        except BaseException as error:
            self._lock.release()
            if isinstance(error, OSError) and not isinstance(error, MMR5Error):
                raise output_error(path, error) from error
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
        self._lock.release()

    def append(self, lines: Iterable[str]) -> int:
        """Keep lines for good, with one write and one sync; those whose key is there already are passed over.

        Args:
            lines: JSON without line ends; ``read`` gives each its key. A lone surrogate becomes JSON's escape of it.

        Returns:
            How many were kept.

        Raises:
            OutputError: the disk is full or cannot be written; none of the lines is in the file.
            MMR5Error: what ``read`` raised for a line.
        """
        with self._guard:
            fresh: dict[str, tuple[bytes, V]] = {}
            for line in lines:
                data = line.encode("utf-8", "backslashreplace")
                found = self._read(data, f"a line for {self.path}")
                if found is None or b"\n" in data:
                    raise ValueError(f"no line of {self.path}: {line[:200]!r}")
                if found[0] not in self.values:
                    fresh.setdefault(found[0], (data, found[1]))
            if fresh:
                self._write(b"".join(data + b"\n" for data, _ in fresh.values()))
                self.values.update((key, value) for key, (_, value) in fresh.items())
            return len(fresh)

    def _write(self, data: bytes) -> None:
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, before)
            raise output_error(self.path, error) from error

    def _load(self) -> int:
        """Read the lines; drop half a line at the end, and give its length."""
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    return self._mend(line, whole, f"{self.path}:{number}")
                whole += len(line)
                found = self._read(line[:-1], f"{self.path}:{number}")
                if found is None:
                    warnings.warn(f"{self.path}, line {number}: not a record, passed over", MMR5Warning, stacklevel=4)
                else:
                    self.values.setdefault(*found)
        return 0

    def _mend(self, last: bytes, whole: int, where: str) -> int:
        """Settle a last line without an end: a whole record gets its end, half a record goes."""
        try:
            found = self._read(last, where)
        except MMR5Error:
            found = None
        if found is None:
            os.ftruncate(self._file, whole)
            return len(last)
        self.values.setdefault(*found)
        os.write(self._file, b"\n")
        return 0


def _locked(path: Path) -> BaseFileLock:
    """The lock beside a file, held until it is released or this process dies."""
    from filelock import FileLock, Timeout

    make_folder(path.parent)
    if path.exists() and not path.is_file():
        raise OutputError(f"cannot write {str(path)!r}: it is no regular file, and lines are to be added to it. Name a file.")
    try:
        lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
        lock.acquire()
    except Timeout as error:
        raise OutputError(f"another process is writing {str(path)!r}: wait for it to end, or name another file") from error
    except NotImplementedError as error:
        raise OutputError(f"cannot write {str(path)!r}: its file system has no locks. Name a file on another disk.") from error
    except OSError as error:
        raise output_error(path, error) from error
    return lock
