"""Runs: rankings of many questions, as JSONL that can be continued after a kill, and as TREC files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from mmr5.errors import CorpusError
from mmr5.storage.journal import Journal
from mmr5.types import Box

RUN = "run.jsonl"


@dataclass(frozen=True, slots=True)
class RunLine:
    """One question of a run.

    Attributes:
        qid: ``doc_name#k``.
        doc_name: the document.
        domain: its domain.
        question: the words.
        relevant: zero-based ids of the relevant pages (or layouts, throughout).
        candidates: page ids in first-stage order.
        ranking: the same page ids, best first.
        scores: one score a page of ``ranking``, or None.
        first_stage_scores: one score a page of ``candidates``, or None.
        reply: all that the model wrote, or None.
        notes: one sentence (or None) a page of ``ranking``, or None.
        issues: what was wrong with the reply.
        latency_ms: wall time by part.
        tokens: tokens read and written.
        type: kind of evidence, or None.
        areas: one share of the labelled area a layout of ``candidates``; None where pages are ranked.
        language: of the question (ISO 639-1), or None.
        page_language: of its document, or None.
        relevance: one calibrated relevance a page of ``ranking``, or None.
        evidence: the passage that is shown (or None) a page of ``ranking``, or None.
        answerable: probability and verdict whether any page answers, or None.
        quotes: relevant page id → the annotated words that answer; "" where only the picture shows it.
        quote_evidence: page id of ``quotes`` → the passage that is shown of it, wherever it was ranked.
        first_stage_scale: log-odds that one unit of ``first_stage_scores`` is worth; None where they compare within a list only.
        kind: why no page answers, or None.
        gold_boxes: relevant page id → annotated boxes, in shares of the page's width and height.
        evidence_boxes: page id of ``gold_boxes`` → a box around each passage that is shown of it; only where places are known.
    """

    qid: str
    doc_name: str
    domain: str
    question: str
    relevant: tuple[int, ...]
    candidates: tuple[int, ...]
    ranking: tuple[int, ...]
    scores: tuple[float, ...] | None = None
    first_stage_scores: tuple[float, ...] | None = None
    reply: str | None = None
    notes: tuple[str | None, ...] | None = None
    issues: tuple[str, ...] = ()
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)
    type: str | None = None
    areas: tuple[float, ...] | None = None
    language: str | None = None
    page_language: str | None = None
    relevance: tuple[float, ...] | None = None
    evidence: tuple[str | None, ...] | None = None
    answerable: Mapping[str, Any] | None = None
    quotes: Mapping[int, str] = field(default_factory=dict)
    quote_evidence: Mapping[int, str | None] = field(default_factory=dict)
    first_stage_scale: float | None = None
    kind: str | None = None
    gold_boxes: Mapping[int, Sequence[Box]] = field(default_factory=dict)
    evidence_boxes: Mapping[int, Sequence[Box]] = field(default_factory=dict)

    @property
    def is_unanswerable(self) -> bool:
        """Whether the corpus says that no page answers: such a question counts in no recall."""
        return not self.relevant and self.areas is None

    @property
    def top_score(self) -> float | None:
        """The highest score that a page got: the model's, else the first stage's, else None."""
        scores = self.scores if self.scores is not None else self.first_stage_scores
        return max(scores, default=None) if scores is not None else None

    def to_json(self) -> str:
        """One line of ``run.jsonl``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)


def open_run(path: Path) -> Journal[RunLine]:
    """A ``run.jsonl`` to go on with; its ``values`` are all lines by question, those that are appended among them.

    Raises:
        CorpusError: a line of the file is broken.
        OutputError: the file cannot be written, or another process writes it.
    """

    def read(text: bytes, where: str) -> tuple[str, RunLine]:
        line = parse_line(text, where)
        return line.qid, line

    return Journal(path, read)


def open_qids(path: Path) -> Journal[None]:
    """A ``run.jsonl`` to go on with, of which only the questions are held in memory.

    Raises:
        CorpusError: a line of the file is broken.
        OutputError: the file cannot be written, or another process writes it.
    """
    return Journal(path, lambda text, where: (parse_line(text, where).qid, None))


def parse_line(text: str | bytes, where: str) -> RunLine:
    """Read one line of ``run.jsonl``.

    Raises:
        CorpusError: it is no such line.
    """
    try:
        values: dict[str, Any] = json.loads(text)
        names = {f.name for f in dataclasses.fields(RunLine)}
        known: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in names}
        for name in ("quotes", "quote_evidence"):
            known[name] = {int(page): text for page, text in (known.get(name) or {}).items()}
        for name in ("gold_boxes", "evidence_boxes"):
            known[name] = {int(page): tuple(map(tuple, boxes)) for page, boxes in (known.get(name) or {}).items()}
        line = RunLine(**{"domain": "none", **known})
    except (ValueError, TypeError, AttributeError) as error:
        raise CorpusError(f"{where} is no line of a run: {error}") from error
    for name in ("scores", "notes", "areas", "relevance", "evidence"):
        value = getattr(line, name)
        if value is not None and len(value) != len(line.candidates):
            raise CorpusError(f"{where}: {len(value)} {name} for {len(line.candidates)} candidates")
    if sorted(line.ranking) != sorted(line.candidates):
        raise CorpusError(f"{where}: the ranking {list(line.ranking)} does not hold the candidates {list(line.candidates)}")
    return line


