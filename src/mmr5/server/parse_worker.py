"""The process that opens uploads: ``python -m mmr5.server.parse_worker FILE FOLDER '{"max_pages": …}'``.

It may run out of memory or time, or be killed by what it opens, and the server goes on. It writes into FOLDER what
:mod:`mmr5.server.store` describes, ``pages.json`` last; with ``{"view": k}`` only the picture of page k for people. A line on
stdout is its progress, ``{"part": …, "done": …, "total": …}``; its one line on stderr is the reason of a refusal.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmr5.errors import DocumentError, MMR5Error, PageError
from mmr5.types import Page, Problem, Progress

REFUSED = 3
"""Exit status for a file that cannot be used; stderr says why."""
THUMB_PIXELS = 90_000
VIEW_PIXELS = 1_600_000
QUALITY = 82
PARTS = frozenset({"ocr", "pictures"})


def limit_self(memory_bytes: int, seconds: float) -> None:
    """Bound this process' address space and processor time, and forbid core dumps, where the system can."""
    try:
        import resource
    except ImportError:
        return
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_CPU: max(1, int(seconds)) * (os.cpu_count() or 1),
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def parse(file: Path, folder: Path, *, max_pages: int, page_pixels: int, ocr: str, progress: Progress | None = None) -> int:
    """Read a file to pages on disk.

    Args:
        file: a PDF or an image.
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

    _refuse_many_pages(file, max_pages)
    problems: list[Problem] = []
    pages = read_pages(file, ocr=ocr, on_problem=problems.append, progress=progress)  # type: ignore[arg-type]
    records: list[dict[str, Any]] = []
    for done, page in enumerate(pages):
        if progress is not None:
            progress("pictures", done, len(pages))
        try:
            _write_pictures(page, folder, page_pixels)
        except PageError as error:
            problems.append(Problem(page.source, page.number, str(error)))
            continue
        records.append({"number": page.number, "text": page.text, "text_kind": page.text_kind})
    if not records:
        raise DocumentError("none of its pages can be shown: save it again")
    report = {
        "made_for": {"page_pixels": page_pixels, "ocr": ocr},
        "pages": records,
        "problems": [{"page": p.page, "message": p.message} for p in problems],
    }
    draft = folder / "pages.json.part"
    draft.write_text(json.dumps(report))
    draft.replace(folder / "pages.json")
    return len(records)


def draw(file: Path, folder: Path, index: int) -> None:
    """Write the picture of one page for people, ``view-<index>.jpg``.

    Raises:
        MMR5Error: there is no such page, or it cannot be drawn.
    """
    from mmr5.pages import ImageFile, PdfPageImage
    from mmr5.pages.files import StoredFile, known_kind

    stored = StoredFile.of(file)
    source = PdfPageImage(stored, index) if known_kind(file) == "pdf" else ImageFile(stored, index)
    draft = folder / f"view-{index}.{os.getpid()}.part"
    try:
        source.load(VIEW_PIXELS).save(draft, "JPEG", quality=QUALITY)
        draft.replace(folder / f"view-{index}.jpg")
    finally:
        draft.unlink(missing_ok=True)


def _refuse_many_pages(file: Path, max_pages: int) -> None:
    from mmr5.pages.files import known_kind
    from mmr5.pages.images import count_frames

    if known_kind(file) == "pdf":
        import pypdfium2 as pdfium

        try:
            document = pdfium.PdfDocument(file)
        except pdfium.PdfiumError:
            return
        with contextlib.closing(document):
            count = len(document)
    else:
        with file.open("rb") as stream:
            count = count_frames(stream)
    if count > max_pages:
        raise DocumentError(f"it has {count} pages, and at most {max_pages} are taken: send a part of it")


def _write_pictures(page: Page, folder: Path, page_pixels: int) -> None:
    if page.image is None:
        return
    picture = page.image.load(max(page_pixels, THUMB_PIXELS))
    if page_pixels:
        picture.save(folder / f"page-{page.number - 1}.jpg", "JPEG", quality=QUALITY)
    width, height = picture.size
    scale = min(1.0, (THUMB_PIXELS / (width * height)) ** 0.5)
    small = picture if scale == 1.0 else picture.resize((max(1, int(width * scale)), max(1, int(height * scale))))
    small.save(folder / f"thumb-{page.number - 1}.jpg", "JPEG", quality=QUALITY)


def _tell(part: str, done: int, total: int | None) -> None:
    if part in PARTS:
        sys.stdout.write(json.dumps({"part": part, "done": done, "total": total}) + "\n")
        sys.stdout.flush()


def main(arguments: Sequence[str]) -> int:
    """Run the worker; returns its exit status."""
    file, folder, options = Path(arguments[0]), Path(arguments[1]), json.loads(arguments[2])
    limit_self(options.pop("memory_bytes"), options.pop("seconds"))
    view = options.pop("view", None)
    try:
        if view is not None:
            draw(file, folder, view)
        else:
            parse(file, folder, **options, progress=_tell)
    except MMR5Error as error:
        reason = str(error).replace(str(file), "the file").replace(str(folder), "")
        sys.stderr.write(" ".join(reason.split())[:500])
        return REFUSED
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
