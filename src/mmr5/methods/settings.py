"""The knobs of the methods, each declared once."""

from __future__ import annotations

from dataclasses import dataclass

from mmr5.errors import ConfigError
from mmr5.types import View


@dataclass(frozen=True, slots=True)
class Settings:
    """How an order is won.

    Attributes:
        view: how a page enters the prompt.
        page_tokens: most tokens of a page's text; None derives it from the model's context (at most ``PAGE_TOKENS_CAP``).
        window: pages that a list-wise prompt holds at most, at least 2; longer lists are read in windows from the tail.
        overlap: pages that neighbouring windows share.
        samples: K orders over seeded shuffles of the candidates, merged by Borda count (list-wise methods).
        seed: of the shuffles and of sampling.
        max_new_tokens: most tokens of a list-wise reply.
        think_tokens: most tokens of reasoning; then the answer is asked for at once. None sets no bound of its own.
        constrain: while an answer is written (``reason``, ``direct``), only ids that it has not named yet are possible, so that
            every reply holds a full ranking.
        keep: share in (0, 1] of each picture's tokens that is read, those that the question looks at most; 1 reads all.
        temperature: 0 is greedy.
        question_weight: of the question's log-likelihood beside the log-odds of the verdict (``pointwise``); 0 leaves it out.
        fusion: weight of the model against the first stage in the final order, or None; it decides which pages are the top ones
            that get a note.
        notes: how many top pages get a written note (``pointwise``).
        note_tokens: most tokens of such a note.
        strict: raise on a reply that needs repair.
    """

    view: View = "image"
    page_tokens: int | None = None
    window: int = 20
    overlap: int = 10
    samples: int = 1
    seed: int = 0
    max_new_tokens: int = 2048
    think_tokens: int | None = None
    constrain: bool = False
    keep: float = 1.0
    temperature: float = 0.0
    question_weight: float = 0.0
    fusion: float | None = None
    notes: int = 3
    note_tokens: int = 48
    strict: bool = False

    def __post_init__(self) -> None:
        bounds = {"window": 2, "samples": 1, "max_new_tokens": 1, "note_tokens": 1, "notes": 0, "overlap": 0}
        for name, low in bounds.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} is {getattr(self, name)}: it is at least {low}")
        for name in ("page_tokens", "think_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}: it is at least 1, or none")
        if self.overlap >= self.window:
            raise ConfigError(f"overlap is {self.overlap} with window {self.window}: it must be smaller")
        if not 0 < self.keep <= 1:
            raise ConfigError(f"keep is {self.keep}: it is a share above 0 and at most 1")
        if self.question_weight < 0:
            raise ConfigError(f"question_weight is {self.question_weight}: it is at least 0")
        if self.temperature < 0:
            raise ConfigError(f"temperature is {self.temperature}: it is at least 0")
