"""Pages → what a vision-language model sees of them: resized, cut into patches, and passed through the vision tower, one by one.

Each page goes through the tower alone, so that its features do not depend on its company: a cached page and a fresh one
are equal to the last bit. For Qwen2.5-VL the tower is written here as one function (:class:`LeanTower`), with all windows of a
size in one attention call; for others it is the model's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr5.engines.loading import import_torch
from mmr5.types import ImageSource

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


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


Cut = tuple["torch.Tensor", tuple[int, int]]
"""Patches, (n, channels * patch * patch) in the order of merged tokens, and the grid, rows and columns of patches."""


class Patches:
    """The image processor of the Qwen-VL family, as one function.

    Args:
        processor: the checkpoint's own; its sizes, mean and deviation are used.
        max_pixels: pixel budget of a page, beside the processor's own.
    """

    def __init__(self, processor: Any, max_pixels: int) -> None:
        size = processor.size
        self._least = int(_get(size, "shortest_edge"))
        self._most = int(_get(size, "longest_edge"))
        self.max_pixels = max_pixels
        self.patch, self.merge, self.time = processor.patch_size, processor.merge_size, processor.temporal_patch_size
        self._mean, self._std = list(processor.image_mean), list(processor.image_std)
        self._scale = float(processor.rescale_factor)
        self._filter = processor.resample
        numbers = (self._least, self._most, max_pixels, self.patch, self.merge, self.time, self._scale, int(self._filter))
        self.settings = repr((numbers, self._mean, self._std))

    def __call__(self, image: Image) -> Cut:
        """Cut up an RGB picture."""
        import numpy as np
        from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

        torch = import_torch()
        height, width = smart_resize(image.height, image.width, self.patch * self.merge, self._least, self._most)
        if (width, height) != image.size:
            image = image.resize((width, height), resample=self._filter)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() * self._scale
        pixels = (pixels - torch.tensor(self._mean)[:, None, None]) / torch.tensor(self._std)[:, None, None]
        rows, columns = height // self.patch, width // self.patch
        cut = pixels.view(3, rows // self.merge, self.merge, self.patch, columns // self.merge, self.merge, self.patch)
        return cut.permute(1, 4, 2, 5, 0, 3, 6).reshape(rows * columns, -1), (rows, columns)


class Tower:
    """A model's own vision tower, one page at a time.

    Args:
        model: a Qwen-VL model of transformers.
        patches: its image processor.
    """

    def __init__(self, model: Any, patches: Patches) -> None:
        self._model, self._patches = model, patches
        self.device = model.device

    def prepare(self, source: ImageSource) -> Cut:
        """Decode and resize a page, and cut it into patches; pages may be prepared in threads of their own."""
        return self._patches(source.load(self._patches.max_pixels))

    def see(self, prepared: Cut) -> Features:
        """Pass one page through the tower."""
        torch = import_torch()
        cut, (rows, columns) = prepared
        states = self._see(cut.to(self._model.device), rows, columns)
        merge = self._patches.merge
        return Features(torch.as_tensor(states), (rows // merge, columns // merge))

    def _see(self, cut: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        torch = import_torch()
        n, time = len(cut), self._patches.time
        pixels = cut.view(n, 3, 1, -1).expand(n, 3, time, -1).reshape(n, -1)
        grid = torch.tensor([[1, rows, columns]], device=cut.device)
        found = self._model.get_image_features(pixels, grid)
        found = getattr(found, "pooler_output", found)
        return found[0] if isinstance(found, (list, tuple)) else found  # type: ignore[no-any-return]


class LeanTower(Tower):
    """The tower of Qwen2.5-VL: patch embedding, windows and full attention, merger."""

    def __init__(self, model: Any, patches: Patches) -> None:
        super().__init__(model, patches)
        visual = model.model.visual
        self._visual, config = visual, visual.config
        self._heads = config.num_heads
        self._full = frozenset(config.fullatt_block_indexes)
        self._window = config.window_size // config.spatial_merge_size // config.patch_size
        weight = visual.patch_embed.proj.weight
        self._embed = weight.sum(2, dtype=import_torch().float32).flatten(1).to(weight.dtype)  # both frames are the same picture
        self._plans: dict[tuple[int, int], _Plan] = {}

    def _see(self, cut: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
        torch = import_torch()
        functional, visual = torch.nn.functional, self._visual
        if (rows, columns) not in self._plans:
            if len(self._plans) > 64:
                self._plans.clear()
            self._plans[rows, columns] = _plan(visual, rows, columns, self._window, self._patches.merge, cut.device)
        plan = self._plans[rows, columns]
        x = functional.linear(cut.to(self._embed.dtype), self._embed)[plan.order]
        for i, block in enumerate(visual.blocks):
            h = functional.rms_norm(x, x.shape[1:], block.norm1.weight, 1e-6)
            qkv = block.attn.qkv(h).view(len(x), 3, self._heads, -1)
            turned = qkv[:, :2].float()
            half = turned.chunk(2, -1)
            turned = (turned * plan.cos + torch.cat((-half[1], half[0]), -1) * plan.sin).to(x.dtype)
            seen = torch.empty_like(qkv[:, 2])
            for place, count, length in ((0, 1, len(x)),) if i in self._full else plan.windows:
                stop = place + count * length
                parts = (
                    t[place:stop].view(count, length, self._heads, -1).transpose(1, 2)
                    for t in (turned[:, 0], turned[:, 1], qkv[:, 2])
                )
                out = functional.scaled_dot_product_attention(*parts).transpose(1, 2)
                seen[place:stop] = out.reshape(count * length, self._heads, -1)
            x = x + block.attn.proj(seen.flatten(1))
            h = functional.rms_norm(x, x.shape[1:], block.norm2.weight, 1e-6)
            mlp = block.mlp
            x = x + mlp.down_proj(functional.silu(mlp.gate_proj(h)) * mlp.up_proj(h))
        return visual.merger(x)[plan.back]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where patches go for window attention.

    Attributes:
        order: patches, windows of a size side by side.
        back: merged tokens in their own order again.
        windows: (first patch, number of windows, patches in each) by size.
        cos: of the rotary embedding, (patches, 1, 1, width).
        sin: the same.
    """

    order: torch.Tensor
    back: torch.Tensor
    windows: tuple[tuple[int, int, int], ...]
    cos: torch.Tensor
    sin: torch.Tensor


