"""Forward passes of Llama-shaped decoders without the cost of their Python classes.

The weights are those of the transformers model; projections that read the same input are one matrix product, the states of a
batch live in buffers that are written in place, and what is not needed is not computed: in a prefill the last layer runs only
for the places whose logits are wanted. The results are those of the model's own forward pass up to the order of float additions,
which ``tests/engines/test_lean.py`` checks against ``generate``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr5.engines.loading import import_torch

if TYPE_CHECKING:
    import torch

FAMILIES = frozenset({"llama", "qwen2", "qwen2_vl_text", "qwen2_5_vl_text", "qwen2_vl", "qwen2_5_vl"})
"""Model types whose decoder is the one written here."""
ROPES = frozenset({"default", "linear", "llama3", "yarn", "mrope"})
"""Rotary embeddings that do not depend on the length of the sequence."""
GROWTH = 64
"""Places added at least when the buffers of a batch are full."""


@dataclass(slots=True)
class States:
    """Keys and values of a left-padded batch.

    Attributes:
        keys: a layer each, (rows, heads, places, width); places beyond ``length`` hold nothing.
        values: the same.
        length: places in use; every row ends there.
        starts: first place of each row, (rows,).
        next: position of each row's next token, (rows,).
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    length: int
    starts: torch.Tensor
    next: torch.Tensor

    def select(self, rows: Sequence[int]) -> States:
        """A copy with these rows only; a row may be named more than once."""
        torch = import_torch()
        index = torch.tensor(list(rows), device=self.starts.device)
        keys, values = ([t[:, :, : self.length].index_select(0, index) for t in given] for given in (self.keys, self.values))
        return States(keys, values, self.length, self.starts[index], self.next[index])

    def reserve(self, places: int) -> None:
        """Make room for further places."""
        wanted, held = self.length + places, self.keys[0].shape[2]
        if wanted <= held:
            return
        size = max(wanted, self.length + GROWTH)
        for given in (self.keys, self.values):
            for i, old in enumerate(given):
                new = old.new_zeros((old.shape[0], old.shape[1], size, old.shape[3]))
                new[:, :, : self.length] = old[:, :, : self.length]
                given[i] = new


@dataclass(frozen=True, slots=True)
class Prefix:
    """The states of a prompt's opening, to be continued by other prompts.

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
        return 2 * self.keys.nbytes

    def __len__(self) -> int:
        return int(self.keys.shape[2])


@dataclass(frozen=True, slots=True)
class Row:
    """What is to be read of one prompt.

    Attributes:
        embeds: (n, hidden) of its tokens, those after the prefix.
        positions: (3, n) or (1, n), absolute.
        next: position of the token that follows.
        wanted: places (0 to n-1, rising, at least one) whose logits are wanted.
        prefix: states of what stands before, or None.
    """

    embeds: torch.Tensor
    positions: torch.Tensor
    next: int
    wanted: tuple[int, ...]
    prefix: Prefix | None = None

    @property
    def length(self) -> int:
        """Tokens of the prompt, prefix included."""
        return int(self.embeds.shape[0]) + (len(self.prefix) if self.prefix else 0)


class _Layer:
    """The weights of one layer; q, k, v and gate, up are joined, and the model's own parameters become views of them."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv, self.qkv_bias = _join([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out, self.out_bias = attention.o_proj.weight, attention.o_proj.bias
        self.gate_up, self.gate_up_bias = _join([mlp.gate_proj, mlp.up_proj])
        self.down, self.down_bias = mlp.down_proj.weight, mlp.down_proj.bias
        self.norm1, self.norm2 = layer.input_layernorm.weight, layer.post_attention_layernorm.weight


