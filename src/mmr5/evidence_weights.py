"""What each feature of a line counts for as the place where the answer begins; made by
``python scripts/fit_evidence.py runs/late/a --states runs/late/states --json results/evidence-folds.json``."""

WEIGHTS: dict[str, float] = {
    "match_own": 0.4661,
    "match_narrow": 0.3185,
    "match_ahead": 0.0921,
    "match_around": 0.9681,
    "match_after": 0.1207,
    "terms_own": 0.2915,
    "terms_around": 0.2481,
    "novel": -0.2841,
    "echo": -0.2546,
    "digit": 0.2223,
    "place": 0.2564,
    "length": 0.4443,
    "short": -0.6756,
    "signs": -4.4742,
    "ended": -0.2331,
    "colon": 0.3893,
    "fresh": 0.3384,
}
"""By name, in the order of the features; with a model's matches."""

WEIGHTS_OF_TERMS: dict[str, float] = {
    "terms_own": 1.3893,
    "terms_around": 2.3306,
    "novel": 0.4539,
    "echo": 0.7753,
    "digit": 0.5648,
    "place": 0.3149,
    "length": 1.0583,
    "short": -0.8729,
    "signs": -4.4394,
    "ended": -0.3211,
    "colon": 0.4282,
    "fresh": 0.2216,
}
"""The same without a model."""
