"""The frozen data that crosses module borders.

Numbers: ``index`` and positions are zero-based; ``number`` and ``page`` are the one-based page of a document as people
count; "Image 3" is one-based too, and lives inside ``prompt.py`` and ``answer.py`` only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from PIL.Image import Image

TextKind = Literal["layer", "ocr", "given"]
View = Literal["image", "text", "both"]

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a part of a page, in [0, 1] of its picture as shown; the origin is the top left corner."""

_OPENING, _SHOWN = 40, 3
"""Characters of a page, and pages of a result, that its short form has."""
Progress = Callable[[str, int, int | None], None]
"""Called as ``progress(stage, done, total)``; ``total`` is None while it is unknown."""


@runtime_checkable
class ImageSource(Protocol):
    """The picture of a page, decoded only when it is asked for."""

    @property
    def key(self) -> str:
        """A hex digest that is equal for equal pictures (content, not path)."""

    def load(self, max_pixels: int | None = None) -> Image:
        """Decode to an RGB image of at most ``max_pixels`` pixels (width times height), its aspect ratio kept.

        Raises:
            PageError: the picture cannot be decoded.
        """


Message = dict[str, Any]
"""A chat message: ``{"role": ..., "content": [parts]}``; a part is ``{"type": "text", "text": str}`` or
``{"type": "image", "image": ImageSource}``."""


def union(boxes: Sequence[Box]) -> Box:
    """The smallest box around boxes, at least one."""
    return min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)


@runtime_checkable
class BoxSource(Protocol):
    """Where the text of a page stands on it, looked up only when asked for."""

    def of(self, start: int, end: int) -> list[Box]:
        """Boxes around the characters from ``start`` to before ``end`` of the page's text, one a line, in reading order.

        A character whose place is not known has none: the list may be empty.

        Raises:
            PageError: the document cannot be read any more.
        """

    def each(self, spans: Sequence[tuple[int, int]]) -> list[list[Box]]:
        """:meth:`of` for each start and end; the page is read once."""


@dataclass(frozen=True, slots=True, repr=False)
class Page:
    """One page of a document.

    Attributes:
        source: the document as the user named it, e.g. ``"report.pdf"``.
        number: one-based page number within its document.
        text: the page's text; ``""`` when it is known to have none, None when nobody has looked.
        image: the page's picture, or None.
        text_kind: where the text came from: the PDF's text ``layer``, ``ocr``, or ``given`` by the caller.
        label: the document's own number of the page, e.g. ``"iv"``, or None where it has none.
        language: ISO 639-1 code of the text's language, or None when nobody has looked.
        size: width and height of the page as shown, in points (1/72 inch), or None for a picture.
        boxes: where the text stands on the page, or None where that is not known.
        ocr_spans: start and end of each part of the text that was recognised in a picture on a page with a text of its own, in
            order; the whole text of a page of kind ``ocr`` was, and it has none.
    """

    source: str
    number: int = 1
    text: str | None = None
    image: ImageSource | None = field(default=None, repr=False)
    text_kind: TextKind | None = None
    label: str | None = None
    language: str | None = None
    size: tuple[float, float] | None = None
    boxes: BoxSource | None = field(default=None, repr=False, compare=False)
    ocr_spans: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        text = "no text yet" if self.text is None else f"{len(self.text):,} characters"
        kind = "" if self.text_kind is None else f" ({self.text_kind})"
        opening = " ".join((self.text or "")[:_OPENING].split())
        return f"Page({self.source!r}, {self.number}: {text}{kind}{f', {opening!r}…' if opening else ''})"


@dataclass(frozen=True, slots=True)
class Problem:
    """A page, a file or a part of them that was passed over, and why.

    Attributes:
        source: the document or file.
        page: one-based page, or None when the whole file is meant.
        message: what is wrong and the way out.
    """

    source: str
    page: int | None
    message: str

    def __str__(self) -> str:
        where = self.source if self.page is None else f"{self.source}, page {self.page}"
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Candidates:
    """A question with its candidate pages in first-stage order.

    Attributes:
        query: the question.
        pages: N pages, the first stage's best first.
        scores: their N first-stage scores, or None when there was no first stage.
        indices: the N indices of these pages over all pages read; None stands for 0..N-1.
        scale: log-odds of relevance that one unit of the first-stage scores is worth; None where they compare within this list
            only.
        instruction: what the model is told beside the question, where its recipe has a place for it; None for the recipe's own.
        pooled: a first stage chose them out of several documents, be they of one in the end.
    """

    query: str
    pages: tuple[Page, ...]
    scores: tuple[float, ...] | None = None
    indices: tuple[int, ...] | None = None
    scale: float | None = None
    instruction: str | None = None
    pooled: bool = False

    def __post_init__(self) -> None:
        for name in ("scores", "indices"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.pages):
                raise ValueError(f"{len(values)} {name} for {len(self.pages)} pages: give one for each page")

    def __len__(self) -> int:
        return len(self.pages)

    @property
    def is_pooled(self) -> bool:
        """Whether they were chosen out of several documents, by what is said or by their own."""
        return self.pooled or len({page.source for page in self.pages}) > 1

    def index_of(self, position: int) -> int:
        """Index over all pages read of the candidate at ``position``."""
        return position if self.indices is None else self.indices[position]

    def subset(self, positions: Sequence[int]) -> Candidates:
        """The candidates at ``positions``, in that order."""
        return Candidates(
            self.query,
            tuple(self.pages[i] for i in positions),
            None if self.scores is None else tuple(self.scores[i] for i in positions),
            tuple(self.index_of(i) for i in positions),
            self.scale,
            self.instruction,
            self.pooled,
        )


