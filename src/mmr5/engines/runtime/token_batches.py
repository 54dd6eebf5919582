"""Which requests are read together: by falling length, within a budget of tokens and of pixels that memory allows.

Pure but for :func:`free_memory`. A batch that does not fit after all is halved, and no request is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmr5.engines.loading import import_torch

if TYPE_CHECKING:
    import torch

BATCH_TOKENS = {"cpu": 8_192, "mps": 16_384, "cuda": 65_536}
"""Beyond this many tokens, padding included, a forward pass gains no more speed."""
BATCH_PIXELS = {"cpu": 16_000_000, "mps": 32_000_000, "cuda": 128_000_000}
"""Beyond this many pixels of page images in one batch, nothing is gained."""
MEMORY_SHARE = 0.5
"""Share of the free memory that one batch may take."""
BYTES_PER_PIXEL = 64
"""Memory of a page's pixel on its way: decoded, as float patches, and in the vision tower."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Budget:
    """What one batch may hold.

    Attributes:
        tokens: prompt and new tokens, padding included, at least 1.
        pixels: of all page images together, at least 1.
    """

    tokens: int
    pixels: int


def budget(device: str, free_bytes: int | None, token_bytes: int) -> Budget:
    """What a batch may hold on a device.

    Args:
        device: ``cpu``, ``mps`` or ``cuda``.
        free_bytes: free memory; None when nobody knows.
        token_bytes: memory of one token on its way: its states in every layer and the widest activations.
    """
    tokens, pixels = BATCH_TOKENS.get(device, BATCH_TOKENS["cpu"]), BATCH_PIXELS.get(device, BATCH_PIXELS["cpu"])
    if free_bytes is None:
        return Budget(tokens, pixels)
    room = free_bytes * MEMORY_SHARE
    return Budget(max(1, min(tokens, int(room / max(1, token_bytes)))), max(1, min(pixels, int(room / BYTES_PER_PIXEL))))


def token_bytes(model: Any) -> int:
    """Memory of one token on its way through a model: keys and values of all layers, and the widest activations, in bytes."""
    config = model.config.get_text_config()
    size = model.dtype.itemsize
    heads = getattr(config, "num_attention_heads", None) or 1
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    states = 2 * config.num_hidden_layers * (getattr(config, "num_key_value_heads", None) or heads) * width
    wide = 8 * config.hidden_size + 3 * (getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    return int(size * (states + wide))


def free_memory(device: torch.device) -> int | None:
    """Free memory of a device in bytes, None where it cannot be told."""
    torch = import_torch()
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + int(held)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def batches(lengths: Sequence[int], pixels: Sequence[int], new_tokens: int, limit: Budget) -> list[list[int]]:
    """Indices by falling length, in batches that keep within the budget (a batch of one may exceed it).

    Args:
        lengths: tokens of each prompt.
        pixels: of each prompt's images.
        new_tokens: that each row may gain.
        limit: of ``(longest + new_tokens) * rows`` and of the sum of pixels.
    """
    found: list[list[int]] = []
    current: list[int] = []
    seen = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[current[0]] if current else lengths[i]
        full = (longest + new_tokens) * (len(current) + 1) > limit.tokens or seen + pixels[i] > limit.pixels
        if current and full:
            found.append(current)
            current, seen = [], 0
        current.append(i)
        seen += pixels[i]
    return [*found, current] if current else found


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on a CPU torch raises a plain RuntimeError."""
    torch = import_torch()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def halving(
    rows: list[int], run: Callable[[list[int]], list[T]], freed: Callable[[], None]
) -> Iterator[tuple[list[int], list[T]]]:
    """Run rows at once; when memory runs out, run each half.

    Args:
        rows: at least one.
        run: gives one result a row.
        freed: called between a failure and the next try, to give memory back.

    Yields:
        Rows with their results, every row once.

    Raises:
        MemoryError: one row alone does not fit.
    """
    try:
        results = run(rows)
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        if len(rows) == 1:
            raise MemoryError(str(error)) from error
    else:
        yield rows, results
        return
    freed()
    yield from halving(rows[: len(rows) // 2], run, freed)
    yield from halving(rows[len(rows) // 2 :], run, freed)
