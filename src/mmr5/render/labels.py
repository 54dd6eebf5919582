"""What is wrong with a reply, in words that a person understands."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath

from mmr5.types import Issue

ISSUES = {
    Issue.NO_ANSWER: "The model gave no answer in the agreed form; pages keep the first stage's order.",
    Issue.NO_THINK: "The model gave no reasoning, though it was asked to.",
    Issue.DUPLICATE: "The model named a page twice; the first mention counts.",
    Issue.OUT_OF_RANGE: "The model named a page that does not exist; it was left out.",
    Issue.MISSING: "The model did not name every page; the others follow in first-stage order.",
    Issue.TRUNCATED: "The reply was cut off at its token limit.",
    Issue.NOT_A_NUMBER: "The answer held something that is no whole number, or a score is no number.",
    Issue.LANGUAGE: "The question or a page is in a language that the model was not made for; there it counts by another weight.",
}

NOT_HERE = "Probably not in these documents."
PARTS = {"read": "reading", "retrieve": "first stage", "model": "model", "parse": "parsing"}


def movement(rank: int, first_stage_rank: int | None) -> str:
    """How a page moved against the first stage, in words: ``"up 3"``, ``"down 1"``, ``"same"`` or ``""``."""
    if first_stage_rank is None:
        return ""
    gained = first_stage_rank - rank
    return "same" if not gained else f"up {gained}" if gained > 0 else f"down {-gained}"


def short_names(sources: Iterable[str]) -> dict[str, str]:
    """A short name a source: its last part where that tells the sources apart, else all of it."""
    found = sorted(sources)
    short = [PurePath(source.replace("\\", "/")).name or source for source in found]
    return dict(zip(found, short if len(set(short)) == len(found) else found, strict=True))
