"""The teacher ``annotations``: the same notes offline, from what a corpus's annotators wrote.

The rule, first match wins:

- a relevant page: the annotator's ``why``;
- a near miss: the annotator's reason why it does not answer;
- a page with a gist: ``<Gist>.`` (``Shows <gist>.`` where it begins with a sign such as the dash of an option);
- another page with text: ``Is about “<its heading>”.``, the heading being its first line with at least two words of letters (its
  first words where there is none);
- a page without text: ``Holds no text that could be read.``

The last three say what the page holds and nothing of its label, so that no phrase of them stands for "not relevant".

A relevant page without a ``why`` has no note, and a list that holds one is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from mmr5.answer import fold
from mmr5.types import Page

NoteSource = Literal["why", "near_miss", "gist", "heading", "blank", "teacher"]
NAME = "annotations"

_LETTERS = re.compile(r"[^\W\d_]{2,}")
_HEADING_WORDS = 10
_QUOTES = "\"'“‘«(["
_RUNNING = re.compile(r"^\W*(?:page|chapter|seite|fig\w*|table)?\W*[\dIVXivx. /-]+\W*$", re.IGNORECASE)


def annotation_note(
    page_id: int,
    *,
    relevant: bool,
    why: Mapping[int, str],
    near_misses: Mapping[int, str],
    gists: Mapping[int, str],
    page: Page | None = None,
) -> tuple[str, NoteSource] | None:
    """The note on one page by the rule above.

    Args:
        page_id: zero-based page.
        relevant: its label.
        why: page id → why it answers.
        near_misses: page id → why it does not.
        gists: page id → what it holds.
        page: the page, for its heading; None counts as a page without text.

    Returns:
        The note and where it came from, or None when the rule has none.
    """
    if relevant:
        return (fold(why[page_id]), "why") if why.get(page_id, "").strip() else None
    if near_misses.get(page_id, "").strip():
        return fold(near_misses[page_id]), "near_miss"
    gist = fold(gists.get(page_id, "")).rstrip(".;")
    if gist:
        opening = f"{gist[0].upper()}{gist[1:]}" if gist[0].isalnum() or gist[0] in _QUOTES else f"Shows {gist}"
        return f"{opening}.", "gist"
    found = heading(page.text or "") if page is not None else None
    if found is None:
        return "Holds no text that could be read.", "blank"
    return f"Is about “{found}”.", "heading"


def heading(text: str) -> str | None:
    """The first line of a page that reads like a heading, at most ten words; None for a page without words."""
    lines = [fold(line) for line in text.splitlines()]
    for line in lines:
        if len(_LETTERS.findall(line)) >= 2 and not _RUNNING.match(line):
            return _short(line)
    words = fold(text)
    return _short(words) if _LETTERS.search(words) else None


def _short(line: str) -> str:
    words = re.sub(r"(?:\s*\.){3,}.*$", "", line).split()
    kept = " ".join(words[:_HEADING_WORDS]).strip(' .,:;-–—“”"')
    return kept + ("…" if len(words) > _HEADING_WORDS else "")
