"""Every setting, declared once: a field of a dataclass with its default, bounds, unit and help.

Flags (:mod:`mmr5.cli.flags`), TOML keys, recipes, provenance and the server's settings are read off these fields. A setting that
stands in two dataclasses is declared in one and taken over by :func:`same`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mmr5.errors import ConfigError
from mmr5.prompt import LETTERS, OWN, Ids, Wording
from mmr5.types import View

Method = Literal["auto", "reason", "direct", "logits", "pointwise", "likelihood", "cross-encoder", "late-interaction"]
EngineName = Literal["transformers", "openai", "vllm", "scripted", "cross-encoder"]
ViewOrAuto = Literal["auto", "image", "text", "both"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Ocr = Literal["auto", "never", "always"]
PageText = Literal["ocr", "vlm"]
Level = Literal["page", "layout"]

ENGINES: tuple[str, ...] = get_args(EngineName)
Quantize = Literal["none", "8bit", "4bit"]
DTYPES: tuple[str, ...] = get_args(Dtype)
LEVELS: tuple[str, ...] = get_args(Level)


@dataclass(frozen=True, slots=True)
class Knob:
    """What is known of a setting beside its type and default.

    Attributes:
        help: one or two sentences for ``--help`` and the docs; "Most", "Share of" and the like say what it counts.
        low: least value, or None.
        high: greatest value, or None.
        above: the value must be greater than this, or None.
        flag: name of its flag without the dashes; None takes the field's name, ``""`` gives it none.
        unit: one of the flag's units in the field's unit, e.g. 2**20 for a flag in MiB over a field in bytes.
        shown: how the default is worded where the field's own is None.
        argument: it is a positional argument of commands, no flag.
    """

    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    flag: str | None = None
    unit: int = 1
    shown: str | None = None
    argument: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse a number outside the bounds.

        Raises:
            ConfigError: it is outside.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        for bound, wrong, words in (
            (self.low, self.low is not None and value < self.low, "at least"),
            (self.high, self.high is not None and value > self.high, "at most"),
            (self.above, self.above is not None and value <= self.above, "more than"),
        ):
            if wrong or value != value:
                raise ConfigError(f"{name} is {value}: give {words} {bound}" if wrong else f"{name} is {value}: give a number")


def knob(default: Any, help: str, **about: Any) -> Any:  # noqa: A002 - the field's word for it
    """A field of a settings dataclass; ``about`` are the further fields of :class:`Knob`."""
    return field(default=default, metadata={"knob": Knob(help, **about)})


def same(kind: Any, name: str, default: Any = MISSING) -> Any:
    """The field ``name`` of another settings dataclass, perhaps with another default."""
    other = next(f for f in dataclasses.fields(kind) if f.name == name)
    return field(default=other.default if default is MISSING else default, metadata=other.metadata)


def knobs(kind: Any) -> dict[str, Knob]:
    """The settings of a dataclass by name, in order."""
    return {f.name: f.metadata["knob"] for f in dataclasses.fields(kind) if "knob" in f.metadata}


def check(settings: Any) -> None:
    """Refuse values outside the bounds of their fields.

    Raises:
        ConfigError: a value is outside.
    """
    for name, found in knobs(settings).items():
        found.check(name, getattr(settings, name))


def check_names(kind: Any, values: Mapping[str, Any], what: str) -> None:
    """Refuse names that are no fields of a settings dataclass.

    Raises:
        ConfigError: there is one.
    """
    known = [f.name for f in dataclasses.fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise ConfigError(f"unknown {what} {', '.join(unknown)}: use {', '.join(sorted(known))}")


@dataclass(frozen=True, slots=True)
class MethodSettings:
    """How a method wins an order from a model."""

    view: View = knob("image", "How a page enters the prompt.", flag="")
    page_tokens: int | None = knob(None, "Most tokens of a page's text; by default what the model's context leaves, up to 1,024.",
                                   low=1, shown="the recipe's")  # fmt: skip
    window: int = knob(20, "Most pages in a list-wise prompt; longer lists are read in windows from the tail.", low=2)
    overlap: int = knob(10, "Pages that neighbouring windows share; less than the window.", low=0)
    samples: int = knob(1, "Orders over seeded shuffles of the candidates, merged by Borda count (list-wise methods).", low=1)
    seed: int = knob(0, "Of shuffles and sampling.")
    max_new_tokens: int = knob(2048, "Most tokens of a list-wise reply.", low=1)
    think_tokens: int | None = knob(None, "Most tokens of reasoning before the answer is asked for.", low=1)
    constrain: bool = knob(False, "While an answer is written, only ids not named yet are possible (reason, direct).")
    keep: float = knob(1.0, "Share of each page's visual tokens to read, those that the question looks at most (Qwen2.5-VL).",
                       above=0, high=1)  # fmt: skip
    temperature: float = knob(0.0, "Sampling temperature of replies; 0 decodes greedily.", low=0)
    question_weight: float = knob(
        0.0,
        "Weight of the question's log-likelihood beside the log-odds of the verdict (pointwise).",
        low=0,
        shown="the recipe's",
    )
    notes: int = knob(3, "Top pages that get a written note (pointwise).", low=0, shown="the recipe's")
    note_tokens: int = knob(48, "Most tokens of such a note.", low=1)
    strict: bool = knob(False, "Fail on a bad page or a reply that needs repair.")
    ids: Ids = knob("numbers", "How a list-wise prompt calls its pages.", flag="")
    wording: Wording = OWN
    reserved: tuple[str, ...] = ()
    """Further strings with a meaning of their own to the model, neutralised in texts beside its tokenizer's."""

    def __post_init__(self) -> None:
        check(self)
        if self.overlap >= self.window:
            raise ConfigError(f"overlap is {self.overlap} with window {self.window}: it must be smaller")
        if self.ids == "letters" and self.window > len(LETTERS):
            raise ConfigError(f"window is {self.window} with ids 'letters': give at most {len(LETTERS)}")
        if self.ids == "letters" and self.constrain:
            raise ConfigError("constrain writes numbers, and this model's pages have letters: leave it out")


