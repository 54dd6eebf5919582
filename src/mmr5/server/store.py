"""Uploads on disk: named by their content, capped, the least recently used go first.

Layout: ``<root>/<sha256>/original`` with a ``name-<owner>`` for each owner who sent it, beside what the parsing process derived
from it: ``pages.json``, ``places.pickle``, ``thumb-<k>.jpg``, ``page-<k>.jpg`` where the model looks at pictures,
``words-<k>.json`` where evidence was shown, and ``view-<k>.jpg`` for people who asked to see a page (``.svg`` for the pages of a
text); ``<k>`` is the zero-based page. Every living server that uses a root holds a lock on it, so that what a killed one left is
found: unfinished files, and whole temporary folders beside a new one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
import threading
import uuid
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from mmr5.errors import InputError, OutputError
from mmr5.server.http_errors import disk_full

fcntl: Any = importlib.import_module("fcntl") if importlib.util.find_spec("fcntl") else None
"""None on a system without file locks: nothing is swept there."""

ORIGINAL = "original"
FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the system says when nothing more can be written."""
_PREFIX = "mmr5-uploads-"
_UNFINISHED = ("incoming-*", "reading-*", "convert-*", "discarded-*")
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
            if root is None:
                sweep(Path(tempfile.gettempdir()))
                self.root, self._lease = _temporary()
            else:
                self.root = root.expanduser().absolute()
                self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lease = _Lease(self.root)
        except OSError as error:
            raise OutputError(f"the folder for uploads cannot be made ({error}): choose another with --store") from error
        self._forget = weakref.finalize(self, shutil.rmtree, self.root, ignore_errors=True) if root is None else None
        self.max_bytes = max_bytes
        self._lock = threading.Lock()
        self._used: Counter[str] = Counter()

    def close(self) -> None:
        """Delete a temporary folder, and unlock any other."""
        if self._forget is not None:
            self._forget()
        self._lease.close()

    def add(self, stream: IO[bytes], shown: str = "upload", owner: str = "") -> str:
        """Keep a file.

        Args:
            stream: opened at its beginning.
            shown: the name that its owner knows it by.
            owner: who sent it: letters and digits, or nothing.

        Returns:
            Its sha256 in hex, which names it from now on.

        Raises:
            InputError: it is larger than the whole store.
            WireError: 507, the disk is full.
        """
        state, size = hashlib.sha256(), 0
        incoming = self.root / f"incoming-{uuid.uuid4().hex}"
        try:
            with storing(), incoming.open("wb") as file:
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    if size > self.max_bytes:
                        raise InputError(f"the file is larger than the whole store of {self.max_bytes:,} bytes")
                    state.update(chunk)
                    file.write(chunk)
            name = state.hexdigest()
            with storing(), self._lock:
                folder = self.root / name
                folder.mkdir(mode=0o700, exist_ok=True)
                _name_file(folder, owner).write_text(shown, encoding="utf-8")
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

    def shown(self, name: str, owner: str = "") -> str:
        """The name under which an owner sent an entry, or the entry's own: nobody learns another owner's name for it."""
        try:
            return _name_file(self.root / name, owner).read_text(encoding="utf-8")
        except OSError:
            return name

    @contextlib.contextmanager
    def using(self, name: str) -> Iterator[Path]:
        """Hold an entry, so that it is not deleted, and mark it as used now.

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

    def trim(self) -> None:
        """Delete the least recently used entries until the store is under its cap; it reads the whole folder."""
        entries = sorted(found for path in self.root.iterdir() if (found := _entry(path)) is not None)
        total = sum(size for _, size, _ in entries)
        for _, size, path in entries:
            if total <= self.max_bytes:
                return
            if self._discard(path):
                total -= size

    def _discard(self, path: Path) -> bool:
        """Delete an entry unless it is in use; the lock is held for no longer than a renaming."""
        discarded = self.root / f"discarded-{uuid.uuid4().hex}"
        with self._lock:
            if path.name in self._used:
                return False
            with contextlib.suppress(FileNotFoundError):
                path.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)
        return True


@contextlib.contextmanager
def storing() -> Iterator[None]:
    """Turn the error of a full disk into a refusal.

    Raises:
        WireError: 507.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL_ERRORS:
            raise disk_full() from error
        raise


class _Lease:
    """A lock on a folder, shared by the servers that use it; the first one deletes what is unfinished.

    Raises:
        OSError: the folder cannot be opened.
    """

    def __init__(self, root: Path) -> None:
        self.held = fcntl is None
        self.close: Callable[[], Any] = lambda: None
        if fcntl is None:
            return
        descriptor = os.open(root, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, descriptor)
        if _locked(descriptor, fcntl.LOCK_EX):
            for left in (found for pattern in _UNFINISHED for found in root.glob(pattern)):
                shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        self.held = _locked(descriptor, fcntl.LOCK_SH)


def sweep(folder: Path) -> list[Path]:
    """Delete the temporary stores that no living server holds; returns them."""
    if fcntl is None:
        return []
    deleted = []
    for store in folder.glob(_PREFIX + "*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(store, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                if os.fstat(descriptor).st_uid == os.getuid() and _locked(descriptor, fcntl.LOCK_EX):
                    shutil.rmtree(store, ignore_errors=True)
                    deleted.append(store)
            finally:
                os.close(descriptor)
    return deleted


def _temporary() -> tuple[Path, _Lease]:
    """A new temporary folder and the lock on it; another server may sweep it away before it is locked."""
    while True:
        root = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with contextlib.suppress(FileNotFoundError):
            lease = _Lease(root)
            if lease.held:
                return root, lease
            lease.close()


def _locked(descriptor: int, kind: int) -> bool:
    """Whether a lock was taken at once."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _name_file(folder: Path, owner: str) -> Path:
    return folder / (f"name-{owner}" if owner else "name")


def _entry(path: Path) -> tuple[int, int, Path] | None:
    """Time of last use, bytes and folder of an entry; None for what is none, or not any more."""
    if not _NAME.fullmatch(path.name):
        return None
    try:
        return path.stat().st_mtime_ns, sum(file.stat().st_size for file in path.iterdir() if file.is_file()), path
    except FileNotFoundError:
        return None
