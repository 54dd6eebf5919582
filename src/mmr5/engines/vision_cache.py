"""What a model saw of a page, kept: each page is decoded, resized and passed through the vision tower once.

Kept in memory up to a number of bytes (the least recently used go first) and, where a store is given, on disk. The key
is the picture's content, the image processor's settings, the checkpoint and the dtype, so that nothing stale is ever used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mmr5.cache import Cache, digest
from mmr5.engines.loading import import_torch
from mmr5.engines.vision import Cut, Features, Tower
from mmr5.storage.lru import LRU
from mmr5.types import ImageSource

NAMESPACE = "page-features"


class PageFeatures:
    """Features of pages, from memory, from disk, or fresh.

    Args:
        tower: sees a page.
        max_bytes: memory for features; 0 keeps none.
        identity: of checkpoint, processor settings and dtype; only features of the same identity are read from disk.
        store: where features are kept on disk, or None.
    """

    def __init__(self, tower: Tower, *, max_bytes: int, identity: str, store: Cache | None = None) -> None:
        self.memory: LRU[Features] = LRU(max_bytes)
        self.seen = 0
        """How many pages went through the tower."""
        self._tower, self._identity, self._store = tower, identity, store

    def get(self, sources: Sequence[ImageSource]) -> list[Features]:
        """The features of pages, in order.

        Raises:
            PageError: a page's picture cannot be decoded.
        """
        found = {source.key: self._kept(source.key) for source in sources}
        missing = {source.key: source for source in sources if found[source.key] is None}
        if missing:
            with ThreadPoolExecutor(min(len(missing), os.cpu_count() or 1)) as pool:
                for key, prepared in zip(missing, pool.map(self._tower.prepare, missing.values()), strict=True):
                    found[key] = self._fresh(key, prepared)
        return [held for source in sources if (held := found[source.key]) is not None]

    def tokens(self, source: ImageSource) -> int | None:
        """How many tokens a page has, where that is known without looking at it."""
        held = self.memory.peek(source.key)
        return None if held is None else len(held)

    def _kept(self, key: str) -> Features | None:
        """Features from memory or disk."""
        if (held := self.memory.get(key)) is not None:
            return held
        data = None if self._store is None else self._store.get(NAMESPACE, digest(self._identity, key))
        if data is None:
            return None
        found = unpack(data, self._tower.device)
        self.memory.put(key, found, found.size)
        return found

    def _fresh(self, key: str, prepared: Cut) -> Features:
        """Features from the tower."""
        found = self._tower.see(prepared)
        self.seen += 1
        if self._store is not None:
            self._store.put(NAMESPACE, digest(self._identity, key), pack(found))
        self.memory.put(key, found, found.size)
        return found


def pack(features: Features) -> bytes:
    """Features as bytes: a line of JSON, then the raw states."""
    torch = import_torch()
    states = features.states.cpu().contiguous()
    head = json.dumps({"dtype": str(states.dtype).removeprefix("torch."), "shape": list(states.shape), "grid": features.grid})
    return head.encode() + b"\n" + bytes(states.view(torch.uint8).numpy().tobytes())


def unpack(data: bytes, device: Any) -> Features:
    """The features in bytes made by :func:`pack`."""
    torch = import_torch()
    head, _, raw = data.partition(b"\n")
    said = json.loads(head)
    states = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(getattr(torch, said["dtype"]))
    return Features(states.view(said["shape"]).to(device), (said["grid"][0], said["grid"][1]))
