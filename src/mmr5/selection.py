"""Which pages of a ranking are given back: by relevance, by number, by the tokens of their text. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmr5.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Selection:
    """Limits, obeyed in this order; None stands for no limit.

    Attributes:
        min_relevance: least relevance of a page, in [0, 1].
        top_n: most pages, at least 1.
        max_context_tokens: most tokens of their texts together, at least 1: pages are given while their text fits, best first.

    Raises:
        ConfigError: a value out of range.
    """

    min_relevance: float | None = None
    top_n: int | None = None
    max_context_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.min_relevance is not None and not 0 <= self.min_relevance <= 1:
            raise ConfigError(f"min_relevance is {self.min_relevance}: it is a probability, in [0, 1]")
        if self.top_n is not None and self.top_n < 1:
            raise ConfigError(f"top_n is {self.top_n}: give at least 1, or None for all")
        if self.max_context_tokens is not None and self.max_context_tokens < 1:
            raise ConfigError(f"max_context_tokens is {self.max_context_tokens}: give at least 1, or None for all")

    def of(
        self,
        order: Sequence[int],
        relevance: Sequence[float] | None,
        texts: Sequence[str | None],
        count_tokens: Callable[[str], int],
    ) -> list[int]:
        """The positions of an order that are given back.

        Args:
            order: N positions, best first.
            relevance: N probabilities by position; None where nobody knows them.
            texts: N texts by position; a page without text takes no token.
            count_tokens: tokens of a text.

        Raises:
            ConfigError: ``min_relevance`` is set, and there is no relevance.
        """
        kept = self._relevant(order, relevance)[: self.top_n]
        if self.max_context_tokens is None:
            return kept
        left = self.max_context_tokens
        for place, position in enumerate(kept):
            left -= count_tokens(texts[position] or "")
            if left < 0:
                return kept[:place]
        return kept

    def _relevant(self, order: Sequence[int], relevance: Sequence[float] | None) -> list[int]:
        least = self.min_relevance
        if least is None:
            return list(order)
        if relevance is None:
            raise ConfigError(
                "min_relevance needs a calibration for this model, method, view and first stage, and there is none: make one "
                "(mmr5 calibrate, then --calibration FILE), or leave it out"
            )
        return [position for position in order if relevance[position] >= least]


EVERYTHING = Selection()
