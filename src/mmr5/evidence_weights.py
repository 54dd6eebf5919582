"""What each feature of a line counts for as the place where the answer begins.

Made by ``python scripts/fit_evidence.py runs/late/a --states runs/late/states --json results/evidence-folds.json``.
"""

WEIGHTS: dict[str, float] = {
    "match_own": 0.2355,
    "match_narrow": 0.2529,
    "match_ahead": 0.0660,
    "match_around": 0.4913,
    "match_after": 0.1364,
    "sharp_own": 0.7286,
    "sharp_around": 0.7621,
    "terms_own": 0.3175,
    "terms_around": 0.1703,
    "novel": -0.0137,
    "echo": -0.3943,
    "digit": 0.2428,
    "place": 0.1693,
    "length": 0.4464,
    "short": -0.7220,
    "signs": -4.2199,
    "ended": -0.2267,
    "colon": 0.3348,
    "fresh": 0.3200,
}
"""By name, in the order of the features; with a model's matches."""

WEIGHTS_OF_TERMS: dict[str, float] = {
    "terms_own": 1.4426,
    "terms_around": 2.2513,
    "novel": 0.4738,
    "echo": 0.7432,
    "digit": 0.5966,
    "place": 0.3154,
    "length": 1.0846,
    "short": -0.8999,
    "signs": -4.3335,
    "ended": -0.3175,
    "colon": 0.3731,
    "fresh": 0.2021,
}
"""The same without a model."""
