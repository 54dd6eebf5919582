"""Files that appear whole or not at all; every output of the package is written here.

A regular file is written beside its target and renamed onto it. A symbolic link stays, and its target is written. What is no
regular file (a device, a FIFO, an open descriptor such as ``/dev/stdout``) is written to as it is and never replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mmr5.errors import MMR5Error, OutputError

_LINKS = 40
"""Most symbolic links that are followed in a row, as in Linux."""
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8; a lone surrogate becomes an escape, as JSON writes it.

    Args:
        path: the file; its folder is made where there is none.
        text: its content.

    Raises:
        OutputError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes, *, parents: bool = True) -> None:
    """Write a file.

    Args:
        path: the file.
        data: its content.
        parents: make the file's folder where there is none.

    Raises:
        OutputError: it cannot be written.
    """
    with writing(path, parents=parents) as file:
        file.write(data)


@contextmanager
def writing(path: Path, *, parents: bool = True) -> Iterator[BinaryIO]:
    """A binary file whose content takes the place of ``path`` when the block ends without an error.

    The mode of a file that is there is kept. A file that is no regular file gets the content as it is written.

    Args:
        path: the file.
        parents: make the file's folder where there is none.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with _opened(path, parents) as file:
            yield file
    except OSError as error:
        if isinstance(error, MMR5Error):
            raise
        raise output_error(path, error) from error


@contextmanager
def staged(
    target: Path, *, folder: Path | None = None, mode: int = 0o666, parents: bool = True, sync: bool = True
) -> Iterator[BinaryIO]:
    """A temporary file that becomes ``target`` when the block ends without an error; the raw step below :func:`writing`.

    Args:
        target: a regular file, or none yet.
        folder: where the temporary file lies, on the same file system; None takes the target's own folder.
        mode: of a new file, less the process's umask; a file that is there keeps its own.
        parents: make the folders where there are none.
        sync: have the content on the disk before it takes the target's place.

    Raises:
        OSError: it cannot be written.
    """
    home = target.parent if folder is None else folder
    if parents:
        home.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
    temporary = home / f".mmr5-{secrets.token_hex(8)}.part"
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(handle)
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        try:
            temporary.replace(target)
        except FileNotFoundError:  # another process removed the folder meanwhile
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """An empty folder that becomes ``target`` when the block ends without an error; one that is there is replaced.

    Raises:
        OSError: it cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mmr5-", dir=target.parent) as home:
        made = Path(home) / target.name
        made.mkdir()
        yield made
        if target.exists():
            shutil.rmtree(target)
        made.replace(target)


def make_folder(path: Path) -> None:
    """Make a folder and those above it.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(path, error) from error


def output_error(path: Path, error: OSError) -> OutputError:
    """The error for a file that cannot be written, with the way out for its kind."""
    return OutputError(f"cannot write {str(path)!r}: {_reason(error)}")


def _reason(error: OSError) -> str:
    said = error.strerror or str(error)
    if error.errno in _DISK_FULL:
        return f"the disk is full ({said}). Free some space or name a file on another disk, then run again."
    if error.errno in _FORBIDDEN:
        return f"{said}. Name a folder that you may write to."
    if error.errno == errno.EISDIR:
        return "it is a folder. Name a file in a folder that exists, e.g. in that one."
    if error.errno == errno.ENOENT:
        return f"{said}. Name a file in a folder that exists."
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "a file stands where its folder should be. Name another folder."
    return f"{said}. Name another file."


@contextmanager
def _opened(path: Path, parents: bool) -> Iterator[BinaryIO]:
    descriptor = _descriptor(path)
    if descriptor is not None:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            yield file
        return
    kind = _kind(path)
    if kind is not None and stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if kind is not None and not stat.S_ISREG(kind):
        with os.fdopen(os.open(path, os.O_WRONLY), "wb") as file:
            yield file
        return
    with staged(Path(os.path.realpath(path)), parents=parents) as file:
        yield file


def _kind(path: Path) -> int | None:
    """The mode of what a path leads to, or None where there is nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _descriptor(path: Path) -> int | None:
    """The open descriptor that a path such as ``/dev/stdout`` or ``/proc/self/fd/1`` stands for, or None.

    A name there leads to the file that the descriptor has open, which must not be replaced: others hold it open.
    """
    at = path
    for _ in range(_LINKS):
        folder = os.path.realpath(at.parent)
        if folder in (f"/proc/{os.getpid()}/fd", "/dev/fd") and at.name.isdigit():
            return int(at.name)
        if not at.is_symlink():
            return None
        at = Path(folder, at.readlink())
    return None
