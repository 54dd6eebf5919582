"""Fewer visual tokens: of each page only those are read that the question looks at in an early layer.

Each page is read with the question alone, through the first ``LAYER`` layers of the decoder: a few tokens of the prompt's opening
(where attention rests that looks at nothing), the page's tokens, the question's. In the layer that follows, a page's token j is
worth r(j) = Σ over heads h and question tokens t of softmax(q(h, t) · k(h, ·) / √d)(j), and the ceil(share · n) tokens that are
worth most are kept, in their own order. They enter the real prompt at the positions that they have in the full one. That few
visual tokens draw attention beyond the second layer, and that those can be told by the attention of a shallow one, is the
observation of FastV (Chen et al., 2024, arXiv 2403.06764); that the question's words should judge, of SparseVLM (Zhang et
al., 2024, arXiv 2410.04417). Here pages are judged before the prompt is read, so that every layer is spared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmr5.engines.loading import import_torch
from mmr5.engines.runtime import vision
from mmr5.engines.runtime.decoder import Decoder, Row
from mmr5.storage.lru import LRU

if TYPE_CHECKING:
    import torch

LAYER = 2
"""Layers that are run before attention is asked; a model of fewer is run through all but its last."""
LEAD = 8
"""Tokens of the prompt's opening that stand before the page."""
REMEMBERED_BYTES = 8_000_000
"""Memory for what was kept of pages, so that a page is judged once for a question."""


def kept_count(share: float, tokens: int) -> int:
    """How many of a page's tokens are kept: ceil(share · tokens)."""
    return math.ceil(share * tokens)


class Pruner:
    """Judges the tokens of pages.

    Args:
        decoder: of the model.
        image_token: the id that stands for a visual token.
    """

    def __init__(self, decoder: Decoder, image_token: int) -> None:
        self.remembered: LRU[tuple[int, ...]] = LRU(REMEMBERED_BYTES)
        self._decoder, self._image = decoder, image_token

    def kept(
        self, lead: Sequence[int], question: Sequence[int], pages: Sequence[tuple[str, vision.Features]], share: float
    ) -> list[tuple[int, ...]]:
        """For each page the places of its tokens that are kept, rising.

        Args:
            lead: token ids that stand before the page.
            question: token ids of the question, at least one.
            pages: content key and features of each.
            share: of the tokens, in (0, 1].
        """
        found: list[tuple[int, ...]] = []
        for key, features in pages:
            name = (key, tuple(lead), tuple(question), share)
            held = self.remembered.get(name)
            if held is None:
                held = strongest(self.worth(lead, question, features), kept_count(share, len(features)))
                self.remembered.put(name, held, 8 * len(held))
            found.append(held)
        return found

    def worth(self, lead: Sequence[int], question: Sequence[int], features: vision.Features) -> torch.Tensor:
        """How much the question looks at each of a page's tokens, (n,)."""
        torch = import_torch()
        ids = [*lead, *[self._image] * len(features), *question]
        embeds = self._decoder.embed(ids).clone()
        first, past = len(lead), len(lead) + len(features)
        embeds[first:past] = features.states.to(embeds.dtype)
        places, after = vision.positions(ids, self._image, [features.grid])
        row = Row(embeds, torch.as_tensor(places, device=embeds.device), after, (0,))
        return self._decoder.attention(row, LAYER, len(question))[first:past]


def strongest(worth: torch.Tensor, n: int) -> tuple[int, ...]:
    """The places of the n highest values, rising; of equal ones the first."""
    order = worth.sort(descending=True, stable=True).indices[:n]
    return tuple(sorted(order.tolist()))
