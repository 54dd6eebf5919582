"""The settings of stage two on orders (:mod:`mmr5.training.order_policy`); files as in :mod:`mmr5.training.config`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from mmr5.errors import ConfigError
from mmr5.training.config import LoraConfig, from_tables, read_tables
from mmr5.training.late_config import LateDataConfig, LateRunConfig


@dataclass(frozen=True, slots=True)
class OrderModelConfig:
    """``[model]``: stage one, which learning starts from and is held near to.

    Attributes:
        start: a folder with a late-interaction model, a language model or a cross-encoder, a hub name, ``mini`` or ``mini-lm``.
        engine: ``transformers`` (this project's models and language models) or ``cross-encoder``.
        method: ``pointwise`` or ``logits``, for a language model; ``auto`` takes its recipe's.
        page_tokens: most tokens of a page's text in a prompt, for a language model; 0 takes its recipe's.
        device: ``auto``, ``cpu``, ``cuda``; for a language model and a cross-encoder.
    """

    start: str
    engine: Literal["transformers", "cross-encoder"] = "transformers"
    method: Literal["auto", "pointwise", "logits"] = "auto"
    page_tokens: int = 0
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class OrderDataConfig(LateDataConfig):
    """``[data]``: the lists that are sorted; ``states`` is for a late-interaction model.

    Attributes:
        only: documents that are learnt from; empty takes all.
        unanswerable: learn from questions that no page answers, too: each list has one more place, "none of these", which is the
            relevant one there.
    """

    only: tuple[str, ...] = ()
    unanswerable: bool = False


@dataclass(frozen=True, slots=True)
class OrderOptimConfig:
    """``[optim]``: how far and how fast.

    Attributes:
        policy: ``orders`` draws whole orders; ``verdicts`` draws a "Yes" or "No" a page, the older way, to be compared with.
        orders: drawn for each list in each step (the paper's G), at least 2.
        temperature: scores are divided by it before orders are drawn; the sorted order stays the same.
        kl_weight: of the divergence from stage one, in nats, in the loss.
        passes: over the lists.
        batch: lists of an optimizer step.
        learning_rate: peak (Adam); a late-interaction model's maps, an adapter, or all weights.
        scale_rate: peak, of a late-interaction model's scales and of the score of "none of these".
        warmup: steps in which the rates rise; then they fall to a fiftieth, linearly.
        max_grad_norm: gradient clipping.
        seed: of the order of lists, of adapters and of draws.
    """

    policy: Literal["orders", "verdicts"] = "orders"
    orders: int = 32
    temperature: float = 1.0
    kl_weight: float = 0.02
    passes: int = 1
    batch: int = 16
    learning_rate: float = 3e-4
    scale_rate: float = 0.0
    warmup: int = 10
    max_grad_norm: float = 1.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class OrderTrainingConfig:
    """A whole run; see the classes of its tables. ``[lora]`` is for language models; a cross-encoder learns with all weights."""

    model: OrderModelConfig
    data: OrderDataConfig
    run: LateRunConfig
    lora: LoraConfig = field(default_factory=LoraConfig)
    optim: OrderOptimConfig = field(default_factory=OrderOptimConfig)

    def __post_init__(self) -> None:
        for name, low in _LOWEST.items():
            value = attrgetter(name)(self)
            if value < low:
                raise ConfigError(f"{name} is {value}: it is at least {low}")
        for name in ("optim.temperature", "optim.learning_rate"):
            if (value := attrgetter(name)(self)) <= 0:
                raise ConfigError(f"{name} is {value}: it is above 0")
        if not self.data.corpora:
            raise ConfigError("data.corpora is empty: name a corpus")
        if self.data.unanswerable and self.optim.policy == "verdicts":
            raise ConfigError("data.unanswerable goes with optim.policy 'orders': verdicts have no place for 'none of these'")

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        return dataclasses.asdict(self)


_LOWEST = {
    "model.page_tokens": 0,
    "data.depth": 2,
    "lora.rank": 1,
    "lora.alpha": 1,
    "optim.orders": 2,
    "optim.kl_weight": 0,
    "optim.passes": 1,
    "optim.batch": 1,
    "optim.scale_rate": 0,
    "optim.warmup": 0,
    "optim.max_grad_norm": 0,
    "run.save_steps": 1,
    "run.log_steps": 1,
}


def load_order_config(path: Path, overrides: Sequence[str] = ()) -> OrderTrainingConfig:
    """Read a TOML file; arguments and errors as :func:`mmr5.training.config.load_config`."""
    return from_tables(read_tables(path, overrides), str(path), OrderTrainingConfig)
