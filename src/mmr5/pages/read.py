"""From files and folders to pages: the texts of their layers first, then the pages that need OCR.

A page is recognised when its layer is empty or garbled, when some of its lines form no words (a font whose Unicode map
is permuted), and when pictures cover it and there is little text beside them (a scan with a stamp).
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from mmr5.errors import (
    ConfigError,
    DocumentError,
    EngineError,
    InputError,
    MissingExtraError,
    MMR5Error,
    MMR5Warning,
    PageError,
    SourceNotFoundError,
)
from mmr5.languages import language
from mmr5.pages import ocr as recognition
from mmr5.pages import office, prose
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
from mmr5.pages.pdf import PdfBoxes, PdfContent, PdfPage, PdfPageImage, read_content
from mmr5.pages.pdfium import BAD_PAGE
from mmr5.pages.plausible import looks_misread
from mmr5.pages.recognised import Pieces, is_false_alarm, with_lines_recognised, with_stamps
from mmr5.pages.text import count_visible
from mmr5.storage.cache import Cache
from mmr5.types import BoxSource, Page, Problem, Progress, TextKind

OcrMode = Literal["auto", "never", "always"]

CHECK_PIXELS = 4096
"""A picture is decoded to this size to see whether it can be: a JPEG is then decoded reduced, and fast."""
COVERED = 0.5
"""Share of a page from which its pictures count as a scan of it."""
MAX_STAMP = 300
"""Most visible characters of a stamp or a Bates number on a scan; a page with more text is not recognised for its pictures."""
MAX_POINTS = 14_400
"""The longest side of a page that PDF allows."""
_MIN_HIDDEN = 3
_MIN_WORDS_SHARE = 0.5
_NAMED = 3


def read_pages(
    sources: str | Path | Sequence[str | Path],
    *,
    ocr: OcrMode = "auto",
    strict: bool = False,
    cache: Cache | None = None,
    progress: Progress | None = None,
    on_problem: Callable[[Problem], None] | None = None,
) -> list[Page]:
    """Read documents to pages, in the order given; pictures are decoded only when a page's image is loaded.

    Args:
        sources: PDFs, images, office and web documents, texts, or folders of any with their subfolders, in natural order,
            hidden files left out. A file's kind is decided by its content (a text's also by its name); files of other kinds
            in a folder are passed over and reported. Office documents become pages as LibreOffice prints them; where it is
            not installed, texts without pictures. A text's pages have about 500 words and begin at headings.
        ocr: ``auto`` recognises the text of images and of PDF pages whose text layer is missing, garbled or a mere
            stamp on a scan; ``always`` that of all pages; ``never`` takes the layers as they are and leaves images
            without text (None).
        strict: raise at the first bad file or page instead of passing it over. What a readable page or file leaves out
            (hidden text, attached files, a doubtful recognition) is reported, and never raised.
        cache: where text layers and recognised texts are kept by content; None stands for ``Cache()``.
        progress: called with the stages ``"reading"`` (files) and ``"ocr"`` (pages).
        on_problem: called for each file, page or part of them that was passed over; None stands for an ``MMR5Warning``
            each.

    Returns:
        At least one page. ``source`` is a file's path as given, or its path within the folder given; where two
        files would be shown alike, the folder's own path comes before it.

    Raises:
        SourceNotFoundError: there is no such file or folder, and nothing else could be read.
        DocumentError: a document that cannot be opened, an unknown kind or an empty folder, and nothing else could be read.
        PageError: a page that cannot be read, and nothing else could be read.
        MissingExtraError: OCR is needed and not installed, with ``strict`` or ``ocr="always"``.
        ConfigError: ``ocr`` is none of its values.
    """
    if ocr not in get_args(OcrMode):
        raise ConfigError(f"ocr is {ocr!r}: use one of {', '.join(get_args(OcrMode))}")
    given = [sources] if isinstance(sources, str | Path) else list(sources)
    if not given:
        raise DocumentError("no sources were given: name at least one PDF, image or folder")
    problems = _Problems(strict)
    files = _find_files(given, problems)
    store = Cache() if cache is None else cache
    drafts = _read_files(files, store, problems, progress)
    _settle_texts(drafts, ocr, store, problems, progress)
    _report_pages(drafts, ocr, problems)
    pages = [draft.page() for draft in drafts if not draft.dropped]
    problems.report(on_problem, nothing_read=not pages)
    return pages


@dataclass(frozen=True, slots=True)
class _Source:
    """A file to read, the name it is shown by, and the name it gets where another file has the same."""

    path: Path
    name: str
    long_name: str


@dataclass(slots=True)
class _Draft:
    """A page whose text is not settled yet.

    ``content`` is what its PDF says, None for an image; a page of a text has no image, and its text is settled. ``printed``
    says that the PDF was made here of an office document, so that its layer holds all that was written, however little.
    """

    name: str
    number: int
    image: ImageFile | PdfPageImage | None
    content: PdfPage | None
    text: str | None = None
    text_kind: TextKind | None = None
    boxes: BoxSource | None = None
    dropped: bool = False
    printed: bool = False

    def page(self) -> Page:
        """The page, once its text is settled."""
        content = self.content
        size = None if content is None else (content.size[0], content.size[1])
        label = None if content is None else content.label
        spoken = None if self.text is None else language(self.text)
        return Page(self.name, self.number, self.text, self.image, self.text_kind, label, spoken, size, self.boxes)


@dataclass(slots=True)
class _Problems:
    """What was passed over, kept until it is known whether anything could be read."""

    strict: bool
    found: list[tuple[Problem, type[MMR5Error]]] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def add(self, error: MMR5Error, name: str, page: int | None = None) -> None:
        """Note a problem, or raise it when strict."""
        problem = Problem(name, page, str(error))
        kind = type(error)
        if self.strict:
            raise kind(str(problem)) from error
        self.found.append((problem, kind))

    def note(self, name: str, page: int | None, message: str) -> None:
        """Report what a readable file or page leaves out; it is never raised."""
        self.notes.append(Problem(name, page, message))

    def report(self, on_problem: Callable[[Problem], None] | None, *, nothing_read: bool) -> None:
        """Hand the problems on; when nothing could be read, raise the first one instead."""
        if nothing_read and self.found:
            problem, kind = self.found[0]
            rest = len(self.found) - 1
            raise kind(f"{problem} (and {rest} more could not be read)" if rest else str(problem))
        for problem in (*(problem for problem, _ in self.found), *self.notes):
            if on_problem is not None:
                on_problem(problem)
            else:
                warnings.warn(str(problem), MMR5Warning, stacklevel=3)


def _find_files(given: Sequence[str | Path], problems: _Problems) -> list[_Source]:
    """The files behind the given sources, in order, with names that tell them apart."""
    found: list[_Source] = []
    for source in given:
        path, shown = Path(source).expanduser(), os.fspath(source)
        if not path.is_dir():
            found.append(_Source(path, shown, shown))
            continue
        try:
            found += _files_of_folder(path, shown, problems)
        except DocumentError as error:
            problems.add(error, shown)
    paths_by_name: dict[str, set[Path]] = {}
    for file in found:
        paths_by_name.setdefault(file.name, set()).add(file.path.absolute())
    return [file if len(paths_by_name[file.name]) == 1 else _Source(file.path, file.long_name, file.long_name) for file in found]


def _files_of_folder(folder: Path, shown: str, problems: _Problems) -> list[_Source]:
    """The PDFs and images of a folder, and files that are named like one; others are reported.

    Raises:
        DocumentError: there are none.
    """
    files: list[_Source] = []
    unread: list[str] = []
    others: list[str] = []
    for path in files_below(folder):
        name = path.relative_to(folder).as_posix()
        if has_known_suffix(path) or _is_known(path):
            files.append(_Source(path, name, (Path(shown) / name).as_posix()))
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


def _read_files(files: Sequence[_Source], cache: Cache, problems: _Problems, progress: Progress | None) -> list[_Draft]:
    drafts: list[_Draft] = []
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


def _read_file(file: _Source, cache: Cache, problems: _Problems) -> tuple[list[_Draft], list[int]]:
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
    return [_Draft(file.name, frame + 1, ImageFile(stored, frame), None) for frame in range(frames)], []


def _pdf_drafts(
    name: str, stored: StoredFile, cache: Cache, problems: _Problems, *, printed: bool = False
) -> tuple[list[_Draft], list[int]]:
    """The pages of a PDF, and the one-based numbers of those that cannot be read."""
    content = read_content(stored, cache)
    _report_content(content, name, problems)
    drafts = [
        _Draft(name, index + 1, PdfPageImage(stored, index), page, printed=printed)
        for index, page in enumerate(content.pages)
        if page is not None
    ]
    return drafts, [index + 1 for index, page in enumerate(content.pages) if page is None]


def _text_drafts(name: str, texts: Sequence[str]) -> list[_Draft]:
    """Pages that are texts alone.

    Raises:
        DocumentError: there are none.
    """
    if not texts:
        raise DocumentError("holds no words")
    return [_Draft(name, number, None, None, text, "layer") for number, text in enumerate(texts, 1)]


def _read_office(
    file: _Source, stored: StoredFile, kind: OfficeKind, cache: Cache, problems: _Problems
) -> tuple[list[_Draft], list[int]]:
    """The pages of an office document: as LibreOffice prints it, or as texts where it is not installed or does not manage.

    Raises:
        DocumentError: it cannot be read in either way.
        MissingExtraError: LibreOffice and the extra ``office`` are not installed.
    """
    printed, why = office.as_printed(stored, kind, cache)
    if printed is not None:
        return _pdf_drafts(file.name, printed, cache, problems, printed=True)
    texts, notes = office.as_texts(file.path, kind)
    drafts = _text_drafts(file.name, texts)
    problems.note(file.name, None, f"was read as text, without pictures of its pages: {why}")
    for said in notes:
        problems.note(file.name, None, said)
    return drafts, []


def _report_content(content: PdfContent, name: str, problems: _Problems) -> None:
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


def _report_pages(drafts: Sequence[_Draft], ocr: OcrMode, problems: _Problems) -> None:
    """Say what was left out of the layers that are used, and which of them look poor: once a document."""
    hidden: dict[str, list[int]] = {}
    poor: dict[str, list[int]] = {}
    for draft in drafts:
        content = draft.content
        if content is None or draft.text_kind != "layer":
            continue
        if content.hidden >= _MIN_HIDDEN:
            hidden.setdefault(draft.name, []).append(draft.number)
        if ocr == "auto" and content.unseen > COVERED and content.coverage >= COVERED and looks_misread(content.text):
            poor.setdefault(draft.name, []).append(draft.number)
    for name, numbers in hidden.items():
        message = "text that no reader sees (in the colour of its ground, of no size, outside the page) was left out"
        problems.note(name, *_on_pages(numbers, message))
    for name, numbers in poor.items():
        message = "the text under its picture looks poorly recognised: read it again with --ocr always (ocr='always')"
        problems.note(name, *_on_pages(numbers, message))


def _on_pages(numbers: Sequence[int], message: str) -> tuple[int | None, str]:
    """A problem's page and message for one page or several."""
    if len(numbers) == 1:
        return numbers[0], message
    shown = ", ".join(map(str, numbers[:10])) + (", …" if len(numbers) > 10 else "")
    return None, f"{message}, on {len(numbers)} pages: {shown}"


