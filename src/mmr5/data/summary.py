"""What a file of training rows holds, in numbers that a person can read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from mmr5.answer import fold
from mmr5.corpora import Corpus
from mmr5.data.rows import ListRow, PageRow, Row
from mmr5.errors import CorpusError
from mmr5.types import Progress


@dataclass(frozen=True, slots=True)
class Spread:
    """Least, middle, 95th percentile and most of some numbers."""

    least: float
    median: float
    p95: float
    most: float

    @staticmethod
    def of(values: Sequence[float]) -> Spread | None:
        """The spread of values, or None for no values."""
        if not values:
            return None
        ordered = sorted(values)
        last = len(ordered) - 1
        return Spread(ordered[0], ordered[round(last * 0.5)], ordered[round(last * 0.95)], ordered[last])

    def __str__(self) -> str:
        return f"{self.least:g} / {self.median:g} / {self.p95:g} / {self.most:g}"


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a rows file.

    Attributes:
        counts: rows by kind, by method and view, by split, by source; and questions and documents.
        lengths: candidates and relevant pages a list; words of targets and notes.
        relevant_share: share of shown pages that are relevant.
        gold_positions: how often a relevant page stands at each zero-based place of its list.
        duplicates: rows that repeat another row of the same file: same kind, method, view, document, question and pages.
        overlap: documents, and questions word for word, that stand in more than one split.
    """

    counts: dict[str, dict[str, int]]
    lengths: dict[str, Spread]
    relevant_share: float
    gold_positions: dict[int, int]
    duplicates: int
    overlap: dict[str, list[str]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "counts": self.counts,
            "lengths": {k: {"min": s.least, "median": s.median, "p95": s.p95, "max": s.most} for k, s in self.lengths.items()},
            "relevant_share": self.relevant_share,
            "gold_positions": {str(k): v for k, v in self.gold_positions.items()},
            "duplicates": self.duplicates,
            "overlap": self.overlap,
        }


def summarise_rows(rows: Sequence[Row]) -> Summary:
    """The numbers of some rows."""
    lists = [row for row in rows if isinstance(row, ListRow)]
    singles = [row for row in rows if isinstance(row, PageRow)]
    counts = {
        "kind": _count(rows, lambda row: row.kind),
        "prompt": _count(rows, lambda row: f"{row.method}, {row.view}"),
        "split": _count(rows, lambda row: row.split or "none"),
        "source": _count(rows, lambda row: row.source),
        "total": {
            "rows": len(rows),
            "questions": len({(row.doc_name, row.qid) for row in rows}),
            "documents": len({row.doc_name for row in rows}),
        },
    }
    notes = [note for row in lists for note in row.notes or ()] + [row.note for row in singles]
    spreads = {
        "candidates": [len(row.candidates) for row in lists],
        "relevant": [len(row.relevant) for row in lists],
        "target words": [len(row.target.split()) for row in rows if row.target is not None],
        "note words": [len(note.split()) for note in notes],
    }
    labels = [i in row.relevant for row in lists for i in range(len(row.candidates))] + [row.relevant for row in singles]
    positions = Counter(i for row in lists for i in row.relevant) + Counter(row.position for row in singles if row.relevant)
    identities = Counter(
        (row.kind, row.method, row.view, row.doc_name, fold(row.question), row.page_ids, getattr(row, "passage", None))
        for row in rows
    )
    return Summary(
        counts,
        {name: spread for name, values in spreads.items() if (spread := Spread.of(values)) is not None},
        sum(labels) / len(labels) if labels else 0.0,
        dict(sorted(positions.items())),
        sum(count - 1 for count in identities.values()),
        {
            "documents": _in_several_splits(rows, lambda row: row.doc_name),
            "questions": _in_several_splits(rows, lambda row: fold(row.question).casefold()),
        },
    )


def mean_pixels(rows: Sequence[Row], corpus: Corpus, *, progress: Progress | None = None) -> list[float]:
    """The mean size in pixels of each row's pages (paper section 3.3.1 leaves the key open); each page is looked at once.

    Raises:
        CorpusError: the corpus lacks a document, or a page has no picture.
        PageError: a picture cannot be decoded.
    """
    wanted: dict[str, set[int]] = {}
    for row in rows:
        wanted.setdefault(row.doc_name, set()).update(row.page_ids)
    pixels: dict[tuple[str, int], int] = {}
    for done, (doc_name, page_ids) in enumerate(wanted.items()):
        if progress is not None:
            progress("measuring pages", done, len(wanted))
        pages = corpus.document_pages(doc_name)
        for page_id in sorted(page_ids):
            image = pages[page_id].image
            if image is None:
                raise CorpusError(f"{doc_name} page id {page_id} has no picture: rows cannot be balanced over page sizes")
            width, height = image.load().size
            pixels[doc_name, page_id] = width * height
    if progress is not None:
        progress("measuring pages", len(wanted), len(wanted))
    return [sum(pixels[row.doc_name, page_id] for page_id in row.page_ids) / len(row.page_ids) for row in rows]


def held_out_overlap(rows: Sequence[Row], corpus: Corpus, held_out: Corpus) -> list[str]:
    """Documents of rows that a held-out corpus has too, and questions that it asks too.

    Documents are compared by the name of their file, ``.pdf`` and MMDocIR's subset aside; questions word for word.

    Args:
        rows: the rows.
        corpus: holds their documents.
        held_out: what must not be trained on, narrowed to its split.
    """
    from mmr5.corpora.mmdocir_training import overlapping_documents

    shown = {row.doc_name for row in rows}
    documents = overlapping_documents((d for d in corpus.documents if d.doc_name in shown), held_out.documents)
    asked = {fold(question.question).casefold() for question in held_out.questions}
    questions = {row.question for row in rows if fold(row.question).casefold() in asked}
    return [*(f"document {name}" for name in documents), *(f"question {question!r}" for question in sorted(questions))]


def summary_text(summary: Summary) -> str:
    """The numbers as lines for a terminal."""
    total = summary.counts["total"]
    lines = [f"{total['rows']} rows over {total['questions']} questions of {total['documents']} documents"]
    for name in ("kind", "prompt", "split", "source"):
        lines.append(f"  {name:<14} " + ", ".join(f"{key} {value}" for key, value in summary.counts[name].items()))
    lines.append("lengths (least / median / 95 % / most)")
    lines += [f"  {name:<14} {spread}" for name, spread in summary.lengths.items()]
    gold = sum(summary.gold_positions.values())
    lines.append(f"labels           {summary.relevant_share:.1%} of the pages shown are relevant")
    lines.append(
        "gold position    " + (", ".join(f"{k + 1}: {v / gold:.0%}" for k, v in summary.gold_positions.items()) or "none")
    )
    lines.append(f"duplicates       {summary.duplicates}")
    lines.append("split overlap    " + ", ".join(f"{len(found)} {name}" for name, found in summary.overlap.items()))
    return "\n".join(lines)


def _count(rows: Sequence[Row], key: Callable[[Row], str]) -> dict[str, int]:
    return dict(Counter(key(row) for row in rows).most_common())


def _in_several_splits(rows: Sequence[Row], key: Callable[[Row], str]) -> list[str]:
    splits: dict[str, set[str | None]] = {}
    for row in rows:
        splits.setdefault(key(row), set()).add(row.split)
    return sorted(value for value, found in splits.items() if len(found) > 1)
