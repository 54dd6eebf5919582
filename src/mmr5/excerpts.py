"""Page text → the excerpt that answers a question best, pure.

A page is cut into passages of about ``PASSAGE_WORDS`` words at line and sentence ends. Passages are scored by BM25 over the
page's own passages; an excerpt is the head of the page and its best passages in reading order.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

PASSAGE_WORDS = 60

_WORD = re.compile(r"\w+(?:[.\-_']\w+)*")
_UNIT_END = re.compile(r"(?<=[.!?;:])\s+|\n+")
_STOP = frozenset(
    "a an and are as at be been but by can could did do does for from had has have how i if in into is it its may not of on or "
    "should so such than that the their them then there these they this those to was we were what when where which who whom "
    "whose why will with would you your".split()
)


def words(text: str) -> list[str]:
    """Lower-case words of a text; numbers and dotted or hyphenated names stay whole."""
    return [w.lower() for w in _WORD.findall(text)]


def terms(text: str) -> list[str]:
    """The words that carry meaning, each also folded to a simple stem (plural and -ing, -ed endings dropped)."""
    return [_stem(w) for w in words(text) if w not in _STOP]


def passages(text: str, size: int = PASSAGE_WORDS) -> list[str]:
    """Cut a text into passages of about ``size`` words, at line and sentence ends where there are any.

    Args:
        text: any text.
        size: words in a passage, at least 1; a passage ends at the first line or sentence end at or after it would
            overflow, and a unit longer than ``size`` is cut hard.

    Returns:
        Passages in order, none empty; joined they hold every word of the text.
    """
    if size < 1:
        raise ValueError(f"size is {size}: a passage has at least one word")
    found: list[str] = []
    current: list[str] = []
    for unit in _UNIT_END.split(text):
        tokens = unit.split()
        if current and len(current) + len(tokens) > size:
            found.append(" ".join(current))
            current = []
        while len(tokens) > size:
            found.append(" ".join(tokens[:size]))
            tokens = tokens[size:]
        current += tokens
    if current:
        found.append(" ".join(current))
    return found


def passage_scores(query: str, texts: Sequence[str], *, k1: float = 1.2, b: float = 0.4) -> list[float]:
    """BM25 scores of passages for a query, over these passages alone; 0 where no word is shared."""
    bags = [Counter(terms(t)) for t in texts]
    if not bags:
        return []
    lengths = [sum(bag.values()) for bag in bags]
    mean = sum(lengths) / len(lengths) or 1.0
    wanted = set(terms(query))
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

    A text that fits is returned whole (white space folded by passage). Else the first passage (the page's head) and the best
    passages are taken while they fit, and put in reading order; left-out stretches are marked by an ellipsis.

    Args:
        query: the question.
        text: the page's text.
        budget: most tokens, at least 1.
        count: tokens of a text, by the model's own tokenizer.
        size: words in a passage.

    Returns:
        A text of at most ``budget`` tokens by ``count``; ``""`` for a text without words.
    """
    if budget < 1:
        raise ValueError(f"budget is {budget} tokens: give at least 1")
    found = passages(text, size)
    whole = "\n".join(found)
    if not found or count(whole) <= budget:
        return whole
    scores = passage_scores(query, found)
    ranked = sorted(range(len(found)), key=lambda i: (-scores[i], i))
    wanted = [ranked[0], *([0] if ranked[0] != 0 else []), *(i for i in ranked[1:] if i != 0)]
    chosen: list[int] = []
    for i in wanted:
        trial = _join(found, sorted([*chosen, i]))
        if count(trial) <= budget:
            chosen.append(i)
    return _join(found, sorted(chosen)) if chosen else truncate(found[wanted[0]], budget, count)


def truncate(text: str, budget: int, count: Callable[[str], int]) -> str:
    """The longest run of leading words of at most ``budget`` tokens (binary search)."""
    tokens = text.split()
    low, high = 0, len(tokens)
    while low < high:
        middle = (low + high + 1) // 2
        if count(" ".join(tokens[:middle])) <= budget:
            low = middle
        else:
            high = middle - 1
    return " ".join(tokens[:low])


def _join(found: Sequence[str], chosen: Sequence[int]) -> str:
    parts: list[str] = []
    for place, i in enumerate(chosen):
        gap = i > 0 if place == 0 else i > chosen[place - 1] + 1
        parts.append(("… " if place == 0 else "\n… ") + found[i] if gap else ("" if place == 0 else "\n") + found[i])
    return "".join(parts)


def _stem(word: str) -> str:
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and word.isalpha():
            return word[: -len(ending)]
    return word