class LeanDecoder:
    """The decoder of a transformers model, as one function.

    Args:
        model: a model for which :func:`supported` holds, in eval mode.
    """

    def __init__(self, model: Any) -> None:
        self._text = decoder(model)
        config = self._text.config
        self._heads: int = config.num_attention_heads
        self._kv: int = getattr(config, "num_key_value_heads", None) or self._heads
        self._width: int = getattr(config, "head_dim", None) or config.hidden_size // self._heads
        self._epsilon: float = config.rms_norm_eps
        self._layers = [_Layer(layer) for layer in self._text.layers]
        self._norm = self._text.norm.weight
        self._head = model.lm_head
        self.dtype: torch.dtype = model.dtype
        self.device: torch.device = model.device
        self.axes = 3 if hasattr(self._text.rotary_emb, "mrope_section") or "vl" in config.model_type else 1

    @property
    def depth(self) -> int:
        """How many layers it has."""
        return len(self._layers)

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Embeddings of token ids, (n, hidden)."""
        torch = import_torch()
        found: Any = self._text.embed_tokens(torch.tensor(list(ids), device=self.device))
        return found  # type: ignore[no-any-return]

    def prefill(self, rows: Sequence[Row], room: int = 0) -> tuple[list[torch.Tensor], States]:
        """Read prompts of any lengths together.

        Args:
            rows: at least one.
            room: places to reserve for what will be written after them.

        Returns:
            For each row the logits at its wanted places, (wanted, vocabulary), and the states of all.
        """
        torch = import_torch()
        x, positions, states, how = self._batch(rows, room, len(self._layers))
        new = int(x.shape[1])
        hidden = self._run(x, positions, states, how)
        first = new - hidden.shape[1]
        picked = [hidden[i, [new - len(r.embeds) + w - first for w in r.wanted]] for i, r in enumerate(rows)]
        logits = self._head(torch.cat(picked))
        return list(logits.split([len(r.wanted) for r in rows])), states

    def attention(self, rows: Sequence[Row], layer: int, last: int) -> list[torch.Tensor]:
        """How much the last tokens of prompts look at each token, in one layer.

        Args:
            rows: at least one, without prefixes.
            layer: index of the layer whose attention it is; those before it are run.
            last: how many tokens at the end look.

        Returns:
            For each row the attention weights, float32, summed over heads and looking tokens, one a token.
        """
        torch = import_torch()
        x, positions, states, how = self._batch(rows, 0, layer)
        total = int(x.shape[1])
        x = self._run(x, positions, states, how, layer)
        turned, _ = self._project(self._layers[layer], x, *self._turns(x, positions))
        queries, keys = turned[:, : self._heads, -last:], turned[:, self._heads :]
        n, shared = len(rows), self._heads // self._kv
        scores = queries.reshape(n, self._kv, shared * last, self._width) @ keys.transpose(-1, -2)
        scores = scores.view(n, self._kv, shared, last, total).float() / self._width**0.5
        columns = torch.arange(total, device=x.device)
        seen = (columns <= columns[-last:].unsqueeze(1)) & (columns >= states.starts[:, None, None])
        weights = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1).sum((1, 2, 3))
        return [weights[i, total - r.length :] for i, r in enumerate(rows)]

    def _batch(self, rows: Sequence[Row], room: int, layers: int) -> tuple[torch.Tensor, torch.Tensor, States, _Reading]:
        """Left-padded embeddings and positions, empty states of the first layers, and how they are read."""
        torch = import_torch()
        new = max(int(r.embeds.shape[0]) for r in rows)
        total = max(new, *(r.length for r in rows))
        x = rows[0].embeds.new_zeros((len(rows), new, rows[0].embeds.shape[1]))
        positions = torch.zeros((self.axes, len(rows), new), dtype=torch.long, device=self.device)
        for i, row in enumerate(rows):
            x[i, new - len(row.embeds) :] = row.embeds
            positions[:, i, new - len(row.embeds) :] = row.positions
        starts = [total - r.length for r in rows]
        shape = (len(rows), self._kv, total + room, self._width)
        states = States(
            [x.new_zeros(shape) for _ in range(layers)],
            [x.new_zeros(shape) for _ in range(layers)],
            total - new,
            torch.tensor(starts, device=self.device),
            torch.tensor([r.next for r in rows], device=self.device),
        )
        return x, positions, states, _Reading(rows, starts, total, new)

    def step(self, tokens: torch.Tensor, states: States) -> torch.Tensor:
        """Read n further tokens a row, (rows, n), and give the logits after the last of them, (rows, vocabulary)."""
        torch = import_torch()
        n = int(tokens.shape[1])
        states.reserve(n)
        places = states.next.unsqueeze(1) + torch.arange(n, device=self.device)
        hidden = self._run(self._text.embed_tokens(tokens), places.expand(self.axes, -1, -1), states, _Writing(states, n))
        states.next = states.next + n
        return self._head(hidden[:, -1])  # type: ignore[no-any-return]

    def prefixes(self, rows: Sequence[Row]) -> list[Prefix]:
        """The states of prompts, one prefix each (rows have none themselves)."""
        torch = import_torch()
        _, states = self.prefill(rows)
        found = []
        for i, row in enumerate(rows):
            begin = states.length - row.length
            keys, values = (
                torch.stack([t[i, :, begin : states.length] for t in given]) for given in (states.keys, states.values)
            )
            found.append(Prefix(keys, values, row.next))
        return found

    def _turns(self, x: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of the rotary embedding, (rows, 1, places, width)."""
        cos, sin = self._text.rotary_emb(x, positions if self.axes == 3 else positions[0])
        return cos.unsqueeze(1), sin.unsqueeze(1)

    def _project(self, layer: _Layer, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Queries and keys, turned, (rows, heads of both, places, width), and values."""
        torch = import_torch()
        rows, new, hidden = x.shape
        h = torch.nn.functional.rms_norm(x, (hidden,), layer.norm1, self._epsilon)
        qkv = torch.nn.functional.linear(h, layer.qkv, layer.qkv_bias)
        turning = self._heads + self._kv
        qkv = qkv.view(rows, new, turning + self._kv, self._width).transpose(1, 2)
        turned = qkv[:, :turning]
        half = turned.chunk(2, -1)
        return turned * cos + torch.cat((-half[1], half[0]), -1) * sin, qkv[:, turning:]

    def _run(
        self, x: torch.Tensor, positions: torch.Tensor, states: States, how: _Reading | _Writing, stop: int | None = None
    ) -> torch.Tensor:
        """Final normalised states, (rows, kept, hidden), of the last ``how.kept`` places; with ``stop`` that layer's input."""
        torch = import_torch()
        functional = torch.nn.functional
        cos, sin = self._turns(x, positions)
        rows, new, hidden = x.shape
        shape = (hidden,)
        begin, end = states.length, states.length + new
        for i, layer in enumerate(self._layers[:stop]):
            turned, values = self._project(layer, x, cos, sin)
            how.store(states, i, turned[:, self._heads :], values, begin, end)
            if i == len(self._layers) - 1:
                x = x[:, -how.kept :]
                turned = turned[:, :, -how.kept :]
            seen = how.attend(turned[:, : self._heads], states.keys[i][:, :, :end], states.values[i][:, :, :end])
            seen = seen.transpose(1, 2).reshape(rows, x.shape[1], -1)
            x = x + functional.linear(seen, layer.out, layer.out_bias)
            h = functional.rms_norm(x, shape, layer.norm2, self._epsilon)
            gate, up = functional.linear(h, layer.gate_up, layer.gate_up_bias).chunk(2, -1)
            x = x + functional.linear(functional.silu(gate, inplace=True).mul_(up), layer.down, layer.down_bias)
        states.length = end
        if stop is not None:
            return x
        return functional.rms_norm(x, shape, self._norm, self._epsilon)  # type: ignore[no-any-return]


class _Reading:
    """How a prefill stores and attends."""

    def __init__(self, rows: Sequence[Row], starts: list[int], total: int, new: int) -> None:
        torch = import_torch()
        device = rows[0].embeds.device
        self._rows, self._starts, self._total, self._new = rows, starts, total, new
        self.kept = max(len(r.embeds) - r.wanted[0] for r in rows)
        self._plain = total == new and not any(starts)
        self._own: Any = None
        if any(r.prefix is not None for r in rows) and any(len(r.embeds) < new for r in rows):
            lengths = torch.tensor([len(r.embeds) for r in rows], device=device)
            self._own = (torch.arange(new, device=device) >= new - lengths.unsqueeze(1))[:, None, :, None]
        self._masks: dict[int, Any] = {}

    def store(self, states: States, layer: int, keys: Any, values: Any, begin: int, end: int) -> None:
        """Write the new places, and the prefixes before them."""
        torch = import_torch()
        for given, new, name in ((states.keys, keys, "keys"), (states.values, values, "values")):
            given[layer][:, :, begin:end] = new if self._own is None else torch.where(self._own, new, 0.0)
            for i, row in enumerate(self._rows):
                if row.prefix is not None:
                    stop = self._total - len(row.embeds)
                    given[layer][i, :, stop - len(row.prefix) : stop] = getattr(row.prefix, name)[layer]

    def attend(self, queries: Any, keys: Any, values: Any) -> Any:
        """Causal attention.

        Rows that differ in length or have a prefix go one by one, without a mask; queries are padded where the prefix is, so that
        the square kernel can skip its upper half. Short rows behind long prefixes go under a mask.
        """
        torch = import_torch()
        attention = torch.nn.functional.scaled_dot_product_attention
        kept = queries.shape[2]
        grouped = queries.shape[1] != keys.shape[1]
        if self._plain and kept == self._new:
            return attention(queries, keys, values, is_causal=True, enable_gqa=grouped)
        if kept == self._new and 2 * self._new >= self._total:
            out = torch.zeros_like(queries)
            for i, (row, start) in enumerate(zip(self._rows, self._starts, strict=True)):
                k, v, q = keys[i : i + 1, :, start:], values[i : i + 1, :, start:], queries[i : i + 1, :, -len(row.embeds) :]
                before = k.shape[2] - q.shape[2]
                q = torch.nn.functional.pad(q, (0, 0, before, 0)) if before else q
                seen = attention(q, k, v, is_causal=True, enable_gqa=grouped)
                out[i, :, -len(row.embeds) :] = seen[0, :, before:]
            return out
        return _masked(queries, keys, values, self._mask(kept, queries.device))

    def _mask(self, kept: int, device: Any) -> Any:
        """(rows, 1, kept, total): what each of the last places may see; a place before its row's start sees itself alone."""
        torch = import_torch()
        if kept not in self._masks:
            columns = torch.arange(self._total, device=device)
            here = columns[self._total - kept :].unsqueeze(1)
            first = torch.tensor(self._starts, device=device)[:, None, None]
            self._masks[kept] = ((columns <= here) & (columns >= first) | (columns == here)).unsqueeze(1)
        return self._masks[kept]


class _Writing:
    """How a step stores and attends."""

    kept = 1

    def __init__(self, states: States, n: int) -> None:
        torch = import_torch()
        self._mask: Any = None
        self.kept = n
        total = states.length + n
        if n > 1 or bool((states.starts > 0).any()):
            columns = torch.arange(total, device=states.starts.device)
            here = columns[total - n :].unsqueeze(1)
            self._mask = ((columns <= here) & (columns >= states.starts[:, None, None])).unsqueeze(1)

    def store(self, states: States, layer: int, keys: Any, values: Any, begin: int, end: int) -> None:
        """Write the new places."""
        states.keys[layer][:, :, begin:end] = keys
        states.values[layer][:, :, begin:end] = values

    def attend(self, queries: Any, keys: Any, values: Any) -> Any:
        """Attention of few queries to all places."""
        return _masked(queries, keys, values, self._mask)


def _masked(queries: Any, keys: Any, values: Any, mask: Any) -> Any:
    """Attention under a mask, (rows, 1, n, places) or None; query heads that share keys are read as further queries."""
    torch = import_torch()
    rows, heads, n, width = queries.shape
    shared = heads // keys.shape[1]
    folded = queries.reshape(rows, keys.shape[1], shared * n, width)
    if mask is not None and shared > 1:
        mask = mask.repeat(1, 1, shared, 1)
    seen = torch.nn.functional.scaled_dot_product_attention(folded, keys, values, attn_mask=mask)
    return seen.reshape(rows, heads, n, width)


def decoder(model: Any) -> Any:
    """The text decoder inside a causal or vision-language model."""
    inner = model.model
    return getattr(inner, "language_model", inner)


def supported(model: Any) -> bool:
    """Whether a model's decoder is the one written here: its family, plain linear layers, no sliding window."""
    torch = import_torch()
    if not hasattr(model, "model") or not hasattr(model, "lm_head") or hasattr(model, "hf_device_map"):
        return False
    text = decoder(model)
    config = getattr(text, "config", None)
    if config is None or config.model_type not in FAMILIES or getattr(config, "hidden_act", "") != "silu":
        return False
    rope = getattr(text, "rotary_emb", None)
    if rope is None or getattr(rope, "rope_type", "") not in ROPES or not hasattr(text, "layers"):
        return False
    if any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()):
        return False
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    found = [module for layer in text.layers for name, module in layer.named_modules() if name.rpartition(".")[2] in names]
    plain = all(type(module) is torch.nn.Linear for module in found)
    return plain and len(found) == len(names) * len(text.layers) and len(list(text.layers[0].children())) == 4


def _join(linears: Sequence[Any]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One weight, (sum of outputs, inputs), over several linear layers of the same input, which become views of it."""
    torch = import_torch()
    weight = torch.cat([m.weight.data for m in linears])
    biased = linears[0].bias is not None
    bias = torch.cat([m.bias.data for m in linears]) if biased else None
    start = 0
    for module in linears:
        stop = start + module.out_features
        module.weight.data = weight[start:stop]
        if bias is not None:
            module.bias.data = bias[start:stop]
        start = stop
    return weight, bias
