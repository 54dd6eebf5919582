"""What is ranked: the pages of a document, or the layouts on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from mmr5.corpora import Corpus, Document, Layout, Question
from mmr5.errors import ConfigError, CorpusError
from mmr5.metrics import layout_share
from mmr5.settings import LEVELS
from mmr5.types import ImageSource, Page


@runtime_checkable
class LayoutStore(Protocol):
    """Where the layouts of a corpus's documents come from."""

    def layouts(self, document: Document) -> list[Layout]:
        """The layouts of a document, in file order."""

    def layout_image(self, document: Document, place: int) -> ImageSource:
        """The picture of the layout at a place of :meth:`layouts`."""


@dataclass(frozen=True, slots=True)
class Units:
    """What may be ranked for the questions about one document.

    Attributes:
        pages: one a unit; a layout is given as a page of its own, ``number`` being the page that it lies on.
        layouts: the layouts, one a unit; None at page level.
    """

    pages: Sequence[Page]
    layouts: Sequence[Layout] | None = None

    def relevant(self, question: Question) -> tuple[int, ...]:
        """Ids of the relevant units: the labelled pages, or the layouts that share area with a labelled one."""
        areas = self.areas(question)
        return question.page_ids if areas is None else tuple(i for i, share in enumerate(areas) if share > 0)

    def areas(self, question: Question) -> list[float] | None:
        """Each layout's share of the labelled area (MMDocIR's layout recall is their sum); None at page level."""
        if self.layouts is None:
            return None
        gold = [(layout.page_id, layout.bbox) for layout in question.layouts]
        return [layout_share(layout.page_id, layout.bbox, gold) for layout in self.layouts]


def units_of(corpus: Corpus, document: Document, level: str) -> Units:
    """The units of a document.

    Raises:
        ConfigError: an unknown level.
        CorpusError: the corpus has no layouts, or a file is missing or broken.
    """
    if level not in LEVELS:
        raise ConfigError(f"level is {level!r}: use one of {', '.join(LEVELS)}")
    if level == "page":
        return Units(corpus.document_pages(document.doc_name))
    store = corpus.store
    if not isinstance(store, LayoutStore):
        raise CorpusError(f"{corpus.name} has no layouts: use level 'page', or a corpus that has them, such as mmdocir")
    layouts = store.layouts(document)
    pages = [
        Page(document.doc_name, layout.page_id + 1, layout.text or "", store.layout_image(document, place), "given")
        for place, layout in enumerate(layouts)
    ]
    return Units(pages, layouts)
