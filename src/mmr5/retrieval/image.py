"""One vector a page picture: CLIP, E5-V, DSE, GME, and whatever of the kind sentence-transformers loads."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mmr5.engines.encoders import PromptedEncoder, checkpoint_identity, load_encoder, unit
from mmr5.errors import ModelNotFoundError
from mmr5.retrieval.names import Encoding
from mmr5.retrieval.vectors import UNKNOWN, Unknown, embed_pages, known_pages
from mmr5.storage.cache import Cache, digest
from mmr5.types import Page, Progress

if TYPE_CHECKING:
    import numpy as np

    Vectors = np.ndarray[Any, Any]

BATCH = 8
_LOCK = threading.Lock()


class PictureEncoder:
    """Pictures of pages as a unit vector each, kept by picture, checkpoint, prompt and pixel budget.

    Args:
        encoding: the checkpoint, and how it is asked.
        name: as on the command line.
        cache: where the vectors of pages are kept.
    """

    def __init__(self, encoding: Encoding, *, name: str = "image", cache: Cache | None = None) -> None:
        self.name = name
        self._encoding = encoding
        self._store = cache or Cache()
        prompt = "" if encoding.prompts is None else encoding.prompts.page
        self.identity = digest("image", checkpoint_identity(encoding.checkpoint), prompt, str(encoding.max_pixels))

    def pages(self, pages: Sequence[Page], progress: Progress | None = None) -> list[Vectors | None]:
        """The vector of each page's picture, (1, dimension); None for a page without one.

        Raises:
            PageError: a picture cannot be decoded.
        """
        images = [page.image for page in pages]

        def make(places: list[int]) -> Sequence[Vectors]:
            loaded = [image.load(self._encoding.max_pixels) for i in places if (image := images[i]) is not None]
            with _LOCK:
                return list(_encoder(self._encoding).encode_pages(loaded))

        found = embed_pages(self._store, self._keys(pages), make, batch=BATCH, progress=progress)
        return [None if vector is None else unit(vector)[None] for vector in found]

    def known(self, pages: Sequence[Page]) -> list[Vectors | Unknown | None]:
        """:meth:`pages` as far as it is kept in the cache; nothing is embedded."""
        found = known_pages(self._store, self._keys(pages))
        return [one if one is None or one is UNKNOWN else unit(one)[None] for one in found]

    def _keys(self, pages: Sequence[Page]) -> list[str | None]:
        return [None if page.image is None else digest(self.identity, page.image.key) for page in pages]

    def question(self, query: str) -> Vectors:
        """The vector of a question, (1, dimension)."""
        with _LOCK:
            vector: Vectors = _encoder(self._encoding).encode_query(query)[None]
        return vector


class ImageRetriever:
    """Cosine similarity between the question's vector and that of each page's picture.

    Args:
        pages: the pages; one without a picture scores -1.
        encoding: the checkpoint, and how it is asked.
        name: as on the command line.
        cache: where page vectors are kept, by picture, checkpoint, prompt and pixel budget.
        progress: told of the pages embedded.

    Raises:
        ModelNotFoundError: there is no such checkpoint, or it sees no pictures.
        PageError: a picture cannot be decoded.
    """

    scale = None

    def __init__(
        self,
        pages: Sequence[Page],
        encoding: Encoding,
        *,
        name: str = "image",
        cache: Cache | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.name = name
        self._encoder = PictureEncoder(encoding, name=name, cache=cache)
        self._vectors = self._encoder.pages(pages, progress)

    def scores(self, query: str) -> list[float]:
        """Cosine similarity of each page, in [-1, 1]."""
        asked = self._encoder.question(query)[0]
        return [-1.0 if vector is None else float(vector[0] @ asked) for vector in self._vectors]


class _Library:
    """A ``SentenceTransformer`` that sees pictures."""

    def __init__(self, checkpoint: str) -> None:
        self._model = load_encoder("SentenceTransformer", checkpoint)
        if "image" not in self._model.modalities:
            seen = ", ".join(str(m) for m in self._model.modalities)
            raise ModelNotFoundError(f"{checkpoint!r} reads {seen} and no pictures: use it as 'text:{checkpoint}'")

    def encode_pages(self, images: Sequence[Any]) -> Vectors:
        """Unit vectors, (n, dimension)."""
        return unit(self._model.encode_document(list(images), show_progress_bar=False, convert_to_numpy=True))

    def encode_query(self, query: str) -> Vectors:
        """A unit vector, (dimension,)."""
        vector: Vectors = unit(self._model.encode_query([query], show_progress_bar=False, convert_to_numpy=True))[0]
        return vector


@lru_cache(maxsize=1)
def _encoder(encoding: Encoding) -> _Library | PromptedEncoder:
    """The model, loaded once a process."""
    if encoding.prompts is not None:
        return PromptedEncoder(encoding.checkpoint, encoding.prompts)
    return _Library(encoding.checkpoint)


def release() -> None:
    """Let go of the model that is held."""
    _encoder.cache_clear()
