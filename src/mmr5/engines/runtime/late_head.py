"""The trained part of a late-interaction reranker (ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832).

The states of a question's tokens and of a page's, which an encoder gives for either alone, become unit vectors. Each token of
the question looks for its best match among the page's; the matches are averaged by how much the tokens matter. That is done over
the whole page and over its best passage, and joined with a few features of question and page
(:mod:`mmr5.engines.runtime.late_features`) to the log-odds that the page answers, beside those of the first stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmr5.engines.loading import import_torch
from mmr5.engines.runtime.late_features import FEATURES
from mmr5.errors import ModelNotFoundError

NO_MATCH = 0.0
"""The best match of a token on a page without text, as a cosine."""
FIRST_SCALES = (8.0, 4.0)
"""Log-odds that a cosine of 1 is worth before training: over the page, and over its best passage."""
FIRST_PASSAGE_SCALE = 15.0
NAMES = (
    "page.weight", "page.bias", "question.weight", "question.bias", "importance.weight", "importance.bias", "scales",
    "passage_scale", "features", "first_stage", "bias",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PageTokens:
    """What is kept of a page.

    Attributes:
        vectors: unit vectors of its tokens, (tokens, dimension).
        lengths: how many of them each of its passages has, in order; their sum is ``tokens``.
    """

    vectors: Any
    lengths: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class QuestionTokens:
    """What is kept of a question.

    Attributes:
        vectors: unit vectors of its tokens, (tokens, dimension).
        importance: their shares in the average match, (tokens,), summing to 1.
    """

    vectors: Any
    importance: Any


@dataclass(frozen=True, slots=True)
class Scores:
    """What a question makes of pages.

    Attributes:
        pages: log-odds of each page beside the first stage's, (pages,).
        passages: how well each passage of all pages fits, (passages,); they compare with each other.
        owners: the page that each passage is of, (passages,).
    """

    pages: Any
    passages: Any
    owners: Any


class LateHead:
    """Weights by name (:data:`NAMES`), float32.

    ``page`` and ``question`` are linear maps from the encoder's states, ``importance`` is one to a number; ``scales`` are what a
    cosine is worth over the page and over its best passage, ``features`` what the features are, ``first_stage`` what one of the
    first stage's log-odds is worth beside them all.

    Args:
        weights: one tensor for each name.

    Raises:
        ModelNotFoundError: a name is missing or unknown, or shapes do not fit each other.
    """

    def __init__(self, weights: Mapping[str, Any]) -> None:
        if set(weights) != set(NAMES):
            raise ModelNotFoundError(f"weights are {', '.join(sorted(weights))}: a late-interaction model has {', '.join(NAMES)}")
        self.weights = dict(weights)
        self.dimension, self.hidden = weights["page.weight"].shape
        wanted = {
            "page.bias": (self.dimension,), "question.weight": (self.dimension, self.hidden), "question.bias": (self.dimension,),
            "importance.weight": (1, self.hidden), "importance.bias": (1,), "scales": (2,), "passage_scale": (),
            "features": (len(FEATURES),), "first_stage": (), "bias": (),
        }  # fmt: skip
        for name, shape in wanted.items():
            if tuple(weights[name].shape) != shape:
                raise ModelNotFoundError(f"weight {name} has shape {tuple(weights[name].shape)}: it should be {shape}")

    @classmethod
    def untrained(cls, states: Any, dimension: int) -> LateHead:
        """Maps to the first principal components of a sample of token states, (tokens, hidden): cosines stay what they are."""
        torch = import_torch()
        states = states.float()
        mean = states.mean(0)
        _, vectors = torch.linalg.eigh((states - mean).T @ (states - mean) / len(states))
        weight = vectors[:, -dimension:].T.contiguous()
        bias = -weight @ mean
        return cls(
            {
                "page.weight": weight, "page.bias": bias, "question.weight": weight.clone(), "question.bias": bias.clone(),
                "importance.weight": torch.zeros(1, states.shape[1]), "importance.bias": torch.zeros(1),
                "scales": torch.tensor(FIRST_SCALES), "passage_scale": torch.tensor(FIRST_PASSAGE_SCALE),
                "features": torch.zeros(len(FEATURES)), "first_stage": torch.tensor(1.0), "bias": torch.tensor(0.0),
            }
        )  # fmt: skip

    def question(self, states: Any) -> QuestionTokens:
        """Vectors and importance of a question's tokens, from their states, (tokens, hidden); at least one token."""
        functional = import_torch().nn.functional
        states = states.float()
        weight = functional.softplus(self._map("importance", states).squeeze(-1))
        return QuestionTokens(functional.normalize(self._map("question", states), dim=-1), weight / weight.sum())

    def page(self, states: Any) -> Any:
        """Unit vectors, (tokens, dimension), from the states of a page's tokens, (tokens, hidden)."""
        return import_torch().nn.functional.normalize(self._map("page", states.float()), dim=-1)

    def score(self, question: QuestionTokens, pages: Sequence[PageTokens], features: Any) -> Scores:
        """Scores of pages for a question.

        Args:
            question: of :meth:`question`.
            pages: N pages, perhaps without tokens.
            features: (N, number of features).
        """
        torch = import_torch()
        device = question.vectors.device
        lengths = torch.tensor([n for page in pages for n in page.lengths], dtype=torch.long, device=device)
        counts = torch.tensor([len(page.lengths) for page in pages], dtype=torch.long, device=device)
        owners = torch.repeat_interleave(torch.arange(len(pages), device=device), counts)
        tokens = len(question.importance)
        best = torch.full((tokens, len(lengths)), -1.0, device=device)
        whole = torch.full((tokens, len(pages)), -1.0, device=device)
        if len(lengths):
            matches = question.vectors @ torch.cat([page.vectors for page in pages]).float().T
            places = torch.repeat_interleave(torch.arange(len(lengths), device=device), lengths)
            best = best.scatter_reduce(1, places.expand(tokens, -1), matches, "amax")
            whole = whole.scatter_reduce(1, owners.expand(tokens, -1), best, "amax")
        passages = question.importance @ best
        over_page = question.importance @ whole
        over_best = torch.full((len(pages),), -1.0, device=device).scatter_reduce(0, owners, passages, "amax")
        empty = counts == 0
        over_page, over_best = (x.masked_fill(empty, NO_MATCH) for x in (over_page, over_best))
        scales = self.weights["scales"]
        odds = scales[0] * over_page + scales[1] * over_best + features @ self.weights["features"] + self.weights["bias"]
        return Scores(odds, self.weights["passage_scale"] * passages, owners)

    def to(self, device: Any) -> LateHead:
        """The same head on a device."""
        return LateHead({name: value.to(device) for name, value in self.weights.items()})

    def _map(self, name: str, states: Any) -> Any:
        return import_torch().nn.functional.linear(states, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])
