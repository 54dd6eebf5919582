"""What tells where on a page an answer begins: how a page is cut into lines and sentences, and the features of each. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from mmr5.excerpts import atoms, sentences
from mmr5.languages import ENGLISH, is_unspaced, language, query_terms, terms, words

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

UNIT_WORDS = 25
"""A line or sentence of more words is cut."""
MOST_UNITS = 80
"""Lines and sentences of a stretch; it matters where they are of signs alone."""
EDGE_LINES = 2
"""Running titles and page numbers stand among so many lines at the head and the foot of a page."""
LEAST_LINES = 3 * EDGE_LINES
"""A page of fewer lines has none that are left out."""
COSINE, SHARP = 10.0, 3.0
"""What matches are multiplied by, so that features are of one size."""
LEAST_SPREAD = 1e-3
"""Least difference of cosines that a share is taken of."""
NARROW, AHEAD = 12, 25
"""Words of the stretches that begin at a unit."""
BEHIND, AFTER = 25, 30
"""Words before and from a unit on that the stretch around it has."""
NOVEL, SHORT = 20, 2
"""See :data:`TERMS`."""

TERMS = (
    "terms_own", "terms_around", "novel", "echo", "digit", "place", "length", "short", "signs", "ended", "colon", "fresh",
)  # fmt: skip
"""Features that need no model, in the order of their weights:

* *terms_own*, *terms_around*: what of the question's terms the unit, or the stretch around it, has, by their rarity on the page,
  as a share of what the page's best has;
* *novel*: terms of the next words that the question has not, of 20 at most; *echo*: share of the unit's terms that it has;
* *digit*: the unit has one; *place*: how far down the page it stands; *length*: its words, of :data:`UNIT_WORDS`; *short*: two or
  fewer; *signs*: none; *ended*: it ends as a sentence does; *colon*: with a colon; *fresh*: the unit before it ended.
"""
MATCHES = ("match_own", "match_narrow", "match_ahead", "match_around", "match_after", "sharp_own", "sharp_around")
"""Features of the matches of tokens, which stand before the others, differences from the best place of the page:

* *match_…*: how well the question's tokens are met, by their importance, in the unit, in some words from it on, around it, and in
  the unit after it;
* *sharp_…*: the same where a token counts by how far it is met above the page's mean, as a share of the page's best, cubed: a
  token that is met as well everywhere says nothing.
