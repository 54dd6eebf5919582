"""What turns messages into replies or scores: one backend a file, :func:`open_engine` for all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmr5.engines.opening import open_engine

__all__ = ["open_engine"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is first asked for, so that a single engine's types stay light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mmr5.engines import opening as opening

    return getattr(opening, name)
