"""MMDocIR's training set, from ``annotations_top1_negative/<S>_train.jsonl`` and ``parquet/<S>_filter.parquet``.

The subsets S are found by looking, since the published list has changed (``DUDE``, ``DUDE_long``, ``Wiki-ss``, no ``CUAD``).
Their schemas differ, so each is read on its own, column by column. Document names collide across subsets: a document is
``<S>__<name>`` here. All pages of each document are in the parquet file; page id ``i`` is its i-th page in page order.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmr5.corpora.mmdocir import plain_name, whole_number
from mmr5.corpora.parquet import ParquetImage, check_columns, read_columns
from mmr5.corpora.records import Corpus, Document, Question, qids
from mmr5.errors import CorpusError, MMR5Warning
from mmr5.storage.jsonl import Record, read_jsonl, text_field
from mmr5.types import Page, Progress

ANNOTATIONS = "annotations_top1_negative"
PARQUET = "parquet"
HUB_NAME = "MMDocIR/MMDocIR_Train_Dataset"

SPANS_DOCUMENTS = "positives in several documents"
REPEATED = "exact repetition of a row"
NO_PAGE = "a positive page that is not in the parquet file"
FAR_NEGATIVE = "negatives in another document (the question stays)"


@dataclass(frozen=True, slots=True)
class TrainingStore:
    """Pages of the training set: pictures without text, decoded when asked for.

    Attributes:
        rows: doc_name → the parquet file and the row of each page, in page order.
    """

    rows: Mapping[str, tuple[Path, tuple[int, ...]]]

    def pages(self, document: Document) -> list[Page]:
        """The pages of a document; their text is unknown."""
        path, rows = self.rows[document.doc_name]
        return [Page(document.doc_name, i + 1, None, ParquetImage(path, "image", row)) for i, row in enumerate(rows)]


@dataclass(frozen=True, slots=True)
class _Subset:
    """One subset: its documents, and where page numbers of the annotations lie in them."""

    name: str
    documents: dict[str, Document]
    places: dict[tuple[str, int], int]
    rows: dict[str, tuple[Path, tuple[int, ...]]]


def load_training(folder: Path, subsets: Sequence[str] | None = None, *, progress: Progress | None = None) -> Corpus:
    """Read the training set.

    Args:
        folder: holds ``annotations_top1_negative`` and ``parquet``.
        subsets: which to read; None reads all that are there.
        progress: told of the subsets.

    Returns:
        A corpus of split ``train``. Questions that cannot be used (see the constants of this module) are left out, and an
        ``MMR5Warning`` says how many and why.

    Raises:
        CorpusError: no subset, or one that lacks a file, breaks its format, or repeats a page with another picture's row.
    """
    names = list(subsets) if subsets is not None else find_subsets(folder)
    if not names:
        raise CorpusError(f"{folder} holds no MMDocIR training set: expected {ANNOTATIONS}/<subset>_train.jsonl")
    documents: list[Document] = []
    questions: list[Question] = []
    rows: dict[str, tuple[Path, tuple[int, ...]]] = {}
    passed_over: Counter[str] = Counter()
    for done, name in enumerate(names):
        if progress is not None:
            progress(f"reading {name}", done, len(names))
        subset = _read_pages(folder / PARQUET / f"{name}_filter.parquet", name)
        questions += _read_questions(folder / ANNOTATIONS / f"{name}_train.jsonl", subset, passed_over)
        documents += subset.documents.values()
        rows.update(subset.rows)
    if passed_over:
        counts = ", ".join(f"{count} x {reason}" for reason, count in sorted(passed_over.items()))
        warnings.warn(f"MMDocIR training set, passed over: {counts}", MMR5Warning, stacklevel=2)
    ids = qids(q.doc_name for q in questions)
    named = tuple(replace(q, qid=qid) for q, qid in zip(questions, ids, strict=True))
    return Corpus("mmdocir-train", tuple(documents), named, TrainingStore(rows))


def find_subsets(folder: Path) -> list[str]:
    """The subsets whose annotations lie in a folder, by name."""
    return sorted(path.name.removesuffix("_train.jsonl") for path in (folder / ANNOTATIONS).glob("*_train.jsonl"))


def overlapping_documents(training: Iterable[Document], evaluation: Iterable[Document]) -> list[str]:
    """Training documents that bear the name of an evaluation document, subset and ``.pdf`` aside."""
    held_out = {plain_name(d.doc_name).casefold() for d in evaluation}
    return [d.doc_name for d in training if _own_name(d).casefold() in held_out]


def _own_name(document: Document) -> str:
    return str(document.extra.get("file_name", document.doc_name))


def _read_pages(path: Path, subset: str) -> _Subset:
    columns = check_columns(path, ["file_name", "page", "image"])
    wanted = [name for name in ("file_name", "page", "domain") if name in columns]
    found: dict[str, dict[int, int]] = {}
    domains: dict[str, str] = {}
    for row, record in enumerate(read_columns(path, wanted)):
        where = f"{path}, row {row}"
        name = plain_name(text_field(record, "file_name", where))
        # The file repeats rows; the first one of a page counts.
        found.setdefault(name, {}).setdefault(whole_number(record["page"], "page", where), row)
        domains.setdefault(name, str(record.get("domain") or subset))
    result = _Subset(subset, {}, {}, {})
    for name, numbers in found.items():
        doc_name = f"{subset}__{name.replace('/', '_')}"
        if doc_name in result.rows:
            raise CorpusError(f"{path}: two documents are called {doc_name!r} once slashes are replaced")
        ordered = sorted(numbers)
        extra = {"subset": subset, "file_name": name}
        result.documents[name] = Document(doc_name, domains[name], len(ordered), "train", extra)
        result.rows[doc_name] = (path, tuple(numbers[number] for number in ordered))
        result.places.update({(name, number): place for place, number in enumerate(ordered)})
    return result


def _read_questions(path: Path, subset: _Subset, passed_over: Counter[str]) -> list[Question]:
    questions: list[Question] = []
    seen: set[tuple[str, str, tuple[int, ...]]] = set()
    for number, record in read_jsonl(path):
        where = f"{path}, line {number}"
        query = text_field(record, "query", where)
        positives = _passages(record, "positive_passages", where)
        names = {name for name, _ in positives}
        if len(names) != 1:
            passed_over[SPANS_DOCUMENTS] += 1
            continue
        name = names.pop()
        places = [subset.places.get(passage) for passage in positives]
        if None in places:
            passed_over[NO_PAGE] += 1
            continue
        page_ids = tuple(dict.fromkeys(place for place in places if place is not None))
        if (query, name, page_ids) in seen:
            passed_over[REPEATED] += 1
            continue
        seen.add((query, name, page_ids))
        negatives = _passages(record, "negative_passages", where) if record.get("negative_passages") else []
        passed_over[FAR_NEGATIVE] += any(other != name for other, _ in negatives)
        near = [subset.places[p] for p in negatives if p[0] == name and p in subset.places]
        document = subset.documents[name]
        apart = tuple(p for p in dict.fromkeys(near) if p not in page_ids)
        questions.append(Question(document.doc_name, query, page_ids, "", split="train", negatives=apart))
    passed_over += Counter()
    return questions


def _passages(record: Record, name: str, where: str) -> list[tuple[str, int]]:
    value: Any = record.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
        raise CorpusError(f"{where}: {name} is {value!r}: expected a list of objects with doc_name and page_id")
    return [(plain_name(text_field(v, "doc_name", where)), whole_number(v.get("page_id"), "page_id", where)) for v in value]
