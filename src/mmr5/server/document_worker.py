"""The process that opens uploads: ``python -m mmr5.server.document_worker FILE FOLDER '{"max_pages": …}'``.

It may run out of memory or time, or be killed by what it opens, and the server goes on. It writes into FOLDER what
:mod:`mmr5.server.store` describes: ``pages.json``, then the small pictures, where the model reads text; else all pictures first.
With ``{"view": k}`` it writes only the picture of page k for people; with ``{"thumb": k}`` its small picture; with
``{"words": [k, …]}`` the places of the words of these pages; with ``{"convert": n}`` the pictures ``picture-<i>`` of FILE, a
folder, as ``picture-<i>.png``, and ``converted.json``.

A line on stdout is its progress, ``{"part": …, "done": …, "total": …}``, or ``{"isolated": …}``, or ``{"text": true}`` once
``pages.json`` is there; its one line on stderr is the reason of a refusal. Each page or picture has its own processor time: what
takes more ends the process by ``SIGPROF``.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pickle
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape as escape_xml

from mmr5 import sandbox
from mmr5.errors import DocumentError, MMR5Error, PageError
from mmr5.server.store import FULL_ERRORS
from mmr5.types import Problem, Progress

if TYPE_CHECKING:
    from mmr5.pages import ImageFile, PdfPageImage

REFUSED = 3
"""Exit status for a file that cannot be used; stderr says why."""
FULL = 4
"""Exit status for a disk that is full."""
THUMB_PIXELS = 90_000
VIEW_PIXELS = 1_600_000
QUALITY = 82
PLACES = "places.pickle"
"""Where the text of each page stands: :class:`mmr5.types.BoxSource` by zero-based page. Only this process opens it."""
PARTS = frozenset({"ocr", "pictures"})
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
CONVERTED_PIXELS = 4_000_000
"""Most pixels of a picture that is converted for the server: more than any model or the recognition of text looks at."""
OCR_SECONDS = 30.0
"""Processor time of the recognition of a page, whose picture was drawn in time before."""
LAYER_SECONDS = 0.1
"""Processor time of a page whose text layer is read, besides that of one page for the document."""


def parse(file: Path, folder: Path, *, max_pages: int, page_pixels: int, ocr: str, progress: Progress | None = None) -> int:
    """Read a file to pages on disk.

    Args:
        file: a document of any known kind.
        folder: where the pages go.
        max_pages: more are refused before their text is read.
        page_pixels: most pixels of a page's picture for the model; 0 writes none.
        ocr: as in :func:`mmr5.read_pages`.
        progress: called with ``"ocr"`` and ``"pictures"``, and pages done and in all.

    Returns:
        How many pages were written.

    Raises:
        MMR5Error: the file cannot be used.
    """
    from mmr5.pages import read_pages

    shown = _shown_by(file)
    count = 0 if shown is None else _refuse_many_pages(shown, max_pages)
    seen = page_pixels > 0
    failed = _write_all_pictures(shown, folder, range(count), page_pixels, progress) if shown is not None and seen else {}
    if progress is not None:
        progress("layers", 0, count)
    problems: list[Problem] = []
    pages = read_pages(file, ocr=ocr, on_problem=problems.append, progress=progress)  # type: ignore[arg-type]
    if len(pages) > max_pages:
        raise DocumentError(f"it has {len(pages)} pages, and at most {max_pages} are taken: send a part of it")
    if shown is None:
        for page in pages:
            write_cards(page.text or "", folder, page.number - 1)
    problems += [Problem(page.source, page.number, failed[page.number]) for page in pages if page.number in failed]
    records = [
        {name: getattr(page, name) for name in ("number", "text", "text_kind", "label", "language", "size", "ocr_spans")}
        for page in pages
        if page.number not in failed
    ]
    if not records:
        raise DocumentError("none of its pages can be shown: save it again")
    (folder / PLACES).write_bytes(pickle.dumps({page.number - 1: page.boxes for page in pages}))
    report = {
        "made_for": {"page_pixels": page_pixels, "ocr": ocr},
        "pages": records,
        "problems": [{"page": p.page, "message": p.message} for p in problems],
    }
    draft = folder / "pages.json.part"
    draft.write_text(json.dumps(report))
    draft.replace(folder / "pages.json")
    if progress is not None:
        progress("text", len(records), len(records))
    if shown is not None and not seen:
        draw_small(shown, folder, [record["number"] - 1 for record in records], progress)
    return len(records)


def draw_small(shown: Path, folder: Path, indices: Sequence[int], progress: Progress | None = None) -> None:
    """Write small pictures of pages; one that cannot be drawn is a card that says why."""
    for number, reason in _write_all_pictures(shown, folder, indices, 0, progress).items():
        said = f"This page cannot be shown: {reason}"
        (folder / f"thumb-{number - 1}.svg").write_text(card(said, 44, 30), encoding="utf-8")


def place_words(folder: Path, indices: Sequence[int]) -> None:
    """Write where the words of pages stand, ``words-<k>.json``: lists of start, end and box; empty where that is not known."""
    from mmr5.pages import read_pages  # noqa: F401 - the kinds of places are known once it is imported
    from mmr5.pages.word_boxes import words_of
    from mmr5.types import Page

    held = pickle.loads((folder / PLACES).read_bytes())  # noqa: S301 - only a process such as this one wrote it
    texts = {page["number"] - 1: page["text"] for page in json.loads((folder / "pages.json").read_text())["pages"]}
    for index in indices:
        try:
            found = words_of(Page("", index + 1, text=texts.get(index), boxes=held.get(index)))
        except PageError:
            found = []
        draft = folder / f"words-{index}.json.part"
        draft.write_text(json.dumps([[start, end, [round(x, 5) for x in box]] for start, end, box in found]))
        draft.replace(folder / f"words-{index}.json")


def draw(file: Path, folder: Path, index: int) -> None:
    """Write the picture of one page for people, ``view-<index>.jpg``.

    Raises:
        MMR5Error: there is no such page, or it cannot be drawn.
    """
    draft = folder / f"view-{index}.{os.getpid()}.part"
    shown = _shown_by(file)
    if shown is None:
        raise PageError("it is a text, whose pages have no pictures")
    try:
        _pictures(shown)(index).load(VIEW_PIXELS).save(draft, "JPEG", quality=QUALITY)
        draft.replace(folder / f"view-{index}.jpg")
    finally:
        draft.unlink(missing_ok=True)


def convert(folder: Path, count: int, max_pixels: int, pixels_left: int, on_picture: Callable[[], None] = lambda: None) -> None:
    """Write pictures of any known kind as PNGs of at most :data:`CONVERTED_PIXELS` pixels.

    All are measured before any is decoded; one that cannot be used, or too many pixels of all, ends the work. What was found is
    in ``converted.json``: an object a picture with ``pixels`` and ``error``.

    Args:
        folder: holds ``picture-0`` and so on.
        count: how many pictures there are.
        max_pixels: most pixels of one.
        pixels_left: most pixels of all.
        on_picture: called before each.
    """
    report: list[dict[str, Any]] = [{"pixels": 0, "error": None} for _ in range(count)]
    for act in (_measure_picture, _convert_picture):
        for place, entry in enumerate(report):
            on_picture()
            try:
                act(folder / f"picture-{place}", entry, max_pixels)
            except PageError as error:
                entry["error"] = str(error)
        if sum(entry["pixels"] for entry in report) > pixels_left or any(entry["error"] for entry in report):
            break
    (folder / "converted.json").write_text(json.dumps(report))


def _measure_picture(file: Path, entry: dict[str, Any], max_pixels: int) -> None:
    from mmr5.pages.images import picture_size

    with file.open("rb") as stream:
        width, height = picture_size(stream)
    check_pixels(width, height, max_pixels)
    entry["pixels"] = width * height


def _convert_picture(file: Path, entry: dict[str, Any], max_pixels: int) -> None:
    from mmr5.pages.images import decode

    del entry, max_pixels
    with file.open("rb") as stream:
        decode(stream, 0, CONVERTED_PIXELS).save(file.with_suffix(".png"), compress_level=1)


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture that is too large.

    Raises:
        PageError: it is.
    """
    if width * height > max_pixels:
        raise PageError(f"its picture has {width} x {height} pixels, and at most {max_pixels:,} are decoded: scale it down")


