"""The output layer of a model, read in float32 where scores are made of its logits.

In bfloat16 a logit between 16 and 32 is a multiple of 1/8: scores made of such logits tie, and pages change places with their
company. The hidden states that enter the layer are finer than that, so its rows are multiplied in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mmr5.engines.loading import import_torch

if TYPE_CHECKING:
    import torch

CHUNK = 16_384
"""Rows of a half-precision layer that are widened at a time."""


class Head:
    """A model's output layer.

    Args:
        model: of transformers. Where its output layer holds no plain matrix (a quantised one), logits stay as it makes them.
    """

    def __init__(self, model: Any) -> None:
        self._layer = model.get_output_embeddings()
        weight: Any = getattr(self._layer, "weight", None)
        torch = import_torch()
        kinds = (torch.float32, torch.bfloat16, torch.float16)
        self.plain = isinstance(self._layer, torch.nn.Linear) and weight.dtype in kinds and weight.dim() == 2

    @contextlib.contextmanager
    def exact(self, tokens: Sequence[int] | None = None) -> Iterator[Sequence[int] | None]:
        """While this lasts, the model's logits are float32, and those of the given tokens alone; one caller at a time.

        What a model does to its logits afterwards, each on its own (a soft cap, a scale), still happens.

        Args:
            tokens: ids whose logits are wanted, at least one; None for the whole vocabulary.

        Yields:
            The ids that the logits are of, in order; None for the whole vocabulary.
        """
        if not self.plain:
            yield None
            return
        layer, rows = self._layer, None if tokens is None else list(tokens)

        def forward(states: torch.Tensor) -> torch.Tensor:
            torch = import_torch()
            index = None if rows is None else torch.tensor(rows, device=layer.weight.device)
            weight = layer.weight if index is None else layer.weight[index]
            bias = layer.bias if layer.bias is None or index is None else layer.bias[index]
            wide = states.float()
            parts = [wide @ part.float().T for part in weight.split(CHUNK)]
            found = parts[0] if len(parts) == 1 else torch.cat(parts, -1)
            return found if bias is None else found + bias.float()  # type: ignore[no-any-return]

        before = layer.__dict__.get("forward")
        layer.forward = forward
        try:
            yield rows
        finally:
            if before is None:
                del layer.forward
            else:
                layer.forward = before
