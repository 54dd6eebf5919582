"""How prompts are read: with pages and prefixes from caches where the model allows it, else all anew.

Both ways do the same, so that all that follows (:mod:`mmr5.engines.runtime.generation`) is written once: read a batch of prompts
and give logits at wanted places, go on by some tokens a row, keep some of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmr5.engines.chat_template import adds_special, pictures
from mmr5.engines.loading import import_torch
from mmr5.engines.protocol import Request
from mmr5.engines.runtime import vision
from mmr5.engines.runtime.decoder import Decoder, KVCache, Prefix, PrefixCache, Row
from mmr5.engines.runtime.head import Head
from mmr5.engines.runtime.pruning import LEAD, Pruner
from mmr5.errors import ConfigError

if TYPE_CHECKING:
    import torch

PREFIX_STEP = 16
"""An opening of fewer tokens is not read apart."""
PREFIX_SHARE = 0.25
"""A prefix that is a smaller share of its prompt is not worth it: attention behind a prefix needs a mask, which costs more."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that is ready to be read.

    Attributes:
        text: as rendered.
        request: where it came from.
        tail: tokens that follow it, such as a text to be scored.
        ids: token ids, pictures expanded, the tail included.
        features: of its pictures, in order; of a pruned picture those tokens that are kept.
        shared: tokens of its opening that other prompts are likely to share: those of the request's shared parts, or of
            what stands before its last message.
        places: positions of the ids, (3, n), and the position that follows, where pictures are pruned; else None.
        inputs: what the model's own processor made of the prompt, where the model's own forward pass reads it; else None.
    """

    text: str
    request: Request
    tail: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    features: tuple[vision.Features, ...] = ()
    shared: int = 0
    places: tuple[torch.Tensor, int] | None = None
    inputs: Mapping[str, torch.Tensor] | None = None


Wanted = tuple[int, ...]
"""Places counted from the end of a prompt, falling: 1 is the last token."""


class ModelRunner(Protocol):
    """What reads prompts. States are opaque; only the reader that made them can go on from them.

    Attributes:
        ragged: whether prompts of unequal length may be read together.
        head: the model's output layer.
    """

    ragged: bool
    head: Head

    def encode(self, text: str, request: Request, tail: Sequence[int] = ()) -> Prompt:
        """Make a rendered prompt ready."""

    def read(self, prompts: Sequence[Prompt], wanted: Sequence[Wanted]) -> tuple[list[torch.Tensor], list[int], Any]:
        """Logits at each prompt's wanted places, (places, vocabulary), its length in tokens, and the states of all."""

    def step(self, tokens: Sequence[Sequence[int]], states: Any) -> torch.Tensor:
        """Read further tokens, equally many a row; the logits after the last of each row, (rows, vocabulary)."""

    def select(self, states: Any, rows: Sequence[int]) -> Any:
        """A copy of the states with these rows."""


