"""Prompts read through the model's own forward pass: any architecture, nothing kept between calls.

Each prompt goes through the checkpoint's own processor alone, so that its ids and pictures are those that ``apply_chat_template``
makes; batches are put together here. Unequal prompts share a pass only in families for which that is tested
(:data:`RAGGED`), or where nothing but masked attention could tell them apart; other families are read one prompt at a time.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr5.engines.chat_template import adds_special, pictures
from mmr5.engines.loading import import_torch, import_transformers
from mmr5.engines.protocol import Request
from mmr5.engines.runtime.decoder import ROPES, cache_name
from mmr5.engines.runtime.head import Head
from mmr5.engines.runtime.model_runner import Prompt, Wanted
from mmr5.errors import PageError

if TYPE_CHECKING:
    import torch

RAGGED = frozenset(
    {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "idefics3", "smolvlm", "internvl", "gemma3", "llava_onevision"}
)
"""Model types that see, whose batches of unequal prompts equal each prompt alone: ``tests/engines/test_families.py``."""


_PROBED = 4
"""Tokens that are read on to see how an architecture goes on."""
_LIKELY, _CLOSE, _CLOSE_HALF = 1e-4, 1e-3, 0.3
"""Log-probabilities of tokens of at least this probability may differ by so much in float32, and in half precision."""


@dataclass(slots=True)
class _States:
    """States of the model's own forward pass.

    Attributes:
        cache: keys and values, and what else the architecture keeps.
        mask: (rows, places), 1 where a token stands.
        deltas: how far each row's positions lie from its count of tokens (multimodal RoPE), (rows, 1), or None.
        rows: what was read of each row, to be read anew where the architecture cannot go on from its states.
    """

    cache: Any
    mask: torch.Tensor
    deltas: torch.Tensor | None
    rows: list[Mapping[str, torch.Tensor]]


class PlainRunner:
    """Reads through the model's own forward pass.

    Args:
        model: of transformers.
        processor: its tokenizer, or its processor if it sees.
        pad: id of the padding.
        max_pixels: pixel budget of a page image.

    Attributes:
        ragged: whether prompts of unequal length may share a pass.
        head: the model's output layer.
    """

    def __init__(self, model: Any, processor: Any, *, pad: int, max_pixels: int) -> None:
        self._model, self._processor, self._pad, self._max_pixels = model, processor, pad, max_pixels
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._sees = hasattr(processor, "image_processor")
        self._takes = frozenset(inspect.signature(model.forward).parameters)
        self._cache_name = cache_name(model)
        self._rope = next((m for m in model.modules() if hasattr(m, "rope_deltas")), None)
        self.head = Head(model)
        self.ragged = model.config.model_type in RAGGED or (not self._sees and _masked_attention(model, self._takes))
        self._stepping = "positions"
        if not self.ragged:
            self._stepping = self._way_on()

    def encode(self, text: str, request: Request, tail: Sequence[int] = ()) -> Prompt:
        """The model's own processor makes the ids, and what it needs of the pictures."""
        inputs = self._inputs(text, request)
        if tail:
            inputs = _extended(inputs, tail)
        return Prompt(text, request, tuple(tail), tuple(inputs["input_ids"][0].tolist()), inputs=inputs)

    def read(self, prompts: Sequence[Prompt], wanted: Sequence[Wanted]) -> tuple[list[torch.Tensor], list[int], _States]:
        """See :class:`mmr5.engines.runtime.model_runner.ModelRunner`."""
        torch = import_torch()
        batch = {k: v.to(self._model.device) for k, v in joined([p.inputs or {} for p in prompts], self._pad).items()}
        mask = batch["attention_mask"]
        width = mask.shape[1]
        keep = sorted({width - w for places in wanted for w in places})
        if self._rope is not None:  # stale offsets would shift a prompt without pictures
            self._rope.rope_deltas = None
        if "logits_to_keep" in self._takes:
            batch["logits_to_keep"] = torch.tensor(keep, device=mask.device)
        out = self._model(**batch, **self._positions(batch, mask), use_cache=True)
        logits = out.logits if "logits_to_keep" in self._takes else out.logits[:, keep]
        where = {place: i for i, place in enumerate(keep)}
        found = [logits[i, [where[width - w] for w in places]] for i, places in enumerate(wanted)]
        deltas = None if self._rope is None else self._rope.rope_deltas
        cache = getattr(out, "past_key_values", None)
        cache = getattr(out, "cache", None) if cache is None else cache
        return found, mask.sum(-1).tolist(), _States(cache, mask, deltas, [p.inputs or {} for p in prompts])

    def step(self, tokens: Sequence[Sequence[int]], states: _States) -> torch.Tensor:
        """See :class:`mmr5.engines.runtime.model_runner.ModelRunner`."""
        torch = import_torch()
        if self._stepping == "whole":
            return self._whole(tokens, states)
        device = states.mask.device
        new = torch.tensor([list(t) for t in tokens], device=device)
        width = new.shape[1] if self.ragged else 1  # an architecture that is not known may read several tokens otherwise
        logits: Any = None
        for start in range(0, new.shape[1], width):
            logits = self._forward(new[:, start : start + width], states)
        return logits  # type: ignore[no-any-return]

    def _forward(self, new: torch.Tensor, states: _States) -> torch.Tensor:
        torch = import_torch()
        inputs: dict[str, Any] = {"input_ids": new, self._cache_name: states.cache}
        if self._stepping == "positions":
            places = states.mask.sum(-1, keepdim=True) + torch.arange(new.shape[1], device=new.device)
            if states.deltas is not None:
                places = (places + states.deltas.to(new.device)).unsqueeze(0).expand(3, -1, -1)
            inputs["position_ids"] = places
        states.mask = torch.cat([states.mask, torch.ones_like(new)], dim=1)
        if "logits_to_keep" in self._takes:
            inputs["logits_to_keep"] = 1
        return self._model(**inputs, attention_mask=states.mask, use_cache=True).logits[:, -1]  # type: ignore[no-any-return]

    def _whole(self, tokens: Sequence[Sequence[int]], states: _States) -> torch.Tensor:
        """Read each row's prompt and all that follows it anew: slow, and right where going on from states is not."""
        torch = import_torch()
        states.rows = [_extended(row, new) for row, new in zip(states.rows, tokens, strict=True)]
        found = []
        for row in states.rows:
            if self._rope is not None:
                self._rope.rope_deltas = None
            batch: dict[str, Any] = {k: v.to(self._model.device) for k, v in row.items()}
            if "logits_to_keep" in self._takes:
                batch["logits_to_keep"] = 1
            found.append(self._model(**batch, use_cache=False).logits[:, -1])
        return torch.cat(found)  # type: ignore[no-any-return]

    def _way_on(self) -> str:
        """How replies go on exactly in an architecture that is not known: found by comparing short ways with reading all anew.

        Tried are steps at given positions (for text models), steps at the model's own, and reading all anew.
        """
        torch = import_torch()
        ids = self._tokenizer("Which page says it? The first page says it.", add_special_tokens=False)["input_ids"]
        opening, rest = ids[: -_PROBED or None] or ids, ids[-_PROBED:]
        prompt = torch.tensor([opening])
        inputs = {"input_ids": prompt, "attention_mask": torch.ones_like(prompt)}
        with torch.inference_mode():
            self._stepping = "whole"
            meant = self._whole([rest], _States(None, inputs["attention_mask"], None, [inputs])).float().log_softmax(-1)
            for way in ("positions", "own") if "position_ids" in self._takes and not self._sees else ("own",):
                self._stepping = way
                try:
                    _, _, states = self.read([Prompt("", Request([]), ids=tuple(opening), inputs=inputs)], [(1,)])
                    found = self.step([rest], states).float().log_softmax(-1)
                except (RuntimeError, TypeError, ValueError, AttributeError, IndexError):
                    continue
                likely = meant.exp() > _LIKELY
                if float((found - meant)[likely].abs().max()) < (_CLOSE if self._model.dtype == torch.float32 else _CLOSE_HALF):
                    return way
        return "whole"

    def select(self, states: _States, rows: Sequence[int]) -> _States:
        """See :class:`mmr5.engines.runtime.model_runner.ModelRunner`."""
        torch = import_torch()
        index = torch.tensor(list(rows), device=states.mask.device)
        kept = [states.rows[i] for i in rows]
        if self._stepping == "whole":
            return _States(None, states.mask[index], None, kept)
        cache = copy.deepcopy(states.cache)
        cache.reorder_cache(index)
        deltas = None if states.deltas is None else states.deltas.to(index.device)[index]
        return _States(cache, states.mask[index], deltas, kept)

    def _inputs(self, text: str, request: Request) -> dict[str, torch.Tensor]:
        """Tensors of one prompt, as the checkpoint's own processor makes them."""
        torch = import_torch()
        shown = [source.load(self._max_pixels) for source in pictures(request)]
        special = adds_special(self._tokenizer, text, images=self._sees)
        if not self._sees:
            ids = torch.tensor([self._tokenizer(text, add_special_tokens=special)["input_ids"]])
            return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        images = {"images": [shown]} if shown else {}
        try:
            made = self._processor(text=[text], add_special_tokens=special, return_tensors="pt", **images)
        except ValueError as error:
            if not shown:
                raise
            raise PageError(
                f"the model cannot take a picture of {', '.join(f'{p.width} x {p.height}' for p in shown)}: {error}"
            ) from error
        return {k: v for k, v in made.items() if k != "token_type_ids" or k in self._takes}

    def _positions(self, batch: Mapping[str, Any], mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Positions that ignore the padding; a model with multimodal RoPE gives pictures their own."""
        if not self.ragged or (self._rope is not None and "pixel_values" in batch):
            return {}
        return {"position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}


def _masked_attention(model: Any, takes: frozenset[str]) -> bool:
    """Whether a text model's rows see nothing of each other's padding: attention alone, under a mask, at given positions."""
    if "position_ids" not in takes or model.config.is_encoder_decoder:
        return False
    ropes = {str(module.rope_type) for module in model.modules() if hasattr(module, "rope_type")}
    if not ropes <= ROPES:  # the longest row would choose the rotary embedding of all
        return False
    kinds = import_transformers().cache_utils
    layers = import_transformers().DynamicCache(config=model.config.get_text_config()).layers
    return all(type(layer) in (kinds.DynamicLayer, kinds.DynamicSlidingWindowLayer) for layer in layers)


def _aligned(inputs: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of those tensors of one prompt that hold a value for each of its tokens."""
    return [k for k, v in inputs.items() if v.shape == inputs["input_ids"].shape]


def _extended(inputs: Mapping[str, torch.Tensor], tail: Sequence[int]) -> dict[str, torch.Tensor]:
    """One prompt's tensors with further tokens of text at its end."""
    torch = import_torch()
    out = dict(inputs)
    for name in _aligned(inputs):
        value = inputs[name]
        more = tail if name == "input_ids" else [int(name == "attention_mask")] * len(tail)
        out[name] = torch.cat([value, torch.tensor([list(more)], dtype=value.dtype)], 1)
    return out


def joined(rows: Sequence[Mapping[str, torch.Tensor]], pad: int) -> dict[str, torch.Tensor]:
    """Tensors of single prompts as those of one batch.

    What holds a value for each token, (1, n), is padded on the left: ids by ``pad``, all else by 0. What belongs to the pictures
    is padded at the end of every axis but the first, and stacked along that; prompts without pictures add nothing.
    """
    if len(rows) == 1:
        return dict(rows[0])
    width = max(row["input_ids"].shape[1] for row in rows)
    aligned = set(_aligned(rows[0]))
    out: dict[str, torch.Tensor] = {}
    pad_left, cat = import_torch().nn.functional.pad, import_torch().cat
    for name in dict.fromkeys(name for row in rows for name in row):
        parts = [row[name] for row in rows if name in row]
        if name in aligned:
            value = pad if name == "input_ids" else 0
            parts = [pad_left(p, (width - p.shape[1], 0), value=value) for p in parts]
        else:
            shape = [max(p.shape[axis] for p in parts) for axis in range(parts[0].dim())]
            parts = [_padded(p, shape) for p in parts]
        out[name] = cat(parts)
    return out


def _padded(value: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A tensor with zeros at the end of every axis but the first."""
    widths = [w for have, want in zip(reversed(value.shape[1:]), reversed(shape[1:]), strict=True) for w in (0, want - have)]
    return import_torch().nn.functional.pad(value, widths)  # type: ignore[no-any-return]
