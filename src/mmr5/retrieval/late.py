"""Late interaction: one vector a token, compared by MaxSim. ColQwen, ColPali, ColBERT and their kin."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mmr5.engines.encoders import checkpoint_identity, load_encoder
from mmr5.excerpts import passages
from mmr5.retrieval.names import Encoding
from mmr5.retrieval.vectors import Unknown, embed_pages, known_pages
from mmr5.storage.cache import Cache, digest
from mmr5.types import Page, Progress

if TYPE_CHECKING:
    import numpy as np

    Vectors = np.ndarray[Any, Any]

BATCH = 4
PASSAGE_WORDS = 90
_LOCK = threading.Lock()


class TokenEncoder:
    """Pages as a vector a token, kept by content and checkpoint; a page of ColQwen takes up to 200 kB.

    A checkpoint that sees pictures embeds the page's picture; another one embeds its text, in passages of ``PASSAGE_WORDS`` words
    whose vectors together are the page's.

    Args:
        encoding: the checkpoint.
        name: as on the command line.
        cache: where the vectors of pages are kept.

    Raises:
        ModelNotFoundError: there is no such checkpoint.
    """

    def __init__(self, encoding: Encoding, *, name: str = "late", cache: Cache | None = None) -> None:
        self.name = name
        self._encoding = encoding
        self._store = cache or Cache()
        self._sees = "image" in _encoder(encoding.checkpoint).modalities
        self.identity = digest("late", checkpoint_identity(encoding.checkpoint))

    def pages(self, pages: Sequence[Page], progress: Progress | None = None) -> list[Vectors | None]:
        """The vectors of each page, (tokens, dimension), float32; None for a page without a picture (or text).

        Raises:
            PageError: a picture cannot be decoded.
        """
        encoder = _encoder(self._encoding.checkpoint)
        cut = [] if self._sees else [_passages(page) for page in pages]

        def make(places: list[int]) -> Sequence[Vectors]:
            if not self._sees:
                return _embed_texts(encoder, [cut[i] for i in places])
            loaded = [image.load(self._encoding.max_pixels) for i in places if (image := pages[i].image) is not None]
            return _embed(encoder, loaded)

        return embed_pages(self._store, self._keys(pages), make, batch=BATCH, progress=progress)

    def known(self, pages: Sequence[Page]) -> list[Vectors | Unknown | None]:
        """:meth:`pages` as far as it is kept in the cache; nothing is embedded."""
        return known_pages(self._store, self._keys(pages))

    def _keys(self, pages: Sequence[Page]) -> list[str | None]:
        if self._sees:
            budget = str(self._encoding.max_pixels)
            return [None if page.image is None else digest(self.identity, budget, page.image.key) for page in pages]
        cut = [_passages(page) for page in pages]
        return [digest(self.identity, str(PASSAGE_WORDS), *texts) if texts else None for texts in cut]

    def question(self, query: str) -> Vectors:
        """The vectors of a question, (tokens, dimension)."""
        with _LOCK:
            (asked,) = _encoder(self._encoding.checkpoint).encode_query([query], show_progress_bar=False, convert_to_numpy=True)
        vectors: Vectors = asked
        return vectors


class LateRetriever:
    """MaxSim between the question's token vectors and those of each page (see :class:`TokenEncoder`).

    Args:
        pages: the pages; one without a picture (or text) comes last.
        encoding: the checkpoint.
        name: as on the command line.
        cache: where page vectors are kept.
        progress: told of the pages embedded.

    Raises:
        ModelNotFoundError: there is no such checkpoint.
        PageError: a picture cannot be decoded.
    """

    scale = None

    def __init__(
        self,
        pages: Sequence[Page],
        encoding: Encoding,
        *,
        name: str = "late",
        cache: Cache | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.name = name
        self._encoder = TokenEncoder(encoding, name=name, cache=cache)
        self._vectors = self._encoder.pages(pages, progress)

    def scores(self, query: str) -> list[float]:
        """The sum, over the question's tokens, of the best similarity to any of the page's tokens."""
        asked = self._encoder.question(query)
        found = [None if page is None else maxsim(asked, page) for page in self._vectors]
        known = [score for score in found if score is not None]
        last = min(known, default=0.0) - 1
        return [last if score is None else score for score in found]


def _passages(page: Page) -> list[str]:
    return passages(page.text or "", PASSAGE_WORDS)


def maxsim(query: Vectors, page: Vectors) -> float:
    """Σ over query tokens of max over page tokens of their dot product.

    Args:
        query: (tokens, dimension).
        page: (tokens, dimension), at least one token.
    """
    return float((query @ page.T).max(axis=1).sum())


def _embed(encoder: Any, documents: Sequence[Any]) -> Sequence[Vectors]:
    with _LOCK:
        found = encoder.encode_document(list(documents), batch_size=BATCH, show_progress_bar=False, convert_to_numpy=True)
    return [*found]


def _embed_texts(encoder: Any, cut: Sequence[Sequence[str]]) -> Sequence[Vectors]:
    """The token vectors of each page's passages, one after the other."""
    import numpy as np

    flat = _embed(encoder, [text for texts in cut for text in texts])
    pages, start = [], 0
    for texts in cut:
        pages.append(np.concatenate(flat[start : start + len(texts)]))
        start += len(texts)
    return pages


@lru_cache(maxsize=1)
def _encoder(checkpoint: str) -> Any:
    """The model, loaded once a process."""
    return load_encoder("MultiVectorEncoder", checkpoint)


def release() -> None:
    """Let go of the model that is held."""
    _encoder.cache_clear()
