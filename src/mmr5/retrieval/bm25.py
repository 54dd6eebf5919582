"""BM25 over the words of pages, through bm25s."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Sequence

from mmr5.languages import ENGLISH, forms, language, terms
from mmr5.retrieval.names import SCALES
from mmr5.types import Page


class BM25Retriever:
    """BM25 (Lucene's variant, k1 = 1.5, b = 0.75) over pages, as a share of what the question could reach.

    A page is indexed by the terms of its own language, or that of most pages of its source where it has too few words; a question
    asks by the terms that its words have in the languages of all pages. The highest BM25 that a question could reach is the sum
    of its terms' inverse document frequencies, those that no page has included, so that a score says something on its own.

    Args:
        pages: the pages; text None counts as empty.
    """

    name = "bm25"
    scale = SCALES["bm25"]

    def __init__(self, pages: Sequence[Page]) -> None:
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.NOTSET)  # importing it sets DEBUG, which every log of the caller would show
        self._n = len(pages)
        spoken = page_languages(pages)
        self._languages = sorted(set(spoken))
        bags = [terms(page.text or "", one) for page, one in zip(pages, spoken, strict=True)]
        self._owners = [i for i, bag in enumerate(bags) if bag]
        self._holders = Counter(term for i in self._owners for term in set(bags[i]))
        self._index = bm25s.BM25() if self._owners else None
        if self._index is not None:
            self._index.index([bags[i] for i in self._owners], show_progress=False)

    def scores(self, query: str) -> list[float]:
        """BM25 of each page over the highest that the question could reach, in [0, 1]; 0 where no word is shared."""
        found = [0.0] * self._n
        wanted = [sorted(term for term in one if term in self._holders) for one in forms(query, self._languages)]
        known = [term for held in wanted for term in held]
        if self._index is None or not known:
            return found
        reachable = sum(sum(map(self._weight, held)) if held else self._weight("") for held in wanted)
        for owner, value in zip(self._owners, self._index.get_scores(known).tolist(), strict=True):
            found[owner] = value / reachable
        return found

    def _weight(self, term: str) -> float:
        """Inverse document frequency of a term, that of one which no page has included."""
        n, held = len(self._owners), self._holders[term]
        return math.log(1 + (n - held + 0.5) / (held + 0.5))


def page_languages(pages: Sequence[Page]) -> list[str]:
    """The language of each page's text; where a page is of none that is known, that of most pages of its source, or English."""
    found = [page.language or language(page.text or "") for page in pages]
    by_source: dict[str, Counter[str]] = {}
    for page, one in zip(pages, found, strict=True):
        by_source.setdefault(page.source, Counter())[one or ENGLISH] += one is not None
    return [one or by_source[page.source].most_common(1)[0][0] for page, one in zip(pages, found, strict=True)]
