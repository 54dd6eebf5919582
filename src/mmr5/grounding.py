"""Whether a sentence about a page is borne out by the page's words. Pure.

It is no proof: it catches notes that speak of other things. A note's content words are looked for on the page, folded as
:mod:`mmr5.languages` folds them; words with which any note may speak of a page ("lists", "section", "without") need no support,
and a number must stand on the page.
"""

from __future__ import annotations

from collections.abc import Sequence

from mmr5.languages import ENGLISH, forms, language, terms

SUPPORT = 0.6
"""Least share of a note's content words that must stand on the page."""

_SPEAKING = frozenset(
    terms(
        "answer answers asked chapter compare compares contain contains content cover covers define defines "
        "describe describes discuss discusses does example examples explain explains figure figures give gives "
        "given introduce introduces introduction instead list lists listed mention mentions name names named no "
        "nothing only page pages paragraph present presents question saying says section sections show shows state "
        "states stating summarise table tables tell tells text without about related detail details information "
        "general how what which where when why not never also"
    )
)


def support(note: str, text: str) -> float:
    """Share of a note's content words that stand on the page, in [0, 1]; 0 when a number of the note does not, or it has none.

    Args:
        note: a sentence about the page.
        text: the page's text.
    """
    spoken = language(text) or ENGLISH
    wanted = {form for form in forms(note, [spoken]) if not form & _SPEAKING}
    here = set(terms(text, spoken))
    numbers = {form for form in wanted if any(c.isdigit() for term in form for c in term)}
    if not wanted or not all(form & here for form in numbers):
        return 0.0
    return sum(bool(form & here) for form in wanted) / len(wanted)


def grounded(notes: Sequence[str | None], texts: Sequence[str | None]) -> list[str | None]:
    """The notes that may be shown: supported by their page, and not said of another page as well; None for the others.

    Args:
        notes: one a page, or None.
        texts: the pages' texts; a page without text supports nothing.
    """
    said = [None if note is None else " ".join(terms(note)) for note in notes]
    return [
        note if note is not None and text and said.count(folded) == 1 and support(note, text) >= SUPPORT else None
        for note, text, folded in zip(notes, texts, said, strict=True)
    ]
