"""Errors on the wire: which status an error gets, and the shapes in which clients read it."""

from __future__ import annotations

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
        return WireError(413, message, reason="context")
    if isinstance(error, MissingExtraError):
        return WireError(501, message, reason="missing_extra")
    if isinstance(error, InputError | ConfigError | CapabilityError):
        return WireError(422, message)
    return WireError(500, "the server failed: see its log", reason="internal")
