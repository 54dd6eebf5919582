"""The ways of winning an order from a model, one file each.

A method is a function ``rank(engine, batch, settings, on_text=None) -> list[Ranking]`` over any number of candidate lists.
Methods that write tell of it while they do: see :class:`OnWriting`.
"""

from collections.abc import Sequence
from typing import Protocol

from mmr5.engines.base import Engine
from mmr5.errors import ConfigError
from mmr5.methods import cross_encoder, likelihood, listwise, logits, pointwise
from mmr5.methods.hearing import OnWriting
from mmr5.methods.settings import Settings
from mmr5.types import Candidates, Ranking

__all__ = ["OnWriting", "Rank", "Settings", "method"]


class Rank(Protocol):
    """What every method is."""

    def __call__(
        self, engine: Engine, batch: Sequence[Candidates], settings: Settings, on_text: OnWriting | None = None
    ) -> list[Ranking]:
        """Rank every list; one ranking a list, in order."""


_METHODS: dict[str, Rank] = {
    "reason": listwise.rank_reason,
    "direct": listwise.rank_direct,
    "logits": logits.rank,
    "pointwise": pointwise.rank,
    "likelihood": likelihood.rank,
    "cross-encoder": cross_encoder.rank,
}


def method(name: str) -> Rank:
    """The method of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _METHODS:
        raise ConfigError(f"method {name!r} is unknown: use one of {', '.join(_METHODS)}")
    return _METHODS[name]
