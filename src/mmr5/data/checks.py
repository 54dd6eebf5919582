"""Proofs over training rows: gold earns 1, an empty reply 0, and the pages in the prompt are the pages listed.

Nothing here trusts the builder: the target is read back by the parser and paid by the rewards, and the pages of the prompt are
told by their content (the picture's digest, the text's lines), not by the order in which they were handed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmr5.answer import fold, parse, parse_verdict
from mmr5.corpora import Corpus
from mmr5.corpora.questions import SOURCES
from mmr5.corpora.records import Question
from mmr5.data.consistency import problem_with
from mmr5.data.conversations import Conversations
from mmr5.data.rows import ListRow, PageRow, Row
from mmr5.errors import CorpusError
from mmr5.prompt import label, neutralise
from mmr5.rewards import format_reward, ranking_reward
from mmr5.types import Message, Page, Progress

ANNOTATED = SOURCES[0]
"""The source of questions that stand in the corpus's file."""
_WHOLE_PAGE = 10**9
_ROUNDING = 1e-9
_MARK = re.compile(r"\n(?:Image|Page) (\d+): ")


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that fails a proof.

    Attributes:
        place: its zero-based place among the rows.
        qid: its question.
        problem: what does not hold, with the value seen.
        what: ``row``, ``list`` or ``note``.
    """

    place: int
    qid: str
    problem: str
    what: str = "row"

    def __str__(self) -> str:
        return f"{self.what} {self.place + 1} ({self.qid}): {self.problem}"


def check_rows(rows: Sequence[Row], corpus: Corpus, *, pages: bool = True, progress: Progress | None = None) -> list[Fault]:
    """Prove every row.

    Args:
        rows: the rows.
        corpus: holds their documents and questions.
        pages: also build every prompt and look at its pages; reads the documents.
        progress: told of the rows.

    Returns:
        What does not hold; empty when all is well.
    """
    asked = {question.qid: question for question in corpus.questions}
    lengths = {document.doc_name: document.pages for document in corpus.documents}
    talks = Conversations(corpus, count=_no_tokens, page_tokens=_WHOLE_PAGE)
    faults: list[Fault] = []
    done = 0
    for doc_name, places in _by_document(rows).items():
        contents: Contents | None = None
        for place in places:
            row = rows[place]
            problems = [*reward_problems(row), *label_problems(row, asked.get(row.qid), lengths.get(doc_name))]
            if pages and not problems:
                if contents is None:
                    looked_at = any(rows[i].view != "text" for i in places)
                    contents = Contents.of(corpus.document_pages(doc_name), pictures=looked_at)
                problems += _prompt_problems(row, talks, contents)
            faults += [Fault(place, row.qid, problem) for problem in problems]
        done += len(places)
        if progress is not None:
            progress("checking rows", done, len(rows))
    return sorted(faults, key=lambda fault: fault.place)


def reward_problems(row: Row) -> list[str]:
    """What does not hold of the reply that is taught, or for kind ``grpo``, of the reply that would be best."""
    return _verdict_problems(row) if isinstance(row, PageRow) else list(_list_problems(row))


def label_problems(row: Row, question: Question | None, n_pages: int | None) -> list[str]:
    """What does not fit the corpus.

    Args:
        row: the row.
        question: the corpus's question of that id; None where the question was made from the document.
        n_pages: pages of its document, or None when the corpus lacks it.
    """
    if n_pages is None:
        return [f"the corpus has no document {row.doc_name!r}"]
    problems = []
    if outside := [page_id for page_id in row.page_ids if page_id >= n_pages]:
        problems.append(f"{row.doc_name} has {n_pages} pages, and page id {outside[0]} is listed")
    if row.source not in SOURCES:
        problems.append(f"its source is {row.source!r}: use one of {', '.join(SOURCES)}")
    if question is None:
        if row.source == ANNOTATED:
            problems.append("the corpus has no question of that id")
        return problems
    if (row.question, row.doc_name) != (question.question, question.doc_name):
        problems.append(f"the question is {row.question!r} of {row.doc_name}, and the corpus asks {question.question!r}")
    gold = set(question.page_ids)
    listed = {row.page_id} if isinstance(row, PageRow) else set(row.candidates)
    marked = {page_id for page_id, is_gold in _labels(row) if is_gold}
    if marked != gold & listed:
        problems.append(f"pages {sorted(marked)} are marked relevant, and of the listed pages {sorted(gold & listed)} are")
    if not isinstance(row, PageRow) and not gold <= listed:
        problems.append(f"relevant pages {sorted(gold - listed)} are not among the candidates")
    return problems


@dataclass(frozen=True, slots=True)
class Contents:
    """The pages of a document, by content.

    Attributes:
        n: how many there are.
        pictures: a picture's digest → the page ids that have it; empty when no picture is looked for.
        texts: a text as a prompt shows it, white space folded → the page ids that have it.
    """

    n: int
    pictures: dict[str, set[int]]
    texts: dict[str, set[int]]

    @staticmethod
    def of(pages: Sequence[Page], *, pictures: bool) -> Contents:
        """Look at the pages of a document; the digests of pictures on request."""
        found = Contents(len(pages), {}, {})
        for page_id, page in enumerate(pages):
            found.texts.setdefault(fold(neutralise(fold(page.text or ""))), set()).add(page_id)
            if pictures and page.image is not None:
                found.pictures.setdefault(page.image.key, set()).add(page_id)
        return found


def shown_pages(messages: Sequence[Message], row: Row, contents: Contents) -> list[set[int]]:
    """Which pages of a document each place of a prompt shows, told by content.

    Args:
        messages: the prompt, with whole page texts.
        row: what it was built for; says the view.
        contents: of the document.

    Returns:
        For each place, the page ids whose picture (views ``image``, ``both``) and text (``text``, ``both``) it may be: several
        where pages are equal, none where it is no page of the document. Empty where the labels do not count 1, 2, 3, ...
    """
    anything = set(range(contents.n))
    places = [anything] if isinstance(row, PageRow) else []
    for part in messages[-1]["content"]:
        if part["type"] == "image":
            places[-1] = places[-1] & contents.pictures.get(part["image"].key, set())
            continue
        text = part["text"]
        mark = None if isinstance(row, PageRow) else _MARK.match(text)
        if mark is not None:
            if int(mark[1]) != len(places) + 1:
                return []
            places.append(anything)
        if row.view != "image" and places and (lead := _text_lead(row, len(places), text)):
            places[-1] = places[-1] & contents.texts.get(fold(text.removeprefix(lead)), set())
    return places


def _text_lead(row: Row, number: int, text: str) -> str:
    """The words before a page's text, or "" for another part of the prompt."""
    if isinstance(row, PageRow):
        leads = ["\nText of the page: "] if row.view == "both" else ["Page: "]
    else:
        leads = [f"\nText of image {number}: "] if row.view == "both" else [f"\n{label(row.view)} {number}: "]
    return next((lead for lead in leads if text.startswith(lead)), "")


