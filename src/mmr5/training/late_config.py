"""The settings of a training run of a late-interaction reranker; files as in :mod:`mmr5.training.config`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from mmr5.errors import ConfigError
from mmr5.models.late import LateConfig
from mmr5.training.config import from_tables, read_tables


@dataclass(frozen=True, slots=True)
class LateDataConfig:
    """``[data]``: what is learnt from.

    Attributes:
        corpora: names or folders of corpora.
        split: whose questions; "" takes all.
        leave_out: documents that are not learnt from.
        retriever: the first stage, whose scores must have a scale (``hybrid``, ``bm25``, ``dense``, ``minilm``).
        depth: its best pages that a question's relevant ones are told from.
        states: folder of the encoder's states, which runs may share; "" takes ``states`` in the run's folder.
    """

    corpora: tuple[str, ...]
    split: str = "train"
    leave_out: tuple[str, ...] = ()
    retriever: str = "hybrid"
    depth: int = 24
    states: str = ""


@dataclass(frozen=True, slots=True)
class LateOptimConfig:
    """``[optim]``: losses, how fast and how long.

    Attributes:
        passes: over the questions.
        batch: questions of an optimizer step.
        learning_rate: peak, of the maps (Adam).
        scale_rate: peak, of scales, features and bias.
        warmup: steps in which the rates rise; then they fall to a fiftieth, linearly.
        passage_weight: of the loss that finds the passage of the quote among all passages of the list.
        binary_weight: of the binary cross-entropy of each page, which unanswerable questions have alone.
        seed: of the order.
    """

    passes: int = 2
    batch: int = 8
    learning_rate: float = 1e-3
    scale_rate: float = 2e-2
    warmup: int = 20
    passage_weight: float = 0.5
    binary_weight: float = 0.0
    seed: int = 1


@dataclass(frozen=True, slots=True)
class LateRunConfig:
    """``[run]``: where the result goes.

    Attributes:
        out: the run's folder.
        save_steps: optimizer steps between checkpoints, at least 1.
        log_steps: optimizer steps between points of the curves.
    """

    out: str
    save_steps: int = 50
    log_steps: int = 10


@dataclass(frozen=True, slots=True)
class LateTrainingConfig:
    """A whole run; see the classes of its tables. ``[model]`` has the keys of :class:`mmr5.models.late.LateConfig`."""

    data: LateDataConfig
    run: LateRunConfig
    model: LateConfig = field(default_factory=LateConfig)
    optim: LateOptimConfig = field(default_factory=LateOptimConfig)

    def __post_init__(self) -> None:
        for name, low in _LOWEST.items():
            value = attrgetter(name)(self)
            if value < low:
                raise ConfigError(f"{name} is {value}: it is at least {low}")
        if not self.data.corpora:
            raise ConfigError("data.corpora is empty: name a corpus")

    @property
    def states(self) -> Path:
        """The folder of the encoder's states."""
        return Path(self.data.states or Path(self.run.out) / "states")

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        return dataclasses.asdict(self)


_LOWEST = {
    "data.depth": 2,
    "optim.passes": 1,
    "optim.batch": 1,
    "optim.learning_rate": 0,
    "optim.scale_rate": 0,
    "optim.warmup": 0,
    "optim.passage_weight": 0,
    "optim.binary_weight": 0,
    "run.save_steps": 1,
    "run.log_steps": 1,
}


def load_late_config(path: Path, overrides: Sequence[str] = ()) -> LateTrainingConfig:
    """Read a TOML file; arguments and errors as :func:`mmr5.training.config.load_config`."""
    return from_tables(read_tables(path, overrides), str(path), LateTrainingConfig)
