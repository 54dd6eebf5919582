"""BM25 over the words of pages, through bm25s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mmr5.excerpts import passages
from mmr5.languages import ENGLISH, language, query_terms, terms
from mmr5.types import Page


class BM25Retriever:
    """BM25 (Lucene's variant, k1 = 1.5, b = 0.75) over pages.

    A page is indexed by the terms of its own language, or that of most pages of its source where it has too few words; a question
    asks by the terms that its words have in the languages of all pages.

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
        spoken = page_languages(pages)
        self._languages = sorted(set(spoken))
        for i, page in enumerate(pages):
            text = page.text or ""
            for passage in passages(text, passage_words) if passage_words else [text]:
                bag = terms(passage, spoken[i])
                if bag:
                    self._owners.append(i)
                    bags.append(bag)
        self._index = bm25s.BM25() if bags else None
        if self._index is not None:
            self._index.index(bags, show_progress=False)

    def scores(self, query: str) -> list[float]:
        """BM25 of each page; 0 where no word is shared."""
        found = [0.0] * self._n
        wanted = query_terms(query, self._languages)
        if self._index is None or not wanted:
            return found
        for owner, value in zip(self._owners, self._index.get_scores(wanted).tolist(), strict=True):
            found[owner] = max(found[owner], value)
        return found


def page_languages(pages: Sequence[Page]) -> list[str]:
    """The language of each page's text; where a page is of none that is known, that of most pages of its source, or English."""
    found = [language(page.text or "") for page in pages]
    by_source: dict[str, Counter[str]] = {}
    for page, one in zip(pages, found, strict=True):
        by_source.setdefault(page.source, Counter())[one or ENGLISH] += one is not None
    return [one or by_source[page.source].most_common(1)[0][0] for page, one in zip(pages, found, strict=True)]
