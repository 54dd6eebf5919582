"""Scores of questions whose answers are known → a :class:`mmr5.relevance.Calibration`, measured on folds of documents.

Each document is asked its own questions, answerable or not, and some of other documents, which it does not answer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmr5.corpora import Corpus
from mmr5.corpora.records import Document, Question
from mmr5.errors import ConfigError, CorpusError
from mmr5.evaluation.answerability import KEPT, auroc, calibration_quality, refused
from mmr5.pipeline import Searcher
from mmr5.relevance import Calibration, Setting, list_features
from mmr5.retrieval import Retriever
from mmr5.storage.journal import Journal
from mmr5.types import Page, Progress

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

FOLDS = 5
FOREIGN = 3
"""Questions of another document that each document is asked."""
PRECISION = 0.9
"""Share of the questions with the verdict "yes" that have an answer."""
LOW = 0.15
"""Share of the answerable questions whose best score is below the knee; from .05, .15 and .3 on training documents."""
ABOVE_ALL = 2.0
"""A cut that no probability reaches."""
Kind = Literal["answerable", "hard", "corrected", "foreign"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a document, with its candidates.

    Attributes:
        qid: its id; that of a foreign question names both documents.
        doc_name: the document that was asked.
        kind: ``answerable``; ``hard`` (of this document, and no page answers); ``corrected`` (a page corrects what it takes for
            granted); ``foreign`` (of another document).
        scores: of the candidates, best first, as the list is sorted by.
        relevant: of the candidates, in the same order.
    """

    qid: str
    doc_name: str
    kind: Kind
    scores: tuple[float, ...]
    relevant: tuple[bool, ...]


def collect(
    corpus: Corpus,
    searcher: Searcher,
    out: Path,
    *,
    documents: Sequence[str] | None = None,
    pool: bool = False,
    progress: Progress | None = None,
) -> list[Asked]:
    """Ask documents questions; what the file ``out`` holds is not asked again.

    Every document is asked its own and :data:`FOREIGN` questions of other ones, or, with ``pool``, the pages of all documents are
    asked every question.

    Args:
        corpus: with unanswerable questions, where it has them.
        searcher: first stage and model.
        out: a JSONL file, a line a question.
        documents: the documents that are asked; None takes all.
        pool: candidates come from the pages of all these documents together.
        progress: told of documents.

    Raises:
        CorpusError: there is no such document.
    """
    listed = [(d, qs) for d, qs in corpus.by_document() if documents is None or d.doc_name in documents]
    if not listed:
        raise CorpusError("there is no document to calibrate on: name a corpus with questions")
    with Journal(out, _read) as journal:
        everything: _Pages | None = None
        for number, (document, questions) in enumerate(listed):
            if progress is not None:
                progress("calibrating on documents", number, len(listed))
            foreign = _foreign(corpus, document, questions, pool)
            asked = {q.qid: (q, _kind(q)) for q in questions}
            asked |= {f"{q.qid} to {document.doc_name}": (q, "foreign") for q in foreign}
            todo = {qid: one for qid, one in asked.items() if qid not in journal.values}
            if not todo:
                continue
            if pool and everything is None:
                everything = _Pages.pooled(corpus, searcher, documents)
            held = everything or _Pages.of(corpus, document.doc_name, searcher)
            lists = [searcher.candidates(q.question, held.pages, held.index) for q, _ in todo.values()]
            fresh = []
            for (qid, (q, kind)), candidates, ranking in zip(todo.items(), lists, searcher.rank(lists), strict=True):
                if ranking.scores is None:
                    raise ConfigError(f"method {searcher.reranker.method!r} gives no scores: there is nothing to calibrate")
                gold = set() if kind == "foreign" else {(q.doc_name, page) for page in q.page_ids}
                places = [held.places[candidates.index_of(i)] for i in ranking.order]
                scores = tuple(ranking.scores[i] for i in ranking.order)
                fresh.append(Asked(qid, document.doc_name, kind, scores, tuple(place in gold for place in places)))
            journal.append(json.dumps(asdict(row)) for row in fresh)
        return list(journal.values.values())


