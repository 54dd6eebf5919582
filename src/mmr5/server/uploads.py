"""What was sent as a file: kept in the store, read by the parsing process, and shown by its pages' addresses."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import unicodedata
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import UploadFile

from mmr5.errors import InputError
from mmr5.server.document_reader import Parser, placed
from mmr5.server.http_errors import WireError
from mmr5.server.logs import log_event
from mmr5.server.store import ORIGINAL, Store
from mmr5.settings import ServerSettings
from mmr5.types import Candidates, Page, Problem

_NAME_CHARS = 120
_HEAD = 1024
"""Bytes in which a PDF names its kind."""

OnProgress = Callable[[str, dict[str, Any]], None]
"""Called with progress: the file's shown name, and what :data:`mmr5.server.document_reader.OnProgress` is called with."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in the store.

    Attributes:
        id: its sha256 in hex.
        source: the name under which its pages are shown, unlike that of any other file of the request.
    """

    id: str
    source: str


@dataclass(frozen=True, slots=True)
class UploadService:
    """Stores uploaded files and reads their pages.

    Attributes:
        settings: limits.
        store: where files are kept.
        parser: reads them.
    """

    settings: ServerSettings
    store: Store
    parser: Parser

    async def take(self, files: Sequence[UploadFile], ids: Sequence[str] = (), owner: str = "") -> list[Upload]:
        """Keep files, and look up those that are held already.

        Args:
            files: as they were sent.
            ids: of files in the store; repeated ones count once.
            owner: who asks; only its own names for files are shown.

        Raises:
            WireError: 413 for too many, 422 for none, 404 for an id that the store does not hold, 507 for a full disk.
        """
        known = list(dict.fromkeys(ids))
        count, most = len(files) + len(known), self.settings.max_upload_files
        if count == 0:
            raise WireError(422, "there is no file: send files, or file_ids of files that were sent before", reason="files")
        if count > most:
            raise WireError(413, f"{count} files were sent, and at most {most} are taken: send fewer", reason="files")
        taken: list[Upload] = []
        for file in files:
            source = shown_name(file.filename, {upload.source for upload in taken})
            taken.append(Upload(await asyncio.to_thread(self.store.add, file.file, source, owner), source))
        for name in known:
            if self.store.folder(name) is None:
                raise not_held()
            source = shown_name(self.store.shown(name, owner), {upload.source for upload in taken})
            taken.append(Upload(name, source))
        return taken

    @contextlib.asynccontextmanager
    async def holding(self, uploads: Sequence[Upload]) -> AsyncIterator[None]:
        """Keep entries from being deleted; the store is brought under its cap afterwards.

        Raises:
            WireError: 404 when one was deleted already.
        """
        with contextlib.ExitStack() as held:
            for upload in uploads:
                try:
                    held.enter_context(self.store.using(upload.id))
                except InputError as error:
                    raise not_held() from error
            try:
                yield
            finally:
                held.close()
                await asyncio.to_thread(self.store.trim)

    async def pages(
        self, uploads: Sequence[Upload], client: str, on_progress: OnProgress | None = None
    ) -> tuple[list[Page], list[Problem]]:
        """The pages of files that are held, in order, and what was passed over.

        Args:
            uploads: the files.
            client: who asks, for fairness.
            on_progress: called with progress.

        Raises:
            WireError: 422 for a file that cannot be read, 413 for too many pages in all.
        """
        pages: list[Page] = []
        problems: list[Problem] = []
        for upload in uploads:
            report = None if on_progress is None else functools.partial(on_progress, upload.source)
            read, passed_over = await self.parser.pages(self.store.root / upload.id, upload.source, client, report)
            pages += read
            problems += passed_over
            if len(pages) > self.settings.max_upload_pages:
                message = f"{len(pages)} pages were sent, and at most {self.settings.max_upload_pages} are taken: send fewer"
                raise WireError(413, message, reason="pages")
        return pages, problems

    async def placed(self, candidates: Candidates, ids: Mapping[str, str], client: str) -> Candidates:
        """Candidates whose pages know where their text stands; those of a file that is not placed stay as they are.

        Args:
            candidates: pages of files that are held and were read.
            ids: of the files, by the names under which their pages are shown.
            client: who asks, for fairness.
        """
        wanted: dict[str, list[int]] = {}
        for page in candidates.pages:
            wanted.setdefault(page.source, []).append(page.number - 1)
        for source, indices in wanted.items():
            try:
                await self.parser.words(self.store.root / ids[source], indices, source, client)
            except WireError as error:  # the answer stands without boxes
                log_event("words_not_placed", logging.WARNING, source=source, why=error.message)
        found = [(page, self.store.root / ids[page.source]) for page in candidates.pages]
        pages = await asyncio.to_thread(lambda: tuple(placed(page, folder) for page, folder in found))
        return dataclasses.replace(candidates, pages=pages)

    def addresses(self, name: str, page: int) -> dict[str, str | None]:
        """Where a page is shown: :meth:`pictures`, and ``document``, the whole PDF opened at the page; None for other kinds."""
        root = self.settings.root_path
        original = f"{root}/v1/files/{name}/original#page={page}" if is_pdf(self.original(name)) else None
        return {**self.pictures(name, page), "document": original}

    def original(self, name: str) -> Path:
        """The file of an entry, as it was sent."""
        return self.store.root / name / ORIGINAL

    def pictures(self, name: str, page: int) -> dict[str, str]:
        """Where a page is shown: ``thumbnail`` and ``image``; ``page`` counts from one."""
        base = f"{self.settings.root_path}/v1/files/{name}/pages/{page}"
        return {"thumbnail": f"{base}/thumbnail", "image": f"{base}/image"}


def is_pdf(file: Path) -> bool:
    """Whether a file says of itself that it is a PDF."""
    try:
        with file.open("rb") as stream:
            return b"%PDF-" in stream.read(_HEAD)
    except OSError:
        return False


def not_held() -> WireError:
    """The refusal for a file or page that the store does not hold."""
    return WireError(404, "the store does not hold this, or not any more: send the file again", reason="not_found")


def shown_name(filename: str | None, taken: set[str]) -> str:
    """A file's name without folders and unprintable characters, short, and unlike those that are taken."""
    last = (filename or "").replace("\\", "/").rpartition("/")[2]
    kept = "".join(c for c in unicodedata.normalize("NFC", last) if c.isprintable())[-_NAME_CHARS:].strip() or "upload"
    name, number = kept, 1
    while name in taken:
        number += 1
        name = f"{kept} ({number})"
    return name
