"""Candidate lists and notes → training rows. What a row teaches is written by :mod:`mmr5.answer`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from mmr5.answer import format_verdict
from mmr5.data.candidates import CandidateList
from mmr5.data.rows import KINDS, PageRow, Row, list_row
from mmr5.errors import ConfigError
from mmr5.prompt import neutralise
from mmr5.types import View

Notes = Mapping[tuple[str, int], str]
"""``(qid, page id)`` → the sentence on that page for that question."""


def page_rows(found: CandidateList, notes: Notes, view: View) -> Iterator[PageRow]:
    """One row for every candidate that has a note."""
    for position, (page_id, score) in enumerate(zip(found.candidates, found.scores, strict=True)):
        note = notes.get((found.qid, page_id))
        if note is None:
            continue
        relevant, safe = page_id in found.relevant, neutralise(note)
        yield PageRow(
            found.qid,
            found.doc_name,
            found.question,
            page_id,
            relevant,
            position,
            score,
            view,
            safe,
            format_verdict(relevant, safe),
            found.split,
            found.source,
        )


NO_RELEVANT = "no candidate is relevant"
NO_WHY = "a relevant page has no note"
TOO_SHORT = "fewer than two pages"
ALL_RELEVANT = "all pages are relevant"
PAGE_WITHOUT_NOTE = "pages without a note"


def build_rows(
    lists: Iterable[CandidateList], *, kind: str, method: str, view: View, notes: Notes | None = None
) -> tuple[list[Row], Counter[str]]:
    """Rows of candidate lists.

    A page without a note is taken off a list whose notes are taught; a list whose relevant page has none is left out. Rows over
    lists are made of those that have a relevant candidate and another one. Rows over pages are also made of lists without a
    relevant page, which the questions that no page answers have: each teaches a refusal.

    Args:
        lists: the candidate lists.
        kind: ``listwise``, ``pointwise`` or ``grpo``.
        method: of the ``listwise`` and ``grpo`` prompts; unused for ``pointwise``.
        view: how pages enter the prompt.
        notes: needed for ``pointwise``, and for ``listwise`` with method ``reason``.

    Returns:
        The rows, and how much was left out, by reason.

    Raises:
        ConfigError: an unknown kind, method or view, or notes that are needed and not given.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}: use one of {', '.join(KINDS)}")
    taught = kind == "pointwise" or (kind == "listwise" and method == "reason")
    if taught and notes is None:
        raise ConfigError(f"rows of kind {kind!r} teach a sentence a page: give the notes that 'mmr5 data reason' wrote")
    rows: list[Row] = []
    left_out: Counter[str] = Counter()
    for found in lists:
        usable = found
        if taught and notes is not None:
            if any((found.qid, found.candidates[i]) not in notes for i in found.positions):
                left_out[NO_WHY] += 1
                continue
            usable = _noted(found, notes)
            left_out[PAGE_WITHOUT_NOTE] += len(found.candidates) - len(usable.candidates)
        if kind == "pointwise":
            rows += page_rows(usable, notes or {}, view)
        elif not usable.positions:
            left_out[NO_RELEVANT] += 1
        elif len(usable.candidates) < 2:
            left_out[TOO_SHORT] += 1
        elif len(usable.positions) == len(usable.candidates):
            left_out[ALL_RELEVANT] += 1
        else:
            sentences = [notes[usable.qid, p] for p in usable.candidates] if taught and notes is not None else None
            rows.append(list_row(usable, kind=kind, method=method, view=view, notes=sentences))
    return rows, +left_out


def _noted(found: CandidateList, notes: Notes) -> CandidateList:
    """The list without the pages that have no note."""
    kept = [i for i, page_id in enumerate(found.candidates) if (found.qid, page_id) in notes]
    if len(kept) == len(found.candidates):
        return found
    return CandidateList(
        found.qid,
        found.doc_name,
        found.question,
        found.relevant,
        tuple(found.candidates[i] for i in kept),
        tuple(found.scores[i] for i in kept),
        found.split,
        found.source,
        found.why,
    )