def _plan(visual: Any, rows: int, columns: int, window: int, merge: int, device: Any) -> _Plan:
    torch = import_torch()
    height, width = rows // merge, columns // merge
    tokens = torch.arange(height * width).view(height, width)
    by_size: dict[int, list[Any]] = {}
    for top in range(0, height, window):
        for left in range(0, width, window):
            part = tokens[top : top + window, left : left + window].flatten()
            by_size.setdefault(len(part), []).append(part)
    unit = merge * merge
    windows, place = [], 0
    for size, parts in by_size.items():
        windows.append((place, len(parts), size * unit))
        place += len(parts) * size * unit
    index = torch.cat([part for parts in by_size.values() for part in parts])
    order = (index.unsqueeze(1) * unit + torch.arange(unit)).flatten()
    across = torch.arange(rows).view(height, merge, 1, 1).expand(height, merge, width, merge).permute(0, 2, 1, 3).flatten()
    along = torch.arange(columns).view(1, 1, width, merge).expand(height, merge, width, merge).permute(0, 2, 1, 3).flatten()
    inv = visual.rotary_pos_emb.inv_freq.float().cpu()
    angles = torch.cat([across[order].unsqueeze(1) * inv, along[order].unsqueeze(1) * inv], dim=-1)
    angles = torch.cat([angles, angles], dim=-1)[:, None, None].to(device)
    return _Plan(order.to(device), index.argsort().to(device), tuple(windows), angles.cos(), angles.sin())


def tower(model: Any, patches: Patches) -> Tower:
    """The fastest tower that fits a model."""
    return LeanTower(model, patches) if model.config.model_type == "qwen2_5_vl" else Tower(model, patches)


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


def _get(size: Any, name: str) -> Any:
    return size[name] if isinstance(size, dict) else getattr(size, name)
