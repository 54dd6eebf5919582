"""What each feature of a line counts for as the place where the answer begins.

Made by ``python scripts/fit_evidence.py runs/late/a --states runs/late/states --json results/evidence-folds.json``.
"""

WEIGHTS: dict[str, float] = {
    "match_own": 0.2367,
    "match_narrow": 0.2522,
    "match_ahead": 0.0660,
    "match_around": 0.4873,
    "match_after": 0.1361,
    "sharp_own": 0.7262,
    "sharp_around": 0.7695,
    "terms_own": 0.3172,
    "terms_around": 0.1708,
    "novel": -0.0153,
    "echo": -0.3948,
    "digit": 0.2433,
    "place": 0.1688,
    "length": 0.4476,
    "short": -0.7203,
    "signs": -4.0837,
    "ended": -0.2264,
    "colon": 0.3339,
    "fresh": 0.3203,
}
"""By name, in the order of the features; with a model's matches."""

WEIGHTS_OF_TERMS: dict[str, float] = {
    "terms_own": 1.4414,
    "terms_around": 2.2532,
    "novel": 0.4713,
    "echo": 0.7420,
    "digit": 0.5968,
    "place": 0.3143,
    "length": 1.0859,
    "short": -0.8986,
    "signs": -4.0142,
    "ended": -0.3176,
    "colon": 0.3728,
    "fresh": 0.2020,
}
"""The same without a model."""