def _prompt_problems(row: Row, talks: Conversations, contents: Contents) -> list[str]:
    if isinstance(row, PageRow) and row.passage is not None:
        return _passage_problems(row, talks)
    try:
        shown = shown_pages(talks.prompt(row), row, contents)
    except CorpusError as error:
        return [str(error)]
    if len(shown) != len(row.page_ids):
        return [f"the prompt shows {len(shown)} pages, and {len(row.page_ids)} are listed"]
    return [
        f"place {i + 1} of the prompt shows page ids {sorted(found)}, and page id {page_id} is listed there"
        for i, (found, page_id) in enumerate(zip(shown, row.page_ids, strict=True))
        if page_id not in found
    ]


def _passage_problems(row: PageRow, talks: Conversations) -> list[str]:
    """A passage stands on its page, white space folded."""
    (page,) = talks.pages(row)
    held = "".join((page.text or "").split())
    return [] if "".join((row.passage or "").split()) in held else [f"the passage {row.passage!r} does not stand on its page"]


def _list_problems(row: ListRow) -> Iterable[str]:
    n = len(row.candidates)
    gold = row.target
    if gold is None:
        order = ", ".join(str(i + 1) for i in row.order)
        gold = ("<think>x</think>" if row.think else "") + f"<answer>[{order}]</answer>"
    rewards = {
        "ranking reward": (ranking_reward(gold, row.relevant, n), ranking_reward("", row.relevant, n)),
        "format reward": (format_reward(gold, n, think=row.think), format_reward("", n, think=row.think)),
    }
    for name, (best, empty) in rewards.items():
        if abs(best - 1) > _ROUNDING:
            yield f"the {name} of the gold reply is {best:.4g}, not 1"
        if empty != 0:
            yield f"the {name} of an empty reply is {empty:.4g}, not 0"
    parsed = parse(gold, n, think=row.think)
    if parsed.issues:
        yield f"the gold reply needs repair: {', '.join(parsed.issues)}"
    if row.notes is not None:
        if tuple(fold(note) for note in row.notes) != parsed.notes:
            yield "the notes read back from the target are not the notes of the row"
        for i, note in enumerate(row.notes):
            if (problem := problem_with(note, i in row.relevant, row.question)) is not None:
                yield f"note {i + 1} contradicts its label: {problem}"


def _verdict_problems(row: PageRow) -> list[str]:
    verdict, note = parse_verdict(row.target)
    problems = []
    if verdict is not row.relevant:
        problems.append(f"the target says {verdict}, and the label is {row.relevant}")
    if note != fold(row.note):
        problems.append("the note read back from the target is not the note of the row")
    if (problem := problem_with(row.note, row.relevant, row.question)) is not None:
        problems.append(f"the note contradicts its label: {problem}")
    if parse_verdict("")[0] is not None:
        problems.append("an empty reply counts as a verdict")
    return problems


def _by_document(rows: Sequence[Row]) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(row.doc_name, []).append(place)
    return places


def _labels(row: Row) -> list[tuple[int, bool]]:
    if isinstance(row, PageRow):
        return [(row.page_id, row.relevant)]
    return [(page_id, i in row.relevant) for i, page_id in enumerate(row.candidates)]


def _no_tokens(text: str) -> int:
    """Whole pages are shown, so that their content can be told."""
    del text
    return 0
