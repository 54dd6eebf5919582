"""Sentence embeddings of passages, through sentence-transformers; a page scores as its best passage."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mmr5.engines.encoders import checkpoint_identity, load_encoder
from mmr5.excerpts import passages
from mmr5.models.weights import DENSE, obtain
from mmr5.storage.cache import Cache, digest
from mmr5.types import Page, Progress

if TYPE_CHECKING:
    import numpy as np

PASSAGE_WORDS = 90
BATCH = 32

_LOCK = threading.Lock()
_HOW = {"normalize_embeddings": True, "show_progress_bar": False, "convert_to_numpy": True}


class DenseRetriever:
    """Cosine similarity between the question and passages of about ``PASSAGE_WORDS`` words, maximum over a page.

    Args:
        pages: the pages; a page without text scores -1.
        model: a sentence-transformers text model's folder or name; None takes all-MiniLM-L6-v2 (384 dimensions).
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
        self._path = model or str(obtain(DENSE, cache=cache, progress=progress))
        self._identity = checkpoint_identity(model) if model else next(iter(DENSE.files.values()))
        self._n = len(pages)
        store = cache or Cache()
        cut = [passages(page.text or "", PASSAGE_WORDS) for page in pages]
        keys = [digest(self._identity, str(PASSAGE_WORDS), *texts) for texts in cut]
        found = [store.get("embeddings", key) if texts else None for key, texts in zip(keys, cut, strict=True)]
        missing = [i for i, (value, texts) in enumerate(zip(found, cut, strict=True)) if value is None and texts]
        fresh = self._embed([t for i in missing for t in cut[i]], progress)
        start = 0
        for i in missing:
            part = fresh[start : start + len(cut[i])]
            start += len(cut[i])
            found[i] = part.astype(np.float16).tobytes()
            store.put("embeddings", keys[i], found[i] or b"")
        self._owners = np.repeat(np.arange(self._n), [len(texts) for texts in cut])
        blobs = [np.frombuffer(value, dtype=np.float16) for value in found if value]
        self._matrix = np.concatenate(blobs).reshape(len(self._owners), -1).astype(np.float32) if blobs else None

    def scores(self, query: str) -> list[float]:
        """Cosine similarity of each page's best passage, in [-1, 1]; -1 for a page without text."""
        import numpy as np

        best = np.full(self._n, -1.0)
        if self._matrix is not None:
            with _LOCK:
                asked = _encoder(self._path).encode_query([query], **_HOW)[0]
            np.maximum.at(best, self._owners, self._matrix @ np.asarray(asked, dtype=np.float32))
        return [float(v) for v in best]

    def _embed(self, texts: Sequence[str], progress: Progress | None) -> np.ndarray[Any, Any]:
        """Unit-length embeddings, (len(texts), dimension), float32; similar lengths share a batch."""
        import numpy as np

        if not texts:
            return np.zeros((0, 0), dtype=np.float32)
        encoder = _encoder(self._path)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        parts = []
        for start in range(0, len(order), BATCH):
            batch = [texts[i] for i in order[start : start + BATCH]]
            with _LOCK:
                parts.append(encoder.encode_document(batch, **_HOW))
            if progress is not None:
                progress("embedding passages", min(start + BATCH, len(order)), len(order))
        rows = np.concatenate(parts)
        result = np.empty_like(rows)
        result[order] = rows
        return np.asarray(result, dtype=np.float32)


@lru_cache(maxsize=2)
def _encoder(path: str) -> Any:
    """The embedding model, loaded once a process."""
    return load_encoder("SentenceTransformer", path)


def release() -> None:
    """Let go of the models that are held."""
    _encoder.cache_clear()
