"""The ways of winning an order from a model, one file each.

A method is a function ``rank(engine, batch, settings) -> list[Ranking]`` over any number of candidate lists at once.
"""

from collections.abc import Callable, Sequence

from mmr5.engines.base import Engine
from mmr5.errors import ConfigError
from mmr5.methods import likelihood, listwise, logits, pointwise
from mmr5.methods.settings import Settings
from mmr5.types import Candidates, Ranking

__all__ = ["Rank", "Settings", "method"]

Rank = Callable[[Engine, Sequence[Candidates], Settings], list[Ranking]]

_METHODS: dict[str, Rank] = {
    "reason": listwise.rank_reason,
    "direct": listwise.rank_direct,
    "logits": logits.rank,
    "pointwise": pointwise.rank,
    "likelihood": likelihood.rank,
}


def method(name: str) -> Rank:
    """The method of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in _METHODS:
        raise ConfigError(f"method {name!r} is unknown: use one of {', '.join(_METHODS)}")
    return _METHODS[name]
