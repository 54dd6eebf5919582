"""Pages → what a vision-language model sees of them: resized, cut into patches, and passed through the vision tower, one by one.

Each page goes through the tower alone, so that its features do not depend on its company: a cached page and a fresh one
are equal to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr5.engines.loading import import_torch
from mmr5.types import ImageSource

if TYPE_CHECKING:
    import torch


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
        made = self._processor(images=[source.load(self._max_pixels)], return_tensors="pt")
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
