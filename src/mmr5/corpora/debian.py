"""Debian packages: download one through apt-get, and read files out of it without installing anything.

A ``.deb`` is an ar archive with a member ``data.tar.<compression>``. xz, gzip and bzip2 are read with the standard library,
zstd (which Debian 12 does not use) with Python 3.14 or the package ``zstandard`` where there is one.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import importlib
import lzma
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mmr5.errors import CorpusError, EngineError, InputError, MissingExtraError

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60
_DOWNLOAD_SECONDS = 1800
_APT_OPTIONS = (
    "-q",
    "-o",
    "Acquire::Retries=3",
    "-o",
    "Acquire::http::Timeout=60",
    "-o",
    "APT::Sandbox::User=root",
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a package.

    Attributes:
        data: its bytes; empty for a link.
        link: where a symbolic link points, an absolute path; None for a plain file.
    """

    data: bytes
    link: str | None = None


def can_download() -> bool:
    """Whether this machine has apt-get."""
    return shutil.which("apt-get") is not None


def download(package: str, version: str, folder: Path) -> Path:
    """Download a package: the given version, or where the archive has moved on, the version that it has.

    Args:
        package: its name.
        version: the version wanted first.
        folder: an empty folder for the ``.deb``.

    Returns:
        The ``.deb``.

    Raises:
        CorpusError: this machine has no apt-get.
        EngineError: apt-get failed; the message holds its last line.
    """
    if not can_download():
        raise CorpusError(
            f"apt-get is not on this machine: get Debian package {package} {version} elsewhere and use --from FOLDER"
        )
    message = ""
    for wanted in (f"{package}={version}", package):
        message = _apt_get_download(wanted, folder)
        found = sorted(folder.glob("*.deb"))
        if found:
            return found[0]
    raise EngineError(
        f"apt-get could not download {package} {version} ({message}): run 'apt-get update', then try again", retryable=True
    )


def read_members(deb: Path, wanted: Collection[str]) -> dict[str, Member]:
    """Read files out of a package.

    Args:
        deb: the ``.deb``.
        wanted: absolute paths inside the package, e.g. ``/usr/share/doc/x/x.pdf``.

    Returns:
        What was found, by path; links are not followed.

    Raises:
        InputError: the file is no Debian package, or is damaged.
        MissingExtraError: it is compressed by zstd, which this Python cannot read.
    """
    paths = {_inside(path): path for path in wanted}
    found: dict[str, Member] = {}
    try:
        with deb.open("rb") as file, _data_archive(file, deb) as archive:
            for entry in archive:
                path = paths.get(_inside(entry.name))
                if path is None:
                    continue
                if entry.issym():
                    found[path] = Member(b"", _resolve(path, entry.linkname))
                elif entry.islnk():
                    found[path] = Member(b"", "/" + _inside(entry.linkname))
                elif (stream := archive.extractfile(entry)) is not None:
                    found[path] = Member(stream.read())
                if len(found) == len(paths):
                    break
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{deb} is no readable Debian package ({error}): download it again") from error
    return found


def read_file(deb: Path, path: str) -> bytes | None:
    """One file of a package, links inside the package followed; None when it is not there."""
    for _ in range(4):
        member = read_members(deb, [path]).get(path)
        if member is None:
            return None
        if member.link is None:
            return member.data
        path = member.link
    return None


@contextmanager
def _data_archive(file: IO[bytes], deb: Path) -> Iterator[tarfile.TarFile]:
    """The package's ``data.tar``, read as a stream."""
    name = _seek_data_member(file, deb)
    opener = _OPENERS.get(name.removeprefix("data.tar"))
    if opener is None:
        raise InputError(f"{deb}: {name} is compressed in a way that is not known: unpack it with dpkg-deb -x")
    with opener(file) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        yield archive


def _seek_data_member(file: IO[bytes], deb: Path) -> str:
    """Move to the content of ``data.tar*`` and give its name."""
    if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise InputError(f"{deb} is no Debian package: it does not begin like an ar archive")
    while len(header := file.read(_AR_HEADER)) == _AR_HEADER:
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        size = int(header[48:58])
        if name.startswith("data.tar"):
            return name
        file.seek(size + size % 2, 1)
    raise InputError(f"{deb} is no Debian package, or is cut short: it has no member data.tar")


def _open_zstd(file: IO[bytes]) -> Any:
    for module, opener in (("compression.zstd", "ZstdFile"), ("zstandard", "open")):
        try:
            return getattr(importlib.import_module(module), opener)(file, "rb")
        except ImportError:
            continue
    raise MissingExtraError(
        "this package is compressed by zstd: pip install zstandard, or unpack it with dpkg-deb -x and use --from FOLDER"
    )


_OPENERS: dict[str, Callable[[IO[bytes]], Any]] = {
    "": contextlib.nullcontext,
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstd,
}
"""By the ending of ``data.tar``: a context manager that gives the archive's bytes."""


def _apt_get_download(wanted: str, folder: Path) -> str:
    """Run apt-get in ``folder``; the last line that it wrote."""
    try:
        done = subprocess.run(
            ["apt-get", *_APT_OPTIONS, "download", wanted],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E:")]
    return (errors or lines or [f"exit code {done.returncode}"])[-1]


def _inside(path: str) -> str:
    """A path as it stands in an archive, without a leading ``/`` or ``./``."""
    return path.removeprefix(".").lstrip("/")


def _resolve(path: str, target: str) -> str:
    """The absolute path of a symbolic link's target."""
    parts = target.split("/") if target.startswith("/") else path.split("/")[:-1] + target.split("/")
    resolved: list[str] = []
    for part in parts:
        if part == "..":
            resolved = resolved[:-1]
        elif part not in ("", "."):
            resolved.append(part)
    return "/" + "/".join(resolved)
