"""Training rows: the lines of a rows file (paper sections 3.2.1 and 3.3.1). :mod:`mmr5.data.row_building` makes them in bulk.

A row names its pages and holds no picture and no page text; :mod:`mmr5.data.conversations` turns it into chat messages. What a
row teaches is written by :mod:`mmr5.answer`. The format stands in ``docs/data.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmr5.answer import format_reply
from mmr5.data.candidates import CandidateList
from mmr5.errors import ConfigError, CorpusError
from mmr5.prompt import LISTWISE, VIEWS, label, neutralise
from mmr5.storage.jsonl import Record, read_jsonl
from mmr5.types import View

KINDS = ("listwise", "pointwise", "grpo")


@dataclass(frozen=True, slots=True)
class ListRow:
    """A row over all candidates of a question.

    Attributes:
        kind: ``listwise`` (supervised) or ``grpo`` (reinforcement; no notes, no target).
        qid: the question's id.
        doc_name: its document.
        question: its words.
        candidates: N page ids in prompt order.
        relevant: zero-based positions of the relevant candidates, ascending, at least one.
        method: ``reason``, ``direct`` or ``logits``; for ``grpo`` also ``pointwise``.
        view: how the pages enter the prompt.
        notes: N sentences by position, or None.
        target: the whole reply that is taught, or None.
        scores: N first-stage scores.
        split: the question's split, or None.
        source: where the question comes from.
    """

    kind: Literal["listwise", "grpo"]
    qid: str
    doc_name: str
    question: str
    candidates: tuple[int, ...]
    relevant: tuple[int, ...]
    method: str
    view: View
    notes: tuple[str, ...] | None
    target: str | None
    scores: tuple[float, ...]
    split: str | None = None
    source: str = "annotations"

    @property
    def page_ids(self) -> tuple[int, ...]:
        """The pages of the prompt, in order."""
        return self.candidates

    @property
    def think(self) -> bool:
        """Whether the prompt asks for reasoning."""
        return self.method == "reason"

    @property
    def order(self) -> tuple[int, ...]:
        """The order that is taught."""
        return gold_order(self.relevant, len(self.candidates))

    def to_dict(self) -> Record:
        """The row as a line of a file."""
        record: Record = {
            "kind": self.kind,
            "qid": self.qid,
            "doc_name": self.doc_name,
            "question": self.question,
            "candidates": list(self.candidates),
            "relevant": list(self.relevant),
            "method": self.method,
            "view": self.view,
        }
        if self.kind == "listwise":
            record |= {"notes": None if self.notes is None else list(self.notes), "target": self.target}
        return record | {"scores": list(self.scores), "split": self.split, "source": self.source}


@dataclass(frozen=True, slots=True)
class PageRow:
    """A row over one page.

    Attributes:
        qid: the question's id.
        doc_name: its document.
        question: its words.
        page_id: the page.
        relevant: its label.
        position: its zero-based place in the candidate list that it came from.
        score: its first-stage score.
        view: how the page enters the prompt.
        note: the sentence on it.
        target: the reply that is taught.
        split: the question's split, or None.
        source: where the question comes from.
        passage: the part of the page's text that the prompt shows; None for the excerpt that inference would show.
    """

    qid: str
    doc_name: str
    question: str
    page_id: int
    relevant: bool
    position: int
    score: float
    view: View
    note: str
    target: str
    split: str | None = None
    source: str = "annotations"
    passage: str | None = None

    kind = "pointwise"
    method = "pointwise"

    @property
    def page_ids(self) -> tuple[int, ...]:
        """The page of the prompt."""
        return (self.page_id,)

    def to_dict(self) -> Record:
        """The row as a line of a file."""
        record: Record = {
            "kind": "pointwise",
            "qid": self.qid,
            "doc_name": self.doc_name,
            "question": self.question,
            "page_id": self.page_id,
            "relevant": self.relevant,
            "position": self.position,
            "score": self.score,
            "method": "pointwise",
            "view": self.view,
            "note": self.note,
            "target": self.target,
            "split": self.split,
            "source": self.source,
        }
        return record if self.passage is None else record | {"passage": self.passage}


Row = ListRow | PageRow


def gold_order(relevant: Sequence[int], n: int) -> tuple[int, ...]:
    """The order that is taught: relevant positions first, then the others, both ascending (the authors' rule)."""
    wanted = set(relevant)
    return (*sorted(wanted), *(i for i in range(n) if i not in wanted))


def list_methods(kind: str) -> tuple[str, ...]:
    """Methods of a row over a list: list-wise ones, and for ``grpo`` also ``pointwise``, whose pages are judged one by one."""
    return (*LISTWISE, "pointwise") if kind == "grpo" else LISTWISE


def list_row(found: CandidateList, *, kind: str, method: str, view: View, notes: Sequence[str] | None = None) -> ListRow:
    """A row over all candidates of a list.

    Args:
        found: the list; at least one candidate is relevant.
        kind: ``listwise`` or ``grpo``.
        method: ``reason`` needs ``notes`` for a ``listwise`` row; ``direct`` and ``logits`` teach the answer alone; ``pointwise``
            is for ``grpo`` alone.
        view: how pages enter the prompt.
        notes: one sentence a candidate; strings with a meaning of their own to a model or to the grammar are broken.

    Raises:
        ConfigError: an unknown kind, method or view, or notes that are needed and not there.
        CorpusError: no candidate is relevant.
    """
    if kind not in ("listwise", "grpo") or method not in list_methods(kind) or view not in VIEWS:
        raise ConfigError(
            f"a row of kind {kind!r}, method {method!r} and view {view!r}: kinds are {', '.join(KINDS)}; "
            f"methods of a list are {', '.join(list_methods(kind))}; views are {', '.join(VIEWS)}"
        )
    if not found.positions:
        raise CorpusError(f"{found.qid}: none of its candidates is relevant: use training lists, which hold all relevant pages")
    written: tuple[str, ...] | None = None
    target: str | None = None
    if kind == "listwise":
        if method == "reason":
            if notes is None or len(notes) != len(found.candidates):
                raise ConfigError(f"{found.qid}: method 'reason' teaches one sentence a page: give {len(found.candidates)} notes")
            written = tuple(neutralise(note) for note in notes)
        target = format_reply(gold_order(found.positions, len(found.candidates)), written, label=label(view))
    return ListRow(
        "grpo" if kind == "grpo" else "listwise",
        found.qid,
        found.doc_name,
        found.question,
        found.candidates,
        found.positions,
        method,
        view,
        written,
        target,
        found.scores,
        found.split,
        found.source,
    )


def read_rows(path: Path) -> list[Row]:
    """Read a rows file.

    Raises:
        CorpusError: the file is missing or breaks the format; the message names the line.
    """
    return [row_of(record, f"{path}, line {number}") for number, record in read_jsonl(path)]


def row_of(record: Record, where: str) -> Row:
    """One line of a rows file.

    Raises:
        CorpusError: it breaks the format.
    """
    kind, view = record.get("kind"), record.get("view")
    if kind not in KINDS or view not in VIEWS:
        raise CorpusError(f"{where}: kind {kind!r} and view {view!r}: this is no line of a rows file")
    try:
        return _page_row(record) if kind == "pointwise" else _list_row(record)
    except KeyError as error:
        raise CorpusError(f"{where}: field {error} is missing from a row of kind {kind!r}") from error
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{where}: {error}") from error


def _page_row(record: Record) -> PageRow:
    if not isinstance(record["relevant"], bool):
        raise ValueError(f"relevant is {record['relevant']!r}: expected true or false")
    return PageRow(
        str(record["qid"]),
        str(record["doc_name"]),
        str(record["question"]),
        _ids([record["page_id"]], "page_id")[0],
        record["relevant"],
        _ids([record["position"]], "position")[0],
        float(record["score"]),
        record["view"],
        str(record["note"]),
        str(record["target"]),
        record.get("split"),
        str(record.get("source", "annotations")),
        record.get("passage"),
    )


def _list_row(record: Record) -> ListRow:
    candidates, relevant = _ids(record["candidates"], "candidates"), _ids(record["relevant"], "relevant")
    scores = tuple(float(s) for s in record["scores"])
    if len(set(candidates)) != len(candidates) or len(scores) != len(candidates):
        raise ValueError(f"candidates are {list(candidates)} with {len(scores)} scores: name each page once, with one score")
    if not relevant or list(relevant) != sorted(set(relevant)) or relevant[-1] >= len(candidates):
        raise ValueError(f"relevant is {list(relevant)}: expected ascending positions in 0..{len(candidates) - 1}, at least one")
    if record["method"] not in (allowed := list_methods(record["kind"])):
        raise ValueError(f"method is {record['method']!r}: use one of {', '.join(allowed)}")
    taught = record["kind"] == "listwise"
    notes = record["notes"] if taught else None
    if notes is not None and (len(notes) != len(candidates) or not all(isinstance(note, str) for note in notes)):
        raise ValueError(f"{len(notes)} notes for {len(candidates)} candidates: expected one sentence for each")
    return ListRow(
        record["kind"],
        str(record["qid"]),
        str(record["doc_name"]),
        str(record["question"]),
        candidates,
        relevant,
        record["method"],
        record["view"],
        None if notes is None else tuple(notes),
        str(record["target"]) if taught else None,
        scores,
        record.get("split"),
        str(record.get("source", "annotations")),
    )


def _ids(value: Any, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(v) is int and v >= 0 for v in value):
        raise ValueError(f"{name} is {value!r}: expected zero-based whole numbers")
    return tuple(value)
