"""Uploads and pictures → what a process that may die makes of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import logging
import os
import shutil
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5 import sandbox
from mmr5.pages import DEFAULT_MAX_PIXELS, ImageFile
from mmr5.pages.files import StoredFile
from mmr5.pages.word_boxes import WordBoxes
from mmr5.server.document_worker import FULL, REFUSED
from mmr5.server.fair_slots import FairSlots
from mmr5.server.http_errors import WireError, disk_full
from mmr5.server.logs import log_event
from mmr5.server.store import ORIGINAL, storing
from mmr5.settings import ServerSettings
from mmr5.types import Page, Problem, View

_OUTPUT = 4096
_SUFFIX = 12
WORKERS = 2
"""Processes that read documents at once; as many more draw and convert single pictures."""
SHARE = 1
"""How many of either one client holds at once."""

OnProgress = Callable[[dict[str, Any]], None]
"""Called with progress: ``{"part": "ocr" or "pictures", "done": pages, "total": pages}``."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What became of a picture.

    Attributes:
        data: it as a PNG; None where it cannot be used.
        pixels: width times height as it was sent; 0 where that is unknown.
        error: why it cannot be used.
    """

    data: bytes | None
    pixels: int
    error: str | None


@dataclass
class Parser:
    """Starts one process an upload, a few at a time; clients take turns.

    Attributes:
        settings: time, memory and pages that an upload may take.
        view: pictures for the model are made unless it is ``text``.
        command: the process, without its arguments.
    """

    settings: ServerSettings
    view: View
    command: tuple[str, ...] = (sys.executable, "-m", "mmr5.server.document_worker")

    def __post_init__(self) -> None:
        self._documents = FairSlots(WORKERS, SHARE)
        self._pictures = FairSlots(WORKERS, SHARE)
        self._open_network_logged = False
        self._locks: dict[str, asyncio.Lock] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def pages(
        self, folder: Path, source: str, client: str, on_progress: OnProgress | None = None
    ) -> tuple[list[Page], list[Problem]]:
        """The pages of a stored upload; what an earlier request derived from the same content is used again.

        Args:
            folder: the upload's folder in the store.
            source: the name under which its pages are shown.
            client: who asks, for fairness.
            on_progress: called with progress.

        Raises:
            WireError: 422 when it cannot be read, also when the process died over it; 507 for a full disk.
        """
        report = await asyncio.to_thread(_report, folder)
        if report is None or report["made_for"] != self._made_for():
            await self._until_read(folder, source, client, on_progress)
            report = await asyncio.to_thread(_report, folder)
        if report is None:
            raise WireError(422, f"{source}: the process that reads uploads left nothing: send it again", reason="parser_died")
        return await asyncio.to_thread(_load, report, folder, source)

    async def _until_read(self, folder: Path, source: str, client: str, on_progress: OnProgress | None) -> None:
        """Have an upload read, and wait for its text; its pictures may follow after that.

        Raises:
            WireError: it cannot be read.
        """
        read = asyncio.Event()

        async def work() -> None:
            async with self._alone(folder.name):
                report = await asyncio.to_thread(_report, folder)
                if report is None or report["made_for"] != self._made_for():
                    options = {"max_pages": self.settings.max_upload_pages, "suffix": _suffix(source), **self._made_for()}
                    async with self._documents.slot(client):
                        await self._run(folder / ORIGINAL, folder, source, options, on_progress, read.set)

        task, waiting = asyncio.create_task(work()), asyncio.create_task(read.wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            waiting.cancel()
        if read.is_set():
            task.add_done_callback(functools.partial(_pictures_ended, source))
        else:
            await task

    async def close(self) -> None:
        """End what is still being drawn."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def thumbnail(self, folder: Path, index: int, source: str, client: str) -> Path:
        """The small picture of a page, a drawing of its words where it is a text; drawn now where that was not done.

        Args:
            folder: the upload's folder in the store, read before.
            index: zero-based page.
            source: the name under which its pages are shown.
            client: who asks, for fairness.

        Raises:
            WireError: 422 when it cannot be drawn; 507 for a full disk.
        """
        found = thumbnail_of(folder, index)
        if found is None:
            async with self._alone(folder.name):  # whoever draws all of them may be at it
                found = thumbnail_of(folder, index)
                if found is None:
                    async with self._pictures.slot(client):
                        await self._run(folder / ORIGINAL, folder, source, {"thumb": index})
                    found = thumbnail_of(folder, index)
        return found or folder / f"thumb-{index}.jpg"

    def _made_for(self) -> dict[str, Any]:
        """What the pages are needed for."""
        return {
            "page_pixels": 0 if self.view == "text" else DEFAULT_MAX_PIXELS,
            "ocr": "never" if self.view == "image" and self.settings.retriever == "none" else "auto",
        }

    async def picture(self, folder: Path, index: int, source: str, client: str) -> Path:
        """The picture of a page for people, drawn when it is first asked for.

        Args:
            folder: the upload's folder in the store.
            index: zero-based page.
            source: the name under which its pages are shown.
            client: who asks, for fairness.

        Raises:
            WireError: 422 when it cannot be drawn; 507 for a full disk.
        """
        drawn = folder / f"view-{index}.svg"
        path = folder / f"view-{index}.jpg"
        if drawn.exists():
            return drawn
        if not path.exists():
            async with self._alone(f"{folder.name}/{index}"):
                if not path.exists():
                    async with self._pictures.slot(client):
                        await self._run(folder / ORIGINAL, folder, source, {"view": index})
        return path

    async def words(self, folder: Path, indices: Sequence[int], source: str, client: str) -> None:
        """Find where the words of pages stand, unless it is known (:func:`placed` then gives them).

        Args:
            folder: the upload's folder in the store, read before.
            indices: zero-based pages.
            source: the name under which its pages are shown.
            client: who asks, for fairness.

        Raises:
            WireError: 422 when the process died over it; 507 for a full disk.
        """
        async with self._alone(folder.name):
            missing = [index for index in indices if not (folder / f"words-{index}.json").exists()]
            if missing:
                async with self._pictures.slot(client):
                    await self._run(folder / ORIGINAL, folder, source, {"words": missing, "suffix": _suffix(source)})

    async def convert(self, root: Path, pictures: Sequence[bytes], client: str, pixels_left: int) -> list[Converted]:
        """Pictures of any known kind as PNGs, decoded by one process for all of them.

        Args:
            root: where a folder is made for them.
            pictures: encoded images.
            client: who asks, for fairness.
            pixels_left: most pixels of all together; pictures after the one that is too much have no result.

        Raises:
            WireError: 422 when the process died over them; 507 for a full disk.
        """
        options = {"convert": len(pictures), "max_pixels": self.settings.max_pixels, "pixels_left": pixels_left}
        async with self._pictures.slot(client), _temporary(root, "convert") as folder:
            await asyncio.to_thread(_write_pictures, folder, pictures)
            await self._run(folder, folder, "documents", options)
            return await asyncio.to_thread(_read_converted, folder)

    @contextlib.asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """One at a time of a name."""
        lock = self._locks.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked():
                self._locks.pop(name, None)

    async def _run(
        self,
        file: Path,
        folder: Path,
        source: str,
        options: dict[str, Any],
        on_progress: OnProgress | None = None,
        on_text: Callable[[], None] | None = None,
    ) -> None:
        """Run a process to its end; ``on_text`` is called once it has read the text.

        Raises:
            WireError: 422 or 507.
        """
        limits = self.settings
        bounds = {
            "memory_bytes": limits.parse_memory_bytes,
            "seconds": limits.parse_timeout_s,
            "page_seconds": limits.parse_page_s,
            "parent": os.getpid(),
        }
        arguments = (str(file), str(folder), json.dumps({**options, **bounds}))
        async with _temporary(folder.parent, "reading") as own:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=sandbox.environment(os.environ, own),
            )
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                async with asyncio.timeout(limits.parse_timeout_s):
                    _, errors = await asyncio.gather(self._follow(process.stdout, on_progress, on_text), _tail(process.stderr))
                    await process.wait()
            except TimeoutError:
                message = f"{source}: it could not be read within {limits.parse_timeout_s:g} s: send a part of it"
                raise WireError(422, message, reason="parse_timeout") from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        assert process.returncode is not None
        refusal = _refusal(process.returncode, source, errors.decode("utf-8", "replace"), limits.parse_page_s)
        if refusal is not None:
            raise refusal

    async def _follow(
        self, stream: asyncio.StreamReader, on_progress: OnProgress | None, on_text: Callable[[], None] | None
    ) -> None:
        """Pass the worker's progress on; a line that is no progress is left out."""
        rest = b""
        while piece := await stream.read(_OUTPUT):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-_OUTPUT:]
            for line in lines:
                with contextlib.suppress(ValueError):
                    self._report(json.loads(line), on_progress, on_text)

    def _report(self, line: Any, on_progress: OnProgress | None, on_text: Callable[[], None] | None = None) -> None:
        if not isinstance(line, dict):
            return
        if "text" in line:
            if on_text is not None:
                on_text()
            return
        if "isolated" in line:
            if line["isolated"] is False and not self._open_network_logged:
                self._open_network_logged = True
                log_event("reading_process_has_network", logging.WARNING, why="the system does not let it leave its namespace")
        elif on_progress is not None:
            on_progress({name: line.get(name) for name in ("part", "done", "total")})