def _shown_by(file: Path) -> Path | None:
    """What shows a document's pages: itself, its print where it is an office document, or None for a text."""
    from mmr5.pages import office
    from mmr5.pages.files import StoredFile, known_kind
    from mmr5.storage.cache import Cache

    kind = known_kind(file)
    if kind == "text":
        return None
    if kind in office.OFFICE:
        printed, _ = office.as_printed(StoredFile.of(file), kind, Cache())
        return None if printed is None else printed.path
    return file


def write_cards(text: str, folder: Path, index: int) -> None:
    """Pictures of a page that is a text, small and large, as drawings of its words, which any browser shows in its own fonts."""
    for name, columns, rows in (("thumb", 44, 30), ("view", 96, 140)):
        (folder / f"{name}-{index}.svg").write_text(card(text, columns, rows), encoding="utf-8")


def card(text: str, columns: int, rows: int) -> str:
    """The beginning of a text as an SVG picture: at most so many characters a line, and lines."""
    lines = [piece for line in text.split("\n") for piece in (textwrap.wrap(line, columns, replace_whitespace=False) or [""])]
    if len(lines) > rows:
        lines = [*lines[: rows - 1], "…"]
    height = max(len(lines) * 18 + 40, int(columns * 8 * 2**0.5))
    words = "".join(f'<tspan x="20" dy="18">{escape(line) or " "}</tspan>' for line in lines)
    box = f"0 0 {columns * 8 + 40} {height}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text y="10" font-family="sans-serif" font-size="14" fill="#222" xml:space="preserve">{words}</text></svg>'
    )


