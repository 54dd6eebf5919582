"""From files and folders to pages."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mmr5.errors import (
    ConfigError,
    DocumentError,
    InputError,
    MissingExtraError,
    PageError,
    SourceNotFoundError,
)
from mmr5.pages import office, prose
from mmr5.pages.drafts import Draft, Problems
from mmr5.pages.files import (
    KNOWN_KINDS,
    OfficeKind,
    StoredFile,
    files_below,
    has_known_suffix,
    known_kind,
    may_hold_pages,
)
from mmr5.pages.images import ImageFile, count_frames, count_moments
from mmr5.pages.pdf import PdfContent, PdfPageImage, read_content
from mmr5.pages.pdfium import BAD_PAGE
from mmr5.pages.settle import PICTURE_PAGES, OcrMode, report_pages, settle_texts
from mmr5.storage.cache import Cache
from mmr5.types import Page, Problem, Progress
from mmr5.watching import watched

MAX_POINTS = 14_400
"""The longest side of a page that PDF allows."""
_NAMED = 3


def read_pages(
    sources: str | Path | Sequence[str | Path],
    *,
    ocr: OcrMode = "auto",
    strict: bool = False,
    cache: Cache | None = None,
    progress: Progress | None = None,
    on_problem: Callable[[Problem], None] | None = None,
    picture_pages: int | None = PICTURE_PAGES,
) -> list[Page]:
    """Read documents to pages, in the order given; pictures are decoded only when a page's image is loaded.

    Args:
        sources: PDFs, images, office and web documents, texts, or folders of any with their subfolders, in natural order,
            hidden files left out. A file's kind is decided by its content (a text's also by its name); files of other kinds
            in a folder are passed over and reported. Office documents become pages as LibreOffice prints them; where it is
            not installed, texts without pictures. A text's pages have about 500 words and begin at headings.
        ocr: ``auto`` recognises the text of images and of PDF pages whose text layer is missing, garbled or a mere
            stamp on a scan, and reads the words in pictures that lie on other pages; ``always`` recognises all pages whole;
            ``never`` takes the layers as they are and leaves images without text (None).
        strict: raise at the first bad file or page instead of passing it over. What a readable page or file leaves out
            (hidden text, attached files, a doubtful recognition) is reported, and never raised.
        cache: where text layers and recognised texts are kept by content; None stands for ``Cache()``.
        progress: called with the stages ``"reading"`` (files) and ``"ocr"`` (pages); None shows a line where a person watches
            (:mod:`mmr5.watching`).
        on_problem: called for each file, page or part of them that was passed over; None stands for an ``MMR5Warning``
            each.
        picture_pages: most pages with a text of their own whose pictures ``auto`` reads for words, at least 0; None reads all.
            They take about half a second each, the first time.

    Returns:
        At least one page. ``source`` is a file's path as given, or its path within the folder given; where two
        files would be shown alike, the folder's own path comes before it.

    Raises:
        SourceNotFoundError: there is no such file or folder, and nothing else could be read.
        DocumentError: a document that cannot be opened, an unknown kind or an empty folder, and nothing else could be read.
        PageError: a page that cannot be read, and nothing else could be read.
        MissingExtraError: OCR is needed and not installed, with ``strict`` or ``ocr="always"``.
        ConfigError: ``ocr`` is none of its values, or ``picture_pages`` is below 0.
    """
    if ocr not in get_args(OcrMode):
        raise ConfigError(f"ocr is {ocr!r}: use one of {', '.join(get_args(OcrMode))}")
    if picture_pages is not None and picture_pages < 0:
        raise ConfigError(f"picture_pages is {picture_pages}: give 0 or more, or None for all")
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given:
        raise DocumentError("no sources were given: name at least one PDF, image or folder")
    problems = Problems(strict)
    files = find_files(given, problems)
    store = Cache() if cache is None else cache
    progress = watched(progress)
    drafts = _read_files(files, store, problems, progress)
    settle_texts(drafts, ocr, store, problems, progress, picture_pages)
    report_pages(drafts, ocr, problems)
    pages = [draft.page() for draft in drafts if not draft.dropped]
    problems.report(on_problem, nothing_read=not pages)
    return pages


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read, the name it is shown by, and the name it gets where another file has the same.

    Attributes:
        path: where it is.
        name: its path as given, or within the folder given.
        long_name: its path with that of the folder.
    """

    path: Path
    name: str
    long_name: str


def find_files(given: Sequence[str | Path], problems: Problems) -> list[SourceFile]:
    """The files behind sources (files and folders), in order, with names that tell them apart; bad folders are problems."""
    found: list[SourceFile] = []
    for source in given:
        path, shown = Path(source).expanduser(), os.fspath(source)
        if not path.is_dir():
            found.append(SourceFile(path, shown, shown))
            continue
        try:
            found += _files_of_folder(path, shown, problems)
        except DocumentError as error:
            problems.add(error, shown)
    paths_by_name: dict[str, set[Path]] = {}
    for file in found:
        paths_by_name.setdefault(file.name, set()).add(file.path.absolute())
    return [
        file if len(paths_by_name[file.name]) == 1 else SourceFile(file.path, file.long_name, file.long_name) for file in found
    ]


