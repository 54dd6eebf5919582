"""pdfium's documents and pages: opened under one lock, kept open for a while, and closed under it.

pdfium is not thread-safe: every call is made under the lock of this process.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from functools import cache as once
from pathlib import Path
from typing import Any

from mmr5.errors import DocumentError, PageError
from mmr5.storage.lru import LRU

OPEN_DOCUMENTS = 4
"""Most documents that a process keeps open between two calls; opening one reads all of its cross-references."""
BAD_PAGE = "the page cannot be read: its part of the PDF is damaged"
NO_PAGES = "has no pages: it is empty or truncated; fetch or export it again"

_FILE_CODE = 2
_PASSWORD_CODE = 4
_SECURITY_CODE = 5
_LOCK = threading.RLock()
_open: LRU[Any] = LRU(OPEN_DOCUMENTS, dropped=lambda document: document.close())


@once
def pdfium_version() -> str:
    """Of the installed pypdfium2."""
    from pypdfium2 import PYPDFIUM_INFO

    return str(PYPDFIUM_INFO)


@contextlib.contextmanager
def open_document(path: Path) -> Iterator[Any]:
    """A document of pypdfium2, held under the lock; it stays open for the next call and is not to be closed.

    What was filled into its forms is drawn and read.

    Raises:
        DocumentError: it is encrypted, damaged or has no pages.
    """
    with _LOCK:
        try:
            status = os.stat(path)  # noqa: PTH116
        except OSError as error:
            raise DocumentError(_reason(error)) from error
        key = (os.fspath(path), status.st_ino, status.st_size, status.st_mtime_ns)
        yield _open.get_or_make(key, lambda: _load(path))


@contextlib.contextmanager
def open_page(document: Any, index: int) -> Iterator[Any]:
    """A page of a document.

    Raises:
        PageError: there is no such page, or it is damaged.
    """
    from pypdfium2 import PdfiumError

    try:
        page = document[index]
    except (PdfiumError, IndexError) as error:
        raise PageError(BAD_PAGE) from error
    with contextlib.closing(page):
        yield page


def close_documents() -> None:
    """Close what is kept open."""
    with _LOCK:
        _open.clear()


def form_type(document: Any) -> int:
    """Pdfium's number for a document's forms: 0 none, 1 AcroForm, 2 XFA that makes the pages itself, 3 XFA over pages."""
    from pypdfium2 import raw

    return int(raw.FPDF_GetFormType(document))


@once
def _close_at_exit() -> None:
    """Close what is open before pypdfium2, which says so on stderr, does; called when it has been imported."""
    atexit.register(close_documents)


def _load(path: Path) -> Any:
    import pypdfium2

    _close_at_exit()
    try:
        # pdfium refuses a document without pages but leaves the error code of an earlier failure in place. Opening
        # nothing sets the code for an unreadable file, which the caller has ruled out by reading it.
        pypdfium2.raw.FPDF_LoadDocument(b"", None)
        document = pypdfium2.PdfDocument(path)
    except (pypdfium2.PdfiumError, OSError) as error:
        raise DocumentError(_reason(error)) from error
    if form_type(document):
        _init_forms(document)
    return document


def _init_forms(document: Any) -> None:
    """Read the forms; a broken one is drawn as far as it goes, for the page itself is still there."""
    from pypdfium2 import PdfiumError

    # pypdfium2 would write a hint on XFA to stderr; read_pages reports it as a problem.
    logger = logging.getLogger("pypdfium2._helpers.document")
    before, logger.disabled = logger.disabled, True
    try:
        with contextlib.suppress(PdfiumError):
            document.init_forms()
    finally:
        logger.disabled = before


def _forget_after_fork() -> None:
    """A child shares its parent's open files and their positions: it opens its own, under a lock of its own."""
    global _LOCK
    _LOCK = threading.RLock()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def _reason(error: Exception) -> str:
    """What keeps a PDF from being opened, and the way out."""
    code, text = getattr(error, "err_code", None), str(error).lower()
    if code == _FILE_CODE or "file access" in text:
        return NO_PAGES
    if code == _PASSWORD_CODE or "password" in text:
        return (
            "is encrypted and needs a password: save a copy without one, "
            "e.g. with: qpdf --decrypt --password=PASSWORD in.pdf out.pdf"
        )
    if code == _SECURITY_CODE or "security" in text:
        return "is encrypted in a way that cannot be read: save an unencrypted copy with the program that made it"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    return "is no readable PDF, it is truncated or damaged: fetch it again, or repair it, e.g. with: qpdf in.pdf out.pdf"
