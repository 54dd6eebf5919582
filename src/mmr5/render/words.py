"""What is wrong with a reply, in words that a person understands."""

from __future__ import annotations

from mmr5.types import Issue

ISSUES = {
    Issue.NO_ANSWER: "The model gave no answer in the agreed form; pages keep the first stage's order.",
    Issue.NO_THINK: "The model gave no reasoning, though it was asked to.",
    Issue.DUPLICATE: "The model named a page twice; the first mention counts.",
    Issue.OUT_OF_RANGE: "The model named a page that does not exist; it was left out.",
    Issue.MISSING: "The model did not name every page; the others follow in first-stage order.",
    Issue.TRUNCATED: "The reply was cut off at its token limit.",
    Issue.NOT_A_NUMBER: "The answer held something that is no whole number.",
}

SCORES = {
    "fused": "fused: z-score of the first stage plus weighted z-score of the model",
    "mean_log_likelihood": "mean log-likelihood of the question given the page",
    "choice_probability": "probability that the model names this page first",
    "relevance_probability": "probability that the model calls the page relevant",
    "relevance_log_odds": "log-odds that the page is relevant, with the log-likelihood of the question",
    "reciprocal_rank": "one over the rank: the model gives an order, no scores",
    "borda": "Borda share over several shuffled orders",
}


SCORE_NAMES = {
    "fused": "fused score",
    "mean_log_likelihood": "log-likelihood",
    "choice_probability": "probability",
    "relevance_probability": "relevance",
    "relevance_log_odds": "log-odds",
    "reciprocal_rank": "1 / rank",
    "borda": "Borda share",
}

PARTS = {"read": "reading", "retrieve": "first stage", "model": "model", "parse": "parsing"}


def movement(rank: int, first_stage_rank: int | None) -> str:
    """How a page moved against the first stage, in words: ``"up 3"``, ``"down 1"``, ``"same"`` or ``""``."""
    if first_stage_rank is None:
        return ""
    gained = first_stage_rank - rank
    return "same" if not gained else f"up {gained}" if gained > 0 else f"down {-gained}"
