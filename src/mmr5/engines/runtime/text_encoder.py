"""BERT encoders of short texts, batched by length: the first stage's embeddings.

sentence-transformers spends half of its time on padding, on attention over it and on passes over memory; here texts of
nearly equal length share a batch of a few thousand tokens, and on a CPU with bfloat16 the activation and the residual sum are
part of the matrix product (oneDNN). Vectors are within a cosine of .9999 of those in float32 (``tests/retrieval/test_e5.py``).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmr5.engines.loading import import_torch, load_errors, pick_device, pick_dtype

if TYPE_CHECKING:
    import numpy as np

    Vectors = np.ndarray[Any, Any]

Kind = Literal["query", "document"]

CPU_TOKENS, GPU_TOKENS = 1_024, 32_768
"""Tokens of a batch, padding included."""
KEY_STEP = 32
"""Keys are padded to a multiple of this: a softmax over other lengths takes twice as long on a CPU."""


class TextEncoder:
    """Mean of the last hidden states of a BERT encoder, at unit length.

    Args:
        folder: of a checkpoint of sentence-transformers: a ``BertModel`` with mean pooling; its prompts are put before texts.
        device: as for :func:`mmr5.engines.loading.pick_device`.
        dtype: as for :func:`mmr5.engines.loading.pick_dtype`.

    Raises:
        ModelNotFoundError: it is no such checkpoint.
        MissingExtraError: torch is not installed.
    """

    def __init__(self, folder: Path, *, device: str = "auto", dtype: str = "auto") -> None:
        torch = import_torch()
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        with load_errors(str(folder), "BERT encoder"):
            from safetensors.torch import load_file

            config = _read(folder / "config.json")
            weights = load_file(folder / "model.safetensors")
            self._tokenizer = _load_tokenizer(folder / "tokenizer.json")
            self._pad, self._heads = int(config["pad_token_id"]), int(config["num_attention_heads"])
            norm = float(config["layer_norm_eps"])
            held = {name.removeprefix("bert."): tensor.to(self.device, self.dtype) for name, tensor in weights.items()}
            self._embeddings = _Embeddings(torch, held, norm)
            self._layers = [_Layer(torch, held, f"encoder.layer.{i}.", norm) for i in range(config["num_hidden_layers"])]
        self.depth = len(self._layers)
        self._prompts: dict[str, str] = _read(folder / "config_sentence_transformers.json").get("prompts", {})
        longest = _read(folder / "sentence_bert_config.json").get("max_seq_length") or config["max_position_embeddings"]
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(longest)
        self.dimension = int(config["hidden_size"])
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], kind: Kind = "document", on_done: Callable[[int], None] | None = None) -> Vectors:
        """Unit vectors, (len(texts), dimension), float32, in the order of the texts.

        Args:
            texts: any; what is longer than the model reads is cut off.
            kind: which of the model's prompts stands before each text.
            on_done: called with the number of texts done after each batch.
        """
        torch = import_torch()
        found = torch.empty((len(texts), self.dimension), dtype=torch.float32)

        def pool(part: Sequence[int], states: Any, held: Any) -> None:
            kept = held.to(self.device)[..., None]
            pooled = (states.float() * kept).sum(1) / kept.sum(1)
            found[part] = torch.nn.functional.normalize(pooled, dim=-1).cpu()

        self._each_batch(self._tokens(texts, kind), pool, on_done)
        return found.numpy()  # type: ignore[no-any-return]

    def states(
        self,
        texts: Sequence[str],
        kind: Kind = "document",
        on_done: Callable[[int], None] | None = None,
        *,
        layer: int | None = None,
        most: int = 512,
    ) -> list[Any]:
        """States of each text's own tokens; the prompt and special tokens are left out.

        Args:
            texts: any.
            kind: which of the model's prompts stands before each text.
            on_done: called with the number of texts done after each batch.
            layer: after which layer, counted from 1; None takes the last.
            most: tokens of a text that are read, with its prompt and special tokens.

        Returns:
            A tensor for each text, (its tokens, dimension), in the encoder's type, on its device.
        """
        found: list[Any] = [None] * len(texts)
        before, after = self._around(kind)

        def keep(part: Sequence[int], states: Any, held: Any) -> None:
            for row, i in enumerate(part):
                found[i] = states[row, before : int(held[row].sum()) - after].clone()

        ids = [one if len(one) <= most else one[: most - after] + one[len(one) - after :] for one in self._tokens(texts, kind)]
        self._each_batch(ids, keep, on_done, layer)
        return found

    def offsets(self, texts: Sequence[str], kind: Kind = "document", *, most: int = 512) -> list[list[tuple[int, int]]]:
        """Start and end, in each text, of the tokens that :meth:`states` gives the states of; arguments as there."""
        before, after = self._around(kind)
        prompt = self._prompts.get(kind, "")
        found = []
        for coded in self._tokenizer.encode_batch([prompt + text for text in texts]):
            own = coded.offsets[before : min(len(coded.ids), most) - after]
            found.append([(max(0, a - len(prompt)), max(0, b - len(prompt))) for a, b in own])
        return found

    def _around(self, kind: Kind) -> tuple[int, int]:
        """Tokens before a text, its prompt's and special ones, and after it."""
        around = self._tokenizer.encode("a").special_tokens_mask
        prompt = len(self._tokenizer.encode(self._prompts.get(kind, "").strip(), add_special_tokens=False).ids)
        return around.index(0) + prompt, around[::-1].index(0)

    def count(self, text: str) -> int:
        """Tokens of a text alone."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _tokens(self, texts: Sequence[str], kind: Kind) -> list[list[int]]:
        prompt = self._prompts.get(kind, "")
        return [coded.ids for coded in self._tokenizer.encode_batch([prompt + text for text in texts])]

    def _each_batch(
        self,
        ids: Sequence[Sequence[int]],
        use: Callable[[Sequence[int], Any, Any], None],
        on_done: Callable[[int], None] | None,
        layer: int | None = None,
    ) -> None:
        """``use(places of the texts of a batch, their last states (texts, tokens, dimension), which of these are tokens)``."""
        torch = import_torch()
        order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
        most = CPU_TOKENS if self.device.type == "cpu" else GPU_TOKENS
        start = 0
        with self._lock, torch.inference_mode():
            while start < len(order):
                part = order[start : start + max(1, most // len(ids[order[start]]))]
                use(part, *self._forward([ids[i] for i in part], layer))
                start += len(part)
                if on_done is not None:
                    on_done(start)

    def _forward(self, batch: Sequence[Sequence[int]], count: int | None = None) -> tuple[Any, Any]:
        """States after so many layers, or all, of token lists, the longest first, and which of them are tokens."""
        torch = import_torch()
        lengths, longest = [len(ids) for ids in batch], len(batch[0])
        tokens = torch.full((len(batch), longest), self._pad)
        for row, ids in enumerate(batch):
            tokens[row, : len(ids)] = torch.tensor(ids)
        held = torch.arange(longest) < torch.tensor(lengths)[:, None]
        seen = torch.nn.functional.pad(held, (0, -longest % KEY_STEP))
        mask = None
        if not bool(seen.all()):
            mask = torch.zeros(seen.shape, dtype=self.dtype).masked_fill_(~seen, float("-inf"))[:, None, None].to(self.device)
        states = self._embeddings(tokens.to(self.device))
        shape = states.shape
        states = states.reshape(-1, shape[-1])
        for layer in self._layers[:count]:
            states = layer(states, shape, self._heads, mask)
        return states.view(shape), held


_SHARED: dict[tuple[Path, str, str], TextEncoder] = {}
_LOADING = threading.Lock()


def shared_encoder(folder: Path, *, device: str = "auto", dtype: str = "auto") -> TextEncoder:
    """The encoder of a folder, loaded once a process; arguments and errors as for :class:`TextEncoder`."""
    key = (folder.resolve(), str(pick_device(device)), str(pick_dtype(dtype, pick_device(device))))
    with _LOADING:
        if key not in _SHARED:
            _SHARED[key] = TextEncoder(folder, device=device, dtype=dtype)
        return _SHARED[key]


def release_shared() -> None:
    """Let go of the encoders that :func:`shared_encoder` holds."""
    with _LOADING:
        _SHARED.clear()


class _Embeddings:
    """What a token is before the first layer: the sum of its word, its place and a single segment."""

    def __init__(self, torch: Any, weights: dict[str, Any], norm: float) -> None:
        self._words = weights["embeddings.word_embeddings.weight"]
        self._places = weights["embeddings.position_embeddings.weight"]
        self._segment = weights["embeddings.token_type_embeddings.weight"][0]
        self._norm = _norm(torch, weights, "embeddings.LayerNorm", norm)
        self._look_up = torch.nn.functional.embedding

    def __call__(self, tokens: Any) -> Any:
        return self._norm(self._look_up(tokens, self._words) + self._segment + self._places[: tokens.shape[1]])


def _norm(torch: Any, weights: dict[str, Any], name: str, epsilon: float) -> Callable[[Any], Any]:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return lambda states: torch.nn.functional.layer_norm(states, (len(weight),), weight, bias, epsilon)


class _Layer:
    """One layer of a BERT encoder; queries, keys and values come from one matrix."""

    def __init__(self, torch: Any, weights: dict[str, Any], name: str, norm: float) -> None:
        self._torch = torch
        parts = [f"{name}attention.self.{part}" for part in ("query", "key", "value")]
        stacked = [torch.cat([weights[f"{part}.{kind}"] for part in parts]) for kind in ("weight", "bias")]
        self._qkv = _Linear(torch, *stacked)
        self._out, self._up, self._down = (
            _Linear(torch, weights[f"{name}{part}.dense.weight"], weights[f"{name}{part}.dense.bias"])
            for part in ("attention.output", "intermediate", "output")
        )
        self._attended = _norm(torch, weights, f"{name}attention.output.LayerNorm", norm)
        self._done = _norm(torch, weights, f"{name}output.LayerNorm", norm)

    def __call__(self, states: Any, shape: Sequence[int], heads: int, mask: Any) -> Any:
        """(batch x tokens, hidden) → the same; ``mask`` is added to the attention scores, whose keys are padded."""
        pad = self._torch.nn.functional.pad
        batch, tokens, hidden = shape
        width = hidden // heads
        query, key, value = self._qkv(states).view(batch, tokens, 3, heads, width).permute(2, 0, 3, 1, 4)
        more = (0, 0, 0, -tokens % KEY_STEP)
        key, value = pad(key, more), pad(value, more)
        scores = (query * width**-0.5) @ key.transpose(-1, -2)
        if mask is not None:
            scores += mask
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(-1, hidden)
        states = self._attended(self._out(mixed, add=states))
        return self._done(self._down(self._up(states, gelu=True), add=states))


class _Linear:
    """A linear map that may end in GELU or in a sum, which oneDNN computes with it in bfloat16 on a CPU."""

    def __init__(self, torch: Any, weight: Any, bias: Any) -> None:
        self._functional = torch.nn.functional
        self._weight, self._bias = weight.detach(), bias.detach()
        self._fused = None
        on_cpu = weight.device.type == "cpu" and weight.dtype is torch.bfloat16
        if on_cpu and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            self._fused = torch.ops.mkldnn._linear_pointwise
            self._weight = torch.ops.mkldnn._reorder_linear_weight(self._weight, CPU_TOKENS)

    def __call__(self, states: Any, *, gelu: bool = False, add: Any = None) -> Any:
        if self._fused is not None:
            if add is not None:
                return self._fused.binary(states, add, self._weight, self._bias, "add")
            return self._fused(states, self._weight, self._bias, "gelu" if gelu else "none", [], "none" if gelu else "")
        found = self._functional.linear(states, self._weight, self._bias)
        if add is not None:
            return found.add_(add)
        return self._functional.gelu(found) if gelu else found


def _load_tokenizer(file: Path) -> Any:
    from tokenizers import Tokenizer

    text = file.read_text(encoding="utf-8")
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{file} is no tokenizer ({error})") from error


def _read(path: Path) -> dict[str, Any]:
    """A JSON object beside a checkpoint, empty where there is none."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
