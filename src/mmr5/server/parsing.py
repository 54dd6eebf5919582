"""Uploads → pages, by a process that may die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.pages import DEFAULT_MAX_PIXELS, ImageFile
from mmr5.pages.files import StoredFile
from mmr5.server.parse_worker import REFUSED
from mmr5.server.problems import WireError
from mmr5.server.settings import ServerSettings
from mmr5.server.store import ORIGINAL
from mmr5.types import Page, Problem, View

_OUTPUT = 4096

Tell = Callable[[dict[str, Any]], None]
"""Told of progress: ``{"part": "ocr" or "pictures", "done": pages, "total": pages}``."""


@dataclass
class Parser:
    """Starts one parsing process an upload, a few at a time.

    Attributes:
        settings: time, memory and pages that an upload may take.
        view: pictures for the model are made unless it is ``text``.
        command: the process, without its arguments.
    """

    settings: ServerSettings
    view: View
    command: tuple[str, ...] = (sys.executable, "-m", "mmr5.server.parse_worker")

    def __post_init__(self) -> None:
        self._few = asyncio.Semaphore(2)
        self._locks: dict[str, asyncio.Lock] = {}

    async def pages(self, folder: Path, source: str, tell: Tell | None = None) -> tuple[list[Page], list[Problem]]:
        """The pages of a stored upload; what an earlier request derived from the same content is used again.

        Args:
            folder: the upload's folder in the store.
            source: the name under which its pages are shown.
            tell: told of progress.

        Raises:
            WireError: 422 when it cannot be read, also when the process died over it.
        """
        made_for = self._made_for()
        async with self._alone(folder.name):
            report = await asyncio.to_thread(_report, folder)
            if report is None or report["made_for"] != made_for:
                await self._run(folder, source, {"max_pages": self.settings.max_upload_pages, **made_for}, tell)
                report = await asyncio.to_thread(_report, folder)
            if report is None:
                raise WireError(
                    422, f"{source}: the process that reads uploads left nothing: send it again", reason="parser_died"
                )
            return await asyncio.to_thread(_load, report, folder, source)

    def _made_for(self) -> dict[str, Any]:
        """What the pages are needed for."""
        return {
            "page_pixels": 0 if self.view == "text" else DEFAULT_MAX_PIXELS,
            "ocr": "never" if self.view == "image" and self.settings.retriever == "none" else "auto",
        }

    async def picture(self, folder: Path, index: int, source: str) -> Path:
        """The picture of a page for people, drawn when it is first asked for.

        Args:
            folder: the upload's folder in the store.
            index: zero-based page.
            source: the name under which its pages are shown.

        Raises:
            WireError: 422 when it cannot be drawn.
        """
        path = folder / f"view-{index}.jpg"
        if not path.exists():
            async with self._alone(f"{folder.name}/{index}"):
                if not path.exists():
                    await self._run(folder, source, {"view": index})
        return path

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

    async def _run(self, folder: Path, source: str, options: dict[str, Any], tell: Tell | None = None) -> None:
        limits = self.settings
        bounds = {"memory_bytes": limits.parse_memory_bytes, "seconds": limits.parse_timeout_s}
        arguments = (str(folder / ORIGINAL), str(folder), json.dumps({**options, **bounds}))
        async with self._few:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                async with asyncio.timeout(limits.parse_timeout_s):
                    _, errors = await asyncio.gather(_follow(process.stdout, tell), _tail(process.stderr))
                    await process.wait()
            except TimeoutError:
                message = f"{source}: it could not be read within {limits.parse_timeout_s:g} s: send a part of it"
                raise WireError(422, message, reason="parse_timeout") from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        if process.returncode == REFUSED:
            raise WireError(422, f"{source}: {errors.decode('utf-8', 'replace')}", reason="document")
        if process.returncode != 0:
            raise WireError(422, f"{source}: the process that reads uploads died over it: save it again", reason="parser_died")


async def _follow(stream: asyncio.StreamReader, tell: Tell | None) -> None:
    """Pass the worker's progress on; what is no progress line is nothing to anyone."""
    rest = b""
    while piece := await stream.read(_OUTPUT):
        *lines, rest = (rest + piece).split(b"\n")
        rest = rest[-_OUTPUT:]
        for line in lines:
            with contextlib.suppress(ValueError):
                told = json.loads(line)
                if tell is not None and isinstance(told, dict):
                    tell({name: told.get(name) for name in ("part", "done", "total")})


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
        pages.append(Page(source, record["number"], record["text"], image, record["text_kind"]))
    return pages, [Problem(source, p["page"], p["message"]) for p in report["problems"]]
