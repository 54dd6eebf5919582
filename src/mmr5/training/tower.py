"""Qwen2.5-VL's vision tower in training, with fewer and larger operations.

transformers cuts patches by a three-dimensional convolution, whose backward pass is slow, and attends to one window after the
other. Here patches are embedded by one matrix product, and all windows of a size are attended to at once. The results are the
same up to rounding; on a CPU a step of the vision proof takes about two thirds of the time.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

from mmr5.engines.loading import import_torch


def lighten(model: Any) -> int:
    """Give the modules of a Qwen2.5-VL tower their quick forward; other models are left alone.

    Attention that gets its windows as one packed sequence (flash attention) is left alone, too.

    Returns:
        The number of modules changed.
    """
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen
    from transformers.utils.generic import is_flash_attention_requested

    changed = 0
    for module in model.modules():
        if isinstance(module, qwen.Qwen2_5_VisionPatchEmbed):
            module.forward = MethodType(_embed, module)
            changed += 1
        elif isinstance(module, qwen.Qwen2_5_VLVisionAttention) and not is_flash_attention_requested(module.config):
            module.forward = MethodType(_attend, module)
            changed += 1
    return changed


def _embed(self: Any, hidden_states: Any) -> Any:
    weight = self.proj.weight
    return import_torch().nn.functional.linear(hidden_states.to(weight.dtype).flatten(1), weight.flatten(1), self.proj.bias)


def _attend(
    self: Any, hidden_states: Any, cu_seqlens: Any, position_embeddings: Any = None, max_seqlen: Any = None, **named: Any
) -> Any:
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen

    torch = import_torch()
    states = self.qkv(hidden_states).reshape(len(hidden_states), 3, self.num_heads, -1).unbind(1)
    query, key = qwen.apply_rotary_pos_emb_vision(states[0], states[1], *position_embeddings)
    attention = qwen.ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, qwen.eager_attention_forward)
    lengths = cu_seqlens[1:] - cu_seqlens[:-1]
    size_of = torch.repeat_interleave(lengths, lengths)
    parts, places = [], []
    for size in sorted(set(lengths.tolist()) - {0}):
        where = (size_of == size).nonzero().squeeze(1)
        windows = [x[where].reshape(-1, size, self.num_heads, x.shape[-1]).transpose(1, 2) for x in (query, key, states[2])]
        seen = attention(self, *windows, attention_mask=None, scaling=self.scaling, dropout=0.0, is_causal=False, **named)[0]
        parts.append(seen.reshape(len(where), -1))
        places.append(where)
    return self.proj(torch.cat(parts)[torch.cat(places).argsort()])
