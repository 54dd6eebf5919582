"""Questions to look through: two orders of each question's candidates, with pictures. Shared by reports and comparisons."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import question_scores
from mmr5.render.labels import ISSUES
from mmr5.render.thumbnails import QUALITY, page_uri
from mmr5.storage.cache import Cache, digest
from mmr5.types import Page, Progress

Pages = Callable[[str], Sequence[Page]]
"""The units (pages, or layouts) of a document, by its name."""

BUDGET = 12_000_000
"""All pictures of one HTML file together, in bytes."""
MOST_PICTURES = 2_000
LARGEST, SMALLEST = 140_000, 20_000
"""Pixels of a picture (width times height), when they are few and when they are many."""
_BYTES_A_PIXEL = 0.25
"""A page at this quality in base64, on the safe side."""
REPLY_LENGTH = 4_000
"""Characters of a reply that are shown; the run holds all of it."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order of a question's candidates, best first.

    Attributes:
        ids: page ids.
        scores: one an id, or None.
        notes: what the model says of each, or None.
        reply: all that the model wrote, or None.
        issues: what was wrong with the reply.
    """

    ids: tuple[int, ...]
    scores: tuple[float, ...] | None = None
    notes: tuple[str | None, ...] | None = None
    reply: str | None = None
    issues: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """A question and its two orders.

    Attributes:
        line: the question.
        before: the one order.
        after: the other.
        gain: mean over the metrics of after minus before.
    """

    line: RunLine
    before: Order
    after: Order
    gain: float


def first_stage_order(line: RunLine) -> Order:
    """What the first stage gave."""
    return Order(line.candidates, line.first_stage_scores)


def ranked_order(line: RunLine) -> Order:
    """What the model made of it."""
    return Order(line.ranking, line.scores, line.notes, line.reply, line.issues)


def shown(line: RunLine, before: Order, after: Order, before_scores: Mapping[str, float] | None = None) -> Shown:
    """A question with what it gains.

    Args:
        line: the question, whose ranking is ``after``.
        before: the one order.
        after: the other.
        before_scores: the metrics of ``before``, where they come from another line.
    """
    old = before_scores if before_scores is not None else question_scores(line, before.ids)
    new = question_scores(line, after.ids)
    return Shown(line, before, after, sum(new[name] - old[name] for name in new) / len(new))


def place_of_first(ids: Sequence[int], relevant: Sequence[int]) -> int:
    """The place, from 1, of the first relevant id; 0 where there is none."""
    return next((place for place, page in enumerate(ids, start=1) if page in relevant), 0)


def browser_data(
    items: Sequence[Shown],
    pages: Pages | None,
    *,
    cache: Cache | None = None,
    progress: Progress | None = None,
    budget: int = BUDGET,
) -> Markup:
    """What the page's script shows, as JSON that is inert inside ``<script type="application/json">``.

    Args:
        items: the questions in file order.
        pages: where pictures and the page numbers of layouts come from; None leaves them out.
        cache: where pictures are kept.
        progress: told of the pictures drawn.
        budget: most bytes of pictures; those of questions that changed most come first.
    """
    layouts = any(item.line.areas is not None for item in items)
    pictures: dict[str, dict[int, str]] = {}
    numbers: dict[str, dict[int, int]] = {}
    if pages is not None:
        held = _Held(pages)
        pictures = draw(items, held, cache=cache, progress=progress, budget=budget)
        if layouts:
            numbers = {doc: {i: held(doc)[i].number for i in sorted(ids)} for doc, ids in _by_document(items).items()}
    data = {
        "questions": [_record(item) for item in items],
        "pictures": pictures,
        "layouts": layouts,
        "numbers": numbers,
        "issues": {issue.value: words for issue, words in ISSUES.items()},
    }
    return inert_json(data)


def inert_json(data: Any) -> Markup:
    """JSON that cannot close a script element or open a comment in it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704 - escaped here


def draw(
    items: Sequence[Shown], pages: Pages, *, cache: Cache | None, progress: Progress | None, budget: int
) -> dict[str, dict[int, str]]:
    """Pictures as data URIs, document → page id → URI, of the questions that changed most, as far as the budget goes."""
    wanted = list(_wanted(items))[:MOST_PICTURES]
    pixels = int(min(max(budget / max(1, len(wanted)) / _BYTES_A_PIXEL, SMALLEST), LARGEST))
    store = Cache() if cache is None else cache
    found: dict[str, dict[int, str]] = {}
    used = 0
    for done, (doc, page) in enumerate(wanted):
        uri = _thumbnail(pages(doc)[page], pixels, store)
        used += len(uri)
        if used > budget:
            break
        found.setdefault(doc, {})[page] = uri
        if progress is not None and done % 50 == 0:
            progress("drawing pages for the report", done, len(wanted))
    return found


class _Held:
    """The pages of each document, read once."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._held: dict[str, Sequence[Page]] = {}

    def __call__(self, doc_name: str) -> Sequence[Page]:
        if doc_name not in self._held:
            self._held[doc_name] = self._pages(doc_name)
        return self._held[doc_name]


def _wanted(items: Iterable[Shown]) -> Iterator[tuple[str, int]]:
    seen: set[tuple[str, int]] = set()
    for item in sorted(items, key=lambda item: -abs(item.gain)):
        for page in (*item.after.ids, *item.before.ids, *item.line.relevant):
            key = (item.line.doc_name, page)
            if key not in seen:
                seen.add(key)
                yield key


def _by_document(items: Iterable[Shown]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for item in items:
        found.setdefault(item.line.doc_name, set()).update(item.before.ids, item.after.ids, item.line.relevant)
    return found


def _thumbnail(page: Page, pixels: int, cache: Cache) -> str:
    if page.image is None:
        return page_uri(page, pixels)
    key = digest("thumbnail", page.image.key, str(pixels), str(QUALITY))
    return cache.get_or_make("thumbnails", key, lambda: page_uri(page, pixels).encode("ascii")).decode("ascii")


def _record(item: Shown) -> dict[str, Any]:
    line = item.line
    return {
        "id": line.qid,
        "doc": line.doc_name,
        "domain": line.domain,
        "type": line.type or "",
        "question": line.question,
        "gold": sorted(set(line.relevant)),
        "gain": round(item.gain, 4),
        "places": [place_of_first(order.ids, line.relevant) for order in (item.before, item.after)],
        "before": _order(item.before),
        "after": _order(item.after),
    }


def _order(order: Order) -> dict[str, Any]:
    reply = order.reply
    return {
        "ids": list(order.ids),
        "scores": None if order.scores is None else [float(f"{score:.3g}") for score in order.scores],
        "notes": None if order.notes is None or not any(order.notes) else list(order.notes),
        "reply": reply if reply is None or len(reply) <= REPLY_LENGTH else reply[:REPLY_LENGTH] + "…",
        "issues": list(order.issues),
    }