class Issue(StrEnum):
    """What was wrong with a model's reply. A bad reply is data, not a crash."""

    NO_ANSWER = "NO_ANSWER"
    """No answer could be found."""
    NO_THINK = "NO_THINK"
    """Reasoning was asked for and there is none."""
    DUPLICATE = "DUPLICATE"
    """A page was named twice; its first mention counts."""
    OUT_OF_RANGE = "OUT_OF_RANGE"
    """A page that does not exist was named; it was dropped."""
    MISSING = "MISSING"
    """Pages were not named; they follow in first-stage order."""
    TRUNCATED = "TRUNCATED"
    """The reply ended at the token limit or inside an open tag."""
    NOT_A_NUMBER = "NOT_A_NUMBER"
    """The answer held something that is no whole number, or a score is no number."""
    LANGUAGE = "LANGUAGE"
    """The question or a page is in a language that the model was not made for; its scores count by another weight there."""


class ScoreKind(StrEnum):
    """What a score is. ``label`` is its short name for people, ``meaning`` a line about it, :meth:`to_unit` its way to [0, 1]."""

    FUSED = "fused"
    FIRST_STAGE = "first_stage"
    MEAN_LOG_LIKELIHOOD = "mean_log_likelihood"
    CHOICE_PROBABILITY = "choice_probability"
    RELEVANCE_PROBABILITY = "relevance_probability"
    RELEVANCE_LOG_ODDS = "relevance_log_odds"
    CROSS_ENCODER = "cross_encoder"
    RECIPROCAL_RANK = "reciprocal_rank"
    BORDA = "borda"
    LOGISTIC_FUSED = "logistic_fused"
    GEOMETRIC_MEAN_TOKEN_PROBABILITY = "geometric_mean_token_probability"  # noqa: S105 - a kind of score
    CROSS_ENCODER_PROBABILITY = "cross_encoder_probability"
    LINEAR_RANK = "linear_rank"

    @property
    def label(self) -> str:
        """A short name, e.g. ``"log-odds"``."""
        return _SCORE_WORDS[self][0]

    @property
    def meaning(self) -> str:
        """What the score is, in a line."""
        return _SCORE_WORDS[self][1]

    @property
    def unit_kind(self) -> ScoreKind | None:
        """The kind that :meth:`to_unit` gives, or None where no score of this kind alone says anything in [0, 1]."""
        return _UNIT_KINDS.get(self)

    def to_unit(self, score: float) -> float:
        """A score as a number in [0, 1] of kind :attr:`unit_kind`; the order of scores is kept.

        Raises:
            ValueError: there is no such kind.
        """
        if self.unit_kind is None:
            raise ValueError(f"a score of kind {self.value!r} has no place in [0, 1] on its own")
        if self.unit_kind is self:
            return score
        return math.exp(min(score, 0.0)) if self is ScoreKind.MEAN_LOG_LIKELIHOOD else logistic(score)


