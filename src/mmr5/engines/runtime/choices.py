"""Choices as paths of tokens: where they part, and what each is worth once the model has weighed the ways on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from mmr5.errors import ConfigError

Path = tuple[int, ...]


def token_paths(encode: Callable[[str], Sequence[int]], prefill: str, choices: Sequence[str]) -> list[Path]:
    """Tokens of each choice as they follow the prefill.

    Raises:
        ConfigError: choices that are empty or equal, or one that is the beginning of another in tokens.
    """
    if len(set(choices)) != len(choices) or not all(choices):
        raise ConfigError(f"choices {list(choices)!r}: give distinct, non-empty strings")
    opening = list(encode(prefill))
    paths = []
    for choice in choices:
        whole = list(encode(prefill + choice))
        aligned = whole[: len(opening)] == opening and len(whole) > len(opening)
        paths.append(tuple(whole[len(opening) :] if aligned else encode(choice)))
    for a in paths:
        if any(a is not b and b[: len(a)] == a for b in paths):
            raise ConfigError(
                f"choices {list(choices)!r}: one is the beginning of another in tokens; close each with a terminator"
            )
    return paths


def crossings(paths: Sequence[Path]) -> dict[Path, list[int]]:
    """Openings after which at least two different tokens lead on → those tokens, sorted."""
    following: dict[Path, set[int]] = {}
    for path in paths:
        for depth in range(len(path)):
            following.setdefault(path[:depth], set()).add(path[depth])
    return {opening: sorted(tokens) for opening, tokens in following.items() if len(tokens) > 1}


def path_logprobs(paths: Sequence[Path], weighed: Mapping[Path, Mapping[int, float]]) -> tuple[float, ...]:
    """The log-probability of each path when only the paths may be taken.

    Args:
        paths: the choices' tokens.
        weighed: opening → token → natural log-probability, for each of :func:`crossings`.
    """
    totals = [0.0] * len(paths)
    for opening, tokens in crossings(paths).items():
        values = [weighed[opening][t] for t in tokens]
        top = max(values)
        norm = top + math.log(sum(math.exp(v - top) for v in values))
        shares = {t: v - norm for t, v in zip(tokens, values, strict=True)}
        for k, path in enumerate(paths):
            if len(path) > len(opening) and path[: len(opening)] == opening:
                totals[k] += shares[path[len(opening)]]
    return tuple(totals)
