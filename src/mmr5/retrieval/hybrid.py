"""The default first stage: BM25, multilingual and English embeddings, as a weighted sum of absolute signals.

A page's score depends on the question, the page and the frequencies of words in the collection alone: it is w · signals + b,
the logarithm of the odds against an unrelated page, whose mean is 0. The weights are those under which the relevant pages of
training documents are likeliest (softmax over a document's pages), fitted by ``scripts/fit_first_stage.py`` for each group of
question and page: both English, both of one other language, or of different ones. A signal abstains where it knows nothing: BM25
where no word is shared, the English embeddings outside English.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache as once
from importlib import resources
from typing import Any

from mmr5.languages import ENGLISH, language, scripts
from mmr5.retrieval.bm25 import BM25Retriever, page_languages
from mmr5.retrieval.dense import DenseRetriever
from mmr5.retrieval.names import SCALES
from mmr5.storage.cache import Cache
from mmr5.types import Page, Progress

SIGNALS = ("bm25", "dense", "minilm")
"""What is summed, each as its retriever scores it."""
GROUPS = ("english", "same", "cross")
"""Question and page both English; both of one other language; of two languages."""
FILE = "hybrid.json"
LEAST_SHARE = 0.25
"""Share of a document's pages from which a language is one of its own."""
SCRIPT_CHARS = 1000
"""Characters that are looked at for a script."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of a group.

    Attributes:
        bm25: of BM25 as a share of what the question could reach.
        dense: of the cosine of the multilingual embeddings.
        minilm: of the cosine of the English embeddings.
        floor: cosines of the multilingual embeddings below this one count as it (a page without text has -1).
        bias: makes the mean over unrelated pages 0.
    """

    bm25: float
    dense: float
    minilm: float
    floor: float
    bias: float

    def score(self, bm25: float, dense: float, minilm: float | None) -> float:
        """The log-odds of a page; ``minilm`` None abstains."""
        english = self.minilm * max(minilm, 0.0) if minilm is not None else 0.0
        return self.bm25 * bm25 + self.dense * max(dense, self.floor) + english + self.bias


class HybridRetriever:
    """See the module.

    Args:
        pages: the pages; one whose text nobody has looked for (None) scores 0, like an unrelated page.
        cache: where embeddings are kept.
        progress: told of the passages embedded.
    """

    name = "hybrid"
    scale = SCALES["hybrid"]

    def __init__(self, pages: Sequence[Page], *, cache: Cache | None = None, progress: Progress | None = None) -> None:
        self._unread = [page.text is None for page in pages]
        self._spoken = main_languages(pages)
        self._scripts = [main_script(page.text or "") for page in pages]
        self._english = [i for i, spoken in enumerate(self._spoken) if spoken == ENGLISH]
        self._bm25 = BM25Retriever(pages)
        self._dense = DenseRetriever(pages, cache=cache, progress=progress)
        english = [pages[i] for i in self._english]
        self._minilm = DenseRetriever(english, name="minilm", cache=cache, progress=progress) if english else None

    def scores(self, query: str) -> list[float]:
        """Log-odds of each page against an unrelated one."""
        known = weights()
        found = []
        for unread, group, bm25, dense, minilm in zip(
            self._unread, self.groups(query), *self.signals(query).values(), strict=True
        ):
            value = 0.0 if unread else known[group].score(bm25, dense, minilm if group == "english" else None)
            found.append(value if math.isfinite(value) else 0.0)
        return found

    def signals(self, query: str) -> dict[str, list[Any]]:
        """The values of each of :data:`SIGNALS`, one a page; None where the English embeddings abstain."""
        minilm: list[float | None] = [None] * len(self._spoken)
        if self._minilm is not None:
            for i, score in zip(self._english, self._minilm.scores(query), strict=True):
                minilm[i] = score
        return {"bm25": self._bm25.scores(query), "dense": self._dense.scores(query), "minilm": minilm}

    def groups(self, query: str) -> list[str]:
        """The group of :data:`GROUPS` of each page."""
        asked, script = language(query), main_script(query)
        return [group(asked, script, *page) for page in zip(self._spoken, self._scripts, strict=True)]


def group(asked: str | None, script: str, spoken: str, written: str) -> str:
    """The group of :data:`GROUPS` of a question and a page.

    A question whose language cannot be told is taken to be in the page's, if it is in its script.

    Args:
        asked: language of the question, or None.
        script: its main one, ``""`` without letters.
        spoken: language of the page.
        written: its main script.
    """
    own = asked if asked is not None else spoken if script == written or not (script and written) else None
    return "cross" if own != spoken else "english" if spoken == ENGLISH else "same"


def main_script(text: str) -> str:
    """The script of most letters at the beginning of a text, ``""`` without letters."""
    return next(iter(scripts(text[:SCRIPT_CHARS])), "")


def main_languages(pages: Sequence[Page]) -> list[str]:
    """The language of each page, or that of most pages of its source where few of them share its own.

    A page of program text or of names in a German document is so taken for German.
    """
    spoken = page_languages(pages)
    by_source: dict[str, Counter[str]] = {}
    for page, one in zip(pages, spoken, strict=True):
        by_source.setdefault(page.source, Counter())[one] += 1
    found = []
    for page, one in zip(pages, spoken, strict=True):
        counts = by_source[page.source]
        found.append(one if counts[one] >= LEAST_SHARE * counts.total() else counts.most_common(1)[0][0])
    return found


@once
def weights() -> dict[str, Weights]:
    """The fitted weights of each group."""
    record = json.loads((resources.files("mmr5.retrieval") / FILE).read_text(encoding="utf-8"))
    return {group: Weights(**record["groups"][group]) for group in GROUPS}
