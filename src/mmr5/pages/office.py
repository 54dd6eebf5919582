"""Office and web documents → PDFs by LibreOffice where it is installed, else texts by libraries.

Both run in a process of their own (:mod:`mmr5.pages.office_worker`), with a time and a memory limit, without a network, and with
a profile that is thrown away: macros do not run, links are not followed, and what a document refers to outside itself is taken
out before it is opened (:mod:`mmr5.pages.references`).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import get_args

from mmr5 import sandbox
from mmr5.errors import DocumentError, MissingExtraError, missing_extra
from mmr5.pages.files import OfficeKind, StoredFile
from mmr5.storage.atomic import write_bytes
from mmr5.storage.cache import Cache

OFFICE: tuple[OfficeKind, ...] = get_args(OfficeKind)
TEXT_KINDS = frozenset({"docx", "pptx", "xlsx", "odt", "html"})
"""Kinds whose text is read without LibreOffice."""
LIBRARIES = {
    "pptx": ("python-pptx", "pptx"),
    "xlsx": ("openpyxl", "openpyxl"),
    "html": ("Beautiful Soup", "bs4"),
}
"""What reads the text of these kinds, and the module it is; that of docx and odt needs none."""
HOW_TO_INSTALL = "apt-get install libreoffice-nogui, or https://www.libreoffice.org"
SECONDS = 180
"""Longest time that a document may take."""
MEMORY_BYTES = 4_000_000_000
"""Most address space of the process that opens it."""
MAX_UNPACKED = 500_000_000
"""Most bytes that the parts of a document unpack to."""
MAX_PARTS = 20_000
MAX_SHEET_BYTES = 40_000_000
"""A workbook whose sheets unpack to more is read as text, row by row: printed, it would have thousands of pages."""
MAX_BYTES = 200_000_000
_PURPOSES = {"text": "read it without LibreOffice", "notes": "read speaker notes"}
NAMESPACE = "office"
VERSION = "2"
"""Of the settings below: a document is converted again when it changes."""


def program() -> str | None:
    """LibreOffice's program, or None where it is not installed."""
    return shutil.which("soffice") or shutil.which("libreoffice")


def check(file: Path, kind: OfficeKind) -> int:
    """Refuse a document that unpacks to too much.

    Returns:
        Bytes that the sheets of a workbook unpack to; 0 for other kinds.

    Raises:
        DocumentError: it does, or its archive is damaged.
    """
    if file.stat().st_size > MAX_BYTES:
        raise DocumentError(f"has {file.stat().st_size:,} bytes, and at most {MAX_BYTES:,} are read: split it")
    if kind in ("html", "rtf", "ole"):
        return 0
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DocumentError(f"its archive is damaged ({error}): save it again") from error
    size = sum(part.file_size for part in parts)
    if size > MAX_UNPACKED or len(parts) > MAX_PARTS:
        raise DocumentError(
            f"its {len(parts):,} parts unpack to {size:,} bytes, and at most {MAX_PARTS:,} parts and {MAX_UNPACKED:,} bytes "
            "are read"
        )
    return sum(part.file_size for part in parts if part.filename.startswith("xl/worksheets/") or part.filename == "content.xml")


def as_pdf(stored: StoredFile, kind: OfficeKind, cache: Cache) -> StoredFile:
    """The document as a PDF, made once by LibreOffice and kept by content.

    Raises:
        DocumentError: it cannot be converted, in time or at all.
    """
    target = cache.directory(NAMESPACE) / f"{stored.digest}-{VERSION}.pdf"
    if not target.is_file():
        with cache.lock(f"{NAMESPACE}-{stored.digest}"):
            if not target.is_file():
                _convert(stored, kind, target)
    return StoredFile.of(target)


def as_printed(stored: StoredFile, kind: OfficeKind, cache: Cache) -> tuple[StoredFile | None, str]:
    """The document as a PDF; or None, and why it is read as text.

    Raises:
        DocumentError: it unpacks to too much, or is of a kind that LibreOffice alone reads and cannot be converted.
    """
    if check(stored.path, kind) > MAX_SHEET_BYTES and kind == "xlsx":
        return None, "its sheets are too large to be printed"
    if program() is None:
        return None, f"LibreOffice is not installed ({HOW_TO_INSTALL})"
    try:
        return as_pdf(stored, kind, cache), ""
    except DocumentError as error:
        if kind not in TEXT_KINDS:
            raise
        return None, str(error)


