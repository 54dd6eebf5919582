"""From files and folders to pages: the texts of their layers first, then the pages that need OCR."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from mmr5.cache import Cache
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
from mmr5.pages import ocr as recognition
from mmr5.pages.files import KNOWN_KINDS, StoredFile, files_below, has_known_suffix, kind_of, known_kind, read_head
from mmr5.pages.images import ImageFile, count_frames
from mmr5.pages.pdf import BAD_PAGE, PdfPageImage, read_layers
from mmr5.pages.text import clean, layer_problem
from mmr5.types import Page, Problem, Progress, TextKind

OcrMode = Literal["auto", "never", "always"]

CHECK_PIXELS = 4096
"""A picture is decoded to this size to see whether it can be: a JPEG is then decoded reduced, and fast."""


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
        sources: PDFs, images, or folders of either with their subfolders, in natural order, hidden files left out. A
            file's kind is decided by its content; files of other kinds in a folder are passed over.
        ocr: ``auto`` recognises the text of images and of PDF pages whose text layer is missing or garbled; ``always``
            that of all pages; ``never`` takes the layers as they are and leaves images without text (None).
        strict: raise at the first bad file or page instead of passing it over.
        cache: where text layers and recognised texts are kept by content; None stands for ``Cache()``.
        progress: called with the stages ``"reading"`` (files) and ``"ocr"`` (pages).
        on_problem: called for each file or page that was passed over; None stands for an ``MMR5Warning`` each.

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
    """A page whose text is not settled yet; ``layer`` is the raw text layer, None for an image."""

    name: str
    number: int
    image: ImageFile | PdfPageImage
    layer: str | None
    text: str | None = None
    text_kind: TextKind | None = None
    dropped: bool = False

    def page(self) -> Page:
        return Page(self.name, self.number, self.text, self.image, self.text_kind)


@dataclass(slots=True)
class _Problems:
    """What was passed over, kept until it is known whether anything could be read."""

    strict: bool
    found: list[tuple[Problem, type[MMR5Error]]] = field(default_factory=list)

    def add(self, error: MMR5Error, name: str, page: int | None = None) -> None:
        """Note a problem, or raise it when strict."""
        problem = Problem(name, page, str(error))
        kind = type(error)
        if self.strict:
            raise kind(str(problem)) from error
        self.found.append((problem, kind))

    def report(self, on_problem: Callable[[Problem], None] | None, *, nothing_read: bool) -> None:
        """Hand the problems on; when nothing could be read, raise the first one instead."""
        if nothing_read and self.found:
            problem, kind = self.found[0]
            rest = len(self.found) - 1
            raise kind(f"{problem} (and {rest} more could not be read)" if rest else str(problem))
        for problem, _ in self.found:
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
            found += _files_of_folder(path, shown)
        except DocumentError as error:
            problems.add(error, shown)
    paths_by_name: dict[str, set[Path]] = {}
    for file in found:
        paths_by_name.setdefault(file.name, set()).add(file.path.absolute())
    return [file if len(paths_by_name[file.name]) == 1 else _Source(file.path, file.long_name, file.long_name) for file in found]


def _files_of_folder(folder: Path, shown: str) -> list[_Source]:
    """The PDFs and images of a folder, and files that are named like one.

    Raises:
        DocumentError: there are none.
    """
    files, others = [], 0
    for path in files_below(folder):
        if has_known_suffix(path) or _is_known(path):
            name = path.relative_to(folder).as_posix()
            files.append(_Source(path, name, (Path(shown) / name).as_posix()))
        else:
            others += 1
    if not files:
        holds = f"{others} files of other kinds" if others else "no files"
        raise DocumentError(f"the folder holds {holds}; known kinds: {KNOWN_KINDS}")
    return files


def _is_known(path: Path) -> bool:
    try:
        return kind_of(read_head(path)) is not None
    except InputError:
        return False


def _read_files(files: Sequence[_Source], cache: Cache, problems: _Problems, progress: Progress | None) -> list[_Draft]:
    drafts: list[_Draft] = []
    for done, file in enumerate(files):
        if progress is not None:
            progress("reading", done, len(files))
        try:
            read, bad_pages = _read_file(file, cache)
        except (SourceNotFoundError, DocumentError, PageError) as error:
            problems.add(error, file.name)
            continue
        drafts += read
        for number in bad_pages:
            problems.add(PageError(BAD_PAGE), file.name, number)
    if progress is not None:
        progress("reading", len(files), len(files))
    return drafts


def _read_file(file: _Source, cache: Cache) -> tuple[list[_Draft], list[int]]:
    """The pages of a file, and the one-based numbers of those that cannot be read.

    Raises:
        SourceNotFoundError: there is no such file.
        DocumentError: it cannot be opened.
        PageError: it is an image that is damaged or too large.
    """
    kind = known_kind(file.path)
    try:
        stored = StoredFile.of(file.path)
        if kind == "pdf":
            layers = read_layers(stored, cache)
            drafts = [
                _Draft(file.name, index + 1, PdfPageImage(stored, index), layer)
                for index, layer in enumerate(layers)
                if layer is not None
            ]
            return drafts, [index + 1 for index, layer in enumerate(layers) if layer is None]
        with file.path.open("rb") as stream:
            frames = count_frames(stream)
    except OSError as error:
        raise DocumentError(f"cannot be read ({error.strerror or error})") from error
    return [_Draft(file.name, frame + 1, ImageFile(stored, frame), None) for frame in range(frames)], []


def _settle_texts(drafts: Sequence[_Draft], ocr: OcrMode, cache: Cache, problems: _Problems, progress: Progress | None) -> None:
    """Give every draft its text."""
    waiting = [draft for draft in drafts if _needs_ocr(draft, ocr)]
    for draft in drafts:
        draft.text, draft.text_kind = _layer_text(draft)
    for done, draft in enumerate(waiting):
        if progress is not None:
            progress("ocr", done, len(waiting))
        try:
            recognised = recognition.read_picture(draft.image, cache)
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
    if progress is not None and waiting:
        progress("ocr", len(waiting), len(waiting))
    if ocr == "never":
        _drop_undecodable([draft for draft in drafts if draft.layer is None], problems)


def _drop_undecodable(drafts: Sequence[_Draft], problems: _Problems) -> None:
    """Decode the images that nothing has looked at yet, so that a damaged one is found now and not by a model."""
    for draft in drafts:
        try:
            draft.image.load(CHECK_PIXELS)
        except (DocumentError, PageError) as error:
            problems.add(error, draft.name, draft.number)
            draft.dropped = True


def _needs_ocr(draft: _Draft, ocr: OcrMode) -> bool:
    if ocr == "auto":
        return draft.layer is None or layer_problem(draft.layer) is not None
    return ocr == "always"


def _layer_text(draft: _Draft) -> tuple[str | None, TextKind | None]:
    """What is known without OCR: a garbled layer is worth nothing, a short one is taken as it is."""
    if draft.layer is None:
        return None, None
    return ("" if layer_problem(draft.layer) == "garbled" else clean(draft.layer)), "layer"


def _take_recognised(draft: _Draft, recognised: str, ocr: OcrMode) -> None:
    """Prefer the recognised text, but keep a short layer that says at least as much."""
    layer = draft.text or ""
    if layer and (not recognised or (ocr == "auto" and _visible(layer) >= _visible(recognised))):
        return
    draft.text, draft.text_kind = recognised, "ocr"


def _visible(text: str) -> int:
    return sum(not char.isspace() for char in text)


def _go_without_ocr(drafts: Sequence[_Draft], error: MissingExtraError, problems: _Problems) -> None:
    """Keep the pages without text, and say so once a document."""
    for draft in drafts:
        draft.text = draft.text or ""
    _drop_undecodable([draft for draft in drafts if draft.layer is None], problems)
    for name, count in Counter(draft.name for draft in drafts).items():
        what = "1 page stays" if count == 1 else f"{count} pages stay"
        problems.add(MissingExtraError(f"{what} without recognised text: {error}"), name)
