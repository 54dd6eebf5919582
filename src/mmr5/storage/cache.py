"""One content-addressed store on disk, shared by every process of a user.

Layout under the root::

    objects/<namespace>/<aa>/<digest>     entries; the oldest are evicted when the store is over its cap
    tmp/                                  entries being written
    locks/                                one file a lock
    <name>/                               folders for large artifacts that are never evicted, e.g. ``models``

An entry is a checksum followed by the value. The checksum covers namespace, key and value, so a half-written, damaged
or misplaced file is deleted and counts as a miss. A root that cannot be written makes reads miss and writes warn once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mmr5.errors import ConfigError, MMR5Warning, OutputError
from mmr5.storage.atomic import staged

DEFAULT_MAX_BYTES = 4_000_000_000
"""Cap on all entries together, in bytes, when neither argument nor ``MMR5_CACHE_MAX_BYTES`` says otherwise."""

_MAGIC = b"mmr5-1\n\0"
_HEADER_BYTES = len(_MAGIC) + hashlib.sha256().digest_size
_RESERVED = frozenset({"objects", "tmp", "locks"})
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@-]*")
_EVICT_TO = 0.9
"""Eviction goes on until the store is down to this share of its cap."""
_RESCAN_SHARE = 0.01
"""A process measures the store again after writing this share of the cap."""
_STALE_SECONDS = 3600.0
"""A temporary file older than this was left by a killed process."""


def digest(*parts: str | bytes) -> str:
    """Sha256 of the parts as 64 hex digits; each part counts with its length, so ``("ab", "c")`` is not ``("a", "bc")``."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big"))
        state.update(data)
    return state.hexdigest()


