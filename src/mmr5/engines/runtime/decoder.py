"""Forward passes of a transformers model that go on from kept keys and values.

A batch is laid out as padding, prefix, padding, rest. Padding is masked and positions are given, so that a row's results do not
depend on its company. ``tests/engines/test_lean.py`` checks them against ``generate``.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr5.engines.loading import import_torch, import_transformers
from mmr5.storage.lru import LRU

if TYPE_CHECKING:
    import torch

ROPES = frozenset({"default", "linear", "llama3", "yarn", "mrope"})
"""Rotary embeddings that do not depend on the length of the sequence."""


@dataclass(slots=True)
class KVCache:
    """Keys and values of a batch.

    Attributes:
        layers: transformers' ``DynamicCache``.
        mask: (rows, places), 1 where a token stands.
        next: position of each row's next token, (rows,).
    """

    layers: Any
    mask: torch.Tensor
    next: torch.Tensor

    def select(self, rows: Sequence[int]) -> KVCache:
        """A copy with these rows only; a row may be named more than once."""
        torch = import_torch()
        index = torch.tensor(list(rows), device=self.mask.device)
        layers = import_transformers().DynamicCache([(layer.keys[index], layer.values[index]) for layer in self.layers.layers])
        return KVCache(layers, self.mask[index], self.next[index])


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values of a prompt's opening, to be continued by other prompts.

    Attributes:
        keys: (layers, heads, places, width).
        values: the same.
        next: position of the token that follows.
    """

    keys: torch.Tensor
    values: torch.Tensor
    next: int

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return self.keys.nbytes + self.values.nbytes

    def __len__(self) -> int:
        return int(self.keys.shape[2])


PrefixCache = LRU[Prefix]
"""Prefixes by what they are of."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is to be read of one prompt.

    Attributes:
        embeds: (n, hidden) of its tokens, those after the prefix.
        positions: (3, n) or (1, n), absolute.
        next: position of the token that follows.
        wanted: places (0 to n-1, at least one) whose logits are wanted.
        prefix: of what stands before, or None.
    """

    embeds: torch.Tensor
    positions: torch.Tensor
    next: int
    wanted: tuple[int, ...]
    prefix: Prefix | None = None