def read_run(path: str | Path) -> list[RunLine]:
    """All lines of a run folder or ``run.jsonl``.

    Raises:
        CorpusError: there is none, or a line is broken.
    """
    file = Path(path)
    file = file / RUN if file.is_dir() else file
    if not file.is_file():
        raise CorpusError(f"no run at {str(path)!r}: give a folder that holds {RUN}, or that file")
    lines = file.read_text(encoding="utf-8").splitlines()
    return [parse_line(text, f"{file}:{i}") for i, text in enumerate(lines, start=1)]


@dataclass(frozen=True, slots=True)
class FirstStage:
    """A first stage that was run elsewhere.

    Attributes:
        path: the file that it was read from.
        rankings: qid → (page id, score), best first, every page at most once.
        documents: qid → the document whose pages are ranked.
        questions: qid → the question's words, where the file tells them.
        scale: log-odds that one unit of the scores is worth; None where they compare within a list only.
    """

    path: Path
    rankings: Mapping[str, Sequence[tuple[int, float]]]
    documents: Mapping[str, str]
    scale: float | None = None
    questions: Mapping[str, str] = field(default_factory=dict)


def read_first_stage(path: str | Path) -> FirstStage:
    """A first stage from a file: a TREC run, or a ``run.jsonl`` (its rankings), or a folder that holds one.

    The ranking of a first stage alone has its scores; another one of ``run.jsonl`` without scores gets minus its places (0, -1,
    ...).

    Raises:
        CorpusError: the file is missing or of neither form.
    """
    file = Path(path)
    if file.is_dir() or file.suffix == ".jsonl":
        lines = read_run(file)
        found = {x.qid: list(zip(x.ranking, _ranking_scores(x), strict=True)) for x in lines}
        scales = {x.first_stage_scale if _is_first_stage(x) else None for x in lines}
        scale = scales.pop() if len(scales) == 1 else None
        path, questions = file / RUN if file.is_dir() else file, {x.qid: x.question for x in lines}
        return FirstStage(path, found, {x.qid: x.doc_name for x in lines}, scale, questions)
    if not file.is_file():
        raise CorpusError(f"no run at {str(path)!r}: give a TREC run, a {RUN}, or a folder that holds one")
    pages: dict[str, dict[int, float]] = {}
    documents: dict[str, str] = {}
    for number, text in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        qid, doc_name, page, score = _trec_line(text, f"{file}:{number}")
        if documents.setdefault(qid, doc_name) != doc_name:
            raise CorpusError(
                f"{file}:{number} ranks a page of {doc_name!r} for {qid!r} beside one of {documents[qid]!r}: "
                "candidates come from the question's own document"
            )
        ranked = pages.setdefault(qid, {})
        if page in ranked:
            raise CorpusError(f"{file}:{number} ranks page {page} for {qid!r} a second time: keep one line a page")
        ranked[page] = score
    return FirstStage(file, {qid: sorted(ranked.items(), key=lambda p: -p[1]) for qid, ranked in pages.items()}, documents)


def _trec_line(text: str, where: str) -> tuple[str, str, int, float]:
    """Question id, document, page id and score of a line of a TREC run."""
    try:
        asked, _, docid, _, value, _ = text.split()
        qid, (doc_name, _, page_id) = unquote(asked), unquote(docid).rpartition(":")
        page, score = int(page_id), float(value)
    except ValueError as error:
        raise CorpusError(f"{where} is no line of a TREC run (qid Q0 doc_name:page_id rank score tag): {text!r}") from error
    if not math.isfinite(score):
        raise CorpusError(f"{where}: the score is {value}: give a finite number")
    return qid, doc_name, page, score


def _is_first_stage(line: RunLine) -> bool:
    """Whether a ranking is that of the first stage alone."""
    return line.scores is None and line.first_stage_scores is not None and line.ranking == line.candidates


def _ranking_scores(line: RunLine) -> tuple[float, ...]:
    if _is_first_stage(line):
        return line.first_stage_scores or ()
    return line.scores if line.scores is not None else tuple(-float(place) for place in range(len(line.ranking)))


def trec_run(lines: Sequence[RunLine], tag: str) -> str:
    """The rankings as a TREC run; docid is ``doc_name:page_id``, and white space in names is percent-encoded.

    Scores fall strictly, since TREC's own tools order by score and break ties by name: a ranking with ties gets minus its places.
    """
    out = []
    for line in lines:
        scores = [round(score, 6) for score in _ranking_scores(line)]
        if any(a <= b for a, b in pairwise(scores)):
            scores = [-float(place) for place in range(len(scores))]
        for rank, (page, score) in enumerate(zip(line.ranking, scores, strict=True), start=1):
            out.append(f"{_word(line.qid)} Q0 {_word(f'{line.doc_name}:{page}')} {rank} {score:.6f} {tag}")
    return "\n".join(out) + "\n"


def trec_qrels(lines: Sequence[RunLine]) -> str:
    """The relevant pages as TREC qrels."""
    return "".join(f"{_word(x.qid)} 0 {_word(f'{x.doc_name}:{page}')} 1\n" for x in lines for page in x.relevant)


def _word(text: str) -> str:
    return quote(text, safe="#:/._-+()[],&'!@=~$")
