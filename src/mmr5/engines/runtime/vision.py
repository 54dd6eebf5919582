"""Pages → what a vision-language model sees of them: resized, cut into patches, passed through the vision tower, and kept.

Each page goes through the tower alone and once, so that its features do not depend on its company: a cached page and a fresh one
are equal to the last bit. They are kept in memory up to a number of bytes (the least recently used go first) and, where a store
is given, on disk. The key is the picture's content, the image processor's settings, the checkpoint and the dtype, so that nothing
stale is ever used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr5.engines.loading import import_torch
from mmr5.errors import PageError
from mmr5.storage.cache import Cache, digest
from mmr5.storage.lru import LRU
from mmr5.types import ImageSource

if TYPE_CHECKING:
    import torch

NAMESPACE = "page-features"


@dataclass(frozen=True, slots=True)
class Features:
    """What a model sees of a page.

    Attributes:
        states: (tokens, hidden), row by row.
        grid: height and width in visual tokens; their product is ``tokens``.
    """

    states: torch.Tensor
    grid: tuple[int, int]

    @property
    def size(self) -> int:
        """Bytes that they take."""
        return self.states.nbytes

    def __len__(self) -> int:
        return int(self.states.shape[0])


Cut = tuple["torch.Tensor", "torch.Tensor"]
"""A page's patches, and their grid (1, 3): frames, rows and columns."""


class Tower:
    """A Qwen-VL model's image processor and vision tower, one page at a time.

    Args:
        model: of transformers.
        processor: its image processor.
        max_pixels: pixel budget of a page, beside the processor's own.

    Attributes:
        settings: what a page's features depend on beside the checkpoint.
    """

    def __init__(self, model: Any, processor: Any, max_pixels: int) -> None:
        self._model, self._processor, self._max_pixels = model, processor, max_pixels
        self.device: torch.device = model.device
        known = {k: v for k, v in processor.to_dict().items() if not k.startswith("_")}
        self.settings = json.dumps([known, max_pixels, str(model.dtype), self.device.type], sort_keys=True, default=str)

    def prepare(self, source: ImageSource) -> Cut:
        """Decode and resize a page, and cut it into patches; pages may be prepared in threads of their own."""
        shown = source.load(self._max_pixels)
        try:
            made = self._processor(images=[shown], return_tensors="pt")
        except ValueError as error:
            raise PageError(f"the model cannot take a picture of {shown.width} x {shown.height} pixels: {error}") from error
        return made["pixel_values"], made["image_grid_thw"]

    def see(self, prepared: Cut) -> Features:
        """Pass one page through the tower."""
        pixels, grid = (t.to(self.device) for t in prepared)
        found = self._model.get_image_features(pixels, grid)
        found = getattr(found, "pooler_output", found)
        states = found[0] if isinstance(found, (list, tuple)) else found
        _, rows, columns = grid[0].tolist()
        merge = self._processor.merge_size
        return Features(states, (rows // merge, columns // merge))


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


def positions(ids: Sequence[int], image_token: int, grids: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, int]:
    """Multimodal rotary positions of a prompt (Qwen2-VL's): text counts on in all three axes, a picture lies in a plane.

    Args:
        ids: of the prompt, each picture's tokens in a run of its own.
        image_token: the id that stands for a visual token.
        grids: height and width of the pictures in tokens, in order.

    Returns:
        (3, n) positions (time, height, width), and the position of the token that follows.
    """
    torch = import_torch()
    left = iter(grids)
    parts: list[Any] = []
    here = i = 0
    while i < len(ids):
        if ids[i] == image_token:
            height, width = next(left)
            time = torch.zeros(height * width, dtype=torch.long)
            down = torch.arange(height).repeat_interleave(width)
            parts.append(torch.stack([time, down, torch.arange(width).repeat(height)]) + here)
            here, i = here + max(height, width), i + height * width
        else:
            stop = next((k for k in range(i, len(ids)) if ids[k] == image_token), len(ids))
            parts.append(torch.arange(here, here + stop - i).expand(3, -1))
            here, i = here + stop - i, stop
    return torch.cat(parts, dim=1), here
