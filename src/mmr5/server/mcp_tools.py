"""What an agent can ask over the Model Context Protocol: the pages that answer, an order of pages, one page.

Documents are named by their path below the folders that were allowed, or as a stored collection calls them; nothing else on the
machine can be read.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmr5.documents import clean_question
from mmr5.errors import InputError, MMR5Error, SourceNotFoundError
from mmr5.pages import read_pages
from mmr5.pages.files import files_below, has_known_suffix
from mmr5.pipeline import Searcher
from mmr5.reranker import evidence_of, placed
from mmr5.retrieval.index import Index
from mmr5.settings import ReadingSettings
from mmr5.storage.lru import LRU
from mmr5.types import Box, Candidates, Page, Problem, RankedPage, RerankResult

MOST_DOCUMENTS = 500
"""Most documents of a question."""
MOST_PAGES = 200
"""Most pages that :meth:`PageTools.rerank_pages` takes."""
HELD_BYTES = 256 * 2**20
"""Most bytes of texts of documents that are held."""
PICTURE_PIXELS = 1_200_000
"""Most pixels of a page's picture."""
MARK = (255, 224, 110)
"""Colour of what lies behind evidence."""
REMEMBERED = 1_000
"""Pages whose evidence of the last questions is remembered."""


class PageTools:
    """The tools, without the protocol.

    Args:
        searcher: first stage and model.
        folders: what may be read; at least one, unless there are collections.
        reading: how documents are read.
        indexes: a searcher for each stored collection, by name.

    Raises:
        InputError: there are neither folders nor collections.
        SourceNotFoundError: a folder is not there.
    """

    def __init__(
        self,
        searcher: Searcher,
        folders: Sequence[Path],
        reading: ReadingSettings,
        indexes: Mapping[str, Searcher] | None = None,
    ) -> None:
        if not folders and not indexes:
            raise InputError("there is nothing to read: name a folder, or an index")
        self.searcher = searcher
        self.indexes = dict(indexes or {})
        self._reading = reading
        self._folders = [self._allowed(folder) for folder in folders]
        self._held: LRU[tuple[list[Page], list[Problem]]] = LRU(HELD_BYTES)
        self._marks: dict[tuple[str, str, int], tuple[Box, ...]] = {}
        self._lock = threading.Lock()  # the model is one caller's at a time

    @staticmethod
    def _allowed(folder: Path) -> Path:
        if not folder.is_dir():
            raise SourceNotFoundError(f"no folder at {str(folder)!r}: name the folders whose documents may be read")
        return folder.resolve()

    def list_documents(self, index: str = "") -> list[str]:
        """Names of all documents below the folders, or of a collection, for the other tools.

        Raises:
            SourceNotFoundError: there is no such collection.
        """
        if index:
            return [document.source for document in self._collection(index).documents()]
        return list(self._every())

    def list_indexes(self) -> list[dict[str, Any]]:
        """The stored collections: name, documents and pages of each."""
        found = []
        for name in self.indexes:
            at = self._collection(name).snapshot()
            found.append({"index": name, "documents": len(at.documents), "pages": at.n_pages})
        return found

    def search_pages(
        self,
        question: str,
        documents: Sequence[str] | None = None,
        top_n: int = 5,
        min_relevance: float | None = None,
        index: str = "",
        where: str = "",
    ) -> dict[str, Any]:
        """The pages that answer a question.

        Args:
            question: the question.
            documents: names of documents, or of folders; None or an empty list takes all.
            top_n: most pages, at least 1.
            min_relevance: leave out pages whose relevance, a probability, is below it.
            index: name of a stored collection that is searched instead.
            where: a filter of its documents and pages.

        Raises:
            InputError: an empty question, or too many documents.
            ConfigError: a filter that cannot be read.
            SourceNotFoundError: a document that is not below the allowed folders, or no such collection.
        """
        question = clean_question(question)
        if top_n < 1:
            raise InputError(f"top_n is {top_n}: ask for at least 1 page")
        if index or where or (not self._folders and not documents):
            return self._search_collection(question, documents, top_n, min_relevance, index, where)
        with self._lock:
            files = self._named(documents or ())
            pages: list[Page] = []
            problems: list[Problem] = []
            for name, path in files.items():
                own, found = self._read(name, path)
                pages += own
                problems += found
            if not pages:
                said = "; ".join(problem.message for problem in problems[:3]) or "there is no document"
                raise InputError(f"there are no pages to look through: {said}")
            result = self.searcher.search(question, pages, top_n=top_n, min_relevance=min_relevance)
            self._remember(result)
        return {
            "answerable": result.to_dict()["answerable"],
            "n_pages": len(pages),
            "results": [_line(line) for line in result],
            "problems": [{"document": p.source, "page": p.page, "message": p.message} for p in problems],
        }

    def _search_collection(
        self, question: str, documents: Sequence[str] | None, top_n: int, min_relevance: float | None, name: str, where: str
    ) -> dict[str, Any]:
        if not name and len(self.indexes) == 1:
            [name] = self.indexes
        if documents:
            raise InputError("documents are below folders: leave them out, or name them in where, such as source = 'report.pdf'")
        index = self._collection(name)
        with self._lock:
            result = self.indexes[name].search(question, where=where or None, top_n=top_n, min_relevance=min_relevance)
            self._remember(result, name)
        return {
            "answerable": result.to_dict()["answerable"],
            "n_pages": result.n_pages,
            "index": name,
            "results": [_line(line) for line in result],
            "problems": [
                {"document": p.source, "page": p.page, "message": p.message}
                for p in index.problems({line.source for line in result})
            ],
        }

    def _collection(self, name: str) -> Index:
        found = self.indexes.get(name)
        if found is None or found.collection is None:
            known = ", ".join(self.indexes) or "none"
            raise SourceNotFoundError(f"no index {name[:200]!r}: there is {known}")
        return found.collection

    def rerank_pages(self, question: str, pages: Sequence[Mapping[str, Any] | str]) -> dict[str, Any]:
        """Exactly these pages, best first.

        Args:
            question: the question.
            pages: each ``{"document", "page"}``, with ``"index"`` where it is of a collection, ``{"text"}``, or a text.

        Raises:
            InputError: an empty question, no pages or too many, or one that is none of these.
            SourceNotFoundError: a document or page that is not there.
        """
        question = clean_question(question)
        if not 1 <= len(pages) <= MOST_PAGES:
            raise InputError(f"{len(pages)} pages were given: give 1 to {MOST_PAGES}")
        with self._lock:
            given = [self._given(i, one) for i, one in enumerate(pages)]
            result = self.searcher.reranker.rerank(question, given)
            self._remember(result)
        return {
            "answerable": result.to_dict()["answerable"],
            "results": [{"index": line.index, **_line(line)} for line in result],
        }

    def get_page(self, document: str, page: int, question: str = "", index: str = "") -> tuple[str, bytes | None]:
        """A page's text, and its picture as a JPEG with the evidence marked.

        Args:
            document: its name.
            page: one-based.
            question: what the evidence is of; "" marks that of the last question that found the page.
            index: name of the stored collection that the document is of.

        Raises:
            SourceNotFoundError: there is no such document, page or collection.
            PageError: its file is gone or was changed.
        """
        with self._lock:
            found = self._page(document, page, index)
            boxes = self._marks.get((index, found.source, page), ())
            if question.strip():
                asked = Candidates(clean_question(question), (found,))
                passages = evidence_of(self.searcher.reranker, asked, [0])[0]
                boxes = tuple(box for passage in passages for box in placed(found, passage).boxes)
        return found.text or "", None if found.image is None else picture(found, boxes)

    # --- documents ------------------------------------------------------------------------------------------------

    def _every(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for folder in self._folders:
            found |= self._below(folder, folder)
        return found

    def _below(self, path: Path, folder: Path) -> dict[str, Path]:
        """Files of a folder by their names; what a link leads out of the allowed folders is left out."""
        files = (file for file in files_below(path) if has_known_suffix(file) and self._inside(file))
        return {self._name(file, folder): file for file in files}

    def _inside(self, path: Path) -> bool:
        real = path.resolve()
        return any(real.is_relative_to(folder) for folder in self._folders)

    def _name(self, file: Path, folder: Path) -> str:
        """A file's path below its folder, behind the folder's own name where several are allowed."""
        name = file.relative_to(folder).as_posix()
        return name if len(self._folders) == 1 else f"{folder.name}/{name}"

    def _named(self, documents: Sequence[str]) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for document in documents:
            found |= self._find(document)
        found = found if documents else self._every()
        if len(found) > MOST_DOCUMENTS:
            raise InputError(f"{len(found)} documents are asked, and at most {MOST_DOCUMENTS} are: name some of them")
        return found

    def _find(self, document: str) -> dict[str, Path]:
        for folder in self._folders:
            names = [document] if len(self._folders) == 1 else [document, document.removeprefix(f"{folder.name}/")]
            for name in names:
                path = folder / name if name else folder
                try:
                    there = path.exists() and self._inside(path)
                except (OSError, ValueError):  # a name that no file can have
                    there = False
                if there and path.is_dir():
                    return self._below(path.resolve(), folder)
                if there and path.is_file():
                    real = path.resolve()
                    return {self._name(real, folder) if real.is_relative_to(folder) else name: real}
        raise SourceNotFoundError(f"no document {document[:200]!r} below the allowed folders: list_documents names what is there")

    def _read(self, name: str, path: Path) -> tuple[list[Page], list[Problem]]:
        """A document's pages; what cannot be read is a problem, and stops nothing."""
        try:
            state = path.stat()
        except OSError as error:  # it was there a moment ago
            return [], [Problem(name, None, f"it cannot be read: {error.strerror}")]
        key = f"{path}:{state.st_mtime_ns}:{state.st_size}"
        held = self._held.get(key)
        if held is not None:
            return [replace(page, source=name) for page in held[0]], held[1]
        problems: list[Problem] = []
        try:
            pages = read_pages(path, ocr=self._reading.ocr, picture_pages=self._reading.picture_pages, on_problem=problems.append)
        except MMR5Error as error:
            return [], [Problem(name, None, str(error))]
        problems = [replace(problem, source=name) for problem in problems]
        self._held.put(key, (pages, problems), sum(len(page.text or "") for page in pages) * 2 + 1024)
        return [replace(page, source=name) for page in pages], problems

    def _page(self, document: str, page: int, index: str = "") -> Page:
        if not index and not self._folders and len(self.indexes) == 1:
            [index] = self.indexes
        if index:
            return self._collection(index).page(document, page)
        files = self._find(document)
        if len(files) != 1:
            raise InputError(f"{document[:200]!r} names {len(files)} documents: name one")
        [(name, path)] = files.items()
        pages, problems = self._read(name, path)
        found = next((one for one in pages if one.number == page), None)
        if found is None:
            why = next((problem.message for problem in problems if problem.page in (page, None)), f"it has {len(pages)} pages")
            raise SourceNotFoundError(f"{name!r} has no page {page}: {why}")
        return found

    def _given(self, index: int, one: Mapping[str, Any] | str) -> Page:
        if isinstance(one, str):
            return Page(f"pages[{index}]", text=one)
        if "text" in one and "document" not in one:
            return Page(f"pages[{index}]", text=one["text"])
        if "document" not in one or "page" not in one:
            raise InputError(f"pages[{index}] has {', '.join(sorted(one)) or 'nothing'}: give document and page, or text")
        return self._page(one["document"], one["page"], one.get("index", ""))

    def _remember(self, result: RerankResult, index: str = "") -> None:
        for line in result:
            key = (index, line.source, line.page)
            self._marks.pop(key, None)
            self._marks[key] = tuple(box for passage in line.evidence_passages for box in passage.boxes)
        while len(self._marks) > REMEMBERED:
            self._marks.pop(next(iter(self._marks)))


def picture(page: Page, boxes: Sequence[Box]) -> bytes:
    """A page's picture as a JPEG; boxes, in [0, 1] of its width and height, are coloured behind the words."""
    from PIL import Image, ImageChops, ImageDraw

    assert page.image is not None
    drawn = page.image.load(PICTURE_PIXELS).convert("RGB")
    if boxes:
        layer = Image.new("RGB", drawn.size, "white")
        pen = ImageDraw.Draw(layer)
        for x0, y0, x1, y1 in boxes:
            pen.rectangle((x0 * drawn.width, y0 * drawn.height, x1 * drawn.width, y1 * drawn.height), fill=MARK)
        drawn = ImageChops.multiply(drawn, layer)
    stream = io.BytesIO()
    drawn.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _line(line: RankedPage) -> dict[str, Any]:
    return {
        "document": line.source,
        "page": line.page,
        "page_label": line.page_label,
        "relevance": None if line.relevance is None else round(line.relevance, 4),
        "score": None if line.score is None else round(line.score, 4),
        "evidence": line.evidence,
        "reason": line.reason,
    }
