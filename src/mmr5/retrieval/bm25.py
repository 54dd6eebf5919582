"""BM25 over the words of pages, through bm25s."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mmr5.languages import ENGLISH, forms, language, terms
from mmr5.retrieval.names import SCALES
from mmr5.types import Page

K1, B = 1.5, 0.75


@dataclass(frozen=True, slots=True)
class TermWeights:
    """What a question asks of pages.

    Attributes:
        terms: its terms that a page holds, one for each time that it is asked.
        weights: of each different term, its inverse document frequency.
        reachable: the highest BM25 that a page could have; above 0 where there are terms.
    """

    terms: tuple[str, ...]
    weights: Mapping[str, float]
    reachable: float

    @classmethod
    def of(cls, query: str, languages: Sequence[str], holders: Callable[[str], int], n: int) -> TermWeights:
        """The terms of a question.

        Args:
            query: the question.
            languages: of the pages, without repeats.
            holders: gives how many pages hold a term.
            n: how many pages hold any term.
        """
        asked = [sorted(one) for one in forms(query, languages)]
        held = {term: count for one in asked for term in one if (count := holders(term))}
        wanted = [[term for term in one if term in held] for one in asked]
        weights = {term: _weight(n, count) for term, count in held.items()}
        reachable = sum(sum(weights[term] for term in one) if one else _weight(n, 0) for one in wanted)
        return cls(tuple(term for one in wanted for term in one), weights, reachable)

    def share(self, bag: Mapping[str, int], length: int, mean: float) -> float:
        """BM25 of a page over what is reachable, in [0, 1].

        Args:
            bag: its terms and how often each stands on it.
            length: of the page, in terms.
            mean: length of a page, at least one term long, on average.
        """
        base = K1 * (1 - B + B * length / mean)
        return sum(self.weights[term] * bag[term] / (base + bag[term]) for term in self.terms if term in bag) / self.reachable


def _weight(n: int, held: int) -> float:
    """Inverse document frequency of a term that so many of n pages hold; of 0, that of one which no page has included."""
    return math.log(1 + (n - held + 0.5) / (held + 0.5))


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
        self._index = bm25s.BM25(method="lucene", k1=K1, b=B) if self._owners else None
        if self._index is not None:
            self._index.index([bags[i] for i in self._owners], show_progress=False)

    def scores(self, query: str) -> list[float]:
        """BM25 of each page over the highest that the question could reach, in [0, 1]; 0 where no word is shared."""
        found = [0.0] * self._n
        if self._index is None:
            return found
        asked = TermWeights.of(query, self._languages, self._holders.__getitem__, len(self._owners))
        if not asked.terms:
            return found
        for owner, value in zip(self._owners, self._index.get_scores(list(asked.terms)).tolist(), strict=True):
            found[owner] = value / asked.reachable
        return found


def page_languages(pages: Sequence[Page]) -> list[str]:
    """The language of each page's text; where a page is of none that is known, that of most pages of its source, or English."""
    found = [page.language or language(page.text or "") for page in pages]
    by_source: dict[str, Counter[str]] = {}
    for page, one in zip(pages, found, strict=True):
        by_source.setdefault(page.source, Counter())[one or ENGLISH] += one is not None
    return [one or by_source[page.source].most_common(1)[0][0] for page, one in zip(pages, found, strict=True)]
