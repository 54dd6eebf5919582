"""The frozen records of a corpus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NO_DOMAIN = "none"
"""The domain of a document whose record names none."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document.

    Attributes:
        doc_name: its name, unique in the corpus.
        domain: the group for macro averages.
        pages: how many pages it has, at least 1.
        split: ``train``, ``dev``, ..., or None.
        extra: the other fields of its record, as read.
    """

    doc_name: str
    domain: str
    pages: int
    split: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Layout:
    """A part of a page: a paragraph, a table, a figure.

    Attributes:
        doc_name: its document.
        page_id: zero-based page.
        bbox: x1, y1, x2, y2 in the units of ``page_size``.
        page_size: width and height of the page, or None when not recorded.
        type: ``text``, ``table``, ``figure``, ``equation``, ..., or None.
        text: its text, or None.
        layout_id: its name in the data set, or None.
    """

    doc_name: str
    page_id: int
    bbox: tuple[float, float, float, float]
    page_size: tuple[float, float] | None = None
    type: str | None = None
    text: str | None = None
    layout_id: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One question with the pages that answer it.

    Attributes:
        doc_name: the document it is asked of.
        question: its words.
        page_ids: zero-based relevant pages, at least one.
        qid: ``doc_name#k``.
        type: kind of evidence, or None.
        answer: the answer, or None.
        split: the split, its document's where its own record names none.
        why: page id → why this relevant page answers.
        near_misses: page id → why this page, which looks right, does not answer.
        layouts: the parts of pages that answer (MMDocIR's ``layout_mapping``).
        negatives: pages that a retriever ranked high and that do not answer (MMDocIR's training set).
        source: where the question comes from: ``annotations``, or ``heading``, ``caption``, ``index`` when it was made from
            the document itself.
    """

    doc_name: str
    question: str
    page_ids: tuple[int, ...]
    qid: str
    type: str | None = None
    answer: str | None = None
    split: str | None = None
    why: Mapping[int, str] = field(default_factory=dict, hash=False)
    near_misses: Mapping[int, str] = field(default_factory=dict, hash=False)
    layouts: tuple[Layout, ...] = ()
    negatives: tuple[int, ...] = ()
    source: str = "annotations"


def qids(doc_names: Iterable[str]) -> list[str]:
    """The ids of questions, given the documents that they ask, in file order."""
    seen: Counter[str] = Counter()
    found = []
    for doc_name in doc_names:
        found.append(f"{doc_name}#{seen[doc_name]}")
        seen[doc_name] += 1
    return found
