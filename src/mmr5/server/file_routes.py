"""``/v1/files``: documents that several questions share, their pages' pictures, and the example that comes with mmr5."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, File, Request, UploadFile
from fastapi.responses import FileResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field

from mmr5.server.document_reader import has_page, thumbnail_of
from mmr5.server.http_errors import WireError
from mmr5.server.json_body import kind_of
from mmr5.server.protocol import ErrorBody
from mmr5.server.rerank_routes import ERRORS, caller, gone
from mmr5.server.service import Service, while_wanted
from mmr5.server.store import storing
from mmr5.server.uploads import Upload, UploadService, is_pdf, not_held, shown_name

EXAMPLE = "harbour-report.pdf"
"""In the folder ``example`` of this package, with ``questions.json``; the same as in the repository's ``examples``."""

STORAGE: dict[int | str, dict[str, Any]] = {
    507: {"model": ErrorBody, "description": "The disk for uploads is full; see Retry-After."}
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "No such file or page, or not any more."}}


FORM = "multipart/form-data"


class HeldPage(BaseModel):
    """A page of a file."""

    page: int = Field(description="Counts from one.")
    thumbnail: str
    image: str


class PassedOver(BaseModel):
    """A page that could not be read."""

    page: int | None
    message: str


class HeldFile(BaseModel):
    """A file that the server holds and has read."""

    id: str = Field(description="For `file_ids` of `/v1/search`.")
    name: str
    n_pages: int
    pages: list[HeldPage]
    problems: list[PassedOver]


class HeldFiles(BaseModel):
    """Files in the order in which they were sent."""

    files: list[HeldFile]


class Example(BaseModel):
    """A document to try, and questions that it answers."""

    file: HeldFile
    questions: list[str]


class FormRoute(APIRoute):
    """A route that reads its form before FastAPI does, so that a disk without room for the files is named."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of a request."""
        validated = super().get_route_handler()

        async def handler(request: Request) -> Response:
            kind = kind_of(request.headers.get("content-type"))
            if kind and kind not in (FORM, "application/x-www-form-urlencoded"):
                message = f"the body is {kind[:80]}, and a form is read here: send files as {FORM} (curl -F files=@report.pdf)"
                raise WireError(415, message, reason="type")
            with storing():
                await request.form()
            return await validated(request)

        return handler


