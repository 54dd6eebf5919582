"""What corpora hold, in numbers, and what stands in more than one split: questions and pages that are nearly the same."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmr5.corpora import Corpus
from mmr5.corpora.records import Question
from mmr5.data.summary import Spread
from mmr5.languages import words
from mmr5.types import Progress

ALIKE = 0.8
"""Share of common words (or of common runs of words) from which two texts count as nearly the same."""
RUN = 8
"""Words of a run by which pages are compared."""
LEAST_WORDS = 40
"""A page with fewer words is compared with none."""
COMMON = 50
"""A run that stands on more pages says nothing: it is of a header or a licence."""


@dataclass(frozen=True, slots=True)
class CorpusStatistics:
    """The numbers of some corpora.

    Attributes:
        counts: documents, pages and questions; questions by split, language, type, kind and number of relevant pages.
        lengths: words of questions and answers, pages of documents, place of the first relevant page as a share of its document.
        alike: pairs across splits that are nearly the same, ``"questions"`` and ``"pages"`` (of which one at least is relevant to
            a question, so that licences do not count): (where, where, share).
    """

    counts: Mapping[str, Mapping[str, int]]
    lengths: Mapping[str, Spread]
    alike: Mapping[str, list[tuple[str, str, float]]]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        spreads = {k: {"min": s.least, "median": s.median, "p95": s.p95, "max": s.most} for k, s in self.lengths.items()}
        return {"counts": self.counts, "lengths": spreads, "alike": self.alike}

    def to_text(self) -> str:
        """A line a group of counts, and the pairs."""
        lines = [f"{name:<16} " + ", ".join(f"{key} {n:,}" for key, n in counts.items()) for name, counts in self.counts.items()]
        lines += [f"{name:<16} {spread} (least / median / 95 % / most)" for name, spread in self.lengths.items()]
        for name, pairs in self.alike.items():
            lines.append(f"alike {name:<10} {len(pairs)} pairs across splits")
            lines += [f"  {share:.2f}  {first}  {second}" for first, second, share in pairs]
        return "\n".join(lines)


def statistics(corpora: Sequence[Corpus], *, pages: bool = True, progress: Progress | None = None) -> CorpusStatistics:
    """The numbers of some corpora together.

    Args:
        corpora: any; a split counts across all of them.
        pages: also compare the texts of pages; reads the documents.
        progress: told of the documents.
    """
    questions = [q for corpus in corpora for q in corpus.questions]
    documents = [d for corpus in corpora for d in corpus.documents]
    lengths = {d.doc_name: d.pages for d in documents}
    answerable = [q for q in questions if q.answerable]
    counts: dict[str, dict[str, int]] = {
        "total": {"documents": len(documents), "pages": sum(lengths.values()), "questions": len(questions)},
        "answerable": {"yes": len(answerable), "no": len(questions) - len(answerable)},
        "split": _count(questions, lambda q: q.split or "none"),
        "language": _count(questions, lambda q: q.language or "unknown"),
        "type": _count(questions, lambda q: q.type or "unknown"),
        "kind": _count([q for q in questions if not q.answerable], lambda q: q.kind or "unknown"),
        "relevant pages": _count(answerable, lambda q: str(len(q.page_ids))),
    }
    spreads: dict[str, Sequence[float]] = {
        "question words": [len(words(q.question)) for q in questions],
        "answer words": [len(words(q.answer)) for q in questions if q.answer],
        "document pages": list(lengths.values()),
        "gold position": [round(min(q.page_ids) / max(1, lengths[q.doc_name] - 1), 3) for q in answerable],
    }
    alike = {"questions": alike_questions(questions)}
    if pages:
        relevant = {f"{q.doc_name}:{page_id}" for q in answerable for page_id in q.page_ids}
        pairs = alike_texts(list(_page_texts(corpora, progress)))
        alike["pages"] = [pair for pair in pairs if pair[0] in relevant or pair[1] in relevant]
    found = {name: spread for name, values in spreads.items() if (spread := Spread.of(values)) is not None}
    return CorpusStatistics(counts, found, alike)


def alike_questions(questions: Sequence[Question]) -> list[tuple[str, str, float]]:
    """Pairs of questions of different splits that have at least :data:`ALIKE` of their words in common (Jaccard)."""
    items = [(q.qid, q.split or "none", frozenset(words(q.question))) for q in questions]
    return _pairs(items, most=len(items))


def alike_texts(texts: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, float]]:
    """Pairs of texts of different splits that have at least :data:`ALIKE` of their runs of :data:`RUN` words in common.

    Args:
        texts: (where, split, text); one with fewer than :data:`LEAST_WORDS` words is compared with none.
    """
    items = []
    for where, split, text in texts:
        found = words(text)
        if len(found) >= LEAST_WORDS:
            items.append((where, split, frozenset(hash(tuple(found[i : i + RUN])) for i in range(len(found) - RUN + 1))))
    return _pairs(items, most=COMMON)


def _pairs(items: Sequence[tuple[str, str, frozenset[Any]]], most: int) -> list[tuple[str, str, float]]:
    """Pairs of different splits that are alike; parts that more than ``most`` items have are not looked up."""
    holders: dict[Any, list[int]] = defaultdict(list)
    for i, (_, _, parts) in enumerate(items):
        for part in parts:
            holders[part].append(i)
    shared: Counter[tuple[int, int]] = Counter()
    for held in holders.values():
        if len({items[i][1] for i in held}) > 1 and len(held) <= most:
            shared.update((a, b) for k, a in enumerate(held) for b in held[k + 1 :] if items[a][1] != items[b][1])
    pairs = []
    for (a, b), n in shared.items():
        share = n / len(items[a][2] | items[b][2])
        if share >= ALIKE:
            pairs.append((items[a][0], items[b][0], round(share, 2)))
    return sorted(pairs, key=lambda pair: -pair[2])


def _page_texts(corpora: Iterable[Corpus], progress: Progress | None) -> Iterator[tuple[str, str, str]]:
    for corpus in corpora:
        for done, document in enumerate(corpus.documents):
            if progress is not None:
                progress(f"reading {corpus.name}", done, len(corpus.documents))
            for page_id, page in enumerate(corpus.document_pages(document.doc_name)):
                yield f"{document.doc_name}:{page_id}", document.split or "none", page.text or ""


def _count(questions: Sequence[Question], key: Callable[[Question], str]) -> dict[str, int]:
    return dict(Counter(map(key, questions)).most_common())
