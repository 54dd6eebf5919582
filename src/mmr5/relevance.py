"""Scores → what they mean: the probability that a page answers, and whether any page of a list does. Pure.

*Relevance* of a page is a logistic function of the score by which the list is sorted, fitted on training documents (Platt 1999).
It never contradicts the order, and does not depend on the other pages of the list. *Answerable* is a logistic regression over the
list: its best score, up to a knee, and how far that stands out. Both hold for the setting that they were fitted for, and are None
elsewhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmr5.errors import ConfigError
from mmr5.types import Answerable, logistic

LIST_FEATURES = ("best", "lead", "spread")
"""*best*: the highest score of the list, or the knee where that is lower; *lead*: how far the highest score is above the second;
*spread*: how far it is above the median of the others. The last two are 0 in a list of one page."""
LIST_DEPTH = 10
"""Scores of a list that count, the best ones, so that a longer list means the same."""
Scope = Literal["document", "pooled"]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a calibration is valid for.

    Attributes:
        method: the ranking method.
        view: how pages enter the prompt.
        retriever: the first stage whose scores are in the sum, ``"none"`` without one.
        fusion: weight of the model in the sum; None where there is no sum.
        scope: candidates come from one document, or are pooled over many.
    """

    method: str
    view: str
    retriever: str
    fusion: float | None
    scope: Scope = "document"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Fitted numbers.

    Attributes:
        setting: what they are valid for.
        slope: of a score in the log-odds of relevance, above 0.
        intercept: of the same.
        knee: the score above which a list's best one says no more: a low one tells a question about something else, a high one
            does not tell an answer from a page about the same thing.
        weights: of :data:`LIST_FEATURES` in the log-odds that the list answers.
        bias: of the same.
        no_below: probabilities below this one are the verdict "no": it keeps 95 % of the answerable questions.
        yes_from: probabilities from this one on are "yes": of held-out questions above it nine in ten have an answer; above 1
            where no cut does that.
        data: what it was fitted on, and when.
        figures: how it did on folds that it was not fitted on.
    """

    setting: Setting
    slope: float
    intercept: float
    knee: float
    weights: tuple[float, ...]
    bias: float
    no_below: float
    yes_from: float
    data: str = ""
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        numbers = (self.slope, self.intercept, self.knee, *self.weights, self.bias, self.no_below, self.yes_from)
        if not all(isinstance(v, int | float) and math.isfinite(v) for v in numbers) or len(self.weights) != len(LIST_FEATURES):
            raise ConfigError(
                f"a calibration needs finite numbers, {len(LIST_FEATURES)} of them in weights: fit it again (mmr5 calibrate)"
            )
        if self.slope <= 0:
            raise ConfigError(f"slope is {self.slope}: a higher score would be less relevant; fit it again (mmr5 calibrate)")

    @staticmethod
    def from_dict(values: Mapping[str, Any], where: str) -> Calibration:
        """Read what :meth:`to_dict` gave.

        Raises:
            ConfigError: a key is missing, unknown, or of another kind.
        """
        try:
            own = {**values, "setting": Setting(**values["setting"]), "weights": tuple(values["weights"])}
            return Calibration(**own)
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{where} holds no calibration ({error}): fit it again (mmr5 calibrate)") from error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**dataclasses.asdict(self), "weights": list(self.weights)}

    def relevance(self, score: float) -> float:
        """The probability that a page with this score answers, in [0, 1]."""
        return logistic(self.slope * score + self.intercept)

    def answerable(self, scores: Sequence[float]) -> Answerable | None:
        """Whether any page of a list answers, by its scores; None for an empty list."""
        if not scores:
            return None
        odds = sum(w * v for w, v in zip(self.weights, list_features(scores, self.knee), strict=True)) + self.bias
        probability = logistic(odds)
        verdict: Literal["yes", "no", "unsure"] = "unsure"
        if probability < self.no_below:
            verdict = "no"
        elif probability >= self.yes_from:
            verdict = "yes"
        return Answerable(probability, verdict)


def list_features(scores: Sequence[float], knee: float) -> tuple[float, float, float]:
    """The values of :data:`LIST_FEATURES` for the scores of a list, in any order; at least one."""
    best, *others = sorted(scores, reverse=True)[:LIST_DEPTH]
    if not others:
        return min(best, knee), 0.0, 0.0
    middle = len(others) // 2
    median = others[middle] if len(others) % 2 else (others[middle - 1] + others[middle]) / 2
    return min(best, knee), best - others[0], best - median


def find(calibrations: Sequence[Calibration], setting: Setting) -> Calibration | None:
    """The calibration for a setting, or None."""
    return next((one for one in calibrations if one.setting == setting), None)
