"""``mmr5 serve``: the rerank server."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmr5.cli import options
from mmr5.cli.console import note, progress_line
from mmr5.cli.flags import flags
from mmr5.errors import ConfigError, MMR5Error, missing_extra
from mmr5.settings import ModelSettings, ServerSettings

if TYPE_CHECKING:
    from fastapi import FastAPI


KEYS_VARIABLE = "MMR5_API_KEYS"
"""Environment variable with API keys, separated by commas."""

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")


@flags
def serve(
    model: ModelSettings,
    server: ServerSettings,
    host: Annotated[str, typer.Option(help="Address to listen on; beyond this machine it needs an API key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option(help=f"File with one API key a line; {KEYS_VARIABLE} adds keys, separated by commas.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond this machine without an API key.")] = False,
    debug: options.Debug = False,
) -> None:
    """Serve POST /rerank, /v1/rerank, /v2/rerank and /v1/search over HTTP.

    For example:

    mmr5 serve --model mini --port 8000
    """
    del debug
    try:
        import python_multipart  # noqa: F401 - FastAPI asks for it only when it reads an upload
        import uvicorn  # noqa: F401 - it is needed once everything else is known to be right

        from mmr5.server.app import create_app
        from mmr5.server.logs import log_to_stderr
    except ImportError as error:
        raise missing_extra(error.name or "fastapi", "server", "serve over HTTP") from error
    from mmr5.errors import ConfigError
    from mmr5.models.resolve import NONE
    from mmr5.reranker import Reranker
    from mmr5.retrieval import check_retriever

    check_retriever(server.retriever)
    if model.model == NONE:
        raise ConfigError("model 'none' is the first stage alone, and a server ranks what it is sent: name a model")
    keys = read_keys(api_key_file, os.environ.get(KEYS_VARIABLE, ""))
    check_exposure(host, keys=bool(keys), insecure=insecure)
    hosts = () if not is_loopback(host) else LOOPBACK_NAMES if host in LOOPBACK_NAMES else (*LOOPBACK_NAMES, host)
    settings = dataclasses.replace(server, api_keys=keys, hosts=hosts)
    listening = open_port(host, port)

    def build() -> FastAPI:
        with progress_line() as progress:
            reranker = Reranker.from_settings(model, progress=progress)
        return create_app(reranker, settings)

    log_to_stderr()
    run(build, listening, settings)


def open_port(host: str, port: int) -> socket.socket:
    """A socket that is bound and not listened on yet, so that a port that cannot be had is said before anything is loaded.

    Raises:
        MMR5Error: the address or port cannot be had.
    """
    listening: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        if listening is not None:
            listening.close()
        reason = error.strerror or str(error)
        raise MMR5Error(f"cannot listen on {_shown(host)}:{port} ({reason}): choose another --port or --host") from error
    return listening


def run(build: Callable[[], FastAPI], listening: socket.socket, settings: ServerSettings) -> None:
    """Serve on a bound socket until a signal comes; the application is built meanwhile.

    Args:
        build: loads the model and gives the application.
        listening: from :func:`open_port`.
        settings: limits and times.

    Raises:
        Exception: what ``build`` raised.
    """
    import uvicorn

    from mmr5.server.startup import LoadingApp

    host, port = listening.getsockname()[:2]

    def ready(app: FastAPI) -> None:
        reranker = app.state.service.reranker
        note(f"mmr5 serves {reranker.model} ({reranker.method}) on http://{_shown(host)}:{port}; stop it with Ctrl-C")

    def stop() -> None:
        server.should_exit = True

    app = LoadingApp(build, on_ready=ready, on_failure=stop)
    server = uvicorn.Server(uvicorn.Config(app, **uvicorn_options(settings)))  # type: ignore[arg-type]
    note(f"mmr5 loads its model; http://{_shown(host)}:{port}/ready says when it is done")
    server.run(sockets=[listening])
    if app.error is not None:
        raise app.error


def read_keys(file: Path | None, variable: str) -> tuple[str, ...]:
    """The API keys of a file (one a line, ``#`` begins a comment line) and of the environment (separated by commas).

    Raises:
        ConfigError: the file cannot be read or holds no key.
    """
    keys = [key.strip() for key in variable.split(",")]
    if file is not None:
        try:
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the API keys in {file} cannot be read ({error}): give a text file with one key a line") from error
        found = [line for line in lines if line and not line.startswith("#")]
        if not found:
            raise ConfigError(f"{file} holds no API key: give one a line, or leave the flag out")
        keys += found
    return tuple(dict.fromkeys(key for key in keys if key))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(host: str, *, keys: bool, insecure: bool) -> None:
    """Refuse to listen beyond this machine without a key, unless that is asked for.

    Raises:
        ConfigError: it would.
    """
    if not is_loopback(host) and not keys and not insecure:
        raise ConfigError(
            f"host is {host!r}, which others can reach, and there is no API key: set {KEYS_VARIABLE}, "
            "give --api-key-file, or accept it with --insecure"
        )


def uvicorn_options(settings: ServerSettings) -> dict[str, object]:
    """How uvicorn runs the application: no access log of its own, no version in its headers, bounded connections."""
    from mmr5.server.connections import MAX_HEAD_BYTES, protocol

    return {
        "http": protocol(settings),
        "ws": "none",
        "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
        "access_log": False,
        "server_header": False,
        "log_level": "warning",
        "log_config": None,
        "timeout_keep_alive": 30,
        "timeout_graceful_shutdown": int(settings.grace_s) + 1,
    }


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
