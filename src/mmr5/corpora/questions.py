"""Questions made from the documents themselves: numbered headings, captions of figures and tables, entries of the index.

They need no teacher and no annotator. Each comes with the reason why its page answers; what stands on more pages than one
(headings, captions) or cannot be found again on the page that is named (index entries) is passed over.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mmr5.answer import fold
from mmr5.corpora.records import Corpus, Document, Question
from mmr5.errors import ConfigError
from mmr5.languages import words
from mmr5.types import Progress

SOURCES = ("annotations", "heading", "caption", "index")
MOST = 40
"""Questions of one source that a document gives, at most."""
MOST_PAGES = 3
"""An index entry with more pages than this names no place."""

_HEADING = re.compile(
    r"^(?:(?:Chapter|Section|Appendix) )?(?:(?:\d{1,2}|[A-F])(?:\.\d{1,2}){1,3}\.?|\d{1,2})\s+(?P<title>[A-Z“\"][^\n]{4,80})$"
)
"""A lone number with a dot is more often an item of a list."""
_CAPTION = re.compile(
    r"^(?P<kind>Figure|Fig\.|FIGURE|Table|TABLE|Listing)\s+[A-Z]?\d+(?:[.-]\d+)*\s?[.:–—]?\s+(?P<title>[A-Z\d“\"].{10,140})$"
)
_LEADER = re.compile(r"(?:\.\s?){4,}|\s\d{1,4}$")
_INDEX_ENTRY = re.compile(r"^(?P<term>[^\W\d_][^,\n]{2,40}?),\s*(?P<pages>\d{1,4}(?:,\s*\d{1,4})*)$")
_OPEN_END = re.compile(r"\b(?:a|an|and|as|at|by|for|from|in|is|of|on|or|that|the|to|using|with)$", re.IGNORECASE)
"""The rest of such a title stands on the next line."""
_ENTRIES_A_PAGE = 8
_CONTENTS_LINES = 4
_OFFSETS = range(-5, 61)
_AGREEMENT = 0.6

_WORDING = {
    "heading": ("Which page explains {title}?", "Where does the document treat {title}?", "section on {title}"),
    "caption": ("Which {kind} shows {title}?", "Where is the {kind} of {title}?", "{kind}: {title}"),
    "index": ("Where is {title} described?", "Which page mentions {title}?", "{title}"),
}
_WHY = {
    "heading": "Holds the section “{title}”.",
    "caption": "Holds the {kind} “{title}”.",
    "index": "Speaks of {title}, as the document's index says.",
}


@dataclass(frozen=True, slots=True)
class Found:
    """Something that can be asked for.

    Attributes:
        title: its words.
        page_ids: where it stands, ascending.
        kind: ``figure``, ``table`` or ``listing`` for captions, else "".
    """

    title: str
    page_ids: tuple[int, ...]
    kind: str = ""


def with_questions(
    corpus: Corpus, sources: Sequence[str], *, most: int = MOST, seed: int = 0, progress: Progress | None = None
) -> Corpus:
    """The corpus with the questions of some sources.

    Args:
        corpus: documents and annotated questions.
        sources: ``annotations`` keeps the corpus's own questions; ``heading``, ``caption`` and ``index`` make questions from each
            document's text.
        most: questions of one source a document gives, at most; drawn by ``seed``.
        seed: of the drawing and the wording.
        progress: told of the documents.

    Raises:
        ConfigError: an unknown source, or none.
        CorpusError: a document cannot be read.
    """
    if not sources or set(sources) - set(SOURCES):
        raise ConfigError(f"questions are to come from {', '.join(sources) or 'nowhere'}: use some of {', '.join(SOURCES)}")
    kept = corpus.questions if "annotations" in sources else ()
    made: list[Question] = []
    wanted = [name for name in sources if name != "annotations"]
    for done, document in enumerate(corpus.documents if wanted else ()):
        if progress is not None:
            progress("questions from documents", done, len(corpus.documents))
        texts = [page.text or "" for page in corpus.document_pages(document.doc_name)]
        for name in wanted:
            made += _questions(document, name, texts, most, seed)
    return replace(corpus, questions=(*kept, *made))


def headings(texts: Sequence[str]) -> list[Found]:
    """Numbered headings that stand on exactly one page; tables of contents are passed over."""
    return _unique(_matches(texts, _HEADING))


def captions(texts: Sequence[str]) -> list[Found]:
    """Captions of figures, tables and listings that stand on exactly one page; lists of figures are passed over."""
    return _unique(_matches(texts, _CAPTION))


def index_entries(texts: Sequence[str]) -> list[Found]:
    """Entries of the index at the end, with the pages on which the term is found again.

    The printed page numbers are matched to pages by the shift under which most terms stand on the page that is named; where less
    than 60 % do, the document gives no entries.
    """
    entries: list[tuple[str, tuple[int, ...]]] = []
    first = len(texts)
    for page_id in range(len(texts) * 3 // 4, len(texts)):
        found = [m for line in texts[page_id].splitlines() if (m := _INDEX_ENTRY.match(fold(line)))]
        if len(found) >= _ENTRIES_A_PAGE:
            first = min(first, page_id)
            entries += [(m["term"].strip(), tuple(int(n) for n in m["pages"].split(","))) for m in found]
    if not entries:
        return []
    bags = [" ".join(words(text)) for text in texts[:first]]

    def stands(term: str, page_id: int) -> bool:
        return 0 <= page_id < len(bags) and " ".join(words(term)) in bags[page_id]

    def agreement(shift: int) -> int:
        return sum(stands(term, number + shift) for term, numbers in entries for number in numbers)

    shift = max(_OFFSETS, key=lambda s: (agreement(s), -abs(s)))
    if agreement(shift) < _AGREEMENT * sum(len(numbers) for _, numbers in entries):
        return []
    merged: dict[str, set[int]] = {}
    for term, numbers in entries:
        merged.setdefault(term, set()).update(number + shift for number in numbers)
    return [
        Found(term, tuple(sorted(page_ids)))
        for term, page_ids in merged.items()
        if len(page_ids) <= MOST_PAGES and all(stands(term, page_id) for page_id in page_ids)
    ]


_FINDERS: dict[str, Callable[[Sequence[str]], list[Found]]] = {
    "heading": headings,
    "caption": captions,
    "index": index_entries,
}


def _questions(document: Document, source: str, texts: Sequence[str], most: int, seed: int) -> list[Question]:
    found = _FINDERS[source](texts)
    draw = random.Random(f"questions:{seed}:{document.doc_name}:{source}")  # noqa: S311
    chosen = sorted(draw.sample(range(len(found)), min(most, len(found))))
    questions = []
    for i in chosen:
        one = found[i]
        wording = draw.choice(_WORDING[source]).format(title=one.title, kind=one.kind)
        if one.title.endswith("?"):
            wording = one.title
        why = _WHY[source].format(title=one.title, kind=one.kind)
        questions.append(
            Question(
                document.doc_name,
                wording,
                one.page_ids,
                f"{document.doc_name}#{source}-{i}",
                type=one.kind or "text",
                split=document.split,
                why=dict.fromkeys(one.page_ids, why),
                source=source,
            )
        )
    return questions


def _matches(texts: Sequence[str], pattern: re.Pattern[str]) -> Iterator[tuple[int, str, str]]:
    """``(page id, kind, title)`` of every line that fits, on pages that are no list of such lines."""
    for page_id, text in enumerate(texts):
        lines = [fold(line) for line in text.splitlines()]
        if sum(bool(_LEADER.search(line)) and bool(re.match(r"[A-Z\d]", line)) for line in lines) >= max(
            _CONTENTS_LINES, len(lines) // 4
        ):
            continue
        for line in lines:
            match = pattern.match(line)
            if match is None or _LEADER.search(line):
                continue
            title = match["title"].strip(' .:;–—“”"')
            if _OPEN_END.search(title):
                continue
            if 2 <= len(words(title)) <= 16 and sum(c.isalpha() or c == " " for c in title) >= 0.8 * len(title):
                kind = match.groupdict().get("kind", "").lower()
                yield page_id, "figure" if kind.startswith("fig") else kind, title


def _unique(matches: Iterator[tuple[int, str, str]]) -> list[Found]:
    places: dict[tuple[str, str], set[int]] = {}
    titles: dict[tuple[str, str], str] = {}
    for page_id, kind, title in matches:
        places.setdefault((kind, title.casefold()), set()).add(page_id)
        titles.setdefault((kind, title.casefold()), title)
    return [Found(titles[key], tuple(page_ids), key[0]) for key, page_ids in places.items() if len(page_ids) == 1]