_SCORE_WORDS = {
    ScoreKind.FIRST_STAGE: ("first-stage score", "the first stage's own score; no model read the page"),
    ScoreKind.FUSED: ("fused score", "fused: log-odds of the first stage plus weighted log-odds of the model"),
    ScoreKind.MEAN_LOG_LIKELIHOOD: ("log-likelihood", "mean log-likelihood of the question given the page"),
    ScoreKind.CHOICE_PROBABILITY: ("probability", "probability that the model names this page first"),
    ScoreKind.RELEVANCE_PROBABILITY: ("relevance", "probability that the model calls the page relevant"),
    ScoreKind.RELEVANCE_LOG_ODDS: (
        "log-odds",
        "log-odds that the page is relevant, with the log-likelihood of the question",
    ),
    ScoreKind.CROSS_ENCODER: ("cross-encoder score", "the cross-encoder's own score of question and page"),
    ScoreKind.RECIPROCAL_RANK: ("1 / rank", "one over the rank: the model gives an order, no scores"),
    ScoreKind.BORDA: ("Borda share", "Borda share over several shuffled orders"),
    ScoreKind.LOGISTIC_FUSED: ("fused score", "logistic function of the fused score"),
    ScoreKind.GEOMETRIC_MEAN_TOKEN_PROBABILITY: ("token probability", "geometric mean probability of the question's tokens"),
    ScoreKind.CROSS_ENCODER_PROBABILITY: ("cross-encoder score", "logistic function of the cross-encoder's score"),
    ScoreKind.LINEAR_RANK: ("rank share", "share of the pages that stand no higher"),
}
_UNIT_KINDS = {
    ScoreKind.CHOICE_PROBABILITY: ScoreKind.CHOICE_PROBABILITY,
    ScoreKind.RELEVANCE_PROBABILITY: ScoreKind.RELEVANCE_PROBABILITY,
    ScoreKind.RECIPROCAL_RANK: ScoreKind.RECIPROCAL_RANK,
    ScoreKind.RELEVANCE_LOG_ODDS: ScoreKind.RELEVANCE_PROBABILITY,
    ScoreKind.CROSS_ENCODER: ScoreKind.CROSS_ENCODER_PROBABILITY,
    ScoreKind.FUSED: ScoreKind.LOGISTIC_FUSED,
    ScoreKind.MEAN_LOG_LIKELIHOOD: ScoreKind.GEOMETRIC_MEAN_TOKEN_PROBABILITY,
}


def logistic(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read and written, summed over the requests behind a result."""

    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt_tokens + other.prompt_tokens, self.completion_tokens + other.completion_tokens)


@dataclass(frozen=True, slots=True)
class Ranking:
    """A full permutation of N candidates.

    Attributes:
        order: the N zero-based candidate positions, best first.
        scores: N scores by candidate position (not by rank), or None when the method gives none.
        score_kind: what the scores are.
        notes: N sentences of the model by candidate position; None where it wrote none.
        verdicts: N verdicts of the model by candidate position, whether it holds the page to be relevant; None without any.
        reasoning: what the model wrote while thinking.
        reply: all that the model wrote.
        issues: what was wrong with the reply.
        usage: tokens read and written.
        parse_ms: time spent on reading the reply, in milliseconds.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...] | None = None
    score_kind: ScoreKind | None = None
    notes: tuple[str | None, ...] | None = None
    reasoning: str | None = None
    reply: str | None = None
    issues: tuple[Issue, ...] = ()
    usage: Usage = Usage()
    verdicts: tuple[bool, ...] | None = None
    parse_ms: float = 0.0

    def __post_init__(self) -> None:
        n = len(self.order)
        if sorted(self.order) != list(range(n)):
            raise ValueError(f"{list(self.order)} is not a permutation of 0..{n - 1}")
        if self.score_kind is not None:
            object.__setattr__(self, "score_kind", ScoreKind(self.score_kind))
        for name in ("scores", "notes", "verdicts"):
            values = getattr(self, name)
            if values is not None and len(values) != n:
                raise ValueError(f"{len(values)} {name} for {n} candidates: give one for each")


@dataclass(frozen=True, slots=True)
class Answerable:
    """Whether any page of a list answers the question.

    Attributes:
        probability: that one does, in [0, 1].
        verdict: by the cuts of the calibration.
    """

    probability: float
    verdict: Literal["yes", "no", "unsure"]


@dataclass(frozen=True, slots=True)
class EvidencePassage:
    """A passage of a page that is shown for a question.

    Attributes:
        text: its words.
        boxes: where it stands on the page, a box a line in reading order; empty where that is not known.
    """

    text: str
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class RankedPage:
    """One line of a result; the fields are those of ``mmr5 rerank --json``.

    Attributes:
        rank: one-based place in the result.
        index: zero-based index over all pages read.
        source: the document.
        page: one-based page within its document.
        page_label: the document's own label of the page (``"iv"``), or None where it has none.
        score: the score that the order follows (higher is better), or None.
        score_kind: what that score is.
        first_stage_rank: one-based place in the first stage, or None.
        first_stage_score: the first stage's score, or None.
        reason: the model's own sentence on this page, or None.
        evidence: the page's best-matching passages, joined by " … ", or None where there is no text.
        evidence_passages: the same one by one, in reading order, and where they stand; empty where there is no text.
        relevance: calibrated probability, in [0, 1], that the page holds the answer or a needed part of it; None without a
            calibration for this setting.
    """

    rank: int
    index: int
    source: str
    page: int
    score: float | None = None
    score_kind: ScoreKind | None = None
    first_stage_rank: int | None = None
    first_stage_score: float | None = None
    reason: str | None = None
    evidence: str | None = None
    page_label: str | None = None
    relevance: float | None = None
    evidence_passages: tuple[EvidencePassage, ...] = ()

    def __post_init__(self) -> None:
        if self.score_kind is not None:
            object.__setattr__(self, "score_kind", ScoreKind(self.score_kind))

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        shown = [{"text": p.text, "boxes": [list(box) for box in p.boxes]} for p in self.evidence_passages]
        return {name: getattr(self, name) for name in self.__slots__} | {"evidence_passages": shown}


