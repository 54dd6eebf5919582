"""Rows → chat messages, through :mod:`mmr5.prompt`: what is trained on is what inference builds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mmr5 import prompt
from mmr5.corpora import Corpus
from mmr5.data.rows import PageRow, Row
from mmr5.errors import ConfigError, CorpusError
from mmr5.excerpts import excerpt
from mmr5.storage.lru import LRU
from mmr5.types import ImageSource, Message, Page

KEPT_PAGES = 20_000
"""Pages (texts and where their pictures lie, no pixels) that are held in memory, in whole documents."""


class Conversations:
    """The chat messages of rows.

    Args:
        corpus: holds the rows' documents.
        count: tokens of a text, by the tokenizer of the model in training.
        page_tokens: most tokens of a page's text; that of the recipe which the checkpoint will carry.
        reserved: the model's special tokens, neutralised in texts.
        kept_pages: pages that are held in memory, at least 1; the document asked for last is held whatever its length.

    Attributes:
        reserved: as given.

    Raises:
        ConfigError: an impossible number.
    """

    def __init__(
        self,
        corpus: Corpus,
        *,
        count: Callable[[str], int],
        page_tokens: int,
        reserved: Sequence[str] = (),
        kept_pages: int = KEPT_PAGES,
    ) -> None:
        if page_tokens < 1 or kept_pages < 1:
            raise ConfigError(f"page_tokens is {page_tokens} and kept_pages {kept_pages}: each is at least 1")
        self._corpus = corpus
        self._count, self._page_tokens, self.reserved = count, page_tokens, tuple(reserved)
        self._kept: LRU[list[Page]] = LRU(kept_pages)

    def pages(self, row: Row) -> list[Page]:
        """The pages of a row's prompt, in order.

        Raises:
            CorpusError: the corpus lacks the document or a page.
        """
        held = self.document(row.doc_name)
        if outside := [page_id for page_id in row.page_ids if page_id >= len(held)]:
            raise CorpusError(f"{row.qid}: {row.doc_name} has {len(held)} pages, and the row names page id {outside[0]}")
        return [held[page_id] for page_id in row.page_ids]

    def prompt(self, row: Row) -> list[Message]:
        """The messages before the assistant speaks.

        Raises:
            CorpusError: the corpus lacks the document or a page, or a page lacks what the view needs.
        """
        pages = self.pages(row)
        images = self._images(row, pages)
        texts = self._texts(row, pages)
        if isinstance(row, PageRow):
            return prompt.pointwise(
                row.question,
                view=row.view,
                image=images[0] if images else None,
                text=texts[0] if texts else None,
                reserved=self.reserved,
            )
        return prompt.listwise(row.question, view=row.view, think=row.think, images=images, texts=texts, reserved=self.reserved)

    def full(self, row: Row) -> list[Message]:
        """The messages with the reply that is taught.

        Raises:
            CorpusError: as for :meth:`prompt`.
            ConfigError: the row has no target (kind ``grpo``).
        """
        if row.target is None:
            raise ConfigError(f"{row.qid}: a row of kind {row.kind!r} teaches no reply: use kind 'listwise' or 'pointwise'")
        return [*self.prompt(row), {"role": "assistant", "content": [{"type": "text", "text": self.target(row)}]}]

    def target(self, row: Row) -> str | None:
        """The reply that is taught, the model's special tokens in it neutralised; None for kind ``grpo``."""
        return None if row.target is None else _broken(row.target, self.reserved)

    def document(self, doc_name: str) -> list[Page]:
        """All pages of a document.

        Raises:
            CorpusError: the corpus lacks it.
        """
        return self._kept.get_or_make(
            doc_name, lambda: self._corpus.document_pages(doc_name), lambda pages: min(len(pages), self._kept.capacity)
        )

    def _images(self, row: Row, pages: Sequence[Page]) -> list[ImageSource] | None:
        if row.view == "text":
            return None
        found = [page.image for page in pages if page.image is not None]
        if len(found) != len(pages):
            raise CorpusError(f"{row.qid}: view {row.view!r} needs a picture of every page of {row.doc_name}: use view 'text'")
        return found

    def _texts(self, row: Row, pages: Sequence[Page]) -> list[str] | None:
        if row.view == "image":
            return None
        if row.view == "text" and any(page.text is None for page in pages):
            raise CorpusError(f"{row.qid}: view 'text' needs the text of every page of {row.doc_name}: use view 'image'")
        shown = [page.text or "" for page in pages] if not isinstance(row, PageRow) or row.passage is None else [row.passage]
        return [excerpt(row.question, text, self._page_tokens, self._count) for text in shown]


def _broken(text: str, reserved: Sequence[str]) -> str:
    """A target without the model's special tokens; the grammar's own tags stay."""
    for token in reserved:
        if len(token) > 1 and not token.isalnum() and token.lower() not in _GRAMMAR and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


_GRAMMAR = ("<think>", "</think>", "<answer>", "</answer>")
