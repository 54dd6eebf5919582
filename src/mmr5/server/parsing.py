"""Uploads → pages, by a process that may die."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
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

    async def pages(self, folder: Path, source: str) -> tuple[list[Page], list[Problem]]:
        """The pages of a stored upload; what an earlier request derived from the same content is used again.

        Args:
            folder: the upload's folder in the store.
            source: the name under which its pages are shown.

        Raises:
            WireError: 422 when it cannot be read, also when the process died over it.
        """
        lock = self._locks.setdefault(folder.name, asyncio.Lock())
        try:
            async with lock:
                done = folder / "pages.json"
                if not done.exists():
                    async with self._few:
                        await self._run(folder, source)
                return await asyncio.to_thread(_load, folder, source)
        finally:
            if not lock.locked():
                self._locks.pop(folder.name, None)

    async def _run(self, folder: Path, source: str) -> None:
        limits = self.settings
        options = {
            "max_pages": limits.max_upload_pages,
            "page_pixels": 0 if self.view == "text" else DEFAULT_MAX_PIXELS,
            "ocr": "never" if self.view == "image" and limits.retriever == "none" else "auto",
            "memory_bytes": limits.parse_memory_bytes,
            "seconds": limits.parse_timeout_s,
        }
        process = await asyncio.create_subprocess_exec(
            *self.command,
            str(folder / ORIGINAL),
            str(folder),
            json.dumps(options),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(limits.parse_timeout_s):
                _, errors = await process.communicate()
        except TimeoutError:
            message = f"{source}: it could not be read within {limits.parse_timeout_s:g} s: send a part of it"
            raise WireError(422, message, reason="parse_timeout") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode == REFUSED:
            raise WireError(422, f"{source}: {errors[-_OUTPUT:].decode('utf-8', 'replace')}", reason="document")
        if process.returncode != 0:
            raise WireError(422, f"{source}: the process that reads uploads died over it: save it again", reason="parser_died")


def _load(folder: Path, source: str) -> tuple[list[Page], list[Problem]]:
    report: dict[str, Any] = json.loads((folder / "pages.json").read_text())
    pages = []
    for record in report["pages"]:
        picture = folder / f"page-{record['number'] - 1}.jpg"
        image = ImageFile(StoredFile.of(picture)) if picture.exists() else None
        pages.append(Page(source, record["number"], record["text"], image, record["text_kind"]))
    return pages, [Problem(source, p["page"], p["message"]) for p in report["problems"]]