@dataclass(frozen=True)
class ModelSettings:
    """Which model ranks, what runs it, and how; ``given`` are fields of :class:`MethodSettings` that override the recipe's."""

    model: str = knob("mini", "mini, a folder with a checkpoint, or a hub name such as i2vec/MM-R5.")
    engine: EngineName = knob("transformers", "What runs the model.")
    base_url: str | None = knob(None, "Address of an OpenAI-compatible server, e.g. http://localhost:8000/v1.")
    method: Method = knob("auto", "Ranking method; auto takes the model's recipe.")
    view: ViewOrAuto = knob("auto", "How a page enters the prompt; auto takes the model's recipe.")
    device: str = knob("auto", "auto, cpu, cuda, cuda:1 or mps.")
    dtype: Dtype = knob("auto", "Floating-point type that the model computes in.")
    calibration: str | None = knob(None, "A file of mmr5 calibrate: what the scores mean.", shown="the recipe's")
    quantize: Quantize = knob("none", "Load the weights in 8 or 4 bits by bitsandbytes, on a GPU (engine transformers).")
    given: Mapping[str, Any] = field(default_factory=dict, metadata={"given": MethodSettings})

    @property
    def seed(self) -> int:
        """Of shuffles and sampling."""
        return int(self.given.get("seed", 0))


@dataclass(frozen=True)
class SearchSettings:
    """The first stage, and how its order and the model's become one."""

    retriever: str = knob(
        "hybrid", "First stage: hybrid, bm25, dense, none, clip, colqwen, text:CHECKPOINT, … (see first-stages.md)."
    )
    candidates: int | None = knob(None, "Pages that are reranked.", low=1, shown="10, all with --retriever none")
    fusion: float | None = knob(None, "Weight of the model against the first stage.", low=0, shown="the recipe's")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class ReadingSettings:
    """How documents are read."""

    ocr: Ocr = knob("auto", "Read pages without a text layer, and words in pictures, by OCR.")
    picture_pages: int | None = knob(200, "Most text pages whose pictures are read for words.", low=0)


@dataclass(frozen=True)
class CorpusSettings:
    """Which questions of which corpus, and how their pages are read."""

    corpus: str = knob(MISSING, "A corpus folder, opendocs or mmdocir.", argument=True)
    split: str | None = knob(None, "Split of the corpus.", shown="all questions")
    limit: int | None = knob(None, "Only the first questions.", low=1)
    level: Level = knob("page", "What is ranked: pages, or the layouts on them (mmdocir).")
    ocr: Ocr = same(ReadingSettings, "ocr")
    page_text: PageText | None = knob(None, "Which text MMDocIR's pages get: ocr, or a model's description (vlm).")