def printed_notes(stored: StoredFile, kind: OfficeKind, cache: Cache) -> tuple[list[str], str]:
    """The speaker notes of each printed slide, which LibreOffice leaves out, kept by content; and why they were not read.

    Both are empty where there are none.
    """
    if kind != "pptx":
        return [], ""
    with zipfile.ZipFile(stored.path) as archive:
        if not any(name.startswith("ppt/notesSlides/notesSlide") for name in archive.namelist()):
            return [], ""
    target = cache.directory(NAMESPACE) / f"{stored.digest}-{VERSION}.notes.json"
    if not target.is_file():
        try:
            found, _ = _read_by_libraries("notes", stored.path, kind)
        except (DocumentError, MissingExtraError) as error:
            return [], f"its speaker notes were not read: {error}"
        write_bytes(target, json.dumps(found).encode())
    notes: list[str] = json.loads(target.read_bytes())
    return notes, ""


def _convert(stored: StoredFile, kind: OfficeKind, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="mmr5-office-") as folder:
        work = Path(folder)
        source = work / f"document.{'doc' if kind == 'ole' else kind}"
        shutil.copyfile(stored.path, source)
        _write_profile(work / "profile" / "user")
        said = _run(["pdf", kind, str(source), str(work), program() or "soffice"], work)
        made = work / "document.pdf"
        if not made.is_file():
            why = (
                "it may be protected by a password, or damaged"
                if kind in ("ole", "docx", "xlsx", "pptx")
                else "it may be damaged"
            )
            raise DocumentError(f"LibreOffice made no PDF of it ({said or why}): open it and save it as a PDF")
        write_bytes(target, made.read_bytes())


def as_texts(file: Path, kind: OfficeKind) -> tuple[list[str], list[str]]:
    """The document's pages as texts, by libraries, and what was left out.

    Raises:
        DocumentError: it cannot be read, in time or at all.
        MissingExtraError: the extra ``office`` is not installed.
    """
    if kind not in TEXT_KINDS:
        raise DocumentError("is read by LibreOffice alone, which is not installed: install it, or save the document as a PDF")
    return _read_by_libraries("text", file, kind)


def _read_by_libraries(task: str, file: Path, kind: OfficeKind) -> tuple[list[str], list[str]]:
    """What the worker finds for a task, a text a page, and what it left out.

    Raises:
        DocumentError: the document cannot be read, in time or at all.
        MissingExtraError: the extra ``office`` is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="mmr5-office-") as folder:
        work = Path(folder)
        said = _run([task, kind, str(file.absolute()), str(work)], work)
        found = work / "pages.json"
        if not found.is_file():
            if said.startswith("missing "):
                raise missing_extra(said.removeprefix("missing "), "office", _PURPOSES[task])
            raise DocumentError(f"its text cannot be read ({said or 'the process that reads it died'}): save it as a PDF")
        report = json.loads(found.read_text(encoding="utf-8"))
    return report["pages"], report["notes"]


def _run(arguments: list[str], work: Path) -> str:
    """Run the worker to its end; the last line that it says on stderr.

    Raises:
        DocumentError: it takes too long.
    """
    environment = {**sandbox.environment(os.environ, work), "HOME": str(work)}
    limits = [str(os.getpid()), str(MEMORY_BYTES), str(SECONDS)]
    command = [sys.executable, "-m", "mmr5.pages.office_worker", *limits, *arguments]
    with (work / "stderr").open("w+b") as said:
        process = subprocess.Popen(
            command,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,
        )
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise DocumentError(f"takes more than {SECONDS} s to open: split it, or save it as a PDF") from None
        finally:
            if process.poll() is None or arguments[0] == "pdf":
                _kill_group(process.pid)
            process.wait()
        said.seek(0)
        lines = said.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines and process.returncode else ""


def _kill_group(leader: int) -> None:
    """End the process and all that it started."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError, AttributeError):
        return


_SETTINGS = {
    "/org.openoffice.Office.Common/Security/Scripting": {
        "DisableMacrosExecution": "true", "MacroSecurityLevel": "3", "BlockUntrustedRefererLinks": "true",
        "DisableActiveContent": "true", "DisableOLEAutomation": "true",
    },
    "/org.openoffice.Office.Writer/Content/Update": {"Link": "2"},
    "/org.openoffice.Office.Calc/Content/Update": {"Link": "2"},
    "/org.openoffice.Inet/Settings": {"ooInetProxyType": "2", "ooInetHTTPProxyName": "127.0.0.1", "ooInetHTTPProxyPort": "9",
                                      "ooInetHTTPSProxyName": "127.0.0.1", "ooInetHTTPSProxyPort": "9", "ooInetNoProxy": ""},
}  # fmt: skip
"""No macros, no links updated, and a proxy that leads nowhere."""


def _write_profile(user: Path) -> None:
    user.mkdir(parents=True)
    items = "".join(
        f'<item oor:path="{path}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop></item>'
        for path, values in _SETTINGS.items()
        for name, value in values.items()
    )
    (user / "registrymodifications.xcu").write_text(
        '<?xml version="1.0" encoding="UTF-8"?><oor:items xmlns:oor="http://openoffice.org/2001/registry" '
        'xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
        f"{items}</oor:items>",
        encoding="utf-8",
    )
