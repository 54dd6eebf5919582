"""The folder format of a corpus (any corpus, ours or a user's), read with file, line and value in every complaint.

The format::

    docs.json         [{"doc_name", "domain"?, "pages", "split"?, "language"?, ...}]
    questions.jsonl   {"doc_name", "question", "page_ids", "qid"?, "type"?, "answer"?, "split"?, "language"?, "why"?,
                       "near_misses"?, "quotes"?, "kind"?, "corrected_by"?}
    gists.jsonl       {"doc_name", "page_id", "gist"}                                            (may be absent)
    pdf/<doc_name>.pdf
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr5.corpora.records import NO_DOMAIN, Corpus, Document, PageStore, Question, qids
from mmr5.errors import CorpusError, MMR5Warning
from mmr5.storage.cache import Cache
from mmr5.storage.jsonl import Record, read_json, read_jsonl, text_field
from mmr5.types import Page, Problem, Progress

if TYPE_CHECKING:
    from mmr5.pages.settle import OcrMode


@dataclass(frozen=True, slots=True)
class PdfStore:
    """Pages read from ``<folder>/<doc_name>.pdf``.

    Attributes:
        folder: where the PDFs lie.
        remedy: what to do when one is missing.
        cache: where page texts are kept; None stands for the default.
        ocr: ``auto``, ``never`` or ``always``, as in ``read_pages``.
        progress: told of the reading.
        picture_pages: as in ``read_pages``.
    """

    folder: Path
    remedy: str = "put the PDF there"
    cache: Cache | None = None
    ocr: OcrMode = "auto"
    progress: Progress | None = field(default=None, repr=False)
    picture_pages: int | None = None

    def path(self, doc_name: str) -> Path:
        """Where the PDF of a document lies."""
        return self.folder / f"{doc_name}.pdf"

    def pages(self, document: Document) -> list[Page]:
        """All pages; one that cannot be read stands as a page without text and picture, so that ids keep their meaning."""
        from mmr5.pages import read_pages

        path = self.path(document.doc_name)
        if not path.is_file():
            raise CorpusError(f"the PDF of {document.doc_name!r} is missing: there is no {path}; {self.remedy}")
        problems: list[Problem] = []
        read = read_pages(
            path,
            ocr=self.ocr,
            picture_pages=self.picture_pages,
            cache=self.cache,
            progress=self.progress,
            on_problem=problems.append,
        )
        for problem in problems:
            warnings.warn(str(problem), MMR5Warning, stacklevel=2)
        shown = path.name
        found = {page.number: replace(page, source=shown) for page in read}
        last = max([*found, *(problem.page or 0 for problem in problems)])
        return [found.get(number) or Page(shown, number, text="") for number in range(1, last + 1)]


def load_folder(folder: Path, *, name: str, store: PageStore) -> Corpus:
    """The corpus of a folder in the format above.

    Raises:
        CorpusError: a file is missing or breaks the format.
    """
    documents, questions, gists = read_folder(folder)
    return Corpus(name, documents, questions, store, gists)


def read_folder(folder: Path) -> tuple[tuple[Document, ...], tuple[Question, ...], dict[str, dict[int, str]]]:
    """Read ``docs.json``, ``questions.jsonl`` and, where present, ``gists.jsonl``.

    Returns:
        Documents, questions, and gists as doc_name → page id → gist.

    Raises:
        CorpusError: a file is missing or breaks the format; the message names file, line and value.
    """
    documents = read_documents(folder / "docs.json")
    by_name = {d.doc_name: d for d in documents}
    questions = _read_questions(folder / "questions.jsonl", by_name)
    gists = _read_gists(folder / "gists.jsonl", by_name) if (folder / "gists.jsonl").is_file() else {}
    return documents, questions, gists


def read_documents(path: Path) -> tuple[Document, ...]:
    """Read ``docs.json``.

    Raises:
        CorpusError: the file is missing or breaks the format.
    """
    records = read_json(path)
    if not isinstance(records, list) or not records:
        raise CorpusError(f"{path}: expected a list of at least one document")
    documents: dict[str, Document] = {}
    for number, record in enumerate(records, start=1):
        where = f"{path}, document {number}"
        if not isinstance(record, dict):
            raise CorpusError(f"{where}: expected one JSON object, found {type(record).__name__}")
        document = _document(record, where)
        if document.doc_name in documents:
            raise CorpusError(f"{where}: doc_name {document.doc_name!r} is used twice: names are unique")
        documents[document.doc_name] = document
    return tuple(documents.values())


def _document(record: Record, where: str) -> Document:
    doc_name = text_field(record, "doc_name", where)
    if "/" in doc_name or "\\" in doc_name or doc_name in (".", "..") or "\0" in doc_name:
        raise CorpusError(f"{where}: doc_name {doc_name!r} is also a file's name: use no slashes")
    pages = record.get("pages")
    if not isinstance(pages, int) or isinstance(pages, bool) or pages < 1:
        raise CorpusError(f"{where}: pages is {pages!r}: give the number of pages, at least 1")
    known = ("doc_name", "domain", "pages", "split", "language")
    extra = {key: value for key, value in record.items() if key not in known}
    domain, split, language = (_optional(record, name, where) for name in ("domain", "split", "language"))
    return Document(doc_name, domain or NO_DOMAIN, pages, split, extra, language)


def _read_questions(path: Path, documents: Mapping[str, Document]) -> tuple[Question, ...]:
    questions: list[Question] = []
    for number, record in read_jsonl(path):
        questions.append(_question(record, documents, f"{path}, line {number}"))
    if not questions:
        raise CorpusError(f"{path} holds no questions")
    numbered = qids(q.doc_name for q in questions)
    named = tuple(replace(q, qid=q.qid or qid) for q, qid in zip(questions, numbered, strict=True))
    places: dict[str, int] = {}
    for place, question in enumerate(named, start=1):
        if question.qid in places:
            raise CorpusError(
                f"{path}: questions {places[question.qid]} and {place} have the same qid {question.qid!r}: give each its own"
            )
        places[question.qid] = place
    return named


def _question(record: Record, documents: Mapping[str, Document], where: str) -> Question:
    document = _known_document(record, documents, where)
    page_ids = record.get("page_ids")
    if not isinstance(page_ids, list):
        raise CorpusError(f"{where}: page_ids is {page_ids!r}: give a list of zero-based pages, [] where no page answers")
    relevant = tuple(_page_id(value, document, "page_ids", where) for value in page_ids)
    if len(set(relevant)) != len(relevant):
        raise CorpusError(f"{where}: page_ids is {page_ids!r}: name each page once")
    near_misses = _notes(record, "near_misses", document, where)
    if both := sorted(set(near_misses) & set(relevant)):
        raise CorpusError(f"{where}: page {both[0]} is in page_ids and in near_misses: it is one or the other")
    quotes = _notes(record, "quotes", document, where)
    if strangers := sorted(set(quotes) - set(relevant)):
        raise CorpusError(f"{where}: quotes names page {strangers[0]}, which is not in page_ids {page_ids}")
    corrected_by = record.get("corrected_by") or []
    if not isinstance(corrected_by, list) or (corrected_by and relevant):
        raise CorpusError(f"{where}: corrected_by is {corrected_by!r}: give a list of pages, where page_ids is []")
    return Question(
        doc_name=document.doc_name,
        question=text_field(record, "question", where),
        page_ids=relevant,
        qid=_optional(record, "qid", where) or "",
        type=_optional(record, "type", where),
        answer=_optional(record, "answer", where),
        split=_optional(record, "split", where) or document.split,
        why=_notes(record, "why", document, where),
        near_misses=near_misses,
        language=_optional(record, "language", where) or document.language,
        kind=_optional(record, "kind", where),
        corrected_by=tuple(_page_id(value, document, "corrected_by", where) for value in corrected_by),
        quotes=quotes,
    )


def _read_gists(path: Path, documents: Mapping[str, Document]) -> dict[str, dict[int, str]]:
    gists: dict[str, dict[int, str]] = {}
    for number, record in read_jsonl(path):
        where = f"{path}, line {number}"
        document = _known_document(record, documents, where)
        page_id = _page_id(record.get("page_id"), document, "page_id", where)
        gists.setdefault(document.doc_name, {})[page_id] = text_field(record, "gist", where)
    return gists


def _known_document(record: Record, documents: Mapping[str, Document], where: str) -> Document:
    doc_name = text_field(record, "doc_name", where)
    if doc_name not in documents:
        raise CorpusError(f"{where}: doc_name {doc_name!r} is not in docs.json")
    return documents[doc_name]


def _page_id(value: Any, document: Document, name: str, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < document.pages:
        raise CorpusError(
            f"{where}: {name} holds {value!r}; {document.doc_name} has {document.pages} pages, zero-based 0..{document.pages - 1}"
        )
    return value


def _notes(record: Record, name: str, document: Document, where: str) -> dict[int, str]:
    value = record.get(name) or {}
    if not isinstance(value, dict) or not all(isinstance(note, str) for note in value.values()):
        raise CorpusError(f'{where}: {name} is no object of the form {{"page": "sentence"}}')
    return {_page_id(int(k) if k.isascii() and k.isdigit() else k, document, name, where): note for k, note in value.items()}


def _optional(record: Record, name: str, where: str) -> str | None:
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise CorpusError(f"{where}: {name} is {value!r}: give a text, or leave it out")
    return value
