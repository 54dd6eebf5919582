"""JSON bodies: counted before they are parsed, parsed off the event loop, and checked for their lists before they are validated.

A few bytes of JSON can become many objects (``[1,1,1,…]``), and a validator may collect an error for each. So the values of a
body are counted while it is still bytes, and the first wrong item of a list ends the check.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from mmr5.server.http_errors import WireError
from mmr5.settings import ServerSettings

MAX_SIGNS = 100_000
"""Most brackets, braces, commas and colons outside of strings, and most strings, of a body."""
MAX_ESCAPES = 6_000_000
"""Most backslashes of a body: as many as 32 MiB of ``\\u0416`` have."""
MAX_NUMBER_CHARS = 1_000
"""Longest number of a body."""
MAX_PARTS = 1_000
"""Most parts of ``content`` of all documents of a request."""
INLINE_BYTES = 16 * 1024
"""A body up to this size is parsed in the event loop."""

_PAUSE_S = 0.005
_LISTS: dict[str, tuple[type, ...]] = {
    "texts": (str,),
    **dict.fromkeys(("queries", "text_1", "data_1"), (str,)),
    **dict.fromkeys(("documents", "items", "text_2", "data_2"), (str, dict)),
}
_STRUCTURE = bytes.maketrans(b"[]{}:", b",,,,,")
_NAMES = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


class BoundedRequest(Request):
    """A request whose JSON was parsed already."""

    parsed: Any = None

    async def json(self) -> Any:
        """The body."""
        return self.parsed


class JsonRoute(APIRoute):
    """A route that parses and checks its JSON body within bounds, before FastAPI validates it.

    ``app.state.service`` gives the settings and the thread that parses.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of a request."""
        validated = super().get_route_handler()

        async def handler(request: Request) -> Response:
            check_type(request.headers.get("content-type"))
            bounded = BoundedRequest(request.scope, request.receive)
            body, service = await bounded.body(), request.app.state.service
            bounded.parsed = await parse(body, service.json_pool)
            named = bounded.parsed if isinstance(bounded.parsed, dict) else {}
            request.state.tei, request.state.voyage = "texts" in named, "truncation" in named
            check_lists(bounded.parsed, service.settings)
            return await validated(bounded)

        return handler


def check_type(sent: str | None) -> None:
    """Refuse a body that says that it is no JSON; one that says nothing is read.

    Args:
        sent: the header ``Content-Type``.

    Raises:
        WireError: 415.
    """
    kind = kind_of(sent)
    if kind and kind != "application/json" and not kind.endswith("+json"):
        message = f"the body is {kind[:80]}, and JSON is read here: send it with Content-Type: application/json"
        raise WireError(415, message, reason="type")


def kind_of(sent: str | None) -> str:
    """The kind that a ``Content-Type`` names, in lower case and without parameters; "" without one."""
    return (sent or "").partition(";")[0].strip().lower()


async def parse(body: bytes, pool: Executor) -> Any:
    """The value of a JSON body; a large one is parsed by the pool.

    Raises:
        WireError: 400 for what is no JSON, 413 for too many signs of structure.
    """
    if len(body) <= INLINE_BYTES:
        return loads(body)
    return await asyncio.get_running_loop().run_in_executor(pool, loads, body)


def loads(body: bytes) -> Any:
    """The value of a JSON body.

    Raises:
        WireError: 400 for what is no JSON, 413 for more than :data:`MAX_SIGNS` signs of structure.
    """
    pause = _PAUSE_S if len(body) > INLINE_BYTES else 0.0
    _check_counts(body, pause)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # what stands there is not repeated: a document may
        at = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise WireError(400, f"the body is not JSON{at}: send an object with query and documents") from error


def _check_counts(body: bytes, pause: float) -> None:
    """Count values and measure numbers, outside of strings.

    Each step is one call that keeps other threads from running; between two of them they get time.

    Args:
        body: all of it.
        pause: how long to wait between steps, in seconds.

    Raises:
        WireError: 413 or 400.
    """
    message = f"the body's JSON has more than {MAX_SIGNS:,} brackets, commas and colons: send fewer values"
    too_many = WireError(413, message, reason="values")
    time.sleep(pause)
    if body.count(b"\\") > MAX_ESCAPES:
        raise WireError(413, f"the body's JSON has more than {MAX_ESCAPES:,} escapes: send plain UTF-8", reason="values")
    plain = body
    for escaped in (b"\\\\", b'\\"') if b"\\" in body else ():
        plain = plain.replace(escaped, b"..")
        time.sleep(pause)
    if plain.count(b'"') > 2 * MAX_SIGNS:
        raise too_many
    outside = b"".join(plain.split(b'"')[::2]).translate(_STRUCTURE, b" \t\r\n")
    time.sleep(pause)
    if outside.count(b",") > MAX_SIGNS:
        raise too_many
    if max(map(len, outside.split(b","))) > MAX_NUMBER_CHARS:
        raise WireError(400, f"the body holds a number of more than {MAX_NUMBER_CHARS:,} characters, or is not JSON")
    time.sleep(pause)


def check_lists(data: Any, settings: ServerSettings) -> None:
    """Check number, kind and length of what stands in the lists of a rerank request; everything else is the validator's.

    Raises:
        WireError: 413 or 422, naming the first wrong place.
    """
    if not isinstance(data, dict):
        raise WireError(422, f"the body is {_kind(data)}: send an object with query and documents")
    parts = 0
    for name, kinds in _LISTS.items():
        items = data.get(name)
        if isinstance(items, list):
            check_number(len(items), settings.max_documents)
            for index, item in enumerate(items):
                parts += _check_item(f"{name}[{index}]", item, kinds, settings)
                if parts > MAX_PARTS:
                    message = (
                        f"{name}[{index}]: with it there are {parts:,} parts, and at most {MAX_PARTS:,} are taken: send fewer"
                    )
                    raise WireError(413, message, reason="document")


def check_number(number: int, most: int) -> None:
    """Refuse an empty or overlong list of documents.

    Raises:
        WireError: 422 or 413.
    """
    if number == 0:
        raise WireError(422, "documents is empty: send at least one")
    if number > most:
        raise WireError(413, f"{number} documents were sent, and at most {most} are taken: send fewer")


def _check_item(where: str, item: Any, kinds: tuple[type, ...], settings: ServerSettings) -> int:
    """Check a document; returns how many parts it has."""
    _check_kind(where, item, kinds)
    _check_length(where, item, settings)
    if not isinstance(item, dict):
        return 0
    for value in item.values():
        _check_length(where, value, settings)
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    for place, part in enumerate(parts[: MAX_PARTS + 1]):
        _check_kind(f"{where}.content[{place}]", part, (dict,))
        for value in part.values():
            _check_length(where, value, settings)
    return len(parts)


def _check_kind(where: str, item: Any, kinds: tuple[type, ...]) -> None:
    if not isinstance(item, kinds):
        wanted = " or ".join(_NAMES[kind] for kind in kinds)
        raise WireError(422, f"{where}: it is {_kind(item)}, and {wanted} was expected", reason="document")


def _check_length(where: str, value: Any, settings: ServerSettings) -> None:
    """Refuse a string, or the address in an ``image_url``, that is too long for a text and for a picture in base64."""
    value = value.get("url") if isinstance(value, dict) else value
    most = max(settings.max_document_chars, settings.max_fetch_bytes // 2 * 3)
    if isinstance(value, str) and len(value) > most:
        raise WireError(
            413, f"{where}: a string has {len(value):,} characters, and at most {most:,} are taken", reason="document"
        )


def _kind(value: Any) -> str:
    return _NAMES.get(type(value), "a number")
