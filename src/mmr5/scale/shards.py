"""What is handed to workers: a few questions about one document, with the pages that the first stage found."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmr5.corpora import Corpus
from mmr5.errors import CorpusError

Ranked = Sequence[tuple[int, float]]
"""Page ids with their first-stage scores, best first."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Questions about one document that one worker ranks together.

    Attributes:
        doc_name: the document.
        qids: its questions, at least one.
        ranked: for each question, (page id, score) of its candidates, best first.
    """

    doc_name: str
    qids: tuple[str, ...]
    ranked: tuple[tuple[tuple[int, float], ...], ...]

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Shard:
        """The piece that :meth:`to_json` wrote."""
        found = json.loads(text)
        ranked = tuple(tuple((int(page), float(score)) for page, score in pairs) for pairs in found["ranked"])
        return cls(found["doc_name"], tuple(found["qids"]), ranked)


@dataclass(frozen=True, slots=True)
class Failure:
    """A question that could not be ranked.

    Attributes:
        qid: the question.
        kind: the error's class.
        message: what it said.
    """

    qid: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a piece.

    Attributes:
        facts: how the worker ranks: settings, prompt fingerprint and device, equal for all workers of a run.
        lines: qid → its line of ``run.jsonl``.
        failures: questions that could not be ranked.
        fatal: why this worker can rank nothing at all, as (class, message), or None.
    """

    facts: Mapping[str, Any]
    lines: Mapping[str, str]
    failures: tuple[Failure, ...] = ()
    fatal: tuple[str, str] | None = None

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Outcome:
        """The outcome that :meth:`to_json` wrote."""
        found = json.loads(text)
        failures = tuple(Failure(**f) for f in found["failures"])
        return cls(found["facts"], found["lines"], failures, None if found["fatal"] is None else tuple(found["fatal"]))


def shards(
    corpus: Corpus, rankings: Mapping[str, Ranked], done: Container[str], *, candidates: int, size: int, limit: int | None = None
) -> Iterator[Shard]:
    """The work that is left, document by document.

    Args:
        corpus: whose questions are ranked.
        rankings: qid → the first stage's ranking.
        done: qids that need nothing more.
        candidates: pages of a ranking that are kept, at least 1.
        size: most questions in a piece, at least 1.
        limit: only the first questions of the corpus, or None.

    Raises:
        CorpusError: the run lacks a question.
    """
    wanted = {q.qid for q in corpus.questions[:limit]}
    for document, questions in corpus.by_document():
        left = [q.qid for q in questions if q.qid in wanted and q.qid not in done]
        missing = [qid for qid in left if qid not in rankings]
        if missing:
            raise CorpusError(f"the run has no ranking for {missing[0]!r}: it must hold every question that is ranked")
        for start in range(0, len(left), size):
            qids = tuple(left[start : start + size])
            yield Shard(document.doc_name, qids, tuple(tuple(rankings[qid][:candidates]) for qid in qids))
