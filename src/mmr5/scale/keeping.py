"""The file that results go into: append-only, one writer, and memory that grows with the questions' ids alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from mmr5.errors import OutputError
from mmr5.evaluation.runs import parse_line


class Keeper:
    """Appends lines of ``run.jsonl`` that survive a kill at any moment; a question is kept once. It is a context manager.

    Args:
        path: the file; what it holds is kept, and half a line at its end is dropped. A lock beside it keeps a second writer out
            until this one closes or dies.

    Attributes:
        done: qids that are in the file.

    Raises:
        CorpusError: a line of the file is broken.
        OutputError: the file cannot be written, or another process writes it.
    """

    def __init__(self, path: Path) -> None:
        self.done: set[str] = set()
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
            self._lock.acquire()
        except Timeout as error:
            raise OutputError(f"another process writes {str(path)!r}: let it end, or name another folder") from error
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._file, self._read())
        except OSError as error:
            self._lock.release()
            raise self._failed(error) from error
        except BaseException:
            os.close(self._file)
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def keep(self, lines: Mapping[str, str]) -> int:
        """Append the lines of questions that are not there yet, with one write and one sync; their number.

        Raises:
            OutputError: the disk is full or cannot be written.
        """
        fresh = {qid: line for qid, line in lines.items() if qid not in self.done}
        data = "".join(line + "\n" for line in fresh.values()).encode()
        if not data:
            return 0
        try:
            if os.write(self._file, data) != len(data):
                raise OSError("only a part was written: the disk is full")
            os.fsync(self._file)
        except OSError as error:
            raise self._failed(error) from error
        self.done.update(fresh)
        return len(fresh)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)
        self._lock.release()

    def _read(self) -> int:
        """Note the questions that are in the file; the number of bytes up to the end of its last whole line."""
        whole = 0
        with self._path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith(b"\n"):
                    break
                self.done.add(parse_line(line.decode("utf-8"), f"{self._path}:{number}").qid)
                whole += len(line)
        return whole

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(f"cannot write {str(self._path)!r}: {error.strerror or error}. Name a folder that you may write to.")
