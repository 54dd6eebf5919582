"""``mmr5 mcp``: tools for agents, over the Model Context Protocol."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmr5.cli import options
from mmr5.cli.console import note
from mmr5.cli.flags import flags
from mmr5.errors import ConfigError
from mmr5.settings import ModelSettings, ReadingSettings, SearchSettings

Transport = Literal["stdio", "http"]


@flags
def mcp(
    model: ModelSettings,
    search: SearchSettings,
    reading: ReadingSettings,
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders whose documents may be read.", show_default=False)] = None,
    index: Annotated[
        list[str] | None, typer.Option(help="Index that may be searched, as NAME=FOLDER or FOLDER; may be repeated.")
    ] = None,
    transport: Annotated[Transport, typer.Option(help="stdio, for a client that starts it; http, streamable.")] = "stdio",
    host: Annotated[str, typer.Option(help="With http: address of this machine to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="With http: port to listen on.")] = 8001,
    debug: options.Debug = False,
) -> None:
    """Serve agents: search_pages, rerank_pages, get_page and list_documents over the Model Context Protocol.

    For example, as the command of an agent's configuration:

    mmr5 mcp ~/documents
    """
    del debug
    from mmr5.cli.serve import is_loopback
    from mmr5.pipeline import Searcher
    from mmr5.reranker import Reranker
    from mmr5.retrieval import check_retriever
    from mmr5.server.collections import open_searchers
    from mmr5.server.mcp_server import make_server
    from mmr5.server.mcp_tools import PageTools
    from mmr5.watching import silence

    if transport == "http" and not is_loopback(host):
        raise ConfigError(
            f"host is {host!r}, which others can reach: listen on 127.0.0.1, and put a proxy that asks for a key before it"
        )
    check_retriever(search.retriever)
    if not folders and not index:
        raise typer.BadParameter("name a folder whose documents may be read, or an --index", param_hint="FOLDERS")
    silence()  # stdout is the protocol's
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    reranker = Reranker.from_settings(model)
    searcher = Searcher(reranker, search.retriever, candidates=search.candidates, fusion=search.fusion)
    found = open_searchers(index or (), reranker, candidates=search.candidates, fusion=search.fusion)
    server = make_server(PageTools(searcher, folders or (), reading, found))
    names = ", ".join([*map(str, folders or ()), *found])
    if transport == "stdio":
        note(f"mmr5 serves {reranker.model} over {names} to an agent, on standard input and output")
        server.run("stdio")
    else:
        note(f"mmr5 serves {reranker.model} over {names} to agents on http://{host}:{port}/mcp")
        server.run("streamable-http", host=host, port=port)
