"""Uploads on disk: named by their content, capped, the least recently used go first.

Layout: ``<root>/<sha256>/original`` with its ``name``, beside what the parsing process derived from it: ``pages.json``,
``thumb-<k>.jpg``, ``page-<k>.jpg`` where the model looks at pictures, and ``view-<k>.jpg`` for people who asked to see a page;
``<k>`` is the zero-based page.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import threading
import uuid
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mmr5.errors import InputError, OutputError

ORIGINAL = "original"
_SHOWN = "name"
_NAME = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1024 * 1024


class Store:
    """The folder of uploads.

    Args:
        root: the folder, made when missing; None makes a temporary one that is deleted at :meth:`close` or with the store.
        max_bytes: most bytes of all entries together; an entry in use is not deleted.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, root: Path | None, max_bytes: int) -> None:
        try:
            self.root = Path(tempfile.mkdtemp(prefix="mmr5-uploads-")) if root is None else root.expanduser().absolute()
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"the folder for uploads cannot be made ({error}): choose another with --store") from error
        self._forget = weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True) if root is None else None
        for left in self.root.glob("incoming-*"):
            left.unlink(missing_ok=True)
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._used: Counter[str] = Counter()

    def close(self) -> None:
        """Delete a temporary folder."""
        if self._forget is not None:
            self._forget()

    def add(self, stream: IO[bytes], shown: str = "upload") -> str:
        """Keep a file.

        Args:
            stream: opened at its beginning.
            shown: the name that people know it by.

        Returns:
            Its sha256 in hex, which names it from now on.

        Raises:
            InputError: it is larger than the whole store.
        """
        state, size = hashlib.sha256(), 0
        incoming = self.root / f"incoming-{uuid.uuid4().hex}"
        try:
            with incoming.open("wb") as file:
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    if size > self.max_bytes:
                        raise InputError(f"the file is larger than the whole store of {self.max_bytes:,} bytes")
                    state.update(chunk)
                    file.write(chunk)
            name = state.hexdigest()
            with self._lock:
                folder = self.root / name
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / _SHOWN).write_text(shown, encoding="utf-8")
                incoming.replace(folder / ORIGINAL)
        finally:
            incoming.unlink(missing_ok=True)
        return name

    def folder(self, name: str) -> Path | None:
        """The folder of an entry, or None when there is none of that name."""
        if _NAME.fullmatch(name) is None:
            return None
        path = self.root / name
        return path if path.is_dir() else None

    def shown(self, name: str) -> str:
        """The name that people know an entry by, or the entry's own."""
        try:
            return (self.root / name / _SHOWN).read_text(encoding="utf-8")
        except OSError:
            return name

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[Path]:
        """Hold an entry, so that it is not deleted, and mark it as used now; the store is brought under its cap afterwards.

        Raises:
            InputError: there is no such entry, or not any more.
        """
        with self._lock:
            folder = self.folder(name)
            if folder is None:
                raise InputError("the store does not hold this file, or not any more: send it again")
            os.utime(folder)
            self._used[name] += 1
        try:
            yield folder
        finally:
            with self._lock:
                self._used[name] -= 1
                if not self._used[name]:
                    del self._used[name]
            self.trim()

    def trim(self) -> None:
        """Delete the least recently used entries until the store is under its cap."""
        with self._lock:
            entries = [(p.stat().st_mtime_ns, _size(p), p) for p in self.root.iterdir() if _NAME.fullmatch(p.name)]
            total = sum(size for _, size, _ in entries)
            for _, size, path in sorted(entries):
                if total <= self.max_bytes:
                    return
                if path.name not in self._used:
                    shutil.rmtree(path, ignore_errors=True)
                    total -= size


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