def _settle_texts(drafts: Sequence[_Draft], ocr: OcrMode, cache: Cache, problems: _Problems, progress: Progress | None) -> None:
    """Give every draft its text."""
    seen = [draft for draft in drafts if draft.image is not None]
    waiting = [draft for draft in seen if _needs_ocr(draft, ocr)]
    for draft in seen:
        draft.text, draft.text_kind, draft.boxes = _layer_text(draft)
    for done, draft in enumerate(waiting):
        if progress is not None:
            progress("ocr", done, len(waiting))
        try:
            assert draft.image is not None
            recognised = recognition.recognise_picture(draft.image, cache)
        except MissingExtraError as error:
            if ocr == "always":
                raise
            _go_without_ocr(waiting[done:], error, problems)
            break
        except EngineError as error:
            problems.add(error, draft.name, draft.number)
            draft.text = draft.text or ""
        except (DocumentError, PageError) as error:
            problems.add(error, draft.name, draft.number)
            draft.dropped = True
        else:
            _take_recognised(draft, recognised, ocr)
            if recognised.doubt and draft.text_kind != "layer":
                problems.note(draft.name, draft.number, recognised.doubt)
    if progress is not None and waiting:
        progress("ocr", len(waiting), len(waiting))
    if ocr == "never":
        _drop_undecodable([draft for draft in seen if draft.content is None], problems)