def default_root() -> Path:
    """``$MMR5_CACHE``, else ``$XDG_CACHE_HOME/mmr5``, else ``~/.cache/mmr5``."""
    if own := os.environ.get("MMR5_CACHE"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "mmr5"
    return Path("~/.cache/mmr5")


def default_max_bytes() -> int:
    """``$MMR5_CACHE_MAX_BYTES``, else :data:`DEFAULT_MAX_BYTES`.

    Raises:
        ConfigError: the variable is not a whole number of bytes.
    """
    value = os.environ.get("MMR5_CACHE_MAX_BYTES")
    if not value:
        return DEFAULT_MAX_BYTES
    if not value.isascii() or not value.isdigit():
        raise ConfigError(f"MMR5_CACHE_MAX_BYTES is {value!r}: give a whole number of bytes, e.g. {DEFAULT_MAX_BYTES}")
    return int(value)


@dataclass(frozen=True, slots=True)
class CacheStat:
    """How much one namespace or artifact folder holds.

    Attributes:
        namespace: its name.
        entries: how many files.
        bytes: their sizes on disk, summed.
        evictable: True for a namespace of entries, False for a folder of artifacts.
    """

    namespace: str
    entries: int
    bytes: int
    evictable: bool = True


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    size: int
    used_ns: int


class Cache:
    """The store; cheap to make, safe to share between threads, and between processes that use the same root.

    Args:
        root: its folder, made when first written to; None stands for :func:`default_root`.
        max_bytes: cap on all entries together, at least 0; None stands for :func:`default_max_bytes`. Each writing
            process may overshoot it by one hundredth.

    Raises:
        ConfigError: the cap is not a whole number of bytes.
    """

    def __init__(self, root: Path | None = None, max_bytes: int | None = None) -> None:
        try:
            self.root = (default_root() if root is None else Path(root)).expanduser().absolute()
        except RuntimeError as error:
            raise ConfigError(f"the home folder is unknown ({error}): set MMR5_CACHE to a folder for the cache") from error
        self.max_bytes = default_max_bytes() if max_bytes is None else max_bytes
        if self.max_bytes < 0:
            raise ConfigError(f"a cache cannot hold {self.max_bytes} bytes: give 0 or more")
        self._state = threading.Lock()
        self._unmeasured: int | None = None
        self._warned = False

    def __repr__(self) -> str:
        return f"Cache({str(self.root)!r}, max_bytes={self.max_bytes})"

    def __reduce__(self) -> tuple[object, ...]:
        return (Cache, (self.root, self.max_bytes))

    def get(self, namespace: str, key: str) -> bytes | None:
        """The value stored under ``key``, or None. A damaged entry is deleted and counts as a miss."""
        path = self._path(namespace, key)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        value = data[_HEADER_BYTES:]
        if data[:_HEADER_BYTES] != _header(namespace, key, value):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return value

    def put(self, namespace: str, key: str, value: bytes) -> None:
        """Store ``value`` in one atomic step. A value above the cap is not stored; a root that cannot be written warns once."""
        size = _HEADER_BYTES + len(value)
        if size > self.max_bytes:
            return
        path = self._path(namespace, key)
        try:
            self._write(path, _header(namespace, key, value), value)
            self._account(size)
        except OSError as error:
            self._warn(error)

    def get_or_make(self, namespace: str, key: str, make: Callable[[], bytes]) -> bytes:
        """The stored value, or else what ``make()`` gives, stored. Two callers at once may both make it."""
        value = self.get(namespace, key)
        if value is None:
            value = make()
            self.put(namespace, key, value)
        return value

    def directory(self, name: str) -> Path:
        """A folder for large artifacts that are never evicted, e.g. ``directory("models")`` is ``<root>/models``.

        Raises:
            ConfigError: the name is not a plain folder name, or is one that the store uses itself.
            OutputError: the folder cannot be made.
        """
        if _checked(name) in _RESERVED:
            raise ConfigError(f"{name!r} is a folder of the cache itself: choose another name")
        path = self.root / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {path}: {error.strerror or error}. Set MMR5_CACHE to a writable folder") from error
        return path

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold a lock between processes and threads; it is not re-entrant. Where files cannot be locked, go on without."""
        from filelock import FileLock

        path = self.root / "locks" / f"{_checked(name)}.lock"
        held = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held = FileLock(path)
            held.acquire()
        except (OSError, NotImplementedError) as error:
            held = None
            self._warn(error)
        try:
            yield
        finally:
            if held is not None:
                held.release()

    def stats(self) -> list[CacheStat]:
        """What the store holds, a line a namespace and a line an artifact folder, by name."""
        found = [_stat(folder, evictable=True) for folder in _folders(self.root / "objects")]
        found += [_stat(folder, evictable=False) for folder in _folders(self.root) if folder.name not in _RESERVED]
        return sorted(found, key=lambda stat: (not stat.evictable, stat.namespace))

    def clear(self, namespace: str | None = None) -> int:
        """Delete the entries of a namespace, or the files of an artifact folder of that name.

        Args:
            namespace: what to clear; None clears every namespace and leaves the artifact folders alone.

        Returns:
            How many files were deleted.

        Raises:
            ConfigError: the namespace is not a plain name.
        """
        if namespace is None:
            folders = [self.root / "objects"]
        elif _checked(namespace) in _RESERVED:
            raise ConfigError(f"{namespace!r} is a folder of the cache itself: clear a namespace, or everything")
        else:
            folders = [self.root / "objects" / namespace, self.root / namespace]
        if not self.root.is_dir():
            return 0
        with self.lock("evict"):
            deleted = sum(_delete_files(folder) for folder in folders)
            self._drop_stale_temporaries()
        with self._state:
            self._unmeasured = None
        return deleted

    def _path(self, namespace: str, key: str) -> Path:
        name = digest(_checked(namespace), key)
        return self.root / "objects" / namespace / name[:2] / name

    def _write(self, path: Path, header: bytes, value: bytes) -> None:
        with staged(path, folder=self.root / "tmp", mode=0o600, sync=False) as file:
            file.write(header)
            file.write(value)

    def _account(self, size: int) -> None:
        """Count what was written, and measure the store when this process has not yet, or has written enough since."""
        with self._state:
            due = self._unmeasured is None or self._unmeasured + size > self.max_bytes * _RESCAN_SHARE
            self._unmeasured = 0 if due else (self._unmeasured or 0) + size
        if due:
            self._evict()

    def _evict(self) -> None:
        objects = self.root / "objects"
        if sum(file.size for file in _files(objects)) <= self.max_bytes:
            return
        with self.lock("evict"):
            files = sorted(_files(objects), key=lambda file: file.used_ns)
            total = sum(file.size for file in files)
            if total <= self.max_bytes:
                return
            for file in files:
                if total <= self.max_bytes * _EVICT_TO:
                    break
                with contextlib.suppress(OSError):
                    file.path.unlink()
                total -= file.size
            self._drop_stale_temporaries()

    def _drop_stale_temporaries(self) -> None:
        before = time.time_ns() - int(_STALE_SECONDS * 1e9)
        for file in _files(self.root / "tmp"):
            if file.used_ns < before:
                with contextlib.suppress(OSError):
                    file.path.unlink()

    def _warn(self, error: Exception) -> None:
        with self._state:
            first, self._warned = not self._warned, True
        if first:
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            warnings.warn(
                f"the cache at {self.root} cannot be used ({reason}); work goes on without it. "
                "Set MMR5_CACHE to a writable folder",
                MMR5Warning,
                stacklevel=3,
            )


def _header(namespace: str, key: str, value: bytes) -> bytes:
    return _MAGIC + bytes.fromhex(digest(namespace, key, value))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot be a name in the cache: use letters, digits and the signs _ . + @ -")
    return name


def _folders(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
    except OSError:
        return []


def _files(root: Path) -> Iterator[_File]:
    """All files below ``root``; those that vanish meanwhile are passed over."""
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                status = path.stat()
                yield _File(path, status.st_size, status.st_mtime_ns)


def _stat(folder: Path, *, evictable: bool) -> CacheStat:
    sizes = [file.size for file in _files(folder)]
    return CacheStat(folder.name, len(sizes), sum(sizes), evictable)


def _delete_files(folder: Path) -> int:
    count = sum(1 for _ in _files(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return count