def _files_of_folder(folder: Path, shown: str, problems: Problems) -> list[SourceFile]:
    """The PDFs and images of a folder, and files that are named like one; others are reported.

    Raises:
        DocumentError: there are none.
    """
    files: list[SourceFile] = []
    unread: list[str] = []
    others: list[str] = []
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if has_known_suffix(path) or _is_known(path):
            files.append(SourceFile(path, name, (Path(shown) / name).as_posix()))
        else:
            (unread if may_hold_pages(path) else others).append(name)
    if not files:
        count = len(unread) + len(others)
        holds = f"{count} files of other kinds" if count else "no files"
        raise DocumentError(f"the folder holds {holds}; known kinds: {KNOWN_KINDS}")
    for name in unread:
        kind = Path(name).suffix.lower()
        problems.note(name, None, f"files of kind {kind} are not read: save it as a PDF; known kinds: {KNOWN_KINDS}")
    if others:
        named = ", ".join(others[:_NAMED]) + (", …" if len(others) > _NAMED else "")
        what = "1 file" if len(others) == 1 else f"{len(others)} files"
        problems.note(shown, None, f"{what} of other kinds passed over: {named}; known kinds: {KNOWN_KINDS}")
    return files


def _is_known(path: Path) -> bool:
    try:
        known_kind(path, named=True)
    except InputError:
        return False
    return True


def _read_files(files: Sequence[SourceFile], cache: Cache, problems: Problems, progress: Progress | None) -> list[Draft]:
    drafts: list[Draft] = []
    for done, file in enumerate(files):
        if progress is not None:
            progress("reading", done, len(files))
        try:
            read, bad_pages = _read_file(file, cache, problems)
        except (SourceNotFoundError, DocumentError, PageError, MissingExtraError) as error:
            problems.add(error, file.name)
            continue
        drafts += read
        for number in bad_pages:
            problems.add(PageError(BAD_PAGE), file.name, number)
    if progress is not None:
        progress("reading", len(files), len(files))
    return drafts


def _read_file(file: SourceFile, cache: Cache, problems: Problems) -> tuple[list[Draft], list[int]]:
    """The pages of a file, and the one-based numbers of those that cannot be read.

    Raises:
        SourceNotFoundError: there is no such file.
        DocumentError: it cannot be opened.
        PageError: it is an image that is damaged or too large.
    """
    kind = known_kind(file.path)
    try:
        stored = StoredFile.of(file.path)
        if kind == "text":
            return _text_drafts(file.name, prose.pages_of(prose.decoded(file.path.read_bytes()))), []
        if kind in office.OFFICE:
            return _read_office(file, stored, kind, cache, problems)
        if kind == "pdf":
            return _pdf_drafts(file.name, stored, cache, problems)
        with file.path.open("rb") as stream:
            frames = count_frames(stream)
            stream.seek(0)
            moments = count_moments(stream)
    except OSError as error:
        raise DocumentError(f"cannot be read ({error.strerror or error})") from error
    if moments > 1:
        problems.note(
            file.name,
            None,
            f"holds {moments} frames, of which only the first was read: save them as the pages of a PDF or a TIFF",
        )
    return [Draft(file.name, frame + 1, ImageFile(stored, frame), None) for frame in range(frames)], []


def _pdf_drafts(
    name: str, stored: StoredFile, cache: Cache, problems: Problems, *, printed: bool = False
) -> tuple[list[Draft], list[int]]:
    """The pages of a PDF, and the one-based numbers of those that cannot be read."""
    content = read_content(stored, cache)
    _report_content(content, name, problems)
    drafts = [
        Draft(name, index + 1, PdfPageImage(stored, index), page, printed=printed)
        for index, page in enumerate(content.pages)
        if page is not None
    ]
    return drafts, [index + 1 for index, page in enumerate(content.pages) if page is None]


def _text_drafts(name: str, texts: Sequence[str]) -> list[Draft]:
    """Pages that are texts alone.

    Raises:
        DocumentError: there are none.
    """
    if not texts:
        raise DocumentError("holds no words")
    return [Draft(name, number, None, None, text, "layer") for number, text in enumerate(texts, 1)]


def _read_office(
    file: SourceFile, stored: StoredFile, kind: OfficeKind, cache: Cache, problems: Problems
) -> tuple[list[Draft], list[int]]:
    """The pages of an office document: as LibreOffice prints it, or as texts where it is not installed or does not manage.

    Raises:
        DocumentError: it cannot be read in either way.
        MissingExtraError: LibreOffice and the extra ``office`` are not installed.
    """
    printed, why = office.as_printed(stored, kind, cache)
    if printed is not None:
        drafts, bad = _pdf_drafts(file.name, printed, cache, problems, printed=True)
        said, why = office.printed_notes(stored, kind, cache)
        if why:
            problems.note(file.name, None, why)
        for draft in drafts:
            draft.notes = said[draft.number - 1] if draft.number <= len(said) else ""
        return drafts, bad
    texts, notes = office.as_texts(file.path, kind)
    if not texts:
        raise DocumentError(f"holds no words that can be read without LibreOffice: {why}")
    drafts = _text_drafts(file.name, texts)
    problems.note(file.name, None, f"was read as text, without pictures of its pages: {why}")
    for left_out in notes:
        problems.note(file.name, None, left_out)
    return drafts, []


def _report_content(content: PdfContent, name: str, problems: Problems) -> None:
    """Say what a document holds beside its pages."""
    count = len(content.attachments)
    if count:
        named = ", ".join(content.attachments[:_NAMED]) + (", …" if count > _NAMED else "")
        what = "1 attached file" if count == 1 else f"{count} attached files"
        problems.note(name, None, f"holds {what}, not read ({named}): save it with a PDF viewer, or: pdfdetach -saveall")
    if content.makes_pages:
        problems.note(
            name, None, "is a dynamic XFA form: its pages hold only a notice. Open it in Adobe Reader and print it to a PDF"
        )
    for index, page in enumerate(content.pages):
        if page is not None and max(page.size) > MAX_POINTS:
            width, height = (f"{side:,.0f}" for side in page.size)
            problems.note(
                name, index + 1, f"the page is {width} x {height} points large and its picture shows nothing: set its MediaBox"
            )
