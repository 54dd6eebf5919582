"""One text of a page from its layer and from what was recognised in its picture, with the places of both."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mmr5.errors import PageError
from mmr5.pages.ocr import Recognition
from mmr5.types import Box, BoxSource

MIN_SIMILAR = 0.8
"""Least likeness of two lines, letters and digits alone, for them to count as the same."""
MIN_AGREEING = 0.6
"""Least share of doubted words that recognition reads as well, for the doubt to be a false alarm."""
_WHOLE = 0.5
_PLAIN = re.compile(r"[\W_]+")
_WORD = re.compile(r"[^\W_]{3,}")


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text and the places of its characters.

    Attributes:
        text: the text.
        boxes: where it stands, or None where that is not known.
    """

    text: str
    boxes: BoxSource | None

    def lines(self) -> list[tuple[int, int]]:
        """Start and end of each line."""
        spans, at = [], 0
        for line in self.text.split("\n"):
            spans.append((at, at + len(line)))
            at += len(line) + 1
        return spans


@dataclass(frozen=True, slots=True)
class _Joined:
    """Places of a text that is joined of parts of others.

    Attributes:
        parts: start and end of each part in the joined text, its source, and where it starts there.
    """

    parts: tuple[tuple[int, int, BoxSource, int], ...]

    def of(self, start: int, end: int) -> list[Box]:
        """Boxes of the characters from ``start`` to before ``end``, part by part."""
        return self.each([(start, end)])[0]

    def each(self, spans: Sequence[tuple[int, int]]) -> list[list[Box]]:
        """:meth:`of` for each start and end; each source is asked once."""
        sources = {id(source): source for _, _, source, _ in self.parts}
        asked: dict[int, list[tuple[int, int]]] = {key: [] for key in sources}
        pieces: list[list[tuple[int, int]]] = []
        for start, end in spans:
            own = []
            for first, last, source, offset in self.parts:
                if first < end and last > start:
                    own.append((id(source), len(asked[id(source)])))
                    asked[id(source)].append((offset + max(start, first) - first, offset + min(end, last) - first))
            pieces.append(own)
        told = {key: sources[key].each(parts) for key, parts in asked.items() if parts}
        return [[box for key, place in own for box in told[key][place]] for own in pieces]


@dataclass(frozen=True, slots=True)
class Marked:
    """A text some of whose parts were recognised in pictures.

    Attributes:
        pieces: the text with its places.
        spans: start and end of each part that was recognised.
    """

    pieces: Pieces
    spans: tuple[tuple[int, int], ...]


def _join(parts: Sequence[tuple[Pieces, int, int]]) -> Pieces:
    """Lines of several texts as one text."""
    texts: list[str] = []
    places: list[tuple[int, int, BoxSource, int]] = []
    at = 0
    for pieces, start, end in parts:
        texts.append(pieces.text[start:end])
        if pieces.boxes is not None:
            places.append((at, at + end - start, pieces.boxes, start))
        at += end - start + 1
    return Pieces("\n".join(texts), _Joined(tuple(places)))


def with_notes(layer: Pieces, notes: str) -> Pieces:
    """A text with a further one behind it that stands nowhere on the page."""
    return _join([*([(layer, 0, len(layer.text))] if layer.text else []), (Pieces(notes, None), 0, len(notes))])


def with_stamps(layer: Pieces, recognised: Pieces) -> Pieces:
    """The recognised text with the layer's lines: in the place of the lines that read alike, and else behind them."""
    ours = [span for span in layer.lines() if layer.text[span[0] : span[1]].strip()]
    left = list(ours)
    parts: list[tuple[Pieces, int, int]] = []
    for start, end in recognised.lines():
        line = recognised.text[start:end]
        same = next((span for span in left if _is_similar(layer.text[span[0] : span[1]], line)), None)
        if same is not None:
            left.remove(same)
            parts.append((layer, *same))
        elif line.strip() and not any(_is_similar(layer.text[a:b], line) for a, b in ours):
            parts.append((recognised, start, end))
    return _join([*parts, *((layer, *span) for span in left)])


def with_pictures(layer: Pieces, found: Sequence[tuple[int, Recognition]]) -> Marked:
    """The layer with the words of the page's pictures, each at its place; lines that the layer holds already are left out.

    Args:
        layer: the page's own text.
        found: how many of its lines come before each picture, and what was recognised in that.
    """
    spans = layer.lines()
    known = {"", *(_plain(layer.text[start:end]) for start, end in spans)}
    parts: list[tuple[Pieces, int, int]] = []
    marks: list[tuple[int, int]] = []
    start = length = 0
    for before, recognised in sorted(found, key=lambda pair: pair[0]):
        words = Pieces(recognised.text, recognised)
        fresh = [span for span in words.lines() if _plain(words.text[slice(*span)]) not in known]
        if not fresh:
            continue
        end = spans[before - 1][1] if before else -1
        if end >= start:
            parts.append((layer, start, end))
            length += end - start + 1
            start = end + 1
        parts += [(words, *span) for span in fresh]
        size = sum(b - a + 1 for a, b in fresh)
        marks.append((length, length + size - 1))
        length += size
    if start <= len(layer.text):
        parts.append((layer, start, len(layer.text)))
    return Marked(_join(parts), tuple(marks))


def is_false_alarm(layer: Pieces, doubted: Sequence[int], recognised: str) -> bool:
    """Whether recognition reads the layer's doubted lines as they are, so that they are odd, and right."""
    spans = layer.lines()
    words = [word for i in doubted for word in _WORD.findall(layer.text[slice(*spans[i])].lower())]
    read = set(_WORD.findall(recognised.lower()))
    return bool(words) and sum(word in read for word in words) >= MIN_AGREEING * len(words)


def with_lines_recognised(layer: Pieces, doubted: Sequence[int], recognised: Recognition) -> Pieces:
    """The layer with its doubted lines as they were recognised; the recognised text alone where most are doubted."""
    spans = layer.lines()
    found = Pieces(recognised.text, recognised)
    if layer.boxes is None or len(doubted) >= _WHOLE * len(spans):
        return found
    bad = set(doubted)
    parts: list[tuple[Pieces, int, int]] = []
    used: set[int] = set()
    for i, span in enumerate(spans):
        if i not in bad:
            parts.append((layer, *span))
            continue
        try:
            boxes = layer.boxes.of(*span)
        except PageError:
            return found
        for k, line in enumerate(recognised.lines):
            if k not in used and any(_lies_on(line.box, box) for box in boxes):
                used.add(k)
                parts.append((found, line.start, line.end))
    return _join(parts)


def _lies_on(line: Box, box: Box) -> bool:
    """Whether the middle of a recognised line lies in the height of a box that it shares some width with."""
    middle = (line[1] + line[3]) / 2
    return box[1] <= middle <= box[3] and line[0] < box[2] and line[2] > box[0]


def _plain(line: str) -> str:
    """A line's letters and digits."""
    return _PLAIN.sub("", line).casefold()


def _is_similar(first: str, second: str) -> bool:
    """Whether two lines say the same, but for white space, punctuation and a few letters."""
    a, b = _plain(first), _plain(second)
    if not a or not b or max(len(a), len(b)) > 2 * min(len(a), len(b)):
        return False
    from difflib import SequenceMatcher

    return a == b or SequenceMatcher(None, a, b, autojunk=False).ratio() >= MIN_SIMILAR