def _drop_undecodable(drafts: Sequence[_Draft], problems: _Problems) -> None:
    """Decode the images that nothing has looked at yet, so that a damaged one is found now and not by a model."""
    for draft in drafts:
        try:
            if draft.image is not None:
                draft.image.load(CHECK_PIXELS)
        except (DocumentError, PageError) as error:
            problems.add(error, draft.name, draft.number)
            draft.dropped = True


def _needs_ocr(draft: _Draft, ocr: OcrMode) -> bool:
    if ocr != "auto":
        return ocr == "always"
    content = draft.content
    if content is not None and draft.printed:
        return content.coverage >= COVERED and not content.text.strip()
    return content is None or content.problem is not None or bool(content.unlikely) or _is_stamped_scan(content)


def _is_stamped_scan(content: PdfPage) -> bool:
    """Whether pictures cover the page, with little text on them or signs that are no words."""
    if content.coverage < COVERED:
        return False
    visible = count_visible(content.text)
    if content.unseen > COVERED:
        return sum(map(str.isalnum, content.text)) < _MIN_WORDS_SHARE * visible
    return visible < MAX_STAMP


def _layer_text(draft: _Draft) -> tuple[str | None, TextKind | None, BoxSource | None]:
    """What is known without OCR: a garbled layer is worth nothing, a short one is taken as it is."""
    if draft.content is None or not isinstance(draft.image, PdfPageImage):
        return None, None, None
    if draft.content.problem == "garbled":
        return "", "layer", None
    return draft.content.text, "layer", PdfBoxes(draft.image.file, draft.image.index)


