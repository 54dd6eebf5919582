"""Rows over passages: the one that holds the annotated words against others of the same page and of its near misses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mmr5.answer import format_verdict
from mmr5.corpora import Corpus
from mmr5.corpora.records import Question
from mmr5.data.annotations import heading
from mmr5.data.candidates import CandidateList
from mmr5.data.notes import by_document
from mmr5.data.rows import PageRow
from mmr5.evidence import COVERED, share_held
from mmr5.excerpts import PASSAGE_WORDS, passage_scores, passages
from mmr5.prompt import neutralise
from mmr5.types import Page, Progress

OTHERS = 4
"""Most passages that do not answer, for each that does: those that share most with the question."""
APART = 0.3
"""A passage that holds this share of the quote, or more, may answer in part: it is no example of one that does not."""
NO_QUOTE = "no words are annotated"
NOT_IN_ONE = "no passage holds the annotated words"
NO_OTHER = "no other passage"


def build_passage_rows(
    lists: Iterable[CandidateList], corpus: Corpus, *, progress: Progress | None = None
) -> tuple[list[PageRow], Counter[str]]:
    """Rows of view ``text`` over passages, for the relevant pages of lists whose questions have quotes.

    Args:
        lists: candidate lists; near misses among a list's pages, else its other pages, give passages that do not answer.
        corpus: holds the quotes, reasons and near misses, and the pages.
        progress: told of the documents.

    Returns:
        The rows, and how many relevant pages gave none, by reason.
    """
    asked = {question.qid: question for question in corpus.questions}
    rows: list[PageRow] = []
    left_out: Counter[str] = Counter()
    groups = by_document(lists)
    for done, (doc_name, found) in enumerate(groups.items()):
        if progress is not None:
            progress("passages", done, len(groups))
        pages = corpus.document_pages(doc_name)
        for one in found:
            question = asked.get(one.qid)
            if question is not None:
                rows += _of_list(one, question, pages, left_out)
    return rows, left_out


def _of_list(found: CandidateList, question: Question, pages: Sequence[Page], left_out: Counter[str]) -> Iterator[PageRow]:
    for page_id in question.page_ids:
        quote = question.quotes.get(page_id, "")
        if not quote or page_id not in found.candidates:
            left_out[NO_QUOTE] += 1
            continue
        own = passages(pages[page_id].text or "", PASSAGE_WORDS)
        answering = next((text for text in own if share_held(quote, text) >= COVERED), None)
        if answering is None:
            left_out[NOT_IN_ONE] += 1
            continue
        missed = [i for i in found.candidates if i in question.near_misses] or [
            i for i in found.candidates if i not in question.page_ids
        ]
        others = [(page_id, text) for text in own if share_held(quote, text) < APART]
        others += [(i, text) for i in missed for text in passages(pages[i].text or "", PASSAGE_WORDS)]
        if not others:
            left_out[NO_OTHER] += 1
            continue
        scores = passage_scores(question.question, [text for _, text in others])
        best = sorted(range(len(others)), key=lambda k: (-scores[k], k))[:OTHERS]
        yield _row(found, page_id, answering, question.why)
        for k in best:
            yield _row(found, others[k][0], others[k][1], None)


def _row(found: CandidateList, page_id: int, passage: str, why: Mapping[int, str] | None) -> PageRow:
    relevant = why is not None
    said = why.get(page_id, "").strip() if why is not None else ""
    title = heading(passage)
    note = neutralise(said or (f"Is about “{title}”." if title else "Holds signs alone."))
    position = found.candidates.index(page_id)
    score = found.scores[position]
    target = format_verdict(relevant, note)
    return PageRow(
        found.qid, found.doc_name, found.question, page_id, relevant, position, score, "text", note, target,
        found.split, found.source, passage,
    )  # fmt: skip
