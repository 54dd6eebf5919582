"""Every setting, declared once: a field of a dataclass with its default, bounds, unit and help.

Flags (:mod:`mmr5.cli.flags`), TOML keys, recipes, provenance and the server's settings are read off these fields. A setting that
stands in two dataclasses is declared in one and taken over by :func:`same`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, Literal, get_args

from mmr5.errors import ConfigError
from mmr5.types import View

Method = Literal["auto", "reason", "direct", "logits", "pointwise", "likelihood", "cross-encoder"]
EngineName = Literal["transformers", "openai", "vllm", "scripted", "cross-encoder"]
ViewOrAuto = Literal["auto", "image", "text", "both"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Ocr = Literal["auto", "never", "always"]
PageText = Literal["ocr", "vlm"]
Level = Literal["page", "layout"]

ENGINES: tuple[str, ...] = get_args(EngineName)
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

    def __post_init__(self) -> None:
        check(self)
        if self.overlap >= self.window:
            raise ConfigError(f"overlap is {self.overlap} with window {self.window}: it must be smaller")


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

    ocr: Ocr = knob("auto", "Read pages without a text layer by OCR.")


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
