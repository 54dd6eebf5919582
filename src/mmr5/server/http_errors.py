"""Errors on the wire: which status an error gets, and the shapes in which clients read it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmr5.errors import (
    CapabilityError,
    ConfigError,
    ContextLengthError,
    EngineError,
    InputError,
    MissingExtraError,
    MMR5Error,
    ReplyError,
)

TEI_TYPES = {401: "Unauthorized", 413: "Validation", 422: "Validation", 429: "Overloaded", 503: "Unhealthy", 504: "Backend"}
"""Names of TEI's error types by status."""

KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "request_too_large",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "overloaded_error",
    500: "server_error",
    501: "not_implemented_error",
    502: "backend_error",
    503: "unavailable_error",
    504: "timeout_error",
    507: "storage_error",
}
"""Names of our error types by status."""


MOST_ERRORS = 5
_FIELD = re.compile(r"[a-z][a-z0-9_]*")
"""A field's name; the validator's names for alternatives have capitals, brackets or hyphens."""
_ALTERNATIVES = frozenset({"str", "int", "float", "bool", "list", "dict", "none"})
"""The validator's names for alternatives of plain kinds."""
_WANTED = {
    "string_type": "a string", "list_type": "a list", "dict_type": "an object", "model_type": "an object",
    "model_attributes_type": "an object", "bool_type": "true or false", "int_type": "a whole number",
    "int_from_float": "a whole number", "float_type": "a number", "float_parsing": "a number", "int_parsing": "a whole number",
}  # fmt: skip
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"), "less_than_equal": ("at most", "le"), "greater_than": ("above", "gt"),
    "literal_error": ("one of", "expected"),
}  # fmt: skip


class WireError(Exception):
    """A refusal with its HTTP status.

    Args:
        status: 400 to 599.
        message: what happened, the value seen, the way out; never a document's content.
        retry_after: seconds after which another try may succeed, or None.
        reason: one word for the metrics.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None, reason: str = "invalid") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
        self.reason = reason


def error_body(status: int, message: str, *, tei: bool = False) -> dict[str, Any]:
    """The JSON body of an error.

    Args:
        status: the HTTP status.
        message: for people.
        tei: TEI's shape (``error`` is the message, ``error_type`` its kind); otherwise the message stands where the clients of
            Cohere (``message``), Voyage (``detail``) and OpenAI-like servers (``error.message``) look for it.
    """
    if tei:
        return {"error": message, "error_type": TEI_TYPES.get(status, "Validation" if status < 500 else "Backend")}
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"message": message, "detail": message, "error": {"message": message, "type": kind, "code": status}}


def in_words(errors: Sequence[Mapping[str, Any]]) -> str:
    """What a validator found, in the caller's words: ``documents[0].image: it is to be a string``.

    Of the alternatives of one field (a document is a string or an object) those count that got furthest into what was sent; the
    validator's own names for them are left out.
    """
    found: dict[str, dict[str, bool]] = {}
    for error in errors:
        where = _place(error["loc"])
        found.setdefault(where, {})[_said(error)] = error["type"].endswith("_type")
    ends = [place for place in found if not any(other.startswith((f"{place}.", f"{place}[")) for other in found)]
    lines = []
    for place in ends[:MOST_ERRORS]:
        said = [words for words, of_kind in found[place].items() if not of_kind] or list(found[place])
        lines.append(f"{place or 'body'}: {' or '.join(said)}")
    return "; ".join(lines)


def _place(location: Sequence[Any]) -> str:
    """A field's name as the caller would write it; names of the validator's own alternatives are left out."""
    where = ""
    for part in location[1:]:
        if isinstance(part, int):
            where += f"[{part}]"
        elif _FIELD.fullmatch(str(part)) and part not in _ALTERNATIVES:
            where += f"{'.' if where else ''}{str(part)[:40]}"
    return where


def _said(error: Mapping[str, Any]) -> str:
    kind, bounds = error["type"], error.get("ctx", {})
    if kind in _WANTED:
        return f"it is to be {_WANTED[kind]}"
    if kind == "missing":
        return "it is missing"
    if kind in _BOUNDS:
        word, name = _BOUNDS[kind]
        return f"it is to be {word} {bounds.get(name)}"
    return str(error["msg"]).removeprefix("Value error, ")


def status_for(status: int, *, voyage: bool) -> int:
    """The status that a client understands: Voyage's takes 400 for any request that cannot be used."""
    return 400 if voyage and status in (413, 422) else status


def error_headers(retry_after: int | None) -> dict[str, str]:
    """The headers that go with an error."""
    return {} if retry_after is None else {"Retry-After": str(retry_after)}


def disk_full() -> WireError:
    """The refusal when nothing more can be written."""
    message = "the disk or folder that keeps uploads is full: try again later, or ask its owner for space"
    return WireError(507, message, retry_after=60, reason="disk_full")


def from_error(error: MMR5Error) -> WireError:
    """The refusal for one of our own errors, raised while a request was worked on."""
    message = str(error)
    if isinstance(error, EngineError):
        if error.retryable:
            return WireError(503, f"the model's backend failed: {message}", retry_after=5, reason="backend")
        return WireError(502, f"the model's backend failed: {message}", reason="backend")
    if isinstance(error, ReplyError):
        return WireError(502, message, reason="reply")
    if isinstance(error, ContextLengthError):
        return WireError(400, message, reason="context")
    if isinstance(error, MissingExtraError):
        return WireError(501, message, reason="missing_extra")
    if isinstance(error, InputError | ConfigError | CapabilityError):
        return WireError(422, message)
    return WireError(500, "the server failed: see its log", reason="internal")
