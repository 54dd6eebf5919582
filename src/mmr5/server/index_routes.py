"""``/v1/indexes``: the stored collections that this server searches, and the pictures of their pages."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from mmr5.server.collections import Collections
from mmr5.server.file_routes import NOT_FOUND, STORAGE, picture_response
from mmr5.server.rerank_routes import ERRORS, caller, gone
from mmr5.server.service import Service, while_wanted
from mmr5.server.uploads import shown_name


class ServedIndex(BaseModel):
    """A stored collection."""

    name: str = Field(description="For `index` of `/v1/search`.")
    documents: int
    pages: int
    retriever: str = Field(description="The first stage that it was made for.")


class ServedIndexes(BaseModel):
    """All of them, in the order in which the server was given them."""

    indexes: list[ServedIndex]


def add(app: FastAPI, service: Service, collections: Collections) -> None:
    """Add the routes."""

    @app.get("/v1/indexes", summary="The stored collections that can be searched")
    async def indexes() -> ServedIndexes:
        return ServedIndexes(indexes=await asyncio.to_thread(_described, collections))

    base = "/v1/indexes/{name}/documents/{key}"

    async def drawn(request: Request, name: str, key: str, page: int, *, small: bool) -> FileResponse:
        work = collections.picture(name, key, page, caller(request).client, small=small)
        return picture_response(await while_wanted(work, gone(request), service.settings.deadline_s))

    @app.get(
        base + "/pages/{page}/thumbnail",
        summary="A small picture of a page of an index",
        response_class=FileResponse,
        responses={**NOT_FOUND, 422: ERRORS[422], **STORAGE},
    )
    async def thumbnail(request: Request, name: str, key: str, page: int) -> FileResponse:
        """The picture of a stored page; `page` counts from one."""
        return await drawn(request, name, key, page, small=True)

    @app.get(
        base + "/pages/{page}/image",
        summary="A picture of a page of an index to be read by people",
        response_class=FileResponse,
        responses={**NOT_FOUND, 422: ERRORS[422], **STORAGE},
    )
    async def image(request: Request, name: str, key: str, page: int) -> FileResponse:
        """The picture of a stored page, drawn when it is first asked for; `page` counts from one."""
        return await drawn(request, name, key, page, small=False)

    @app.get(
        base + "/original",
        summary="A PDF of an index",
        response_class=FileResponse,
        responses={**NOT_FOUND, 422: ERRORS[422], **STORAGE},
    )
    async def original(name: str, key: str) -> FileResponse:
        """A PDF, for a browser to open at a page (`#page=N`)."""
        file, source = await collections.original(name, key)
        headers = {"Cache-Control": "private, max-age=3600"}
        shown = shown_name(source, set())
        return FileResponse(
            file, media_type="application/pdf", headers=headers, filename=shown, content_disposition_type="inline"
        )


def _described(collections: Collections) -> list[ServedIndex]:
    found = []
    for name in collections.searchers:
        at = collections.index(name).snapshot()
        found.append(ServedIndex(name=name, documents=len(at.documents), pages=at.n_pages, retriever=at.retriever))
    return found
