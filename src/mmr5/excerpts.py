"""Page text → the excerpt that answers a question best, pure.

A page is cut into passages of about ``PASSAGE_WORDS`` words at line and sentence ends. Passages are scored by BM25 over the
page's own passages; an excerpt is the head of the page and its best passages in reading order.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from mmr5.captions import kept_together
from mmr5.languages import (
    CJK,
    ENGLISH,
    SENTENCE_END,
    SOUTH_EAST,
    UNSPACED,
    UNSPACED_END,
    is_unspaced,
    language,
    query_terms,
    terms,
)

PASSAGE_WORDS = 60
LEAST_WORDS = 5
"""A passage that does not fit is cut into passages of half its words, but of no fewer than these."""

_UNIT_END, _UNSPACED_UNIT_END = re.compile(SENTENCE_END), re.compile(UNSPACED_END)
_ATOM = re.compile(rf"\s*(?:(?:[{CJK}]{{1,2}}|[{SOUTH_EAST}]{{1,4}})[^\w\s「『（【《“(]*|[^\s{UNSPACED}]+)")
"""As much text as one word, with the white space before it."""
_WORD = re.compile(r"\S+")
_CHARACTER = re.compile(rf"\s*(?:[{UNSPACED}]|[^\s{UNSPACED}]+)")
_WIDE = re.compile(rf"[{CJK}\u3000-\u303f\uff00-\uff60]")


def passages(text: str, size: int = PASSAGE_WORDS) -> list[str]:
    """Cut a text into passages of about ``size`` words, at line and sentence ends where there are any.

    Args:
        text: any text.
        size: words in a passage, at least 1, two characters of Chinese or Japanese and four of Thai, Lao, Khmer or Burmese
            counting as one; a passage ends at the first line or sentence end at or after it would overflow, and a unit longer
            than ``size`` is cut hard. A caption stays with the labels or rows beside it that fit.

    Returns:
        Passages in order, none empty; joined they hold every character but white space. Lines of Chinese and Japanese are
        joined without a space.
    """
    if size < 1:
        raise ValueError(f"size is {size}: a passage has at least one word")
    spaced = not is_unspaced(text)
    found: list[str] = []
    current: list[str] = []
    for atoms, together in _units(text, size, spaced):
        if current and len(current) + max(len(atoms), together) > size:
            found.append(_joined(current, spaced))
            current = []
        while len(atoms) > size:
            found.append(_joined(atoms[:size], spaced))
            atoms = atoms[size:]
        if not spaced and current and atoms:
            atoms[0] = _seam(current[-1], atoms[0]) + atoms[0].lstrip()
        current += atoms
    if current:
        found.append(_joined(current, spaced))
    return found


def _units(text: str, size: int, spaced: bool) -> Iterator[tuple[list[str], int]]:
    """The words of each sentence or line, and at the first line of a figure or table how many words are to stay together."""
    lines = [line for line in text.split("\n") if line.strip()]
    cut = [[line[a:b].split() if spaced else _ATOM.findall(line[a:b]) for a, b in sentences(line, spaced)] for line in lines]
    counts = [sum(map(len, units)) for units in cut]
    together = {first: sum(counts[first : last + 1]) for first, last in kept_together(lines, counts, size)}
    for i, units in enumerate(cut):
        for k, atoms in enumerate(units):
            yield atoms, together.get(i, 0) if k == 0 else 0


def sentences(line: str, spaced: bool) -> list[tuple[int, int]]:
    """Start and end of the sentences of a line.

    Args:
        line: any text.
        spaced: whether its words stand apart.
    """
    end = _UNIT_END if spaced else _UNSPACED_UNIT_END
    edges = [(0, 0), *(found.span() for found in end.finditer(line)), (len(line), len(line))]
    return [(a, b) for (_, a), (b, _) in pairwise(edges) if line[a:b].strip()]


def atoms(text: str, spaced: bool) -> Iterator[tuple[int, int]]:
    """Start and end of the words of a text, or of its stretches that count as one, without the white space before them."""
    for found in (_WORD if spaced else _ATOM).finditer(text):
        yield found.start() + len(found.group()) - len(found.group().lstrip()), found.end()


def passage_scores(query: str, texts: Sequence[str], *, k1: float = 1.2, b: float = 0.4) -> list[float]:
    """BM25 scores of passages for a query, over these passages alone; 0 where no word is shared."""
    if not texts:
        return []
    spoken = language("\n".join(texts))
    bags = [Counter(terms(t, spoken or ENGLISH)) for t in texts]
    lengths = [sum(bag.values()) for bag in bags]
    mean = sum(lengths) / len(lengths) or 1.0
    wanted = set(query_terms(query, [spoken]))
    frequency = {t: sum(t in bag for bag in bags) for t in wanted}
    scores = []
    for bag, length in zip(bags, lengths, strict=True):
        score = 0.0
        for term in wanted:
            if bag[term]:
                idf = math.log(1 + (len(bags) - frequency[term] + 0.5) / (frequency[term] + 0.5))
                score += idf * bag[term] * (k1 + 1) / (bag[term] + k1 * (1 - b + b * length / mean))
        scores.append(score)
    return scores


def best_passage(query: str, text: str, *, size: int = PASSAGE_WORDS) -> str | None:
    """The passage of a text that fits a question best, or None for a text without words.

    Where no passage shares a word with the question, it is the first one.
    """
    found = passages(text, size)
    if not found:
        return None
    scores = passage_scores(query, found)
    return found[max(range(len(found)), key=lambda i: (scores[i], -i))]


def excerpt(query: str, text: str, budget: int, count: Callable[[str], int], *, size: int = PASSAGE_WORDS) -> str:
    """The part of a page's text that helps most with a question, within a budget of tokens.

    A text that fits is returned whole (white space folded by passage). Else the best passage, the first one (the page's head) and
    the next best are taken while they fit, and put in reading order; left-out stretches are marked by an ellipsis. Where the best
    passage alone is too long, its own best part is taken.

    Args:
        query: the question.
        text: the page's text.
        budget: most tokens, at least 1.
        count: tokens of a text, by the model's own tokenizer.
        size: words in a passage.

    Returns:
        A text of at most ``budget`` tokens by ``count``, or its first character where that alone has more; ``""`` for a text of
        nothing but white space.
    """
    if budget < 1:
        raise ValueError(f"budget is {budget} tokens: give at least 1")
    found = passages(text, size)
    whole = "\n".join(found)
    if not found or count(whole) <= budget:
        return whole
    scores = passage_scores(query, found)
    ranked = sorted(range(len(found)), key=lambda i: (-scores[i], i))
    best = ranked[0]
    chosen = [best]
    if count(_join(found, chosen)) > budget:
        return _within(query, found[best], budget, count, size)
    for i in [*([0] if best else []), *(i for i in ranked[1:] if i)]:
        trial = sorted([*chosen, i])
        if count(_join(found, trial)) <= budget:
            chosen = trial
    return _join(found, chosen)


def _within(query: str, passage: str, budget: int, count: Callable[[str], int], size: int) -> str:
    """The part of a passage that helps most, where the passage is longer than the budget."""
    smaller = size // 2
    return excerpt(query, passage, budget, count, size=smaller) if smaller >= LEAST_WORDS else truncate(passage, budget, count)


def truncate(text: str, budget: int, count: Callable[[str], int]) -> str:
    """The longest run of leading words of at most ``budget`` tokens (binary search); of characters in unspaced scripts.

    Where not even the first word fits, it is cut within; its first character is given in any case, unless the budget is 0.
    """
    words = text.split()
    if budget < 1 or not words:
        return ""
    atoms = _CHARACTER.findall(" ".join(words)) if is_unspaced(text) else [f" {word}" for word in words]
    return _longest(atoms, budget, count) or _longest(words[0], budget, count, least=1)


def _longest(pieces: Sequence[str], budget: int, count: Callable[[str], int], *, least: int = 0) -> str:
    low, high = least, len(pieces)
    while low < high:
        middle = (low + high + 1) // 2
        if count("".join(pieces[:middle]).strip()) <= budget:
            low = middle
        else:
            high = middle - 1
    return "".join(pieces[:low]).strip()


def _joined(atoms: Sequence[str], spaced: bool) -> str:
    return " ".join(atoms) if spaced else " ".join("".join(atoms).split())


def _seam(before: str, after: str) -> str:
    """What stands between two units: nothing within Chinese or Japanese, else a space."""
    return "" if _WIDE.match(before[-1]) and _WIDE.match(after.lstrip()) else " "


def _join(found: Sequence[str], chosen: Sequence[int]) -> str:
    parts: list[str] = []
    for place, i in enumerate(chosen):
        gap = i > 0 if place == 0 else i > chosen[place - 1] + 1
        parts.append(("… " if place == 0 else "\n… ") + found[i] if gap else ("" if place == 0 else "\n") + found[i])
    return "".join(parts)
