"""BM25 over the words of pages, through bm25s."""

from __future__ import annotations

from collections.abc import Sequence

from mmr5.excerpts import passages, terms
from mmr5.types import Page


class BM25Retriever:
    """BM25 (Lucene's variant, k1 = 1.5, b = 0.75) over pages.

    Args:
        pages: the pages; text None counts as empty.
        passage_words: None takes a page whole, which ranks better than its best passage of 90 words (``results/LOG.md``).
    """

    name = "bm25"

    def __init__(self, pages: Sequence[Page], *, passage_words: int | None = None) -> None:
        import bm25s

        self._n = len(pages)
        self._owners: list[int] = []
        bags: list[list[str]] = []
        for i, page in enumerate(pages):
            text = page.text or ""
            for passage in passages(text, passage_words) if passage_words else [text]:
                bag = terms(passage)
                if bag:
                    self._owners.append(i)
                    bags.append(bag)
        self._index = bm25s.BM25() if bags else None
        if self._index is not None:
            self._index.index(bags, show_progress=False)

    def scores(self, query: str) -> list[float]:
        """BM25 of each page; 0 where no word is shared."""
        found = [0.0] * self._n
        wanted = terms(query)
        if self._index is None or not wanted:
            return found
        for owner, value in zip(self._owners, self._index.get_scores(wanted).tolist(), strict=True):
            found[owner] = max(found[owner], value)
        return found