"""

_DIGIT = re.compile(r"\d")
_ENDS = tuple(".:;!?。！？；।؟")
_NUMBER_LINE = re.compile(
    r"\W*(?:(?:page|seite|p\.)\s*)?(?:\d{1,4}|[ivxlc]{1,7})(?:\s*(?:/|of|von|de)\s*\d{1,4})?\W*", re.IGNORECASE
)

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Matches:
    """How the tokens of a question meet those of a page, by a late-interaction model.

    Attributes:
        spans: start and end of each of the page's T tokens in its text.
        cosines: of each of the question's Q tokens with each of the page's, (Q, T).
        importance: of the question's tokens, (Q,), summing to 1.
    """

    spans: Sequence[Span]
    cosines: Array
    importance: Array


def token_spans(text: str, parts: Sequence[str], offsets: Sequence[Sequence[Span]]) -> list[Span]:
    """Where the tokens of a text's parts stand in the text.

    Args:
        text: any text.
        parts: P parts of it in order (:func:`mmr5.excerpts.passages`), which hold all its characters but white space.
        offsets: start and end of each token of each of the P parts, within the part.
    """
    inked = [i for i, character in enumerate(text) if not character.isspace()]
    inked.append(len(text))
    found: list[Span] = []
    done = 0
    for part, own in zip(parts, offsets, strict=True):
        before = list(accumulate((not character.isspace() for character in part), initial=done))
        for a, b in own:
            start = inked[before[a]]
            found.append((start, inked[before[b] - 1] + 1 if before[b] > before[a] else start))
        done = before[-1]
    return found


@dataclass(frozen=True, slots=True)
class Units:
    """A page's lines and sentences.

    Attributes:
        spans: start and end of each in the page's text, in order.
        texts: their words.
        lengths: how many words each has.
    """

    spans: tuple[Span, ...]
    texts: tuple[str, ...]
    lengths: tuple[int, ...]


def cut(text: str, running: Iterable[str] = ()) -> Units:
    """Cut a page into lines, and these into sentences of at most :data:`UNIT_WORDS` words.

    Args:
        text: of the page.
        running: lines that are left out, as :func:`running_lines` gives them.
    """
    skipped = set(running)
    lines = [(m.start(), m.group()) for m in re.finditer(r"[^\n]*\S[^\n]*", text)]
    spaced = not is_unspaced(text)
    spans: list[Span] = []
    for place, (start, line) in enumerate(lines):
        if (
            len(lines) >= LEAST_LINES
            and _at_edge(place, len(lines))
            and (_plain(line) in skipped or _NUMBER_LINE.fullmatch(line))
        ):
            continue
        for a, b in _whole(line, sentences(line, spaced)):
            found = list(atoms(line[a:b], spaced))
            for k in range(0, len(found), UNIT_WORDS):
                own = found[k : k + UNIT_WORDS]
                spans.append((start + a + own[0][0], start + a + own[-1][1]))
    texts = tuple(text[a:b] for a, b in spans)
    return Units(tuple(spans), texts, tuple(len(words(one)) for one in texts))


def _whole(line: str, found: Sequence[Span]) -> list[Span]:
    """Sentences of a line, put together again where the next one begins with a small letter or a digit, as after “no. 5”."""
    whole: list[Span] = []
    for a, b in found:
        opening = line[a:b].lstrip()[:1]
        if whole and (opening.islower() or opening.isdigit()):
            whole[-1] = (whole[-1][0], b)
        else:
            whole.append((a, b))
    return whole


def running_lines(texts: Sequence[str]) -> frozenset[str]:
    """Lines at the head or foot of two pages or more of a document, numbers apart: running titles.

    Args:
        texts: of some of its pages.
    """
    counts: Counter[str] = Counter()
    for text in set(texts):
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) >= LEAST_LINES:
            counts.update({_plain(line) for i, line in enumerate(lines) if _at_edge(i, len(lines))})
    return frozenset(line for line, count in counts.items() if count > 1)


def _at_edge(place: int, count: int) -> bool:
    return place < EDGE_LINES or place >= count - EDGE_LINES


def _plain(line: str) -> str:
    return re.sub(r"\d+", "0", " ".join(line.casefold().split()))


def features(query: str, text: str, units: Units, matches: Matches | None = None) -> Array:
    """The features of each unit as the place where the answer begins.

    Args:
        query: the question.
        text: the page's.
        units: U of them, at least one.
        matches: of a model; None leaves out :data:`MATCHES`.

    Returns:
        (U, :data:`MATCHES` and :data:`TERMS`), float64; those of terms are shares of what the page has at best, those of matches
        differences from the best place of the page.
    """
    import numpy as np

    spoken = language(text) or ENGLISH
    asked = list(dict.fromkeys(query_terms(query, [spoken])))
    bags = [Counter(terms(one, spoken)) for one in units.texts]
    stretches = _stretches(units.lengths)
    columns = [] if matches is None else _of_matches(matches, units, stretches)
    held = np.array([[term in bag for term in asked] for bag in bags], dtype=bool).reshape(len(bags), len(asked))
    rarity = np.log(1 + (len(bags) - held.sum(0) + 0.5) / (held.sum(0) + 0.5)) * held.any(0)
    for name in ("own", "around"):
        value = np.array([held[a:b].any(0) @ rarity for a, b in stretches[name]])
        columns.append(value / max(float(value.max(initial=0.0)), 1e-9))
    wanted = set(asked)
    count = len(bags)
    sizes = np.array(units.lengths)
    new = [sum(n for term, n in bag.items() if term not in wanted) for bag in bags]
    ended = np.array([one.endswith(_ENDS) for one in units.texts])
    columns += [
        np.minimum([sum(new[a:b]) for a, b in stretches["narrow"]], NOVEL) / NOVEL,
        np.array([sum(term in wanted for term in bag) / max(1, len(bag)) for bag in bags]),
        np.array([_DIGIT.search(one) is not None for one in units.texts]),
        np.arange(count) / count,
        np.minimum(sizes, UNIT_WORDS) / UNIT_WORDS,
        sizes <= SHORT,
        sizes == 0,
        ended,
        np.array([one.endswith((":", "：")) for one in units.texts]),
        np.concatenate([[True], ended[:-1]]),
    ]
    return np.stack([np.asarray(column, dtype=float) for column in columns], axis=1)


def _stretches(lengths: Sequence[int]) -> dict[str, list[Span]]:
    """For each unit the units of itself, of some words from it on, and around it."""
    places = range(len(lengths))
    return {
        "own": [(i, i + 1) for i in places],
        "narrow": [(i, ahead_of(lengths, i, NARROW)) for i in places],
        "ahead": [(i, ahead_of(lengths, i, AHEAD)) for i in places],
        "around": [(_behind(lengths, i, BEHIND), ahead_of(lengths, i, AFTER)) for i in places],
    }


def ahead_of(lengths: Sequence[int], start: int, most: int) -> int:
    """The end of the units from ``start`` on that have no more than so many words; at least one."""
    end, held = start, 0
    while end < min(len(lengths), start + MOST_UNITS) and (end == start or held + lengths[end] <= most):
        held += lengths[end]
        end += 1
    return end


def _behind(lengths: Sequence[int], end: int, most: int) -> int:
    start, held = end, 0
    while start > max(0, end - MOST_UNITS) and held + lengths[start - 1] <= most:
        start -= 1
        held += lengths[start]
    return start


def _of_matches(matches: Matches, units: Units, stretches: dict[str, list[Span]]) -> list[Array]:
    import numpy as np

    best = np.full((len(matches.importance), len(units.spans)), -1.0)
    starts = np.array([a for a, _ in units.spans])
    ends = np.array([b for _, b in units.spans])
    begun = np.array([a for a, _ in matches.spans], dtype=int)
    owners = np.searchsorted(starts, begun, side="right") - 1
    inside = (owners >= 0) & (begun < ends[np.maximum(owners, 0)])
    np.maximum.at(best.T, owners[inside], np.asarray(matches.cosines, dtype=float).T[inside])

    met = best > -1.0
    mean = np.where(met, best, 0.0).sum(1) / np.maximum(met.sum(1), 1)
    above = np.where(met, best - mean[:, None], 0.0) / np.maximum(best.max(1) - mean, LEAST_SPREAD)[:, None]
    sharp = np.maximum(above, 0.0) ** 3

    def over(values: Array, name: str, size: float) -> Array:
        found = size * np.array([float(matches.importance @ values[:, a:b].max(1)) for a, b in stretches[name]])
        return np.asarray(found - found.max())

    own = over(best, "own", COSINE)
    return [
        own,
        *(over(best, name, COSINE) for name in ("narrow", "ahead", "around")),
        np.concatenate([own[1:], [0.0]]),
        *(over(sharp, name, SHARP) for name in ("own", "around")),
    ]


def goes_on(before: str, after: str) -> bool:
    """Whether a unit goes on with the sentence of the one before it."""
    return not before.endswith(_ENDS) and after[:1].islower()
