"""Vectors of pages, kept on disk by content: the second run over a document embeds nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from mmr5.storage.cache import Cache
from mmr5.types import Progress

if TYPE_CHECKING:
    import numpy as np

    Vectors = np.ndarray[Any, Any]

NAMESPACE = "embeddings"


class Unknown(Enum):
    """What stands for vectors that have still to be made."""

    UNKNOWN = "unknown"


UNKNOWN = Unknown.UNKNOWN


def known_pages(store: Cache, keys: Sequence[str | None]) -> list[Vectors | Unknown | None]:
    """The vectors of each page that are kept; arguments as for :func:`embed_pages`."""
    found: list[Vectors | Unknown | None] = []
    for key in keys:
        value = None if key is None else store.get(NAMESPACE, key)
        found.append(None if key is None else UNKNOWN if value is None else _from_bytes(value))
    return found


def embed_pages(
    store: Cache,
    keys: Sequence[str | None],
    make: Callable[[list[int]], Sequence[Vectors]],
    *,
    batch: int,
    progress: Progress | None = None,
) -> list[Vectors | None]:
    """The vectors of each page: from the cache, or made and kept, batch by batch, so that a kill loses one batch at most.

    Args:
        store: where they are kept, as float16.
        keys: of what each page's vectors depend on (content, checkpoint, settings); None for a page that has none.
        make: gives the vectors of the pages at some places, an array a page.
        batch: pages made together.
        progress: told of the pages embedded.

    Returns:
        A float32 array a page, or None where the key is None. Fresh ones have passed through float16 as well, so that a first run
        and a second one score alike.
    """
    found: dict[str, bytes] = {}
    missing: dict[str, int] = {}
    for place, key in enumerate(keys):
        if key is None or key in found or key in missing:
            continue
        value = store.get(NAMESPACE, key)
        if value is None:
            missing[key] = place
        else:
            found[key] = value
    todo = list(missing.items())
    for start in range(0, len(todo), batch):
        part = todo[start : start + batch]
        for (key, _), vectors in zip(part, make([place for _, place in part]), strict=True):
            found[key] = _to_bytes(vectors)
            store.put(NAMESPACE, key, found[key])
        if progress is not None:
            progress("embedding pages", min(start + batch, len(todo)), len(todo))
    return [None if key is None else _from_bytes(found[key]) for key in keys]


def _to_bytes(vectors: Vectors) -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.asarray(vectors, dtype=np.float16), allow_pickle=False)
    return buffer.getvalue()


def _from_bytes(data: bytes) -> Vectors:
    import numpy as np

    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False), dtype=np.float32)
