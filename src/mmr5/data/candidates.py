"""First-stage scores → candidate lists (paper section 3.2.1; MM-R5's authors on their data: issues 6 and 7 of i2vec/MM-R5).

Training lists hold every relevant page and the hardest negatives, in retriever order; evaluation lists are exactly the first
stage's best pages, whatever they hold. A file of lists has one a line::

    {"qid", "doc_name", "question", "relevant": [page ids], "candidates": [page ids], "scores": [one a candidate], "split"?,
     "source"?, "why"?}
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from mmr5.corpora import Corpus
from mmr5.corpora.records import Question
from mmr5.errors import ConfigError, CorpusError
from mmr5.storage.jsonl import Record, read_jsonl
from mmr5.types import Page, Progress

TRAINING_SIZES = (3, 10)
"""Fewest and most pages of a training list, its relevant pages included."""
EVALUATION_SIZE = 10
"""Pages of an evaluation list (paper section 4.1.2)."""

Mode = Literal["training", "evaluation"]


class FirstStage(Protocol):
    """What a list is made with; every :class:`mmr5.retrieval.Retriever` is one."""

    def scores(self, query: str) -> Sequence[float]:
        """One score a page, in page order; higher is better."""


FirstStageFactory = Callable[[Sequence[Page]], FirstStage]
"""From the pages of one document to its first stage."""


@dataclass(frozen=True, slots=True)
class CandidateList:
    """A question with its candidate pages.

    Attributes:
        qid: the question's id.
        doc_name: its document.
        question: its words.
        relevant: all relevant page ids, those that are no candidates included, in ascending order.
        candidates: page ids in candidate order.
        scores: their first-stage scores.
        split: the question's split, or None.
        source: where the question comes from: ``annotations``, ``heading``, ``caption`` or ``index``.
        why: page id → why it answers, for questions that no corpus file holds.
    """

    qid: str
    doc_name: str
    question: str
    relevant: tuple[int, ...]
    candidates: tuple[int, ...]
    scores: tuple[float, ...]
    split: str | None = None
    source: str = "annotations"
    why: Mapping[int, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if len(self.scores) != len(self.candidates):
            raise CorpusError(f"{self.qid}: {len(self.scores)} scores for {len(self.candidates)} candidates: give one for each")
        if len(set(self.candidates)) != len(self.candidates):
            raise CorpusError(f"{self.qid}: candidates are {list(self.candidates)}: name each page once")

    @property
    def positions(self) -> tuple[int, ...]:
        """Zero-based positions of the relevant pages among the candidates."""
        wanted = set(self.relevant)
        return tuple(i for i, page_id in enumerate(self.candidates) if page_id in wanted)

    def to_dict(self) -> Record:
        """The list as a line of a file."""
        record: Record = {
            "qid": self.qid,
            "doc_name": self.doc_name,
            "question": self.question,
            "relevant": list(self.relevant),
            "candidates": list(self.candidates),
            "scores": list(self.scores),
        }
        if self.split is not None:
            record["split"] = self.split
        if self.source != "annotations":
            record["source"] = self.source
            record["why"] = {str(page_id): text for page_id, text in self.why.items()}
        return record


def first_stage_order(scores: Sequence[float]) -> list[int]:
    """Page ids by descending score, ties in page order."""
    return sorted(range(len(scores)), key=lambda page_id: (-scores[page_id], page_id))


def evaluation_list(question: Question, scores: Sequence[float], n: int | None = EVALUATION_SIZE) -> CandidateList:
    """Exactly the first stage's best n pages (all, when there are fewer); a relevant page is never added.

    Args:
        question: the question.
        scores: one first-stage score a page of its document.
        n: how many, at least 1; None takes all.
    """
    if n is not None and n < 1:
        raise ConfigError(f"candidates is {n}: give at least 1")
    return _list(question, first_stage_order(scores)[:n], scores)


def training_list(
    question: Question,
    scores: Sequence[float],
    *,
    sizes: tuple[int, int] = TRAINING_SIZES,
    seed: int = 0,
    shuffle: bool = False,
    near_misses_first: bool = False,
) -> CandidateList:
    """Every relevant page and the hardest negatives, in retriever order.

    Args:
        question: the question.
        scores: one first-stage score a page of its document.
        sizes: fewest and most pages; the number is drawn evenly by ``seed`` and the question's id. A list is longer where the
            relevant pages and one negative need it, and shorter where the document is.
        seed: of the drawing and the shuffling; a question's list does not depend on the other questions.
        shuffle: put the pages in a random order, as an augmentation.
        near_misses_first: take the pages that are annotated as near misses, or published as negatives, before others.

    Raises:
        ConfigError: impossible sizes.
    """
    low, high = sizes
    if not 2 <= low <= high:
        raise ConfigError(f"sizes are {low} to {high}: give two numbers in order, the first at least 2")
    draw = random.Random(f"size:{seed}:{question.qid}")  # noqa: S311
    relevant = set(question.page_ids)
    size = max(draw.randint(low, high), len(relevant) + 1)
    order = first_stage_order(scores)
    hard = [page_id for page_id in order if page_id not in relevant]
    if near_misses_first:
        known = set(question.near_misses) | set(question.negatives)
        hard.sort(key=lambda page_id: page_id not in known)
    chosen = relevant | set(hard[: size - len(relevant)])
    listed = [page_id for page_id in order if page_id in chosen]
    if shuffle:
        random.Random(f"order:{seed}:{question.qid}").shuffle(listed)  # noqa: S311
    return _list(question, listed, scores)


def build_lists(
    corpus: Corpus,
    open_first_stage: FirstStageFactory,
    make: Callable[[Question, Sequence[float]], CandidateList],
    *,
    progress: Progress | None = None,
) -> Iterator[CandidateList]:
    """Candidate lists for every question of a corpus, a document at a time.

    Args:
        corpus: documents and questions.
        open_first_stage: indexes the pages of a document.
        make: :func:`evaluation_list` or :func:`training_list`, with its settings bound.
        progress: told of the documents.

    Raises:
        CorpusError: a document cannot be read, or the first stage gives another number of scores than pages.
    """
    documents = corpus.by_document()
    for done, (document, questions) in enumerate(documents):
        if progress is not None:
            progress("first stage", done, len(documents))
        pages = corpus.document_pages(document.doc_name)
        first_stage = open_first_stage(pages)
        for question in questions:
            scores = first_stage.scores(question.question)
            if len(scores) != len(pages):
                raise CorpusError(f"{question.qid}: the first stage gave {len(scores)} scores for {len(pages)} pages")
            yield make(question, scores)
    if progress is not None:
        progress("first stage", len(documents), len(documents))


def read_lists(path: Path) -> list[CandidateList]:
    """Read a file of candidate lists.

    Raises:
        CorpusError: the file is missing or breaks the format.
    """
    return [candidate_list(record, f"{path}, line {number}") for number, record in read_jsonl(path)]


def candidate_list(record: Record, where: str) -> CandidateList:
    """One line of a file of candidate lists.

    Raises:
        CorpusError: it breaks the format.
    """
    try:
        why = {int(page_id): str(text) for page_id, text in (record.get("why") or {}).items()}
        found = CandidateList(
            qid=str(record["qid"]),
            doc_name=str(record["doc_name"]),
            question=str(record["question"]),
            relevant=_ids(record["relevant"]),
            candidates=_ids(record["candidates"]),
            scores=tuple(float(s) for s in record["scores"]),
            split=record.get("split"),
            source=str(record.get("source", "annotations")),
            why=why,
        )
    except KeyError as error:
        raise CorpusError(f"{where}: field {error} is missing: this is no line of a candidates file") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise CorpusError(f"{where}: {error}") from error
    return found


def _list(question: Question, listed: Sequence[int], scores: Sequence[float]) -> CandidateList:
    return CandidateList(
        qid=question.qid,
        doc_name=question.doc_name,
        question=question.question,
        relevant=tuple(sorted(set(question.page_ids))),
        candidates=tuple(listed),
        scores=tuple(float(scores[page_id]) for page_id in listed),
        split=question.split,
        source=question.source,
        why=question.why if question.source != "annotations" else {},
    )


def _ids(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(v) is int and v >= 0 for v in value):
        raise ValueError(f"{value!r} is no list of zero-based page ids")
    return tuple(value)
