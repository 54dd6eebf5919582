"""What is done with prompts once they can be read: generate replies, score choices, score texts.

The loop that generates is our own: rows that are finished leave the batch, each row's detokenizer gets its tokens at once, and
each row draws from a sequence of its own, so that a reply does not depend on its company.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmr5.engines.loading import import_torch
from mmr5.engines.protocol import ChoiceScores, Reply, Sampling, TextScore
from mmr5.engines.runtime.choices import Path, crossings, path_logprobs
from mmr5.engines.runtime.constraint import Guard
from mmr5.engines.runtime.detokenize import Detokenizer
from mmr5.engines.runtime.model_runner import ModelRunner, Prompt
from mmr5.types import Usage

if TYPE_CHECKING:
    import torch

SHRINK = 0.75
"""Finished rows leave the batch when no more than this share of it is still being written."""

Span = tuple[int, int, int]
"""First token of some words of a prompt, one past their last, and the tokens of the prompt; zeros for none."""


def generate(
    reader: ModelRunner,
    prompts: Sequence[Prompt],
    detokenizers: Sequence[Detokenizer],
    sampling: Sampling,
    draws: Sequence[random.Random],
    guards: Sequence[Guard | None] | None = None,
) -> list[Reply]:
    """Write a reply to each prompt.

    Args:
        reader: reads them.
        prompts: at least one.
        detokenizers: turn the tokens of each reply into text, and say when it is finished.
        sampling: temperature and nucleus.
        draws: random numbers of each row.
        guards: of the rows whose answers are constrained, None for the others.
    """
    torch = import_torch()
    found, read, cache = reader.read(prompts, [(1,)] * len(prompts))
    logits = torch.stack([one[-1] for one in found])
    active = list(range(len(prompts)))
    while True:
        if guards is not None:
            constrain(logits, [(guards[i], detokenizers[i].text) for i in active])
        tokens = sample(logits, sampling, [draws[i] for i in active])
        for k, i in enumerate(active):
            while guards is not None and (guard := guards[i]) and not guard.takes(detokenizers[i].text, tokens[k]):
                logits[k, tokens[k]] = -torch.inf
                tokens[k] = sample(logits[k : k + 1], sampling, [draws[i]])[0]
        alive = [k for k, i in enumerate(active) if not detokenizers[i].push(tokens[k])]
        if not alive:
            return [one.reply(n) for one, n in zip(detokenizers, read, strict=True)]
        if len(alive) <= SHRINK * len(active):
            cache = reader.select(cache, alive)
            active, tokens = [active[k] for k in alive], [tokens[k] for k in alive]
        logits = reader.step([[t] for t in tokens], cache)


def constrain(logits: torch.Tensor, rows: Sequence[tuple[Guard | None, str]]) -> None:
    """Take away, in place, what may not be written; the logits of what may stay as they are.

    Args:
        logits: (rows, vocabulary).
        rows: the guard of each row, if it has one, and the row's text so far.
    """
    torch = import_torch()
    for k, (guard, text) in enumerate(rows):
        allowed = None if guard is None else guard.allowed(text)
        if allowed is not None:
            index = torch.tensor(allowed, device=logits.device)
            kept = logits[k, index]
            logits[k] = -torch.inf
            logits[k, index] = kept


def sample(logits: torch.Tensor, sampling: Sampling, draws: Sequence[random.Random]) -> list[int]:
    """The next token of each row, from logits (rows, vocabulary): the likeliest, or drawn from the nucleus."""
    torch = import_torch()
    if sampling.temperature == 0:
        tokens: list[int] = logits.argmax(-1).tolist()
        return tokens
    shares, order = (logits.float() / sampling.temperature).softmax(-1).sort(dim=-1, descending=True, stable=True)
    heaps = shares.cumsum(-1)
    shares = shares.masked_fill(heaps - shares >= sampling.top_p, 0.0)
    heaps = shares.cumsum(-1)
    drawn = torch.tensor([draw.random() for draw in draws], device=logits.device, dtype=heaps.dtype).unsqueeze(1)
    places = torch.searchsorted(heaps, drawn * heaps[:, -1:], right=True)
    places = torch.minimum(places, (shares > 0).sum(-1, keepdim=True) - 1)
    drawn_tokens: list[int] = order.gather(1, places).flatten().tolist()
    return drawn_tokens


def score_choices(
    reader: ModelRunner,
    prompts: Sequence[Prompt],
    paths: Sequence[Sequence[Path]],
    spans: Sequence[Span],
    ids: Sequence[Sequence[int]],
) -> list[ChoiceScores]:
    """The constrained-decoding probability of each prompt's choices: one prefill, and one step per opening that choices share.

    Args:
        reader: reads the prompts.
        prompts: at least one.
        paths: tokens of each prompt's choices.
        spans: the words of each prompt whose likelihood is wanted besides.
        ids: the tokens of those words.
    """
    wanted = [(*range(end - first + 1, end - past + 1, -1), 1) if past else (1,) for first, past, end in spans]
    parting = [crossings(given) for given in paths]
    every = any(past for _, past, _ in spans)
    tokens = None if every else sorted({t for given in parting for following in given.values() for t in following})
    weighed: list[dict[Path, Mapping[int, float]]] = [{} for _ in prompts]
    with reader.head.exact(tokens or None) as columns:
        logits, read, cache = reader.read(prompts, wanted)
        _note(weighed, parting, {(i, ()): one[-1] for i, one in enumerate(logits)}, columns)
        opened = [(i, opening) for i, given in enumerate(parting) for opening in given if opening]
        for length in sorted({len(opening) for _, opening in opened}):
            nodes = [node for node in opened if len(node[1]) == length]
            after = reader.step([opening for _, opening in nodes], reader.select(cache, [i for i, _ in nodes]))
            _note(weighed, parting, dict(zip(nodes, after, strict=True)), columns)
    measured = [
        text_score(one[:-1], words, n) if past else None
        for one, words, n, (_, past, _) in zip(logits, ids, read, spans, strict=True)
    ]
    return [
        ChoiceScores(path_logprobs(given, known), Usage(n, 1), words)
        for given, known, n, words in zip(paths, weighed, read, measured, strict=True)
    ]


def score_text(reader: ModelRunner, prompts: Sequence[Prompt]) -> list[TextScore]:
    """The mean log-probability of each prompt's tail."""
    with reader.head.exact():
        logits, read, _ = reader.read(prompts, [tuple(range(len(p.tail) + 1, 1, -1)) for p in prompts])
    return [text_score(one, p.tail, n - len(p.tail)) for one, p, n in zip(logits, prompts, read, strict=True)]


def text_score(logits: torch.Tensor, tokens: Sequence[int], read: int) -> TextScore:
    """Mean log-probability of n tokens, by the logits before each of them, (n, vocabulary)."""
    torch = import_torch()
    index = torch.tensor(list(tokens), device=logits.device).unsqueeze(-1)
    picked = logits.float().log_softmax(-1).gather(-1, index)
    return TextScore(float(picked.mean()), len(tokens), Usage(read + len(tokens), 0))


def _note(
    weighed: Sequence[dict[Path, Mapping[int, float]]],
    parting: Sequence[Mapping[Path, Sequence[int]]],
    logits: Mapping[tuple[int, Path], Any],
    columns: Sequence[int] | None,
) -> None:
    """Write down the log-probabilities of the tokens that lead on from the given openings.

    ``columns`` says which ids the logits are of; None is the whole vocabulary.
    """
    place = None if columns is None else {token: i for i, token in enumerate(columns)}
    for (row, opening), values in logits.items():
        if (tokens := parting[row].get(opening)) is not None:
            shares = values[[t if place is None else place[t] for t in tokens]].float().log_softmax(-1).tolist()
            weighed[row][opening] = dict(zip(tokens, shares, strict=True))
