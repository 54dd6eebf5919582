"""The text of a PDF's page as a reader sees it, read from pdfium's page objects; and where each character stands.

What pdfium gives as the text of a page is changed in four ways. Text that nobody sees is left out: outside the page's
box, of no size, drawn in no colour or in that of its ground, unless it lies over a picture as the layer of a scanner
does. Spaces between the letters of spaced words are left out. What was filled into forms and written in annotations is
put in. And a page whose lines run sideways is read along them.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache as once
from itertools import pairwise, repeat
from operator import sub
from typing import Any

from mmr5.pages.text import count_visible
from mmr5.types import union

Rect = tuple[float, float, float, float]
"""Left, bottom, right and top, in points of the page before it is turned."""

MIN_TEXT_POINTS = 0.8
"""Text of a smaller size is not seen by a reader."""
PALE = 216
"""Text with each colour at least this (of 255) is looked at on its ground."""
MIN_CONTRAST = 24
"""Fewest levels (of 255) between text and ground."""
MIN_ALPHA = 16
MAX_OBJECTS = 20_000
"""Most objects of a page that are looked at."""

_TEXT, _PICTURE, _FORM = 1, 3, 5
_INVISIBLE_MODES = frozenset({3, 7})
_WIDGET = 20
_NOTES = frozenset({1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
"""Annotations whose text is read: notes, free text, shapes, marked text, stamps, drawings."""
_UNSEEN_FLAGS = 2 | 32
_BUTTON_TYPES = frozenset({1, 2, 3})
_PUSH_BUTTON = 1
_MAX_RENDERED = 1_500_000
_MAX_DEPTH = 4
"""Of form objects within form objects that are looked into."""
_ANGLE_SAMPLES = 4
_SPACED = re.compile(r" [^\W\d_] [^\W\d_]{1,2} [^\W\d_]{1,2} [^\W\d_]{1,2} ")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that lies on a page.

    Attributes:
        rect: where it lies, in points of the page before it is turned.
        width: pixels that it has.
        height: pixels that it has.
    """

    rect: Rect
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class RawLayer:
    """A page's text before it is brought into normal form.

    Attributes:
        text: the text, with line ends and hyphens as pdfium writes them.
        hidden: how many visible characters were left out because nobody sees them.
        coverage: share of the page that pictures cover, 0 to 1.
        unseen: share of the text's visible characters that are drawn invisibly, over pictures.
        origins: N places of the text's N characters: an index into what pdfium gives, or the box of an annotation.
        pictures: the pictures that lie on the page, in the order in which they are drawn.
    """

    text: str
    hidden: int
    coverage: float
    unseen: float
    origins: Sequence[int | Rect]
    pictures: Sequence[Picture]


@dataclass(slots=True)
class _Objects:
    """What a look at a page's objects finds."""

    pictures: list[Picture]
    is_suspicious: bool = False

    @property
    def rects(self) -> list[Rect]:
        """Where the pictures lie."""
        return [picture.rect for picture in self.pictures]


@once
def _calls() -> Any:
    """The calls that are made for every object, without the conversions of pypdfium2's wrappers."""
    from pypdfium2 import raw

    pointer, number = ctypes.c_void_p, ctypes.c_int
    signatures = {
        "FPDFPage_CountObjects": (number, pointer),
        "FPDFPage_GetObject": (pointer, pointer, number),
        "FPDFFormObj_CountObjects": (number, pointer),
        "FPDFFormObj_GetObject": (pointer, pointer, number),
        "FPDFPageObj_GetType": (number, pointer),
        "FPDFTextObj_GetTextRenderMode": (number, pointer),
        "FPDFTextObj_GetFontSize": (number, pointer, pointer),
        "FPDFPageObj_GetFillColor": (number, pointer, pointer, pointer, pointer, pointer),
        "FPDFPageObj_GetStrokeColor": (number, pointer, pointer, pointer, pointer, pointer),
        "FPDFPageObj_GetMatrix": (number, pointer, pointer),
        "FPDFPageObj_GetBounds": (number, pointer, pointer, pointer, pointer, pointer),
        "FPDFPageObj_SetIsActive": (number, pointer, number),
        "FPDFImageObj_GetImagePixelSize": (number, pointer, pointer, pointer),
        "FPDFText_GetCharBox": (number, pointer, number, pointer, pointer, pointer, pointer),
        "FPDFText_GetLooseCharBox": (number, pointer, number, pointer),
        "FPDFText_GetTextObject": (pointer, pointer, number),
        "FPDFTextObj_GetFont": (pointer, pointer),
        "FPDFText_IsGenerated": (number, pointer, number),
        "FPDFText_GetCharIndexFromTextIndex": (number, pointer, number),
    }

    class Calls:
        """Functions of pdfium by their names."""

    for name, (result, *arguments) in signatures.items():
        address = ctypes.cast(getattr(raw, name), ctypes.c_void_p).value
        setattr(Calls, name, staticmethod(ctypes.PYFUNCTYPE(result, *arguments)(address)))  # type: ignore[arg-type]
    return Calls