class Decoder:
    """The forward pass of a model over embeddings.

    Args:
        model: a model for which :func:`supported` holds, in eval mode.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._embed = model.get_input_embeddings()
        self._cache_name = cache_name(model)
        self.device: torch.device = model.device
        self.axes = 3 if hasattr(model.config, "vision_config") else 1
        self._packs = "flash" in str(model.config.get_text_config()._attn_implementation)

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Embeddings of token ids, (n, hidden)."""
        found: Any = self._embed(import_torch().tensor(list(ids), device=self.device))
        return found  # type: ignore[no-any-return]

    def prefill(self, rows: Sequence[Row]) -> tuple[list[torch.Tensor], KVCache]:
        """Read prompts of any lengths together.

        Args:
            rows: at least one.

        Returns:
            For each row the logits at its wanted places, (wanted, vocabulary), and the keys and values of all.
        """
        torch = import_torch()
        new = max(len(r.embeds) for r in rows)
        old = max(0 if r.prefix is None else len(r.prefix) for r in rows)
        embeds = rows[0].embeds.new_zeros((len(rows), new, rows[0].embeds.shape[1]))
        positions = torch.zeros((self.axes, len(rows), new), dtype=torch.long, device=self.device)
        mask = torch.zeros((len(rows), old + new), dtype=torch.long, device=self.device)
        for i, row in enumerate(rows):
            begin = new - len(row.embeds)
            embeds[i, begin:], positions[:, i, begin:], mask[i, old + begin :] = row.embeds, row.positions, 1
            if row.prefix is not None:
                mask[i, old - len(row.prefix) : old] = 1
        following = torch.tensor([r.next for r in rows], device=self.device)
        cache = KVCache(import_transformers().DynamicCache(_joined(rows, old)), mask, following)
        kept = sorted({new - len(r.embeds) + w for r in rows for w in r.wanted})
        where = {place: k for k, place in enumerate(kept)}
        unpadded = None if bool(mask.all()) else mask  # without a mask attention skips what lies ahead
        logits = self._forward(embeds, positions, cache, torch.tensor(kept, device=self.device), unpadded)
        return [logits[i, [where[new - len(r.embeds) + w] for w in r.wanted]] for i, r in enumerate(rows)], cache

    def step(self, tokens: torch.Tensor, cache: KVCache) -> torch.Tensor:
        """Read n further tokens a row, (rows, n), and give the logits after the last of them, (rows, vocabulary).

        One token a row is read under a mask of four dimensions: without it transformers copies the keys for every query head that
        shares them, which doubles the time of a step on a CPU.
        """
        torch = import_torch()
        n = tokens.shape[1]
        positions = cache.next.unsqueeze(1) + torch.arange(n, device=self.device)
        cache.mask = torch.cat([cache.mask, torch.ones_like(tokens)], dim=1)
        cache.next = cache.next + n
        mask = cache.mask if n > 1 or self._packs else cache.mask.bool()[:, None, None]
        return self._forward(self._embed(tokens), positions.expand(self.axes, -1, -1), cache, 1, mask)[:, -1]

    def prefixes(self, rows: Sequence[Row]) -> list[Prefix]:
        """One prefix for each prompt; the rows have none themselves."""
        torch = import_torch()
        layers = self.prefill(rows)[1].layers.layers
        return [
            Prefix(
                torch.stack([layer.keys[i, :, -len(row.embeds) :] for layer in layers]),
                torch.stack([layer.values[i, :, -len(row.embeds) :] for layer in layers]),
                row.next,
            )
            for i, row in enumerate(rows)
        ]

    def attention(self, row: Row, layer: int, last: int) -> torch.Tensor:
        """How much the last tokens of a prompt look at each token, in one layer of a Qwen-VL.

        Args:
            row: without a prefix.
            layer: index of the layer whose attention it is, cut to the model's last; those before it are run.
            last: how many tokens at the end look.

        Returns:
            The attention weights, float32, summed over heads and looking tokens, one a token.
        """
        torch = import_torch()
        text = self._model.model.language_model
        x = row.embeds.unsqueeze(0)
        turns = text.rotary_emb(x, row.positions.unsqueeze(1))
        stop = min(layer, len(text.layers) - 1)
        n = x.shape[1]
        causal = torch.full((n, n), torch.finfo(x.dtype).min, dtype=x.dtype, device=x.device).triu(1)
        for before in text.layers[:stop]:
            x = before(x, attention_mask=causal[None, None], position_embeddings=turns)
        own = text.layers[stop]
        x, attend = own.input_layernorm(x), own.self_attn
        queries, keys = (
            _turned(project(x).view(1, n, -1, attend.head_dim).transpose(1, 2), *turns)
            for project in (attend.q_proj, attend.k_proj)
        )
        keys = keys.repeat_interleave(queries.shape[1] // keys.shape[1], 1)
        scores = (queries[:, :, -last:] @ keys.transpose(-1, -2)).float() / attend.head_dim**0.5
        return (scores + causal[-last:].float()).softmax(-1).sum((0, 1, 2))  # type: ignore[no-any-return]

    def _forward(self, embeds: Any, positions: Any, cache: KVCache, kept: Any, mask: Any) -> torch.Tensor:
        """Logits at the kept places, (rows, kept, vocabulary)."""
        logits: Any = self._model(
            inputs_embeds=embeds,
            position_ids=positions if self.axes == 3 else positions[0],
            attention_mask=mask,
            use_cache=True,
            logits_to_keep=kept,
            **{self._cache_name: cache.layers},
        ).logits
        return logits  # type: ignore[no-any-return]


def _joined(rows: Sequence[Row], places: int) -> list[tuple[torch.Tensor, torch.Tensor]] | None:
    """Keys and values of all prefixes by layer, left-padded to so many places; None where there are none."""
    held = [(i, row.prefix) for i, row in enumerate(rows) if row.prefix is not None]
    if not held:
        return None
    keys, values = (
        some.new_zeros((some.shape[0], len(rows), some.shape[1], places, some.shape[3]))
        for some in (held[0][1].keys, held[0][1].values)
    )
    for i, prefix in held:
        keys[:, i, :, places - len(prefix) :], values[:, i, :, places - len(prefix) :] = prefix.keys, prefix.values
    return list(zip(keys, values, strict=True))


def _turned(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """States under the rotary embedding, whose cosine and sine are (1, places, width)."""
    torch = import_torch()
    half = states.chunk(2, -1)
    turned: Any = states * cos.unsqueeze(1) + torch.cat((-half[1], half[0]), -1) * sin.unsqueeze(1)
    return turned  # type: ignore[no-any-return]


def cache_name(model: Any) -> str:
    """What a model's forward pass calls its keys and values; transformers has changed the name."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def supported(model: Any) -> bool:
    """Whether a model's prompts can go on from the keys and values of others.

    Every layer attends to all tokens before, and a token's place enters by a rotary embedding that does not depend on the length.
    """
    transformers = import_transformers()
    config = model.config.get_text_config()
    places = getattr(model, "hf_device_map", {})
    if not hasattr(config, "num_hidden_layers") or len(set(map(str, places.values()))) > 1:
        return False
    layers = transformers.DynamicCache(config=config).layers
    plain = all(type(layer) is transformers.cache_utils.DynamicLayer for layer in layers)
    text = getattr(model.base_model, "language_model", model.base_model)
    ropes = {str(module.rope_type) for module in text.modules() if hasattr(module, "rope_type")}
    takes = inspect.signature(model.forward).parameters
    return plain and bool(ropes) and ropes <= ROPES and {"inputs_embeds", "position_ids", "logits_to_keep"}.issubset(takes)