def _short(page: RankedPage) -> str:
    score = "" if page.score is None else f" ({page.score:.2f})"
    return f"{page.source} p. {page.page}{score if page.relevance is None else f' ({100 * page.relevance:.0f} %)'}"


@dataclass(frozen=True, slots=True, repr=False)
class RerankResult:
    """What a rerank gives: the pages in order, and how that order was won.

    It is a sequence of :class:`RankedPage`, best first: ``result[0].page``, ``for page in result``.

    Attributes:
        query: the question.
        model: the model's name.
        method: the method that was used.
        retriever: the first stage's name, ``"none"`` without one.
        n_pages: how many pages were read.
        ranking: the ranked pages, best first.
        reasoning: what the model wrote while thinking.
        reply: all that the model wrote.
        issues: what was wrong with the reply; empty for a clean one.
        timings_ms: wall time by part, in milliseconds.
        usage: tokens read and written.
        problems: pages and files that were passed over.
        settings: how the pages entered the prompt: ``view``, ``page_tokens`` (text budget a page, or None), ``window``,
            ``fusion`` (weight of the model against the first stage, or None).
        answerable: whether any page answers; None without a calibration for this setting, or without pages.
        pages: the page of each of ``ranking``, so that it can be shown; empty for a result that was read back.
    """

    query: str
    model: str
    method: str
    retriever: str
    n_pages: int
    ranking: tuple[RankedPage, ...]
    reasoning: str | None = None
    reply: str | None = None
    issues: tuple[Issue, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)
    usage: Usage = Usage()
    problems: tuple[Problem, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    answerable: Answerable | None = None
    pages: tuple[Page, ...] = field(default=(), compare=False)

    @property
    def order(self) -> tuple[int, ...]:
        """Zero-based indices over all pages read, best first."""
        return tuple(page.index for page in self.ranking)

    def with_reading(self, problems: Sequence[Problem], read_ms: float) -> RerankResult:
        """The same result, told what was passed over while the documents were read and how long that took, in milliseconds."""
        return replace(self, problems=tuple(problems), timings_ms={**self.timings_ms, "read": read_ms})

    def __repr__(self) -> str:
        best = [_short(page) for page in self.ranking[:_SHOWN]]
        more = len(self.ranking) - len(best)
        listed = ", ".join([*best, *([f"… {more} more"] if more > 0 else [])]) or "no page"
        return f"RerankResult({self.query!r}: {listed}; {self.n_pages} pages read, {self.model}, {self.method})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the pages with their pictures, the evidence marked on them."""
        from mmr5.render.notebook import notebook_html

        return notebook_html(self)

    def __len__(self) -> int:
        return len(self.ranking)

    def __getitem__(self, place: int) -> RankedPage:
        return self.ranking[place]

    def __iter__(self) -> Iterator[RankedPage]:
        return iter(self.ranking)

    def to_dict(self) -> dict[str, Any]:
        """The object that ``mmr5 rerank --json`` prints."""
        return {
            "query": self.query,
            "model": self.model,
            "method": self.method,
            "retriever": self.retriever,
            "n_pages": self.n_pages,
            "ranking": [page.to_dict() for page in self.ranking],
            "reasoning": self.reasoning,
            "reply": self.reply,
            "answerable": None
            if self.answerable is None
            else {"probability": self.answerable.probability, "verdict": self.answerable.verdict},
            "issues": [issue.value for issue in self.issues],
            "timings_ms": {name: round(value, 1) for name, value in self.timings_ms.items()},
            "usage": {"prompt_tokens": self.usage.prompt_tokens, "completion_tokens": self.usage.completion_tokens},
            "settings": dict(self.settings),
            "problems": [{"source": p.source, "page": p.page, "message": p.message} for p in self.problems],
        }
