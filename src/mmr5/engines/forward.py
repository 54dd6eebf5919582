"""Forward passes of a model of transformers whose states can be kept: prompts that go on from the states of shared openings.

A batch is laid out as padding, opening, padding, rest; padding is masked, and positions are given, so that a row's results do not
depend on its company.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmr5.engines.lean import Prefix, Row
from mmr5.engines.loading import import_torch, import_transformers

if TYPE_CHECKING:
    import torch


class KVCache:
    """Keys and values of a left-padded batch.

    Attributes:
        layers: transformers' own cache.
        mask: (rows, places), 1 where a token stands.
        next: position of each row's next token, (rows,).
    """

    __slots__ = ("layers", "mask", "next")

    def __init__(self, layers: Any, mask: torch.Tensor, next_position: torch.Tensor) -> None:
        self.layers, self.mask, self.next = layers, mask, next_position

    def select(self, rows: Sequence[int]) -> KVCache:
        """A copy with these rows only; a row may be named more than once."""
        torch = import_torch()
        index = torch.tensor(list(rows), device=self.mask.device)
        parts = [(layer.keys[index], layer.values[index]) for layer in self.layers.layers]
        return KVCache(import_transformers().DynamicCache(parts), self.mask[index], self.next[index])


class ModelDecoder:
    def __init__(self, model: Any) -> None:
        inner = model.model
        self._model = model
        self._text = getattr(inner, "language_model", inner)
        self._head = model.lm_head
        self._name = "cache" if "cache" in inspect.signature(self._text.forward).parameters else "past_key_values"
        self.device = model.device
        self.axes = 3 if "vl" in self._text.config.model_type else 1
        self.depth = len(self._text.layers)

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        torch = import_torch()
        return self._text.embed_tokens(torch.tensor(list(ids), device=self.device))

    def _hidden(self, embeds: Any, positions: Any, mask: Any, layers: Any) -> Any:
        places = positions if self.axes == 3 else positions[0]
        given = None if bool(mask.all()) else mask
        return self._text(
            inputs_embeds=embeds, position_ids=places, attention_mask=given, use_cache=True, **{self._name: layers}
        ).last_hidden_state

    def prefill(self, rows: Sequence[Row], room: int = 0) -> tuple[list[torch.Tensor], KVCache]:
        torch = import_torch()
        new = max(len(r.embeds) for r in rows)
        old = max(len(r.prefix) if r.prefix else 0 for r in rows)
        x = rows[0].embeds.new_zeros((len(rows), new, rows[0].embeds.shape[1]))
        positions = torch.zeros((self.axes, len(rows), new), dtype=torch.long, device=self.device)
        mask = torch.zeros((len(rows), old + new), dtype=torch.long, device=self.device)
        for i, row in enumerate(rows):
            n = len(row.embeds)
            x[i, new - n :] = row.embeds
            positions[:, i, new - n :] = row.positions
            mask[i, old + new - n :] = 1
            if row.prefix is not None:
                mask[i, old - len(row.prefix) : old] = 1
        layers = import_transformers().DynamicCache(self._openings(rows, old) if old else None)
        hidden = self._hidden(x, positions, mask, layers)
        picked = [hidden[i, [new - len(r.embeds) + w for w in r.wanted]] for i, r in enumerate(rows)]
        logits = self._head(torch.cat(picked))
        following = torch.tensor([r.next for r in rows], device=self.device)
        return list(logits.split([len(r.wanted) for r in rows])), KVCache(layers, mask, following)

    def _openings(self, rows: Sequence[Row], old: int) -> list[tuple[Any, Any]]:
        first = next(r.prefix for r in rows if r.prefix is not None)
        depth, heads, _, width = first.keys.shape
        keys, values = (first.keys.new_zeros((depth, len(rows), heads, old, width)) for _ in range(2))
        for i, row in enumerate(rows):
            if row.prefix is not None:
                keys[:, i, :, old - len(row.prefix) :] = row.prefix.keys
                values[:, i, :, old - len(row.prefix) :] = row.prefix.values
        return list(zip(keys, values, strict=True))

    def step(self, tokens: torch.Tensor, states: KVCache) -> torch.Tensor:
        torch = import_torch()
        n = int(tokens.shape[1])
        places = states.next.unsqueeze(1) + torch.arange(n, device=self.device)
        states.mask = torch.cat([states.mask, torch.ones_like(tokens)], dim=1)
        hidden = self._hidden(self._text.embed_tokens(tokens), places.expand(self.axes, -1, -1), states.mask, states.layers)
        states.next = states.next + n
        return self._head(hidden[:, -1])

    def prefixes(self, rows: Sequence[Row]) -> list[Prefix]:
        torch = import_torch()
        _, states = self.prefill(rows)
        found = []
        for i, row in enumerate(rows):
            n = len(row.embeds)
            keys, values = (
                torch.stack([getattr(layer, name)[i, :, -n:] for layer in states.layers.layers]) for name in ("keys", "values")
            )
            found.append(Prefix(keys, values, row.next))
        return found