def add(app: FastAPI, service: Service, uploads: UploadService) -> None:
    """Add the routes."""
    forms = APIRouter(route_class=FormRoute)

    async def described(request: Request, files: Sequence[Upload]) -> list[HeldFile]:
        work = _described(uploads, files, caller(request).client)
        return await while_wanted(work, gone(request), service.settings.deadline_s)

    async def drawn(request: Request, name: str, page: int, draw: Callable[..., Coroutine[Any, Any, Path]]) -> FileResponse:
        folder, who = _page_folder(uploads, name, page), caller(request)
        async with uploads.holding([Upload(name, name)]):
            work = draw(folder, page - 1, uploads.store.shown(name, who.owner), who.client)
            return picture_response(await while_wanted(work, gone(request), service.settings.deadline_s))

    @forms.post("/v1/files", summary="Send documents for several questions", responses={**ERRORS, **STORAGE})
    async def send(
        request: Request, files: Annotated[list[UploadFile], File(description="Documents of any kind that is read.")]
    ) -> HeldFiles:
        """Keep and read documents; their ids go to `/v1/search` as `file_ids`."""
        request.state.log = {"files": len(files)}
        return HeldFiles(files=await described(request, await uploads.take(files, (), caller(request).owner)))

    @app.get("/v1/files/{name}", summary="A document that was sent", responses={**NOT_FOUND, 422: ERRORS[422]})
    async def held(request: Request, name: str) -> HeldFile:
        return (await described(request, await uploads.take([], [name], caller(request).owner)))[0]

    @app.get("/v1/example", summary="A document to try", responses={422: ERRORS[422], **STORAGE})
    async def example(request: Request) -> Example:
        """The document that comes with mmr5, read and ready for `/v1/search`, and questions to try on it."""
        upload, questions = await asyncio.to_thread(_example, uploads, caller(request).owner)
        return Example(file=(await described(request, [upload]))[0], questions=questions)

    @app.get(
        "/v1/files/{name}/original",
        summary="A PDF as it was sent",
        response_class=FileResponse,
        responses={**NOT_FOUND, 422: ERRORS[422]},
    )
    async def original(request: Request, name: str) -> FileResponse:
        """A PDF, for a browser to open at a page (`#page=N`)."""
        folder = uploads.store.folder(name)
        if folder is None or not await asyncio.to_thread(is_pdf, uploads.original(name)):
            raise not_held()
        headers = {"Cache-Control": "private, max-age=3600"}
        shown = shown_name(uploads.store.shown(name, caller(request).owner), set())
        kind = "application/pdf"
        return FileResponse(
            uploads.original(name), media_type=kind, headers=headers, filename=shown, content_disposition_type="inline"
        )

    @app.get(
        "/v1/files/{name}/pages/{page}/thumbnail",
        summary="A small picture of a page",
        response_class=FileResponse,
        responses={**NOT_FOUND, 422: ERRORS[422], **STORAGE},
    )
    async def thumbnail(request: Request, name: str, page: int) -> FileResponse:
        """The picture of an uploaded page; `page` counts from one."""
        return await drawn(request, name, page, uploads.parser.thumbnail)

    @app.get(
        "/v1/files/{name}/pages/{page}/image",
        summary="A picture of a page to be read by people",
        response_class=FileResponse,
        responses={**NOT_FOUND, 422: ERRORS[422], **STORAGE},
    )
    async def image(request: Request, name: str, page: int) -> FileResponse:
        """The picture of an uploaded page, drawn when it is first asked for; `page` counts from one."""
        return await drawn(request, name, page, uploads.parser.picture)

    app.include_router(forms)


async def _described(uploads: UploadService, files: Sequence[Upload], client: str) -> list[HeldFile]:
    async with uploads.holding(files):
        pages, problems = await uploads.pages(files, client)
    return [
        HeldFile(
            id=upload.id,
            name=upload.source,
            n_pages=sum(page.source == upload.source for page in pages),
            pages=[
                HeldPage(page=page.number, **uploads.pictures(upload.id, page.number))
                for page in pages
                if page.source == upload.source
            ],
            problems=[PassedOver(page=p.page, message=p.message) for p in problems if p.source == upload.source],
        )
        for upload in files
    ]


def _example(uploads: UploadService, owner: str) -> tuple[Upload, list[str]]:
    folder = resources.files("mmr5.server") / "example"
    questions = [entry["question"] for entry in json.loads((folder / "questions.json").read_text(encoding="utf-8"))]
    with (folder / EXAMPLE).open("rb") as stream:
        return Upload(uploads.store.add(stream, EXAMPLE, owner), EXAMPLE), questions


def _page_folder(uploads: UploadService, name: str, page: int) -> Path:
    """The folder of an entry that has this page.

    Raises:
        WireError: 404.
    """
    folder = uploads.store.folder(name)
    if folder is None or not 1 <= page <= 10**6 or not (thumbnail_of(folder, page - 1) or has_page(folder, page)):
        raise not_held()
    return folder


def picture_response(path: Path) -> FileResponse:
    """A page's picture as it is sent.

    Raises:
        WireError: 404 where there is none.
    """
    if not path.is_file():
        raise WireError(404, "there is no such page in the store, or not any more: send the file again", reason="not_found")
    kind = "image/svg+xml" if path.suffix == ".svg" else "image/jpeg"
    headers = {"Cache-Control": "private, max-age=3600", "Content-Security-Policy": "default-src 'none'"}
    return FileResponse(path, media_type=kind, headers=headers)