def _read(line: bytes, where: str) -> tuple[str, Asked] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    row = row_of(record, where)
    return row.qid, row


@dataclass(frozen=True, slots=True)
class _Pages:
    """Pages that are looked through, their first stage, and the document and page id of each."""

    pages: list[Page]
    index: Retriever
    places: list[tuple[str, int]]

    @staticmethod
    def of(corpus: Corpus, doc_name: str, searcher: Searcher) -> _Pages:
        pages = corpus.document_pages(doc_name)
        return _Pages(pages, searcher.index(pages), [(doc_name, i) for i in range(len(pages))])

    @staticmethod
    def pooled(corpus: Corpus, searcher: Searcher, documents: Sequence[str] | None) -> _Pages:
        pages: list[Page] = []
        places: list[tuple[str, int]] = []
        for document in (d for d in corpus.documents if documents is None or d.doc_name in documents):
            own = corpus.document_pages(document.doc_name)
            pages += own
            places += [(document.doc_name, i) for i in range(len(own))]
        return _Pages(pages, searcher.index(pages), places)


def _kind(question: Question) -> Kind:
    return "answerable" if question.answerable else "corrected" if question.corrected_by else "hard"


def _foreign(corpus: Corpus, document: Document, questions: Sequence[Question], pool: bool) -> list[Question]:
    """Questions of other documents in the language of this one's; none where all pages are pooled."""
    spoken = {q.language for q in questions}
    others = [q for q in corpus.questions if q.doc_name != document.doc_name and q.language in spoken]
    return [] if pool else random.Random(document.doc_name).sample(others, min(FOREIGN, len(others)))  # noqa: S311 - no secret


def row_of(record: dict[str, Any], where: str) -> Asked:
    """A line of :func:`collect`.

    Raises:
        CorpusError: it is none.
    """
    try:
        return Asked(**{**record, "scores": tuple(record["scores"]), "relevant": tuple(record["relevant"])})
    except (KeyError, TypeError) as error:
        raise CorpusError(f"{where} is no line of mmr5 calibrate ({error}): remove the file and run it again") from error


def fit(
    rows: Sequence[Asked], setting: Setting, data: str, folds: Callable[[Sequence[str]], dict[str, int]] | None = None
) -> Calibration:
    """Fit on all rows, and measure on folds of documents.

    Args:
        rows: of :func:`collect`.
        setting: what they were collected with.
        data: what they are, in words.
        folds: from document names to folds; None takes every fifth document in alphabetical order.

    Raises:
        ConfigError: too few documents, or one kind of page or question is missing.
    """
    import numpy as np

    rows = [row for row in rows if row.scores]
    fold_of = (folds or every_fifth)([row.doc_name for row in rows])
    if len(set(fold_of.values())) < FOLDS:
        raise ConfigError(f"{len(fold_of)} documents are too few to calibrate on: give a corpus of at least {FOLDS}")
    pages = _Sample(
        np.array([[s] for row in rows for s in row.scores]),
        np.array([r for row in rows for r in row.relevant], dtype=bool),
        np.array([fold_of[row.doc_name] for row in rows for _ in row.scores]),
    )
    knee = _knee(rows)
    lists = _lists(rows, fold_of, knee)
    page_probability, list_probability = pages.held_out(), lists.held_out()
    kinds = np.array([row.kind for row in rows])
    counts = np.cumsum([0, *(len(row.scores) for row in rows)])[:-1]
    yes = list_probability[kinds == "answerable"]
    no_below = float(np.quantile(yes, 1 - KEPT))
    own = kinds != "foreign"
    yes_from = _cut(list_probability[own], lists.labels[own])
    figures: dict[str, Any] = {
        "questions": {kind: int((kinds == kind).sum()) for kind in sorted(set(kinds.tolist()))},
        "documents": len(fold_of),
        "relevance": {
            "all": _quality(page_probability, pages.labels),
            "first": _quality(page_probability[counts], pages.labels[counts]),
        },
        "answerable": {
            kind: {
                "auroc": round(auroc(yes.tolist(), list_probability[kinds == kind].tolist()), 4),
                "refused_at_95": round(refused(yes.tolist(), list_probability[kinds == kind].tolist(), KEPT), 4),
            }
            for kind in ("hard", "corrected", "foreign")
            if (kinds == kind).any()
        },
    }
    slope, intercept = pages.coefficients()
    *weights, bias = lists.coefficients()
    return Calibration(setting, slope, intercept, knee, tuple(weights), bias, no_below, yes_from, data, figures)


