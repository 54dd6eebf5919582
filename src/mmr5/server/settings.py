"""The knobs of the server, each declared once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path

from mmr5.errors import ConfigError

MEBI = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What the server accepts, how long it waits, and where it keeps uploads.

    Attributes:
        api_keys: keys of which a request must carry one as ``Authorization: Bearer``; none leaves the server open.
        hosts: when not empty, the only names, without port, that ``Host`` may carry; it keeps a web page that re-binds its own
            name to this machine out of a server that needs no key.
        max_body_bytes: most bytes of a JSON body.
        max_documents: most documents of a request.
        max_query_chars: most characters of a question.
        max_document_chars: most characters of a document's text.
        max_pixels: most pixels (width times height) of a picture; read from its header, before it is decoded.
        max_request_pixels: most pixels of all pictures of a request.
        max_held_bytes: most bytes of bodies and fetched pictures of all requests together; more get a 503.
        max_inflight: most requests that are worked on at once: read, waiting or being answered; more get a 429.
        queue_size: most requests that wait for the model; more get a 429.
        queue_wait_s: longest wait for the model in seconds; then a 503.
        deadline_s: longest time for a request's whole work, in seconds; then a 504.
        batch_requests: most requests that are ranked together.
        batch_pages: most pages that are ranked together; a larger single request is ranked alone.
        batch_wait_ms: how long the first request of a batch waits for company, in milliseconds.
        grace_s: how long a stopping server finishes what it has accepted, in seconds.
        allow_urls: whether documents may be http(s) addresses that the server fetches.
        url_hosts: when not empty, the only host names that are fetched from.
        fetch_timeout_s: longest time for one fetch with its redirects, in seconds.
        max_fetch_bytes: most bytes of a fetched picture.
        max_request_fetch_bytes: most bytes of all fetched pictures of a request.
        local_root: folder below which ``file://`` documents may lie; None refuses them all.
        max_upload_bytes: most bytes of a multipart upload, all files together.
        max_upload_files: most files of an upload.
        max_upload_pages: most pages of all files of an upload.
        parse_timeout_s: longest time to read an upload, in seconds.
        parse_page_s: longest processor time to draw a page or picture of an upload, or to read its text layer, in seconds.
        parse_memory_bytes: address space of the process that reads uploads.
        max_connections: most open connections; more are closed at once.
        head_timeout_s: longest time from a connection's opening, or from an answer, to the end of a request's head, in seconds.
        store_root: folder of the uploads; None makes a temporary one that is deleted when the server stops.
        store_bytes: most bytes of all uploads together, with what was derived from them; the oldest go first.
        retriever: first stage of ``/v1/search``.
        candidates: pages that the first stage hands to the model.
    """

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    hosts: tuple[str, ...] = ()
    max_body_bytes: int = 32 * MEBI
    max_documents: int = 100
    max_query_chars: int = 8_000
    max_document_chars: int = 200_000
    max_pixels: int = 40_000_000
    max_request_pixels: int = 500_000_000
    max_held_bytes: int = 256 * MEBI
    max_inflight: int = 64
    queue_size: int = 32
    queue_wait_s: float = 30.0
    deadline_s: float = 120.0
    batch_requests: int = 8
    batch_pages: int = 64
    batch_wait_ms: float = 5.0
    grace_s: float = 30.0
    allow_urls: bool = False
    url_hosts: tuple[str, ...] = ()
    fetch_timeout_s: float = 10.0
    max_fetch_bytes: int = 16 * MEBI
    max_request_fetch_bytes: int = 64 * MEBI
    local_root: Path | None = None
    max_upload_bytes: int = 64 * MEBI
    max_upload_files: int = 8
    max_upload_pages: int = 500
    parse_timeout_s: float = 120.0
    parse_page_s: float = 5.0
    parse_memory_bytes: int = 3072 * MEBI
    max_connections: int = 512
    head_timeout_s: float = 10.0
    store_root: Path | None = None
    store_bytes: int = 1024 * MEBI
    retriever: str = "hybrid"
    candidates: int = 10

    def __post_init__(self) -> None:
        for knob in fields(self):
            value = getattr(self, knob.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            if value < 0 or (value == 0 and knob.name != "batch_wait_ms"):
                raise ConfigError(f"{knob.name} is {value}: it must be more than 0")
        if any(not key for key in self.api_keys):
            raise ConfigError("an API key is empty: give at least one character, or no key at all")
