"""A corpus: documents, questions, relevant pages.

Page ids are zero-based within their document. A question's id ``qid`` is the one its record names, else ``doc_name#k``, k
counting that document's questions in file order from 0, so that a question asked twice of one document keeps two ids.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mmr5.errors import CorpusError
from mmr5.types import Page

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
        language: of its text (ISO 639-1), or None.
    """

    doc_name: str
    domain: str
    pages: int
    split: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    language: str | None = None


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
        page_ids: zero-based relevant pages; empty where no page answers.
        qid: its own id, or ``doc_name#k``.
        type: kind of evidence, or None.
        answer: the answer, or None.
        split: the split, its document's where its own record names none.
        why: page id → why this relevant page answers.
        near_misses: page id → why this page, which looks right, does not answer.
        layouts: the parts of pages that answer (MMDocIR's ``layout_mapping``).
        negatives: pages that a retriever ranked high and that do not answer (MMDocIR's training set).
        source: where the question comes from: ``annotations``, or ``heading``, ``caption``, ``index`` when it was made from
            the document itself.
        language: of the question (ISO 639-1); its document's where its own record names none; None where neither does.
        kind: why no page answers (``missing_detail``, ``neighbour``, ``other_entity``, ``false_premise``), or None.
        corrected_by: pages that correct what an unanswerable question takes for granted.
        quotes: relevant page id → the words of its text that answer; "" where only the picture shows it.
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
    language: str | None = None
    kind: str | None = None
    corrected_by: tuple[int, ...] = ()
    quotes: Mapping[int, str] = field(default_factory=dict, hash=False)

    @property
    def answerable(self) -> bool:
        """Whether any page of the document answers."""
        return bool(self.page_ids)


class PageStore(Protocol):
    """Where the pages of a corpus's documents come from."""

    def pages(self, document: Document) -> list[Page]:
        """All pages of a document, in order; position ``i`` is page id ``i``."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents and questions, and where the pages are.

    Attributes:
        name: what it was loaded as.
        documents: in file order.
        questions: in file order.
        store: where pages come from.
        gists: doc_name → page id → one line on what the page holds.
        domains: the domains of the macro average where a benchmark fixes them; None stands for the domains present.
    """

    name: str
    documents: tuple[Document, ...]
    questions: tuple[Question, ...]
    store: PageStore = field(repr=False)
    gists: Mapping[str, Mapping[int, str]] = field(default_factory=dict, repr=False, hash=False)
    domains: tuple[str, ...] | None = None

    def split(self, name: str | None) -> Corpus:
        """The documents and questions of one split; None keeps all.

        Raises:
            CorpusError: no question belongs to that split.
        """
        if name is None:
            return self
        questions = tuple(q for q in self.questions if q.split == name)
        if not questions:
            known = sorted({q.split for q in self.questions if q.split is not None})
            raise CorpusError(f"{self.name} has no questions of split {name!r}; its splits: {', '.join(known) or 'none'}")
        asked = {q.doc_name for q in questions}
        documents = tuple(d for d in self.documents if d.split == name or d.doc_name in asked)
        return replace(self, documents=documents, questions=questions)

    def document(self, doc_name: str) -> Document:
        """The document of that name.

        Raises:
            CorpusError: there is none.
        """
        for document in self.documents:
            if document.doc_name == doc_name:
                return document
        raise CorpusError(f"{self.name} has no document {doc_name!r}")

    def document_pages(self, doc_name: str) -> list[Page]:
        """All pages of a document; position ``i`` is page id ``i``.

        Raises:
            CorpusError: an unknown document, one whose file is missing, or one with another number of pages than recorded.
            DocumentError: its file cannot be opened.
        """
        document = self.document(doc_name)
        pages = self.store.pages(document)
        if len(pages) != document.pages:
            raise CorpusError(
                f"{doc_name} has {len(pages)} pages, and its record says {document.pages}: "
                "correct 'pages', or fetch the right file"
            )
        return pages

    def by_document(self) -> list[tuple[Document, tuple[Question, ...]]]:
        """Each document that is asked about, with its questions, in document order."""
        asked: dict[str, list[Question]] = {}
        for question in self.questions:
            asked.setdefault(question.doc_name, []).append(question)
        return [(d, tuple(asked[d.doc_name])) for d in self.documents if d.doc_name in asked]


def joined(name: str, corpora: Sequence[Corpus]) -> Corpus:
    """Several corpora as one, in order.

    Raises:
        CorpusError: two of them have a document or a question of the same name, or fix different domains.
    """
    owners: dict[str, Corpus] = {}
    asked: dict[str, Corpus] = {}
    for corpus in corpora:
        for known, what, names in (
            (owners, "document", [d.doc_name for d in corpus.documents]),
            (asked, "question", [q.qid for q in corpus.questions]),
        ):
            twice = next((one for one in names if known.setdefault(one, corpus) is not corpus), None)
            if twice is not None:
                raise CorpusError(f"{what} {twice!r} is in {known[twice].name} and in {corpus.name}: rename one")
    domains = {corpus.domains for corpus in corpora}
    if len(domains) > 1:
        raise CorpusError(f"{name}: the macro average of these corpora is over different domains: take them one by one")
    return Corpus(
        name,
        tuple(d for corpus in corpora for d in corpus.documents),
        tuple(q for corpus in corpora for q in corpus.questions),
        _Joined(owners),
        {doc: gists for corpus in corpora for doc, gists in corpus.gists.items()},
        domains.pop(),
    )


@dataclass(frozen=True, slots=True)
class _Joined:
    """The pages of several corpora, by document."""

    owners: Mapping[str, Corpus]

    def pages(self, document: Document) -> list[Page]:
        return self.owners[document.doc_name].store.pages(document)


def question_hash(question: str) -> str:
    """What tells one question from another, whatever their ids: 16 hex digits of its words, white space folded."""
    return hashlib.sha256(" ".join(question.split()).encode()).hexdigest()[:16]


def qids(doc_names: Iterable[str]) -> list[str]:
    """The ids of questions, given the documents that they ask, in file order."""
    seen: Counter[str] = Counter()
    found = []
    for doc_name in doc_names:
        found.append(f"{doc_name}#{seen[doc_name]}")
        seen[doc_name] += 1
    return found