def _pictures_ended(source: str, task: asyncio.Task[None]) -> None:
    """Say what kept the small pictures of an upload from being drawn, once its text was read."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log_event("pictures_not_drawn", logging.WARNING, source=source, why=str(error))


def thumbnail_of(folder: Path, index: int) -> Path | None:
    """The small picture of a page, or None where there is none yet."""
    return next((path for suffix in ("svg", "jpg") if (path := folder / f"thumb-{index}.{suffix}").is_file()), None)


def has_page(folder: Path, page: int) -> bool:
    """Whether an upload that was read has a page; they count from one."""
    report = _report(folder)
    return report is not None and any(record["number"] == page for record in report["pages"])


def _suffix(source: str) -> str:
    """What a file's name claims that it is, e.g. ``.md``."""
    suffix = Path(source).suffix.lower()
    return suffix if suffix[1:].isascii() and suffix[1:].isalnum() and len(suffix) < _SUFFIX else ""


def _refusal(status: int, source: str, errors: str, page_seconds: float) -> WireError | None:
    """What a process' exit status says about the file; None for success."""
    if status == 0:
        return None
    if status == REFUSED:
        return WireError(422, f"{source}: {errors}", reason="document")
    if status == FULL:
        return disk_full()
    if status in {-signal.SIGPROF, -signal.SIGXCPU}:
        message = (
            f"{source}: a page takes more than {page_seconds:g} s of processor time: send it without that page, or as a picture"
        )
        return WireError(422, message, reason="parse_cpu")
    return WireError(422, f"{source}: the process that reads uploads died over it: save it again", reason="parser_died")


