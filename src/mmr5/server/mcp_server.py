"""The tools of :mod:`mmr5.server.mcp_tools` over the Model Context Protocol, by the official SDK."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field

from mmr5 import __version__
from mmr5.errors import MMR5Error, missing_extra
from mmr5.server.mcp_tools import PageTools

try:
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Image
    from mcp.server.mcpserver.exceptions import ToolError
    from mcp.types import ToolAnnotations
except ImportError as error:
    raise missing_extra("mcp", "mcp", "serve agents") from error

T = TypeVar("T")
INSTRUCTIONS = (
    "Finds the pages of local documents (PDFs, scans, office files, pictures) that answer a question, with a probability that "
    "each does, the passage that shows it, and the page's picture. Ask search_pages first; its 'answerable' says whether any "
    "page answers. Stored indexes (list_indexes) hold many documents: give search_pages and get_page their name. Then read a "
    "page with get_page. Pages are counted from one."
)
READ_ONLY = ToolAnnotations(read_only_hint=True, open_world_hint=False)

Question = Annotated[str, Field(description="The question, in any language.")]
Document = Annotated[str, Field(description="A document's name, as list_documents and search_pages give it.")]

IndexName = Annotated[str, Field(description="A stored index, as list_indexes names it; nothing takes the folders' documents.")]


class PageRef(BaseModel):
    """A page of a document, or a text of the caller's own."""

    document: Annotated[str | None, Field(description="Its document's name.")] = None
    page: Annotated[int | None, Field(ge=1, description="Counted from one.")] = None
    index: Annotated[str | None, Field(description="The stored index that the document is of.")] = None
    text: Annotated[str | None, Field(description="A text that stands for a page, instead of document and page.")] = None


def make_server(tools: PageTools) -> MCPServer[Any]:
    """The server; it reads, and changes nothing.

    Args:
        tools: what it offers.
    """
    server: MCPServer[Any] = MCPServer("mmr5", version=__version__, instructions=INSTRUCTIONS)

    @server.tool(annotations=READ_ONLY)
    async def list_documents(index: IndexName = "") -> list[str]:
        """Names of the documents that can be asked."""
        return await _run(tools.list_documents, index)

    @server.tool(annotations=READ_ONLY)
    async def list_indexes() -> list[dict[str, Any]]:
        """The stored indexes that can be searched, with how many documents and pages each has."""
        return await _run(tools.list_indexes)

    @server.tool(annotations=READ_ONLY)
    async def search_pages(
        question: Question,
        documents: Annotated[list[str] | None, Field(description="Documents or folders by name; nothing takes all.")] = None,
        top_n: Annotated[int, Field(ge=1, le=100, description="Most pages.")] = 5,
        min_relevance: Annotated[
            float | None, Field(ge=0, le=1, description="Leave out pages whose relevance, a probability, is below this.")
        ] = None,
        index: IndexName = "",
        where: Annotated[
            str,
            Field(description="Only documents and pages of the index for which this holds, e.g. year >= 2020 and kind = pdf."),
        ] = "",
    ) -> dict[str, Any]:
        """Find the pages that answer a question: document, page, relevance and evidence of each, and whether any answers."""
        return await _run(tools.search_pages, question, documents, top_n, min_relevance, index, where)

    @server.tool(annotations=READ_ONLY)
    async def rerank_pages(
        question: Question,
        pages: Annotated[
            list[PageRef | str], Field(description="Pages as {document, page}, or texts as {text} or strings.", min_length=1)
        ],
    ) -> dict[str, Any]:
        """Put exactly these pages in order, best first; `index` is the place in what was given."""
        given = [one if isinstance(one, str) else one.model_dump(exclude_none=True) for one in pages]
        return await _run(tools.rerank_pages, question, given)

    @server.tool(annotations=READ_ONLY, structured_output=False)
    async def get_page(
        document: Document,
        page: Annotated[int, Field(ge=1, description="Counted from one.")],
        question: Annotated[
            str, Field(description="Mark the evidence for this question; nothing marks that of the last search.")
        ] = "",
        index: IndexName = "",
    ) -> list[Any]:
        """A page's text, and its picture with the evidence marked."""
        text, picture = await _run(tools.get_page, document, page, question, index)
        return [text] if picture is None else [text, Image(data=picture, format="jpeg")]

    return server


async def _run(function: Callable[..., T], *arguments: Any) -> T:
    """Call a tool in a thread; our own errors reach the agent in their words."""
    try:
        return await asyncio.to_thread(function, *arguments)
    except MMR5Error as error:
        raise ToolError(str(error)) from error
