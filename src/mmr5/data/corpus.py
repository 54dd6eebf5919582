"""A corpus: documents, questions, relevant pages.

The folder format (any corpus, ours or a user's)::

    docs.json         [{"doc_name", "domain"?, "pages", "split"?, ...}]
    questions.jsonl   {"doc_name", "question", "page_ids", "type"?, "answer"?, "split"?, "why"?, "near_misses"?}
    gists.jsonl       {"doc_name", "page_id", "gist"}                                            (may be absent)
    pdf/<doc_name>.pdf

Page ids are zero-based within their document. A question's id ``qid`` is ``doc_name#k``, k counting that document's
questions in file order from 0, so that a question asked twice of one document keeps two ids.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mmr5.cache import Cache
from mmr5.data.folder import read_folder
from mmr5.data.records import Document, Layout, Question
from mmr5.errors import ConfigError, CorpusError, MMR5Warning
from mmr5.types import Page, Problem, Progress

if TYPE_CHECKING:
    from mmr5.pages.read import OcrMode

__all__ = ["Corpus", "Document", "Layout", "PageStore", "PdfStore", "Question", "load_corpus"]


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


@dataclass(frozen=True, slots=True)
class PdfStore:
    """Pages read from ``<folder>/<doc_name>.pdf``.

    Attributes:
        folder: where the PDFs lie.
        remedy: what to do when one is missing.
        cache: where page texts are kept; None stands for the default.
        ocr: ``auto``, ``never`` or ``always``, as in ``read_pages``.
        progress: told of the reading.
    """

    folder: Path
    remedy: str = "put the PDF there"
    cache: Cache | None = None
    ocr: OcrMode = "auto"
    progress: Progress | None = field(default=None, repr=False)

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
        read = read_pages(path, ocr=self.ocr, cache=self.cache, progress=self.progress, on_problem=problems.append)
        for problem in problems:
            warnings.warn(str(problem), MMR5Warning, stacklevel=2)
        shown = path.name
        found = {page.number: replace(page, source=shown) for page in read}
        last = max([*found, *(problem.page or 0 for problem in problems)])
        return [found.get(number) or Page(shown, number, text="") for number in range(1, last + 1)]


def load_corpus(
    name_or_folder: str | Path,
    *,
    cache: Cache | None = None,
    ocr: OcrMode = "auto",
    page_text: str | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Load a corpus.

    Args:
        name_or_folder: ``opendocs``, ``mmdocir``, or a folder in the format above or with MMDocIR's published files.
        cache: where fetched corpora and page texts are kept; None stands for the default.
        ocr: how pages without a text layer are read: ``auto``, ``never``, ``always``.
        page_text: which text MMDocIR's pages get: ``ocr`` or ``vlm`` (a model's description); None takes ``ocr``.
        progress: told of the reading.

    Raises:
        ConfigError: ``page_text`` is neither, or given for a corpus that has one text a page.
        CorpusError: the folder or one of its files is missing or breaks the format.
    """
    store = Cache() if cache is None else cache
    if page_text not in (None, "ocr", "vlm"):
        raise ConfigError(f"page_text is {page_text!r}: use ocr or vlm")
    if str(name_or_folder) == "opendocs" and page_text is None:
        from mmr5.data.opendocs import annotations_folder, pdf_folder

        pdfs = PdfStore(pdf_folder(store), "run: mmr5 data fetch opendocs", store, ocr, progress)
        return corpus_of_folder(annotations_folder(), name="opendocs", store=pdfs)
    folder = store.root / "corpora" / "mmdocir" if str(name_or_folder) == "mmdocir" else Path(name_or_folder).expanduser()
    if str(name_or_folder) == "mmdocir" or (folder / "MMDocIR_annotations.jsonl").is_file():
        from mmr5.data.mmdocir import load_evaluation

        return load_evaluation(folder, text="vlm" if page_text == "vlm" else "ocr")
    if page_text is not None:
        raise ConfigError(f"page_text is {page_text!r}, and {str(name_or_folder)!r} has one text a page: use ocr (--ocr) instead")
    if not folder.is_dir():
        raise CorpusError(f"there is no corpus {str(name_or_folder)!r}: give opendocs, mmdocir, or a folder with docs.json")
    pdfs = PdfStore(folder / "pdf", cache=store, ocr=ocr, progress=progress)
    return corpus_of_folder(folder, name=folder.resolve().name, store=pdfs)


def corpus_of_folder(folder: Path, *, name: str, store: PageStore) -> Corpus:
    """The corpus of a folder in the format above.

    Raises:
        CorpusError: a file is missing or breaks the format.
    """
    documents, questions, gists = read_folder(folder)
    return Corpus(name, documents, questions, store, gists)
