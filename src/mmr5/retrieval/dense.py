"""Embeddings of passages; a page scores as its best passage.

By multilingual-e5-small, all-MiniLM-L6-v2, or any text model of sentence-transformers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol

from mmr5.engines.encoders import checkpoint_identity, load_encoder, unit
from mmr5.engines.runtime.text_encoder import Kind, release_shared, shared_encoder
from mmr5.excerpts import passages
from mmr5.models import e5
from mmr5.models.weights import E5, MINILM, obtain
from mmr5.retrieval.names import SCALES
from mmr5.retrieval.vectors import NAMESPACE, UNKNOWN, Unknown
from mmr5.storage.cache import Cache, digest
from mmr5.types import Page, Progress

if TYPE_CHECKING:
    import numpy as np

    Vectors = np.ndarray[Any, Any]

PASSAGE_WORDS = 90
BATCH = 32
BUNDLED = {"dense": E5, "minilm": MINILM}
"""First stages whose weights this package obtains by itself."""
NOTHING = -1.0
"""The score of a page without text."""


class Encoder(Protocol):
    """Texts → unit vectors, (n, dimension), float32."""

    def encode(self, texts: Sequence[str], kind: Kind = "document", on_done: Callable[[int], None] | None = None) -> Vectors:
        """As :meth:`mmr5.engines.runtime.text_encoder.TextEncoder.encode`."""


class PassageEncoder:
    """Passages of about ``PASSAGE_WORDS`` words of pages as unit vectors, kept by content and model.

    Args:
        model: a sentence-transformers text model's folder or name; None takes the one of :data:`BUNDLED` that ``name`` says.
        name: as on the command line.
        cache: where the vectors of pages are kept.
        progress: told of the model's being fetched.
    """

    def __init__(
        self, *, model: str | None = None, name: str = "dense", cache: Cache | None = None, progress: Progress | None = None
    ) -> None:
        self.name = name
        self._store = cache or Cache()
        self._open: Callable[[], Encoder] = partial(_library, model) if model else partial(_bundled, name, self._store, progress)
        self.identity = checkpoint_identity(model) if model is not None else next(iter(BUNDLED[name].files.values()))

    def pages(self, pages: Sequence[Page], progress: Progress | None = None) -> list[Vectors | None]:
        """The vectors of each page's passages, (passages, dimension), float16; None for a page without text."""
        import numpy as np

        cut, keys = self._keys(pages)
        held = [self._store.get(NAMESPACE, key) if texts else None for key, texts in zip(keys, cut, strict=True)]
        missing = {
            key: texts for key, value, texts in zip(keys, held, cut, strict=True) if value is None and texts
        }  # pages alike are embedded once
        fresh = self._embed([text for texts in missing.values() for text in texts], progress)
        made: dict[str, bytes] = {}
        start = 0
        for key, texts in missing.items():
            part = fresh[start : start + len(texts)]
            start += len(texts)
            made[key] = part.astype(np.float16).tobytes()
            self._store.put(NAMESPACE, key, made[key])
        blobs = [value if value is not None else made.get(key) for key, value in zip(keys, held, strict=True)]
        return [None if value is None else _read(value, len(texts)) for value, texts in zip(blobs, cut, strict=True)]

    def known(self, pages: Sequence[Page]) -> list[Vectors | Unknown | None]:
        """:meth:`pages` as far as it is kept in the cache; nothing is embedded."""
        found: list[Vectors | Unknown | None] = []
        for texts, key in zip(*self._keys(pages), strict=True):
            value = self._store.get(NAMESPACE, key) if texts else None
            found.append(None if not texts else UNKNOWN if value is None else _read(value, len(texts)))
        return found

    def _keys(self, pages: Sequence[Page]) -> tuple[list[list[str]], list[str]]:
        """The passages of each page, and the key of their vectors."""
        cut = [passages(page.text or "", PASSAGE_WORDS) for page in pages]
        return cut, [digest("vectors", self.identity, str(PASSAGE_WORDS), *texts) for texts in cut]

    def question(self, query: str) -> Vectors:
        """The vector of a question, (1, dimension), float32."""
        return self._open().encode([query], "query")

    def _embed(self, texts: Sequence[str], progress: Progress | None) -> Vectors:
        import numpy as np

        if not texts:
            return np.zeros((0, 0), dtype=np.float32)

        def report(done: int) -> None:
            if progress is not None:
                progress("embedding passages", done, len(texts))

        return self._open().encode(texts, "document", report)


def _read(value: bytes, count: int) -> Vectors:
    import numpy as np

    return np.frombuffer(value, dtype=np.float16).reshape(count, -1)


class DenseRetriever:
    """Cosine similarity between the question and passages of about ``PASSAGE_WORDS`` words, maximum over a page.

    Args:
        pages: the pages; one without text scores -1.
        model: a sentence-transformers text model's folder or name; None takes the one of :data:`BUNDLED` that ``name`` says.
        name: as on the command line.
        cache: where page embeddings are kept, by content and model.
        progress: told of the passages embedded.
    """

    def __init__(
        self,
        pages: Sequence[Page],
        *,
        model: str | None = None,
        name: str = "dense",
        cache: Cache | None = None,
        progress: Progress | None = None,
    ) -> None:
        import numpy as np

        self.name = name
        self.scale = SCALES.get(name)
        self._n = len(pages)
        self._encoder = PassageEncoder(model=model, name=name, cache=cache, progress=progress)
        vectors = self._encoder.pages(pages, progress)
        self._owners = np.repeat(np.arange(self._n), [0 if own is None else len(own) for own in vectors])
        found = [own for own in vectors if own is not None]
        self._matrix = np.concatenate(found).astype(np.float32) if found else None

    def scores(self, query: str) -> list[float]:
        """Cosine similarity of each page's best passage, in [-1, 1]; -1 for a page without text."""
        import numpy as np

        best = np.full(self._n, NOTHING)
        if self._matrix is not None:
            np.maximum.at(best, self._owners, self._matrix @ self._encoder.question(query)[0])
        return [float(v) for v in best]


class _Library:
    """A text model of sentence-transformers."""

    def __init__(self, checkpoint: str) -> None:
        self._model = load_encoder("SentenceTransformer", checkpoint)
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], kind: Kind = "document", on_done: Callable[[int], None] | None = None) -> Vectors:
        import numpy as np

        encode = self._model.encode_query if kind == "query" else self._model.encode_document
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        parts = []
        for start in range(0, len(order), BATCH):
            batch = [texts[i] for i in order[start : start + BATCH]]
            with self._lock:
                parts.append(encode(batch, show_progress_bar=False, convert_to_numpy=True))
            if on_done is not None:
                on_done(min(start + BATCH, len(order)))
        rows = unit(np.concatenate(parts).astype(np.float32))
        found = np.empty_like(rows)
        found[order] = rows
        return found


@lru_cache(maxsize=2)
def _library(checkpoint: str) -> Encoder:
    """A model of sentence-transformers, loaded once a process."""
    return _Library(checkpoint)


def _bundled(name: str, cache: Cache, progress: Progress | None) -> Encoder:
    """A model of :data:`BUNDLED`, loaded once a process."""
    if BUNDLED[name] is E5:
        return shared_encoder(e5.checkpoint(cache=cache, progress=progress))
    return shared_encoder(obtain(BUNDLED[name], cache=cache, progress=progress))


def release() -> None:
    """Let go of the models that are held."""
    _library.cache_clear()
    release_shared()
