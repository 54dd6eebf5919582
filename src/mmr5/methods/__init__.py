"""The ways of winning an order from a model, one file each.

A method scores lists, and may write notes on the pages that will stand on top: ``method(name)(engine, batch, settings)`` does
both. Methods that write tell of it while they do: see :class:`TextCallback`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mmr5.engines.protocol import Engine
from mmr5.errors import ConfigError
from mmr5.methods import cross_encoder, first_stage, late_interaction, likelihood, listwise, logits, pointwise
from mmr5.methods.streaming import TextCallback
from mmr5.settings import MethodSettings
from mmr5.types import Candidates, Ranking

__all__ = ["Adjust", "Annotate", "Method", "MethodSettings", "Rank", "TextCallback", "method"]


Adjust = Callable[[Candidates, Ranking], Ranking]
"""Changes the ranking of a list before notes are written, such as by the first stage's scores."""


class Rank(Protocol):
    """Scores lists."""

    def __call__(
        self, engine: Engine, batch: Sequence[Candidates], settings: MethodSettings, on_text: TextCallback | None = None
    ) -> list[Ranking]:
        """Rank every list; one ranking a list, in order."""


class Annotate(Protocol):
    """Writes notes."""

    def __call__(
        self,
        engine: Engine,
        batch: Sequence[Candidates],
        rankings: Sequence[Ranking],
        settings: MethodSettings,
        on_text: TextCallback | None = None,
    ) -> list[Ranking]:
        """The rankings, in order, with notes on their top pages."""


@dataclass(frozen=True, slots=True)
class Method:
    """A way of winning an order.

    Attributes:
        rank: scores lists.
        annotate: writes notes on the pages on top once the order is final; None where the method writes none then.
    """

    rank: Rank
    annotate: Annotate | None = None

    def __call__(
        self,
        engine: Engine,
        batch: Sequence[Candidates],
        settings: MethodSettings,
        on_text: TextCallback | None = None,
        *,
        adjust: Adjust | None = None,
    ) -> list[Ranking]:
        """Score every list, adjust the rankings, and write notes; one ranking a list, in order."""
        found = self.rank(engine, batch, settings, on_text)
        if adjust is not None:
            found = [adjust(candidates, ranking) for candidates, ranking in zip(batch, found, strict=True)]
        return found if self.annotate is None else self.annotate(engine, batch, found, settings, on_text)


_METHODS = {
    "reason": Method(listwise.rank_reason),
    "direct": Method(listwise.rank_direct),
    "logits": Method(logits.rank),
    "pointwise": Method(pointwise.rank, pointwise.annotate),
    "likelihood": Method(likelihood.rank),
    "cross-encoder": Method(cross_encoder.rank),
    "late-interaction": Method(late_interaction.rank),
    "none": Method(first_stage.rank),
}


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _METHODS:
        raise ConfigError(f"method {name!r} is unknown: use one of {', '.join(_METHODS)}")
    return _METHODS[name]