def _refuse_many_pages(file: Path, max_pages: int) -> int:
    from mmr5.pages.files import known_kind
    from mmr5.pages.images import count_frames

    if known_kind(file) == "pdf":
        import pypdfium2 as pdfium

        try:
            document = pdfium.PdfDocument(file)
        except pdfium.PdfiumError:
            return 0
        with contextlib.closing(document):
            count = len(document)
    else:
        with file.open("rb") as stream:
            count = count_frames(stream)
    if count > max_pages:
        raise DocumentError(f"it has {count} pages, and at most {max_pages} are taken: send a part of it")
    return count


def _write_all_pictures(
    file: Path, folder: Path, indices: Sequence[int], page_pixels: int, progress: Progress | None
) -> dict[int, str]:
    """Write the pictures of pages; one that cannot be drawn in time ends the process here.

    Returns:
        Why pages, by their one-based number, could not be drawn.
    """
    failed: dict[int, str] = {}
    if not indices:
        return failed
    picture_of = _pictures(file)
    for place, index in enumerate(indices):
        if progress is not None:
            progress("pictures", place, len(indices))
        try:
            _write_pictures(picture_of(index), folder, index, page_pixels)
        except MMR5Error as error:
            failed[index + 1] = str(error)
    return failed


def _pictures(file: Path) -> Callable[[int], ImageFile | PdfPageImage]:
    """From a zero-based index to the picture of a page of a PDF, or of a frame of an image; the file is read once."""
    from mmr5.pages import ImageFile, PdfPageImage
    from mmr5.pages.files import StoredFile, known_kind

    kind = PdfPageImage if known_kind(file) == "pdf" else ImageFile
    return functools.partial(kind, StoredFile.of(file))


