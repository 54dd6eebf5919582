"""Qwen2.5-VL's vision tower in training, with fewer and larger operations.

transformers cuts patches by a three-dimensional convolution, whose backward pass is slow, and attends to one window after the
other. Here patches are embedded by one matrix product, and all windows of a size are attended to at once. The results are the
same up to rounding; on a CPU a step of the vision proof takes about two thirds of the time.
:func:`mmr5.training.patches.quicken_vision` puts them in place.
"""

from __future__ import annotations

from typing import Any

from mmr5.engines.loading import import_torch

NAMES = (
    "Qwen2_5_VisionPatchEmbed", "Qwen2_5_VLVisionAttention", "apply_rotary_pos_emb_vision", "eager_attention_forward",
    "ALL_ATTENTION_FUNCTIONS",
)  # fmt: skip
"""What is needed of ``transformers.models.qwen2_5_vl.modeling_qwen2_5_vl``."""


def embed(self: Any, hidden_states: Any) -> Any:
    """``Qwen2_5_VisionPatchEmbed.forward``: (patches, channels x frames x height x width) pixels to (patches, width)."""
    weight = self.proj.weight
    return import_torch().nn.functional.linear(hidden_states.to(weight.dtype).flatten(1), weight.flatten(1), self.proj.bias)


def attend(
    self: Any, hidden_states: Any, cu_seqlens: Any, position_embeddings: Any = None, max_seqlen: Any = None, **named: Any
) -> Any:
    """``Qwen2_5_VLVisionAttention.forward``: (patches, width) states, attended to within windows (``cu_seqlens``)."""
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