def held_out(rows: Sequence[Asked], folds: Callable[[Sequence[str]], dict[str, int]] | None = None) -> list[float]:
    """The probability that a list answers, for each row, by a fit that has not seen its document; arguments as of :func:`fit`."""
    found: list[float] = _lists(rows, (folds or every_fifth)([row.doc_name for row in rows]), _knee(rows)).held_out().tolist()
    return found


def _knee(rows: Sequence[Asked]) -> float:
    """The best score that all but :data:`LOW` of the answerable questions reach."""
    best = sorted(max(row.scores) for row in rows if row.kind == "answerable")
    return best[int(LOW * len(best))] if best else 0.0


def _lists(rows: Sequence[Asked], fold_of: dict[str, int], knee: float) -> _Sample:
    import numpy as np

    return _Sample(
        np.array([list_features(row.scores, knee) for row in rows]),
        np.array([row.kind == "answerable" for row in rows]),
        np.array([fold_of[row.doc_name] for row in rows]),
    )


def every_fifth(names: Sequence[str]) -> dict[str, int]:
    """The fold of each document: every fifth in alphabetical order."""
    return {name: place % FOLDS for place, name in enumerate(sorted(set(names)))}


@dataclass(frozen=True, slots=True)
class _Sample:
    """Values (n, k), labels (n,) and folds (n,)."""

    values: Array
    labels: Array
    folds: Array

    def held_out(self) -> Array:
        """Probabilities, each by a model that has not seen its fold."""
        import numpy as np

        found = np.zeros(len(self.labels))
        for fold in sorted(set(self.folds.tolist())):
            seen = self.folds != fold
            *weights, bias = _logistic_regression(self.values[seen], self.labels[seen])
            found[~seen] = 1 / (1 + np.exp(-(self.values[~seen] @ np.array(weights) + bias)))
        return found

    def coefficients(self) -> list[float]:
        """Weights and bias of a model that has seen all."""
        return _logistic_regression(self.values, self.labels)


def _logistic_regression(values: Array, labels: Array) -> list[float]:
    """Weights and bias of an unpenalised logistic regression.

    Raises:
        ConfigError: all labels are equal.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    if labels.all() or not labels.any():
        raise ConfigError(
            "all pages, or all questions, are of one kind: calibrate on a corpus with relevant and other pages, "
            "and with questions that nothing answers"
        )
    scale = np.where(values.std(0) > 0, values.std(0), 1.0)
    model = LogisticRegression(C=np.inf, max_iter=1000).fit(values / scale, labels)
    return [*(float(w) for w in model.coef_[0] / scale), float(model.intercept_[0])]


def _quality(probabilities: Array, labels: Array) -> dict[str, float]:
    """:func:`calibration_quality` in four digits."""
    found = calibration_quality(probabilities.tolist(), labels.astype(float).tolist())
    return {name: round(value, 4) for name, value in found.items()}


def _cut(probabilities: Array, labels: Array) -> float:
    """The least probability from which on at least :data:`PRECISION` of the questions have an answer."""
    import numpy as np

    order = np.argsort(-probabilities)
    share = np.cumsum(labels[order]) / np.arange(1, len(order) + 1)
    enough = np.flatnonzero(share >= PRECISION)
    return float(probabilities[order[enough[-1]]]) if len(enough) else ABOVE_ALL