def _write_pictures(source: ImageFile | PdfPageImage, folder: Path, index: int, page_pixels: int) -> None:
    picture = source.load(max(page_pixels, THUMB_PIXELS))
    if page_pixels:
        picture.save(folder / f"page-{index}.jpg", "JPEG", quality=QUALITY)
    width, height = picture.size
    scale = min(1.0, (THUMB_PIXELS / (width * height)) ** 0.5)
    small = picture if scale == 1.0 else picture.resize((max(1, int(width * scale)), max(1, int(height * scale))))
    small.save(folder / f"thumb-{index}.jpg", "JPEG", quality=QUALITY)


def _report(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _progress(page_seconds: float) -> Progress:
    """Reports progress and gives each page its processor time."""

    def progress(part: str, done: int, total: int | None) -> None:
        if part == "layers":
            sandbox.allow_cpu(page_seconds + LAYER_SECONDS * (total or 0))
        elif part == "ocr":
            sandbox.allow_cpu(page_seconds + OCR_SECONDS)
        elif part != "reading":
            sandbox.allow_cpu(page_seconds)
        if part in PARTS:
            _report(part=part, done=done, total=total)
        elif part == "text":
            _report(text=True)

    return progress


def main(arguments: Sequence[str], *, confined: bool = True) -> int:
    """Run the worker; returns its exit status.

    Args:
        arguments: file, folder, options as JSON.
        confined: False leaves limits and timers out, for a caller that is no process of its own.
    """
    file, folder, options = Path(arguments[0]), Path(arguments[1]), json.loads(arguments[2])
    page_seconds, limits = options.pop("page_seconds"), [options.pop(name) for name in ("parent", "memory_bytes", "seconds")]
    progress: Progress | None = None
    if confined:
        _report(isolated=sandbox.enter(*limits))
        progress = _progress(page_seconds)
        sandbox.allow_cpu(page_seconds)
    try:
        _work(file, folder, options, progress)
    except MMR5Error as error:
        said = re.sub(rf"{re.escape(str(folder))}/document\.[a-z0-9]+: ", "", str(error))
        return _refuse(said.replace(str(file), "the file").replace(str(folder), "").removeprefix("the file: "), REFUSED)
    except MemoryError:
        return _refuse("it takes more memory than an upload may: send a smaller one", REFUSED)
    except OSError as error:
        if error.errno not in FULL_ERRORS:
            raise
        return _refuse("the disk is full", FULL)
    return 0


def _work(file: Path, folder: Path, options: dict[str, Any], progress: Progress | None) -> None:
    if "view" in options:
        draw(file, folder, options["view"])
    elif "thumb" in options:
        shown = _shown_by(file)
        if shown is not None:
            draw_small(shown, folder, [options["thumb"]], progress)
    elif "words" in options:
        with _named(file, folder, options["suffix"]):
            place_words(folder, options["words"])
    elif "convert" in options:
        next_picture = (lambda: None) if progress is None else (lambda: progress("picture", 0, None))
        convert(file, options["convert"], options["max_pixels"], options["pixels_left"], next_picture)
    else:
        with _named(file, folder, options.pop("suffix", "")) as document:
            parse(document, folder, **options, progress=progress)


@contextlib.contextmanager
def _named(file: Path, folder: Path, suffix: str) -> Iterator[Path]:
    """The file under a name with this ending: what a text is called says that it is one."""
    if not suffix:
        yield file
        return
    named = folder / f"document{suffix}"
    named.unlink(missing_ok=True)
    named.symlink_to(file.absolute())
    try:
        yield named
    finally:
        named.unlink(missing_ok=True)


def escape(text: str) -> str:
    """A text that may stand in XML."""
    return escape_xml(_NO_XML.sub(" ", text))


def _refuse(reason: str, status: int) -> int:
    sys.stderr.write(" ".join(reason.split())[:500])
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