class CachedRunner:
    """Reads through :class:`Decoder`; features of pages, and keys and values of shared openings, come from caches.

    Args:
        decoder: of the model.
        tokenizer: of the checkpoint.
        image_token: the id that stands for a visual token, or None for a model that reads text alone.
        pages: features of pages, or None likewise.
        prefix_bytes: memory for prefixes; 0 keeps none.
        head: the model's output layer.
    """

    ragged = True

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Any,
        *,
        image_token: int | None,
        pages: vision.PageFeatures | None,
        prefix_bytes: int,
        head: Head,
    ) -> None:
        self.head = head
        self.prefixes = PrefixCache(prefix_bytes)
        self.pages = pages
        self._decoder, self._tokenizer, self._image = decoder, tokenizer, image_token
        self.pruner = None if image_token is None or pages is None else Pruner(decoder, image_token)

    def encode(self, text: str, request: Request, tail: Sequence[int] = ()) -> Prompt:
        """Make a rendered prompt ready: token ids, and what is seen of its pages."""
        special = adds_special(self._tokenizer, text, images=self._image is not None)
        encoded = self._tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        ids = encoded["input_ids"]
        bound = _boundary(text, request)
        opening = sum(stop <= bound for _, stop in encoded["offset_mapping"]) if bound else 0
        if self._image is None or self.pages is None:
            return Prompt(text, request, tuple(tail), (*ids, *tail), (), opening)
        features = self.pages.get(pictures(request))
        places = None
        if request.keep < 1 and features:
            features, places = self._pruned(ids, tail, request, features)
        whole, parts = self._expanded(ids, features)
        shared = sum(parts[:opening])
        return Prompt(text, request, tuple(tail), (*whole, *tail), tuple(features), shared, places)

    def _expanded(self, ids: Sequence[int], features: Sequence[vision.Features]) -> tuple[list[int], list[int]]:
        """Token ids with each picture's as often as it has tokens, and how many tokens each id became."""
        counts = iter(features)
        parts = [len(next(counts)) if i == self._image else 1 for i in ids]
        return [i for i, n in zip(ids, parts, strict=True) for _ in range(n)], parts

    def _pruned(
        self, ids: Sequence[int], tail: Sequence[int], request: Request, features: Sequence[vision.Features]
    ) -> tuple[list[vision.Features], tuple[torch.Tensor, int]]:
        """Pictures with those tokens that the question looks at, and where all that is left stands in the full prompt."""
        torch = import_torch()
        words = self._tokenizer(request.question, add_special_tokens=False)["input_ids"]
        if self.pruner is None or self._image is None or not words:
            raise ConfigError(f"keep is {request.keep}, and the question {request.question!r} has no words to choose tokens by")
        lead = ids[: min(LEAD, ids.index(self._image))]
        keys = [source.key for source in pictures(request)]
        kept = self.pruner.kept(lead, words, list(zip(keys, features, strict=True)), request.keep)
        full = [*self._expanded(ids, features)[0], *tail]
        whole, after = vision.positions(full, self._image, [f.grid for f in features])
        left = iter([start + k for start, ks in zip(_starts(full, self._image, features), kept, strict=True) for k in ks])
        seats = sorted([*(i for i, t in enumerate(full) if t != self._image), *left])
        found = [vision.Features(f.states[list(ks)], f.grid) for f, ks in zip(features, kept, strict=True)]
        return found, (whole[:, torch.tensor(seats)], after)

    def read(self, prompts: Sequence[Prompt], wanted: Sequence[Wanted]) -> tuple[list[torch.Tensor], list[int], KVCache]:
        """See :class:`ModelRunner`; openings that were read before are not read again."""
        cuts = self._cuts(prompts, wanted)
        openings = self._openings(prompts, cuts)
        rows = [self._row(p, cut, opening, w) for p, cut, opening, w in zip(prompts, cuts, openings, wanted, strict=True)]
        logits, states = self._decoder.prefill(rows)
        return logits, [len(p.ids) for p in prompts], states

    def step(self, tokens: Sequence[Sequence[int]], states: KVCache) -> torch.Tensor:
        """See :class:`ModelRunner`."""
        torch = import_torch()
        return self._decoder.step(torch.tensor([list(t) for t in tokens], device=self._decoder.device), states)

    def select(self, states: KVCache, rows: Sequence[int]) -> KVCache:
        """See :class:`ModelRunner`."""
        return states.select(rows)

    def _cuts(self, prompts: Sequence[Prompt], wanted: Sequence[Wanted]) -> list[int]:
        """For each prompt, the tokens of its opening that are read apart (0 for none).

        It depends on the prompt alone, not on its company nor on what was read before: read in two parts, a prompt's
        states differ in their last bits from those of one pass.
        """
        found = []
        for prompt, places in zip(prompts, wanted, strict=True):
            cut = min(prompt.shared, len(prompt.ids) - max(places))
            found.append(cut if cut >= max(PREFIX_STEP, PREFIX_SHARE * len(prompt.ids)) else 0)
        return found

    def _openings(self, prompts: Sequence[Prompt], cuts: Sequence[int]) -> list[Prefix | None]:
        """The states of each prompt's opening; those that are not known are read now, each once."""
        keys = [self._key(p, cut) if cut else None for p, cut in zip(prompts, cuts, strict=True)]
        known: dict[Any, Prefix] = {}
        missing: dict[Any, Row] = {}
        for prompt, cut, key in zip(prompts, cuts, keys, strict=True):
            if key is None or key in known or key in missing:
                continue
            if (held := self.prefixes.get(key)) is not None:
                known[key] = held
            else:
                missing[key] = self._row(prompt, 0, None, (), stop=cut)
        if missing:
            for key, made in zip(missing, self._decoder.prefixes(list(missing.values())), strict=True):
                known[key] = made
                self.prefixes.put(key, made, made.size)
        return [None if key is None else known[key] for key in keys]

    def _key(self, prompt: Prompt, cut: int) -> tuple[Any, ...]:
        ids = prompt.ids[:cut]
        left, n = ids.count(self._image) if self._image is not None else 0, 0
        while left > 0:
            left -= len(prompt.features[n])
            n += 1
        seats = None if prompt.places is None else tuple(prompt.places[0][:, :cut].flatten().tolist())
        return ids, tuple(source.key for source in pictures(prompt.request)[:n]), seats

    def _row(self, prompt: Prompt, cut: int, opening: Prefix | None, wanted: Wanted, stop: int | None = None) -> Row:
        torch = import_torch()
        end = len(prompt.ids) if stop is None else stop
        ids = prompt.ids[cut:end]
        embeds = self._decoder.embed(ids)
        if prompt.features and self._image in ids:
            embeds = _with_features(embeds, prompt, cut, end, self._image)
        if prompt.features:
            grids = [f.grid for f in prompt.features]
            whole, after = prompt.places or vision.positions(prompt.ids, self._image or 0, grids)
            places = whole[:, cut:end]
            after = after if end == len(prompt.ids) else int(places.max()) + 1
        else:
            places, after = torch.arange(cut, end).expand(self._decoder.axes, -1), end
        kept = tuple(len(prompt.ids) - w - cut for w in wanted) if stop is None else (end - cut - 1,)
        return Row(embeds, places.to(embeds.device), after, kept, opening)


def _with_features(embeds: torch.Tensor, prompt: Prompt, cut: int, end: int, image: int | None) -> torch.Tensor:
    """Embeddings of tokens cut to end, those of pictures replaced by what is seen of them."""
    torch = import_torch()
    ids = torch.tensor(prompt.ids[:end], device=embeds.device)
    places = (ids == image).nonzero().flatten()
    seen = torch.cat([f.states for f in prompt.features]).to(embeds.dtype)[: len(places)]
    inside = places >= cut
    embeds = embeds.clone()
    embeds[places[inside] - cut] = seen[inside]
    return embeds


def _starts(ids: Sequence[int], image: int, features: Sequence[vision.Features]) -> list[int]:
    """The place of each picture's first token in a full prompt."""
    found, place = [], 0
    for page in features:
        place = ids.index(image, place)
        found.append(place)
        place += len(page)
    return found


def _boundary(text: str, request: Request) -> int:
    """Characters of a rendered prompt up to the end of the last message's shared parts, or to that message where none are."""
    parts = request.messages[-1]["content"]
    if request.shared:
        rest = "".join(p.get("text", "") for p in parts[request.shared :])
        return len(text) if not rest else max(0, text.rfind(rest))
    first = next((p["text"] for p in parts if p.get("text")), "")
    return max(0, text.rfind(first)) if first else 0