@dataclass(frozen=True)
class EvaluationSettings(ModelSettings, SearchSettings, CorpusSettings):
    """What is measured: ``retriever`` may be the path of a run, ``model`` also none, oracle or random."""

    retriever: str = knob("hybrid", "First stage as for rerank (first-stages.md), or a run file (TREC or run.jsonl).")
    model: str = knob("mini", "A model as for rerank, or none, oracle, random.")
    candidates: int = same(SearchSettings, "candidates", 10)

    def __post_init__(self) -> None:
        check(self)
        if self.level not in LEVELS:
            raise ConfigError(f"level is {self.level!r}: use one of {', '.join(LEVELS)}")
        check_names(MethodSettings, self.given, "setting")


@dataclass(frozen=True)
class TableSettings:
    """How the rows of a table are measured."""

    limit: int | None = same(CorpusSettings, "limit")
    ocr: Ocr = same(CorpusSettings, "ocr")
    page_text: PageText | None = same(CorpusSettings, "page_text")
    base_url: str | None = same(ModelSettings, "base_url")
    device: str = same(ModelSettings, "device")
    dtype: Dtype = same(ModelSettings, "dtype")
    given: Mapping[str, Any] = field(default_factory=dict, metadata={"given": MethodSettings})
    anywhere: bool = knob(False, "Measure rows that ask for a GPU without one, too.")
    batch: int = knob(8, "Questions given to a model together.", low=1)


@dataclass(frozen=True)
class WorkerSettings:
    """Who reranks a run."""

    number: int = knob(1, "Processes with a model each.", low=1, flag="workers")
    address: str | None = knob(None, "An existing Ray cluster: auto, HOST:6379 or ray://HOST:10001.", shown="this machine")
    cpus: float = knob(1.0, "Cores that each worker is promised.", above=0)
    gpus: float = knob(0.0, "GPUs that each worker is promised; a fraction shares one.", low=0)

    def __post_init__(self) -> None:
        check(self)


MEBI = 2**20
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]*[A-Za-z0-9])?|\[?[0-9A-Fa-f:]+\]?")
_INDEX_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,63}")
_ROOT = re.compile(r"(?:/[A-Za-z0-9._~\-]+)+")


def named_places(given: Sequence[str]) -> dict[str, str]:
    """Name → place of indexes that were given as ``NAME=FOLDER``, or as a folder, whose name without an ending is then its own.

    Raises:
        ConfigError: a name that cannot stand in an address, or two of one name.
    """
    found: dict[str, str] = {}
    for one in given:
        name, sign, place = one.partition("=")
        if not sign:
            name, place = re.sub(r"\.[^.]*$", "", one.rstrip("/").rpartition("/")[2]), one
        if not _INDEX_NAME.fullmatch(name) or not place:
            raise ConfigError(f"index {one!r} has no name of letters, digits and . _ -: write NAME={place or 'FOLDER'}")
        if name in found:
            raise ConfigError(f"two indexes are called {name!r}: write NAME=FOLDER for one of them")
        found[name] = place
    return found


