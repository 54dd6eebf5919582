"""Files that pages are read from: their kind by content, their digest, and the files of a folder."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmr5.errors import DocumentError, PageError, SourceNotFoundError

Kind = Literal["pdf", "png", "jpeg", "webp", "tiff", "bmp", "gif", "avif", "heic"]

KNOWN_KINDS = "PDF, PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF and HEIC"
"""The kinds as named in messages."""

_SUFFIXES = frozenset({".pdf", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"})
_UNREAD_SUFFIXES = frozenset(
    ".doc .docx .docm .odt .rtf .wpd .pages .ppt .pptx .pptm .odp .key .xls .xlsx .xlsm .ods .numbers .csv .tsv "
    ".txt .md .rst .org .tex .htm .html .xhtml .xml .mht .epub .mobi .azw3 .fb2 .djvu .djv .ps .eps .xps .oxps "
    ".svg .svgz .emf .wmf .ai .psd .xcf .jp2 .j2k .jpx .jxl .jbig2 .jb2 .tga .pnm .pbm .pgm .ppm .pcx .ico .icns .exr .hdr "
    ".dng .cr2 .nef .arw .raw .dcm .eml .msg .ipynb".split()
)
_BRANDS: dict[bytes, Kind] = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "heic"),
}
"""Brands of ISO's file format for pictures; the first known one decides."""
_MAGIC: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
)
_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})
_PDF_HEADER = re.compile(rb"%PDF-\d")
HEAD_BYTES = 1024
"""How much of a file its kind is read from; a PDF's header may be preceded by other bytes."""


def kind_of(head: bytes) -> Kind | None:
    """The kind of a file by its first :data:`HEAD_BYTES` bytes, never by its name; None when it is not a known one."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:3] == b"\xff\xd8\xff" and head[3:4] >= b"\xc0":
        return "jpeg"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        brands = (head[i : i + 4] for i in (8, *range(16, min(int.from_bytes(head[:4], "big"), len(head)), 4)))
        found = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return None if not found else "avif" if "avif" in found else found[0]
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    return "pdf" if _PDF_HEADER.search(head[:HEAD_BYTES]) else None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file and the content that it had when it was read.

    Attributes:
        path: absolute path.
        digest: sha256 of the content, hex.
        size: bytes.
        mtime_ns: time of the last change, in nanoseconds since the epoch.
    """

    path: Path
    digest: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str | Path) -> StoredFile:
        """Read a file's state; the content is streamed, never held.

        Raises:
            OSError: the file cannot be read.
        """
        with open(path, "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(Path(path).absolute(), digest, status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Make sure that the file still holds the same content.

        Raises:
            PageError: it was deleted, changed, or cannot be read any more.
        """
        try:
            status = self.path.stat()
            same = (status.st_size, status.st_mtime_ns) == (self.size, self.mtime_ns)
            same = same or StoredFile.of(self.path).digest == self.digest
        except OSError as error:
            raise PageError(f"the file cannot be read any more ({error.strerror or error})") from error
        if not same:
            raise PageError("the file was changed after its pages were read: read the pages again")


def read_head(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        SourceNotFoundError: there is no such file.
        DocumentError: it is no regular file, is empty, or cannot be read.
    """
    try:
        if not path.exists():
            raise SourceNotFoundError("no such file or folder: check the path")
        if not path.is_file():
            raise DocumentError("is neither a file nor a folder")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        if isinstance(error, SourceNotFoundError):
            raise
        raise DocumentError(f"cannot be read ({error.strerror or error})") from error
    if not head:
        raise DocumentError("is empty (0 bytes): fetch or export it again")
    return head


def known_kind(path: Path) -> Kind:
    """The kind of a file by its content.

    Raises:
        SourceNotFoundError: there is no such file.
        DocumentError: it cannot be read, is empty, or is of no known kind.
    """
    kind = kind_of(read_head(path))
    if kind is None:
        named = f" although it is named {path.suffix}" if has_known_suffix(path) else ""
        raise DocumentError(f"is of no known kind by its content{named}; known kinds: {KNOWN_KINDS}")
    return kind


def has_known_suffix(path: Path) -> bool:
    """Whether the name claims one of the known kinds."""
    return path.suffix.lower() in _SUFFIXES


def may_hold_pages(path: Path) -> bool:
    """Whether the name claims a kind that holds text or pictures but is not read, e.g. ``.docx``, ``.txt`` or ``.svg``."""
    return path.suffix.lower() in _UNREAD_SUFFIXES


def files_below(folder: Path) -> list[Path]:
    """All files of a folder and its subfolders in natural order (``page 2`` before ``page 10``), without hidden ones."""
    return sorted(_walk(folder), key=lambda path: natural_key(path.relative_to(folder).as_posix()))


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where, name) for name in names if not name.startswith("."))


def natural_key(name: str) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """Sort key: folder by folder, runs of digits by value, letters without case; equal ones by the name itself."""
    parts = [*name.casefold().split("/"), name]
    return tuple(
        tuple((0, int(run), "") if run.isdecimal() else (1, 0, run) for run in re.split(r"(\d+)", part) if run) for part in parts
    )
