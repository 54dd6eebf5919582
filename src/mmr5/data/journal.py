"""An append-only file of records, each known by its key: what is in it survives kill -9 and is never asked for again.

A record is one line of JSON, written by one call and synced to disk before :meth:`Journal.append` returns. A process that dies
while writing leaves half a line at most; the next one to open the file drops that half.
"""

from __future__ import annotations

import json
import os
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mmr5.data.files import Record, dumps
from mmr5.errors import ConfigError, MMR5Warning, OutputError


class Journal:
    """The records of a file, in memory and on disk. Safe between threads; one process at a time may hold it.

    Args:
        path: the file; it is made where there is none.

    Attributes:
        records: key → record, the first one of each key.
        repaired: bytes of a half-written last line that were dropped on opening.

    Raises:
        ConfigError: another process holds the file.
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        from filelock import FileLock, Timeout

        self.path = path
        self.records: dict[str, Record] = {}
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._held = FileLock(path.with_name(f"{path.name}.lock"), timeout=0)
            self._held.acquire()
        except Timeout as error:
            raise ConfigError(f"another run is writing {path}: wait for it to end, or name another file") from error
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self.repaired = self._load()
        except OSError as error:
            self._held.release()
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
        self._held.release()

    def append(self, record: Record) -> None:
        """Keep a record for good. One whose key is there already is passed over.

        Args:
            record: plain JSON values, with a string ``key``.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        self.extend([record])

    def extend(self, records: Sequence[Record]) -> None:
        """Keep several records, with one write and one sync; those whose key is there already are passed over.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        with self._guard:
            fresh: dict[str, Record] = {}
            for record in records:
                if record["key"] not in self.records:
                    fresh.setdefault(record["key"], record)
            lines = "".join(dumps(record) + "\n" for record in fresh.values()).encode()
            if not lines:
                return
            try:
                if os.write(self._file, lines) != len(lines):
                    raise OSError("only a part was written: the disk is full")
                os.fsync(self._file)
            except OSError as error:
                raise OutputError(
                    f"cannot write {self.path}: {error.strerror or error}. Free some space and run again"
                ) from error
            self.records.update(fresh)

    def _load(self) -> int:
        """Read the records; drop half a line at the end, and give its length."""
        data = self.path.read_bytes()
        whole, _, half = data.rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if whole else (), start=1):
            record = _record(line)
            if record is None:
                warnings.warn(f"{self.path}, line {number}: not a record, passed over", MMR5Warning, stacklevel=4)
            else:
                self.records.setdefault(record["key"], record)
        if not half:
            return 0
        last = _record(half)
        if last is not None:
            os.write(self._file, b"\n")
            self.records.setdefault(last["key"], last)
            return 0
        os.ftruncate(self._file, len(data) - len(half))
        return len(half)


def _record(line: bytes) -> Record | None:
    try:
        value: Any = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("key"), str) else None
