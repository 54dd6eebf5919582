"""Files that pages are read from: their kind by content, their digest, and the files of a folder."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmr5.errors import DocumentError, PageError, SourceNotFoundError
from mmr5.pages import encodings

Kind = Literal["pdf", "png", "jpeg", "webp", "tiff", "bmp", "gif", "avif", "heic"]
OfficeKind = Literal["docx", "pptx", "xlsx", "odt", "ods", "odp", "html", "rtf", "ole"]
FileKind = Literal[Kind, OfficeKind, "text"]

KNOWN_KINDS = "PDF, PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF, HEIC, Office (docx, pptx, xlsx, odt, …), HTML, Markdown and plain text"
"""The kinds as named in messages."""
PICTURE_KINDS = "PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF and HEIC"

_TEXT_SUFFIXES = frozenset(".txt .md .markdown .rst .org .adoc .csv .tsv .log .tex".split())
_HTML_SUFFIXES = frozenset({".htm", ".html", ".xhtml"})
_OFFICE_SUFFIXES = frozenset(".docx .docm .pptx .pptm .xlsx .xlsm .odt .ods .odp .doc .ppt .xls .rtf .htm .html .xhtml".split())
_SUFFIXES = frozenset(
    {".pdf", ".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif", ".heic", ".heif"}
    | _TEXT_SUFFIXES
    | _OFFICE_SUFFIXES
)
_UNREAD_SUFFIXES = frozenset(
    ".wpd .pages .key .numbers .xml .mht .epub .mobi .azw3 .fb2 .djvu .djv .ps .eps .xps .oxps "
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


_ZIP, _OLE, _RTF = b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", b"{\\rtf"
_MAIN_TYPES: tuple[tuple[re.Pattern[bytes], OfficeKind], ...] = (
    (re.compile(rb"wordprocessingml\.(?:document|template)\.main\+xml|ms-word\.(?:document|template)\.macroEnabled"), "docx"),
    (re.compile(rb"presentationml\.(?:presentation|slideshow|template)\.main\+xml|ms-powerpoint\.\w+\.macroEnabled"), "pptx"),
    (re.compile(rb"spreadsheetml\.(?:sheet|template)\.main\+xml|ms-excel\.(?:sheet|template)\.macroEnabled"), "xlsx"),
)
"""Content types of main parts; where these lie is left to the document."""
_TYPES = "[Content_Types].xml"
_MAX_TYPES_BYTES = 5_000_000
_MIME_TYPES: dict[bytes, OfficeKind] = {
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
    b"application/vnd.oasis.opendocument.presentation": "odp",
}
_PLAIN_SHARE = 0.85
"""Least share of ASCII in a text of a Western encoding whose name does not say that it is a text."""
_MIME_BYTES = 200
_HTML = re.compile(
    rb"\A(?:\xef\xbb\xbf)?\s*(?:<!--.*?-->\s*|<\?xml[^>]*>\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)


def office_kind(path: Path, head: bytes) -> OfficeKind | None:
    """The kind of an office or web document by its content, or None where it is none.

    Args:
        path: of the file.
        head: its first bytes.
    """
    if head.startswith(_OLE):
        return "ole"
    if head.startswith(_RTF):
        return "rtf"
    if _HTML.match(_as_utf8(head)):
        return "html"
    if not head.startswith(_ZIP):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            mime = types = b""
            if "mimetype" in names and archive.getinfo("mimetype").file_size < _MIME_BYTES:
                mime = archive.read("mimetype").strip()
            if _TYPES in names and archive.getinfo(_TYPES).file_size < _MAX_TYPES_BYTES:
                types = archive.read(_TYPES)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, zlib.error):
        return None
    return _MIME_TYPES.get(mime) or next((kind for pattern, kind in _MAIN_TYPES if pattern.search(types)), None)


def _as_utf8(head: bytes) -> bytes:
    """A file's beginning in UTF-8 where it is in UTF-16 or UTF-32, else as it is."""
    wide = encodings.wide_encoding(head)
    return head if wide is None else head.decode(wide, "ignore").encode()


def is_text(path: Path, head: bytes, *, named: bool) -> bool:
    """Whether a file is plain text: no control characters at its beginning, and a name that says so, or no other kind.

    Args:
        path: of the file.
        head: its first bytes.
        named: only what is named like a text counts, as in folders.
    """
    suffix = path.suffix.lower()
    if suffix in _SUFFIXES - _TEXT_SUFFIXES:
        return False
    head = _as_utf8(head)
    if suffix in _TEXT_SUFFIXES:
        return b"\0" not in head
    if named or b"\0" in head:
        return False
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        text = head.decode("cp1252", "replace")
        if sum(map(str.isascii, text)) < _PLAIN_SHARE * len(text) or "\ufffd" in text:
            return False
    return bool(text.strip()) and all(character >= " " or character in "\t\n\r\f" for character in text)


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


def known_kind(path: Path, *, named: bool = False) -> FileKind:
    """The kind of a file by its content; a text's also by its name.

    Args:
        path: of the file.
        named: only what is named like a text counts as one, as in folders.

    Raises:
        SourceNotFoundError: there is no such file.
        DocumentError: it cannot be read, is empty, or is of no known kind.
    """
    head = read_head(path)
    kind: FileKind | None = kind_of(head) or office_kind(path, head) or ("text" if is_text(path, head, named=named) else None)
    if kind is None and path.suffix.lower() in _HTML_SUFFIXES and b"\0" not in _as_utf8(head):
        kind = "html"
    if kind is None:
        claims = f" although it is named {path.suffix}" if has_known_suffix(path) else ""
        raise DocumentError(f"is of no known kind by its content{claims}; known kinds: {KNOWN_KINDS}")
    return kind


def picture_kind(path: Path) -> Kind:
    """The kind of a file that holds pictures of pages: a PDF or an image, by its content.

    Raises:
        SourceNotFoundError: there is no such file.
        DocumentError: it cannot be read, is empty, or is neither.
    """
    kind = kind_of(read_head(path))
    if kind is None:
        raise DocumentError(f"is of no known kind by its content; known kinds: PDF, {PICTURE_KINDS}")
    return kind


def has_known_suffix(path: Path) -> bool:
    """Whether the name claims one of the known kinds."""
    return path.suffix.lower() in _SUFFIXES


def may_hold_pages(path: Path) -> bool:
    """Whether the name claims a kind that holds text or pictures but is not read, e.g. ``.epub`` or ``.svg``."""
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