@dataclass(frozen=True)
class ServerSettings:
    """What the server accepts, how long it waits, and where it keeps uploads.

    ``api_keys``: a request must carry one as ``Authorization: Bearer``; none leaves the server open. ``hosts``: when not empty,
    the only names, without port, that ``Host`` may carry, beside ``allow_host``; it keeps a web page that re-binds its own name
    to this machine out of a server that needs no key.
    """

    api_keys: tuple[str, ...] = field(default=(), repr=False)
    hosts: tuple[str, ...] = ()
    allow_host: tuple[str, ...] = knob(
        (), "Name that Host may carry beside this machine's own, as behind a proxy; may be repeated.", flag="allow-host"
    )
    allow_origin: tuple[str, ...] = knob(
        (), "Site whose pages may call from a browser, e.g. https://app.example.org (CORS); may be repeated.", flag="allow-origin"
    )
    root_path: str = knob("", "Path below which a proxy shows the server, e.g. /mmr5.")
    max_body_bytes: int = knob(32 * MEBI, "Most MiB of a JSON body.", low=1, flag="max-body-mb", unit=MEBI)
    max_documents: int = knob(100, "Most documents of a request.", low=1)
    max_query_chars: int = knob(8_000, "Most characters of a question.", low=1)
    max_document_chars: int = knob(200_000, "Most characters of a document's text.", low=1)
    max_pixels: int = knob(40_000_000, "Most pixels of a picture, read before it is decoded.", low=1)
    max_request_pixels: int = knob(500_000_000, "Most pixels of all pictures of a request.", low=1)
    max_held_bytes: int = knob(
        256 * MEBI, "Most MiB of bodies and fetched pictures of all requests together; more get a 503.", low=1,
        flag="max-held-mb", unit=MEBI,
    )  # fmt: skip
    max_inflight: int = knob(64, "Most requests at once: read, waiting or being answered; more get a 429.", low=1)
    queue_size: int = knob(32, "Most requests that wait for the model; more get a 429.", low=1)
    queue_wait_s: float = knob(30.0, "Longest wait for the model, in seconds; then a 503.", above=0, flag="queue-wait")
    deadline_s: float = knob(120.0, "Longest time for a request, in seconds; then a 504.", above=0, flag="deadline")
    batch_requests: int = knob(8, "Most requests that are ranked together.", low=1)
    batch_pages: int = knob(64, "Most pages that are ranked together; a larger request is ranked alone.", low=1)
    batch_wait_ms: float = knob(5.0, "How long the first request of a batch waits for others, in milliseconds.", low=0)
    grace_s: float = knob(30.0, "How long a stopping server finishes its work, in seconds.", above=0, flag="grace")
    allow_urls: bool = knob(False, "Fetch documents that are http(s) addresses.")
    url_hosts: tuple[str, ...] = knob((), "Fetch from this host only; may be repeated.", flag="url-host")
    fetch_timeout_s: float = knob(
        10.0, "Longest time for one fetch with its redirects, in seconds.", above=0, flag="fetch-timeout"
    )
    max_fetch_bytes: int = knob(16 * MEBI, "Most MiB of a fetched picture.", low=1, flag="max-fetch-mb", unit=MEBI)
    max_request_fetch_bytes: int = knob(
        64 * MEBI, "Most MiB of all fetched pictures of a request.", low=1, flag="max-request-fetch-mb", unit=MEBI
    )
    local_root: Path | None = knob(None, "Folder below which file:// documents may lie.")
    max_upload_bytes: int = knob(
        64 * MEBI, "Most MiB of an upload to /v1/search, all files together.", low=1, flag="max-upload-mb", unit=MEBI
    )
    max_upload_files: int = knob(8, "Most files of an upload.", low=1)
    max_upload_pages: int = knob(500, "Most pages of all files of an upload.", low=1)
    parse_timeout_s: float = knob(120.0, "Longest time to read an upload, in seconds.", above=0, flag="parse-timeout")
    parse_page_s: float = knob(
        5.0, "Longest processor time to draw a page or picture of an upload, or to read its text layer, in seconds.", above=0,
        flag="parse-page-time",
    )  # fmt: skip
    parse_memory_bytes: int = knob(
        3072 * MEBI, "Most MiB of address space of a process that reads uploads.", low=1, flag="parse-memory-mb", unit=MEBI
    )
    max_connections: int = knob(512, "Most open connections; more are closed at once.", low=1)
    head_timeout_s: float = knob(
        10.0, "Longest time from a connection's opening, or from an answer, to the end of a request's head, in seconds.", above=0,
        flag="head-timeout",
    )  # fmt: skip
    store_root: Path | None = knob(None, "Folder of the uploads.", flag="store", shown="a temporary one")
    store_bytes: int = knob(
        1024 * MEBI, "Most MiB of all uploads together, with what was derived from them; the oldest go first.", low=1,
        flag="store-mb", unit=MEBI,
    )  # fmt: skip
    index: tuple[str, ...] = knob((), "Index that /v1/search may search, as NAME=FOLDER or FOLDER; may be repeated.")
    retriever: str = same(SearchSettings, "retriever")
    candidates: int = same(SearchSettings, "candidates", 10)

    def __post_init__(self) -> None:
        check(self)
        named_places(self.index)
        for origin in self.allow_origin:
            if not _ORIGIN.fullmatch(origin):
                raise ConfigError(f"allow_origin is {origin!r}: give scheme, name and port alone, e.g. https://app.example.org")
        for name in self.allow_host:
            if not _HOST.fullmatch(name):
                raise ConfigError(f"allow_host is {name!r}: give a name without scheme, port and path, e.g. mmr5.example.org")
        if self.root_path and not _ROOT.fullmatch(self.root_path):
            raise ConfigError(
                f"root_path is {self.root_path!r}: give a path that begins with / and does not end with it, e.g. /mmr5"
            )
        if any(not key for key in self.api_keys):
            raise ConfigError("an API key is empty: give at least one character, or no key at all")

    @property
    def all_hosts(self) -> tuple[str, ...]:
        """Names that ``Host`` may carry, in lower case; empty lets all pass."""
        return (*self.hosts, *(name.lower().strip("[]") for name in self.allow_host)) if self.hosts else ()