def _address(handle: Any) -> int:
    """Where a handle of pypdfium2 points."""
    return ctypes.cast(getattr(handle, "raw", handle), ctypes.c_void_p).value or 0


@contextlib.contextmanager
def text_page(page: Any) -> Iterator[Any]:
    """Pdfium's text of a page, read along its lines whichever way the page is turned."""
    layer = page.get_textpage()
    turned = page.get_rotation()
    along = _direction(layer, turned)
    if along == turned:
        with contextlib.closing(layer):
            yield layer
        return
    layer.close()
    page.set_rotation(along)
    try:
        with contextlib.closing(page.get_textpage()) as layer:
            yield layer
    finally:
        page.set_rotation(turned)


def _direction(layer: Any, turned: int) -> int:
    """By how many degrees a page is to be turned clockwise for its lines to run from left to right."""
    from pypdfium2 import raw

    count = raw.FPDFText_CountChars(layer)
    if count < 1:
        return turned
    step = max(1, count // _ANGLE_SAMPLES)
    angles = [raw.FPDFText_GetCharAngle(layer, i) for i in range(step // 2, count, step)]
    if turned == 0 and not any(angles):
        return turned
    found = Counter(round(math.degrees(angle) / 90) % 4 * 90 for angle in angles if angle >= 0)
    if not found:
        return turned
    direction, votes = found.most_common(1)[0]
    return direction if votes > sum(found.values()) / 2 else turned


def read_layer(page: Any, layer: Any, form: Any = None) -> RawLayer:
    """The text of a page.

    Args:
        page: of pypdfium2.
        layer: its text, as :func:`text_page` gives it.
        form: the document's forms, or None.
    """
    from pypdfium2 import raw

    text: str = layer.get_text_range()
    box = page.get_bbox()
    objects = _look(page, box)
    coverage = _coverage(objects.rects, box)
    dropped: set[int] = set()
    unseen = 0
    if text and objects.is_suspicious:
        dropped, unseen = _unseen_characters(page, layer, text, objects.rects, box)
    hidden = sum(not text[i].isspace() for i in dropped)
    dropped |= _spacing(layer, text)
    inserted = _annotations(page, form) if raw.FPDFPage_GetAnnotCount(page) else []
    share = unseen / max(1, count_visible(text) - hidden) if unseen else 0.0
    if not dropped and not inserted:
        return RawLayer(text, hidden, coverage, share, range(len(text)), objects.pictures)
    changed, origins = _edit(layer, text, dropped, inserted)
    return RawLayer(changed, hidden, coverage, share, origins, objects.pictures)


def _look(page: Any, box: Rect) -> _Objects:
    """Find a page's pictures, and whether some of its text may be unseen.

    This is done for every object of every page, without a loop of Python.
    """
    calls = _calls()
    handle = _address(page)
    count = min(calls.FPDFPage_CountObjects(handle), MAX_OBJECTS)
    items = list(map(calls.FPDFPage_GetObject, repeat(handle, count), range(count)))
    modes = list(map(calls.FPDFTextObj_GetTextRenderMode, items))
    found = _Objects([])
    for item, mode in zip(items, modes, strict=True):
        if mode < 0:
            _look_at_other(item, found, (1, 0, 0, 1, 0, 0), depth=0)
    texts = [item for item, mode in zip(items, modes, strict=True) if mode >= 0]
    if texts and not found.is_suspicious:
        found.is_suspicious = not _INVISIBLE_MODES.isdisjoint(modes) or _stand_out(texts, box)
    return found


def hide_text(page: Any) -> None:
    """Leave the text out of what is drawn of a page, until it is closed."""
    handle = _address(page)
    calls = _calls()
    for i in range(min(calls.FPDFPage_CountObjects(handle), MAX_OBJECTS)):
        _hide_text_of(calls.FPDFPage_GetObject(handle, i), depth=0)


def _hide_text_of(item: int, depth: int) -> None:
    calls = _calls()
    kind = calls.FPDFPageObj_GetType(item)
    if kind == _TEXT:
        calls.FPDFPageObj_SetIsActive(item, 0)
    elif kind == _FORM and depth < _MAX_DEPTH:
        for i in range(min(calls.FPDFFormObj_CountObjects(item), MAX_OBJECTS)):
            _hide_text_of(calls.FPDFFormObj_GetObject(item, i), depth + 1)


def _stand_out(texts: Sequence[int], box: Rect) -> bool:
    """Whether some of a page's text objects are pale, tiny or outside a box."""
    calls, count = _calls(), len(texts)
    colors, bounds = (ctypes.c_uint * (4 * count))(), (ctypes.c_float * (4 * count))()
    for call, memory in ((calls.FPDFPageObj_GetFillColor, colors), (calls.FPDFPageObj_GetBounds, bounds)):
        start = ctypes.addressof(memory)
        for _ in map(call, texts, *(range(start + 4 * i, start + 16 * count, 16) for i in range(4))):
            pass
    levels = memoryview(colors).cast("B").cast("I").tolist()
    for red, green, blue, alpha in set(zip(levels[::4], levels[1::4], levels[2::4], levels[3::4], strict=True)):
        if min(red, green, blue) >= PALE or alpha < MIN_ALPHA:
            return True
    edges = memoryview(bounds).cast("B").cast("f").tolist()
    lefts, bottoms, rights, tops = edges[::4], edges[1::4], edges[2::4], edges[3::4]
    if min(lefts) < box[0] or min(bottoms) < box[1] or max(rights) > box[2] or max(tops) > box[3]:
        return True
    sizes = map(min, map(sub, rights, lefts), map(sub, tops, bottoms))
    return any(size < MIN_TEXT_POINTS and _text_points(item) < MIN_TEXT_POINTS for item, size in zip(texts, sizes, strict=True))


def _look_at_other(item: int, found: _Objects, matrix: Sequence[float], depth: int) -> None:
    """Note a picture, or what lies in a form object."""
    calls = _calls()
    kind = calls.FPDFPageObj_GetType(item)
    if kind == _PICTURE:
        size = (ctypes.c_uint * 2)()
        start = ctypes.addressof(size)
        calls.FPDFImageObj_GetImagePixelSize(item, start, start + 4)
        found.pictures.append(Picture(_transformed(_bounds(item), matrix), *size))
    elif kind == _TEXT and not found.is_suspicious:
        found.is_suspicious = _is_unseen(item) or _is_pale(item)
    elif kind == _FORM and depth < _MAX_DEPTH:
        inner = _product(_matrix(item), matrix)
        for i in range(min(calls.FPDFFormObj_CountObjects(item), MAX_OBJECTS)):
            _look_at_other(calls.FPDFFormObj_GetObject(item, i), found, inner, depth + 1)


def _is_unseen(item: int) -> bool:
    """Whether a text object draws nothing."""
    return _calls().FPDFTextObj_GetTextRenderMode(item) in _INVISIBLE_MODES or _text_points(item) < MIN_TEXT_POINTS


def _is_pale(item: int) -> bool:
    numbers = (ctypes.c_uint * 4)()
    start = ctypes.addressof(numbers)
    _calls().FPDFPageObj_GetFillColor(item, start, start + 4, start + 8, start + 12)
    return min(numbers[:3]) >= PALE or numbers[3] < MIN_ALPHA


def _text_points(item: int) -> float:
    """The size of a text object's letters, in points of the object that holds it."""
    size = ctypes.c_float(0)
    _calls().FPDFTextObj_GetFontSize(item, ctypes.addressof(size))
    a, b, c, d, _, _ = _matrix(item)
    return abs(size.value) * math.sqrt(abs(a * d - b * c))


def _matrix(item: int) -> tuple[float, ...]:
    values = (ctypes.c_float * 6)(1, 0, 0, 1, 0, 0)
    _calls().FPDFPageObj_GetMatrix(item, ctypes.addressof(values))
    return tuple(values)


def _product(first: Sequence[float], then: Sequence[float]) -> tuple[float, ...]:
    a, b, c, d, e, f = first
    p, q, r, s, t, u = then
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def _bounds(item: int) -> Rect:
    values = (ctypes.c_float * 4)()
    start = ctypes.addressof(values)
    _calls().FPDFPageObj_GetBounds(item, start, start + 4, start + 8, start + 12)
    left, bottom, right, top = values
    return left, bottom, right, top


def _transformed(rect: Rect, matrix: Sequence[float]) -> Rect:
    a, b, c, d, e, f = matrix
    xs = [a * x + c * y + e for x in rect[::2] for y in rect[1::2]]
    ys = [b * x + d * y + f for x in rect[::2] for y in rect[1::2]]
    return min(xs), min(ys), max(xs), max(ys)


def _coverage(pictures: Sequence[Rect], box: Rect) -> float:
    """Share of a page that its pictures cover; exact for up to some 30 pictures, the largest ones."""
    left, bottom, right, top = box
    parts = [
        (max(p[0], left), max(p[1], bottom), min(p[2], right), min(p[3], top))
        for p in pictures
        if p[0] < right and p[2] > left and p[1] < top and p[3] > bottom
    ]
    area = (right - left) * (top - bottom)
    if not parts or area <= 0:
        return 0.0
    largest = sorted(parts, key=lambda p: (p[2] - p[0]) * (p[3] - p[1]))[-32:]
    xs = sorted({x for p in largest for x in p[::2]})
    covered = 0.0
    for x0, x1 in pairwise(xs):
        end = -math.inf
        for _, low, _, high in sorted((p for p in largest if p[0] <= x0 and p[2] >= x1), key=lambda p: p[1]):
            covered += (x1 - x0) * max(0.0, high - max(low, end))
            end = max(end, high)
    return min(1.0, covered / area)


def character_indices(layer: Any, text: str) -> Sequence[int]:
    """Pdfium's index of each character of its text, -1 for none."""
    find, handle = _calls().FPDFText_GetCharIndexFromTextIndex, _address(layer)
    if max(text, default="") <= "\uffff":
        return [find(handle, i) for i in range(len(text))]
    places, units = [], 0
    for char in text:
        places.append(units)
        units += 1 + (char > "\uffff")
    return [find(handle, i) for i in places]


def characters_by_font(layer: Any, text: str, indices: Sequence[int]) -> dict[int, list[int]]:
    """Positions of the visible characters of pdfium's text, by the font that draws them."""
    calls, handle = _calls(), _address(layer)
    fonts: dict[int, int] = {}
    found: dict[int, list[int]] = {}
    for i, (char, index) in enumerate(zip(text, indices, strict=True)):
        item = 0 if index < 0 or char.isspace() else calls.FPDFText_GetTextObject(handle, index)
        if item:
            font = fonts.setdefault(item, 0) or calls.FPDFTextObj_GetFont(item) or 0
            fonts[item] = font
            found.setdefault(font, []).append(i)
    return found


def character_box(layer: Any, index: int) -> Rect | None:
    """The box of a character's ink, or None where it has none."""
    values = (ctypes.c_double * 4)()
    start = ctypes.addressof(values)
    if index < 0 or not _calls().FPDFText_GetCharBox(_address(layer), index, start, start + 8, start + 16, start + 24):
        return None
    left, right, bottom, top = values
    return (left, bottom, right, top) if right > left or top > bottom else None


def _unseen_characters(page: Any, layer: Any, text: str, pictures: Sequence[Rect], box: Rect) -> tuple[set[int], int]:
    """Characters that nobody sees, and how many are drawn invisibly over a picture."""
    calls, handle = _calls(), _address(layer)
    indices = character_indices(layer, text)
    verdicts: dict[int, str] = {}
    dropped: set[int] = set()
    outside: set[int] = set()
    over_pictures = 0
    pale: dict[int, list[int]] = {}
    for i, (char, index) in enumerate(zip(text, indices, strict=True)):
        if char.isspace() or index < 0:
            continue
        rect = character_box(layer, index)
        if rect is None:
            continue
        x, y = (rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2
        if not _holds(box, x, y):
            outside.add(i)
            continue
        item = calls.FPDFText_GetTextObject(handle, index)
        if not item:
            continue
        verdict = verdicts.get(item)
        if verdict is None:
            verdict = verdicts[item] = "unseen" if _is_unseen(item) else "pale" if _is_pale(item) else "seen"
        if verdict == "unseen":
            if any(_holds(picture, x, y) for picture in pictures):
                over_pictures += 1
            else:
                dropped.add(i)
        elif verdict == "pale":
            pale.setdefault(item, []).append(i)
    dropped |= _in_whole_lines(text, outside)
    if pale:
        dropped |= _without_contrast(page, layer, list(pale.values()), indices)
    return dropped, over_pictures


def _in_whole_lines(text: str, outside: set[int]) -> set[int]:
    """Characters of lines that lie outside the page as a whole: one that runs over its edge is read to its end."""
    found: set[int] = set()
    for start, end in _line_spans(text) if outside else ():
        if all(i in outside for i in range(start, end) if not text[i].isspace()):
            found.update(range(start, end))
    return found


def _holds(rect: Rect, x: float, y: float) -> bool:
    return rect[0] <= x <= rect[2] and rect[1] <= y <= rect[3]


def _without_contrast(page: Any, layer: Any, groups: Sequence[Sequence[int]], indices: Sequence[int]) -> set[int]:
    """Characters of the groups that do not stand out of their ground on the rendered page."""
    to_unit = PageFrame.of(page)
    width, height = page.get_size()
    scale = min(2.0, math.sqrt(_MAX_RENDERED / max(1.0, width * height)))
    bitmap = page.render(scale=scale, grayscale=True)
    with contextlib.closing(bitmap):
        picture = bitmap.to_pil().convert("L")
    found: set[int] = set()
    for group in groups:
        rects = [rect for rect in (character_box(layer, indices[i]) for i in group) if rect is not None]
        if not rects:
            continue
        x0, y0, x1, y1 = to_unit(union(rects))
        area = (
            max(0, math.floor(x0 * picture.width) - 1),
            max(0, math.floor(y0 * picture.height) - 1),
            min(picture.width, math.ceil(x1 * picture.width) + 1),
            min(picture.height, math.ceil(y1 * picture.height) + 1),
        )
        if area[0] >= area[2] or area[1] >= area[3]:
            continue
        low, high = picture.crop(area).getextrema()
        if high - low < MIN_CONTRAST:
            found.update(group)
    return found


@dataclass(frozen=True, slots=True)
class PageFrame:
    """From points of a page to shares of its picture, origin top left.

    Attributes:
        box: the part of the page that is shown.
        turned: by how many degrees it is shown turned clockwise: 0, 90, 180 or 270.
    """

    box: Rect
    turned: int

    @classmethod
    def of(cls, page: Any) -> PageFrame:
        """The frame of a page of pypdfium2."""
        return cls(page.get_bbox(), page.get_rotation())

    def __call__(self, rect: Rect) -> Rect:
        """Left, top, right and bottom in [0, 1] of what is shown of ``rect``."""
        left, bottom, right, top = self.box
        width, height = max(right - left, 1e-9), max(top - bottom, 1e-9)
        x0, x1 = (rect[0] - left) / width, (rect[2] - left) / width
        y0, y1 = (top - rect[3]) / height, (top - rect[1]) / height
        turns = {
            0: (x0, y0, x1, y1),
            90: (1 - y1, x0, 1 - y0, x1),
            180: (1 - x1, 1 - y1, 1 - x0, 1 - y0),
            270: (y0, 1 - x1, y1, 1 - x0),
        }
        a, b, c, d = (min(1.0, max(0.0, value)) for value in turns[self.turned % 360])
        return a, b, c, d


def _spacing(layer: Any, text: str) -> set[int]:
    """Spaces between the letters of spaced words (``T h e n o rth``)."""
    if not _SPACED.search(text):
        return set()
    found: set[int] = set()
    for start, end in _line_spans(text):
        words = text[start:end].split(" ")
        letters = sum(map(str.isalpha, text[start:end]))
        if len(words) >= 6 and letters >= 0.7 * sum(map(len, words)) and letters < 2.6 * len(words):
            found |= _letter_spaces(layer, text, start, end)
    return found


def _line_spans(text: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for line in text.splitlines(keepends=True):
        spans.append((start, start + len(line.rstrip("\r\n"))))
        start += len(line)
    return spans


def _letter_spaces(layer: Any, text: str, start: int, end: int) -> set[int]:
    """Which spaces of a line stand within words: those that pdfium made up, over gaps like those within words.

    A gap is measured in widths of the letter before it where letters were moved apart by a factor, and in points where
    by a distance: whichever parts the gaps more clearly into two groups.
    """
    calls, handle = _calls(), _address(layer)
    indices = character_indices(layer, text[:end])
    spaces = [i for i in range(start, end) if text[i] == " "]
    made_up = [i for i in spaces if calls.FPDFText_IsGenerated(handle, indices[i]) == 1]
    if len(made_up) < 0.5 * len(spaces):
        return set()
    if len(made_up) < len(spaces):
        return set(made_up)
    values = (ctypes.c_float * 4)()
    boxes: dict[int, tuple[float, float]] = {}
    for i in range(start, end):
        if text[i] != " " and calls.FPDFText_GetLooseCharBox(handle, indices[i], ctypes.addressof(values)):
            # left, top, right, bottom: the text may run along either axis
            boxes[i] = (values[0], values[2])
    order = sorted(boxes)
    gaps = {second: boxes[second][0] - boxes[first][1] for first, second in pairwise(order)}
    shares = {second: gaps[second] / max(boxes[first][1] - boxes[first][0], 1e-3) for first, second in pairwise(order)}
    limit, clarity = _split(list(gaps.values()))
    share_limit, share_clarity = _split(list(shares.values()))
    measured, limit = (shares, share_limit) if share_clarity > clarity else (gaps, limit)
    return {i for i in made_up if measured.get(i + 1, 0.0) <= limit}


def _split(values: Sequence[float]) -> tuple[float, float]:
    """Where values part into two groups, and how clearly: the gap between the groups by the spread of the lower one."""
    ordered = sorted(values)
    best = (math.inf, 0.0)
    for k in range(max(1, len(ordered) // 3), len(ordered)):
        low = ordered[:k]
        spread = max(low[-1] - low[0], 0.05 * abs(low[k // 2]), 1e-6)
        clarity = (ordered[k] - low[-1]) / spread
        if clarity > best[1] and ordered[k] > 1.15 * low[-1]:
            best = ((ordered[k] + low[-1]) / 2, clarity)
    return best


def _annotations(page: Any, form: Any) -> list[tuple[str, Rect, bool]]:
    """Texts of a page's annotations and form fields, their boxes, and whether each continues the line to its left."""
    from pypdfium2 import raw

    found: list[tuple[str, Rect, bool]] = []
    for i in range(raw.FPDFPage_GetAnnotCount(page)):
        item = raw.FPDFPage_GetAnnot(page, i)
        if not item:
            continue
        try:
            kind = raw.FPDFAnnot_GetSubtype(item)
            if kind != _WIDGET and kind not in _NOTES:
                continue
            if raw.FPDFAnnot_GetFlags(item) & _UNSEEN_FLAGS:
                continue
            text = _field_text(form, item) if kind == _WIDGET else _string(raw.FPDFAnnot_GetStringValue, item, b"Contents")
            if text.strip():
                box = raw.FS_RECTF()
                raw.FPDFAnnot_GetRect(item, box)
                xs, ys = sorted((box.left, box.right)), sorted((box.bottom, box.top))
                found.append((text.strip(), (xs[0], ys[0], xs[1], ys[1]), kind == _WIDGET))
        finally:
            raw.FPDFPage_CloseAnnot(item)
    return found


def _field_text(form: Any, item: Any) -> str:
    """What was filled into a form field: its text, or the name of a box that is checked."""
    from pypdfium2 import raw

    if form is None:
        return ""
    kind = raw.FPDFAnnot_GetFormFieldType(form, item)
    if kind in _BUTTON_TYPES:
        if kind == _PUSH_BUTTON or not raw.FPDFAnnot_IsChecked(form, item):
            return ""
        return _string(raw.FPDFAnnot_GetFormFieldExportValue, form, item) or "☒"
    return _string(raw.FPDFAnnot_GetFormFieldValue, form, item)


def _string(call: Any, *arguments: Any) -> str:
    """What one of pdfium's calls writes as UTF-16."""
    size = call(*arguments, None, 0)
    if size <= 2:
        return ""
    buffer = (ctypes.c_ushort * (size // 2 + 1))()
    call(*arguments, buffer, size)
    return bytes(buffer)[: size - 2].decode("utf-16-le", "ignore")


def _edit(layer: Any, text: str, dropped: set[int], inserted: Sequence[tuple[str, Rect, bool]]) -> tuple[str, list[int | Rect]]:
    """The text without what is dropped and with what is put in, and where each of its characters comes from."""
    indices = character_indices(layer, text)
    places: dict[int, list[tuple[str, Rect]]] = {}
    lines = _lines_with_boxes(layer, text, indices, dropped) if inserted else []
    seen = " ".join("".join(char for i, char in enumerate(text) if i not in dropped).split())
    for words, rect, continues in inserted:
        if not continues and " ".join(words.split()) in seen:
            continue
        end, joined = _place(lines, rect, continues, len(text))
        words = f" {words}" if joined else f"\n{words}" if end else f"{words}\n"
        places.setdefault(end, []).append((words, rect))
    out: list[str] = []
    origins: list[int | Rect] = []
    for i in range(len(text) + 1):
        for words, rect in places.get(i, ()):
            out.append(words)
            origins += [rect] * len(words)
        if i < len(text) and i not in dropped:
            out.append(text[i])
            origins.append(i)
    return "".join(out), origins


def _lines_with_boxes(layer: Any, text: str, indices: Sequence[int], dropped: set[int]) -> list[tuple[int, Rect]]:
    """End and box of each line that has one."""
    found = []
    for start, end in _line_spans(text):
        rects = [
            rect
            for i in range(start, end)
            if i not in dropped and not text[i].isspace() and (rect := character_box(layer, indices[i])) is not None
        ]
        if rects:
            found.append((end, union(rects)))
    return found


def _place(lines: Sequence[tuple[int, Rect]], rect: Rect, continues: bool, last: int) -> tuple[int, bool]:
    """Behind which character a text is put in, and whether in the same line.

    A field's text continues the line to its left; other texts are lines of their own, below those that stand higher.
    """
    middle = (rect[1] + rect[3]) / 2
    if continues:
        beside = [(box[2], end) for end, box in lines if box[1] - 2 <= middle <= box[3] + 2 and box[2] <= rect[2]]
        if beside:
            return max(beside)[1], True
    above = [end for end, box in lines if (box[1] + box[3]) / 2 >= middle]
    return (max(above) if above else 0 if lines else last), False