@contextlib.asynccontextmanager
async def _temporary(root: Path, purpose: str) -> AsyncIterator[Path]:
    """A folder that is deleted afterwards.

    Raises:
        WireError: 507, the disk is full.
    """
    folder = root / f"{purpose}-{uuid.uuid4().hex}"
    with storing():
        await asyncio.to_thread(folder.mkdir, mode=0o700)
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _write_pictures(folder: Path, pictures: Sequence[bytes]) -> None:
    with storing():
        for place, data in enumerate(pictures):
            (folder / f"picture-{place}").write_bytes(data)


def _read_converted(folder: Path) -> list[Converted]:
    """What the worker made of the pictures, up to the one that was too much."""
    report = json.loads((folder / "converted.json").read_text())
    found = []
    for place, entry in enumerate(report):
        made = folder / f"picture-{place}.png"
        found.append(Converted(made.read_bytes() if made.exists() else None, entry["pixels"], entry["error"]))
    return found


def placed(page: Page, folder: Path) -> Page:
    """The page with the places of its words, where they were found (:meth:`Parser.words`)."""
    try:
        found = json.loads((folder / f"words-{page.number - 1}.json").read_text())
    except FileNotFoundError:
        return page
    return dataclasses.replace(page, boxes=WordBoxes(tuple((start, end, tuple(box)) for start, end, box in found)))


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """The last bytes of a stream, whatever its length."""
    end = b""
    while piece := await stream.read(_OUTPUT):
        end = (end + piece)[-_OUTPUT:]
    return end


def _report(folder: Path) -> dict[str, Any] | None:
    """What the worker wrote last, or None when it did not come to its end."""
    try:
        report: dict[str, Any] = json.loads((folder / "pages.json").read_text())
    except FileNotFoundError:
        return None
    return report


def _load(report: dict[str, Any], folder: Path, source: str) -> tuple[list[Page], list[Problem]]:
    pages = []
    for record in report["pages"]:
        picture = folder / f"page-{record['number'] - 1}.jpg"
        image = ImageFile(StoredFile.of(picture)) if picture.exists() else None
        size = tuple(record["size"]) if record.get("size") else None
        kind, label, spoken = (record.get(name) for name in ("text_kind", "label", "language"))
        spans = tuple((start, end) for start, end in record.get("ocr_spans", ()))
        pages.append(Page(source, record["number"], record["text"], image, kind, label, spoken, size, ocr_spans=spans))
    return pages, [Problem(source, p["page"], p["message"]) for p in report["problems"]]