def _take_recognised(draft: _Draft, recognised: recognition.Recognition, ocr: OcrMode) -> None:
    """Prefer the recognised text, but keep what the layer says better."""
    content, layer = draft.content, draft.text or ""
    found = Pieces(recognised.text, recognised)
    if content is not None and layer and ocr == "auto":
        own = Pieces(layer, draft.boxes)
        if content.unlikely:
            found = with_lines_recognised(own, content.unlikely, recognised)
            keep = is_false_alarm(own, content.unlikely, recognised.text)
        elif content.unseen > COVERED:
            keep = False
        else:
            found = with_stamps(own, found) if content.coverage >= COVERED else found
            keep = count_visible(layer) >= count_visible(found.text)
        if keep:
            return
    if layer and not recognised.text:
        return
    draft.text, draft.text_kind, draft.boxes = found.text, "ocr", found.boxes


def _go_without_ocr(drafts: Sequence[_Draft], error: MissingExtraError, problems: _Problems) -> None:
    """Keep the pages without text, and say so once a document."""
    for draft in drafts:
        draft.text = draft.text or ""
    _drop_undecodable([draft for draft in drafts if draft.content is None], problems)
    for name, count in Counter(draft.name for draft in drafts).items():
        what = "1 page stays" if count == 1 else f"{count} pages stay"
        problems.add(MissingExtraError(f"{what} without recognised text: {error}"), name)
