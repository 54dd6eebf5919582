"""How true the notes of a `pointwise` model are, measured, and a sample of them to read.

    python scripts/audit_notes.py --model runs/mini/packed --split dev --out runs/mini/notes

Every question is asked over hybrid's ten candidates, and three top pages get a note (--notes). ``notes.jsonl`` holds one
line a question, with every note as it was written and whether it would be shown; a killed run goes on from there.

``summary.json`` holds shares over all written notes: said of another page of the question, too; supported by the page (a
:func:`mmr5.grounding.support` of at least :data:`mmr5.grounding.SUPPORT`; beside it that of the annotators' own notes); shown
(both); and the median seconds of a question whose candidates are found. Over pairs of noted pages with different verdicts,
it has the share in which the page called relevant stands higher.
``sample.md`` shows fifty shown notes, evenly spread, beside the text of their pages.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

from mmr5 import Reranker, Searcher
from mmr5.corpora import load_corpus
from mmr5.grounding import SUPPORT, support
from mmr5.languages import terms

CANDIDATES = 10
SAMPLE = 50
TEXT = 1200
"""Characters of a page in the sample."""


def measure(reranker: Reranker, split: str, out: Path, limit: int | None) -> list[dict[str, Any]]:
    """Notes of every question; what the file holds already is not asked again."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "notes.jsonl"
    lines: list[dict[str, Any]] = [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
    done = {x["qid"] for x in lines}
    corpus = load_corpus("opendocs").split(split)
    verdicts = record_verdicts(reranker.engine)
    searcher = Searcher(reranker, "hybrid", candidates=CANDIDATES)
    left = {q.qid for _, questions in corpus.by_document() for q in questions} - done
    with file.open("a", encoding="utf-8") as stream:
        for document, questions in corpus.by_document():
            asked = [q for q in questions[:limit] if q.qid in left]
            if not asked:
                continue
            pages = corpus.document_pages(document.doc_name)
            index = searcher.index(pages)
            for question in asked:
                found = searcher.candidates(question.question, pages, index)
                heard: dict[int, str] = {}

                def hear(_: int, text: str, position: int = -1, heard: dict[int, str] = heard) -> None:
                    heard[position] = heard.get(position, "") + text

                started = time.perf_counter()
                ranking = searcher.rank([found], on_text=hear)[0]
                seconds = time.perf_counter() - started
                order = ranking.order
                said = dict(zip(order, verdicts.pop(), strict=False))
                shown = ranking.notes or (None,) * len(found)
                notes = [
                    {
                        "place": order.index(position),
                        "page": found.index_of(position),
                        "relevant": found.index_of(position) in question.page_ids,
                        "verdict": said[position],
                        "text": " ".join(text.split()),
                        "support": support(text, found.pages[position].text or ""),
                        "shown": shown[position] is not None,
                        "page_text": (found.pages[position].text or "")[:TEXT],
                    }
                    for position, text in sorted(heard.items(), key=lambda item: order.index(item[0]))
                ]
                lines.append({"qid": question.qid, "question": question.question, "seconds": round(seconds, 3), "notes": notes})
                stream.write(json.dumps(lines[-1]) + "\n")
                stream.flush()
            sys.stderr.write(f"\r{len(lines)} questions")
    return lines


def record_verdicts(engine: Any) -> list[list[str]]:
    """A list that gets, for every call that writes notes, the verdict that each note was written after, top page first."""
    found: list[list[str]] = []
    write = engine.generate

    def generate(requests: Any, *rest: Any) -> Any:
        found.append([request.prefill.rstrip(".") for request in requests])
        return write(requests, *rest)

    engine.generate = generate
    return found


def summarise(lines: list[dict[str, Any]], taught: list[float]) -> dict[str, Any]:
    """Shares over all written notes."""
    notes = [n for x in lines for n in x["notes"]]
    said = [[" ".join(terms(n["text"])) for n in x["notes"]] for x in lines]
    repeated = sum(own.count(note) > 1 for own in said for note in own)
    pairs = [
        (a["verdict"], b["verdict"])  # a stands above b
        for x in lines
        for a, b in combinations(x["notes"], 2)
        if a["verdict"] != b["verdict"]
    ]

    def share(values: list[bool]) -> float:
        return sum(values) / max(1, len(values))

    return {
        "questions": len(lines),
        "seconds": statistics.median(x["seconds"] for x in lines),
        "notes": len(notes),
        "repeated": repeated / max(1, len(notes)),
        "supported": share([n["support"] >= SUPPORT for n in notes]),
        "mean_support": sum(n["support"] for n in notes) / max(1, len(notes)),
        "shown": share([n["shown"] for n in notes]),
        "questions_with_a_shown_note": share([any(n["shown"] for n in x["notes"]) for x in lines]),
        "verdict_is_the_label": share([(n["verdict"] == "Yes") == n["relevant"] for n in notes]),
        "pairs_with_different_verdicts": len(pairs),
        "agreement_with_ranks": share([above == "Yes" for above, _ in pairs]),
        "annotators_supported": share([s >= SUPPORT for s in taught]),
    }


def annotators(rows: Path) -> list[float]:
    """Support of the annotators' notes by their own pages, in a file of pointwise training rows."""
    corpus, found = load_corpus("opendocs"), []
    pages: dict[str, Any] = {}
    for line in rows.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if row["doc_name"] not in pages:
            pages[row["doc_name"]] = corpus.document_pages(row["doc_name"])
        found.append(support(row["note"], pages[row["doc_name"]][row["page_id"]].text or ""))
    return found


def sample(lines: list[dict[str, Any]]) -> str:
    """Shown notes to read, evenly spread over the questions."""
    shown = [(x["question"], n) for x in lines for n in x["notes"] if n["shown"]]
    picked = shown[:: max(1, len(shown) // SAMPLE)][:SAMPLE]
    parts = [
        f"## {number}\n\n{question}\n\n"
        f"- page id {n['page']}, place {n['place'] + 1}, {'relevant' if n['relevant'] else 'not relevant'}\n"
        f"- **{n['verdict']}. {n['text']}** (support {n['support']:.2f})\n\n```\n{n['page_text']}\n```\n"
        for number, (question, n) in enumerate(picked, 1)
    ]
    return "\n".join(parts)


def main() -> None:
    """Ask, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the checkpoint, or a model's name")
    parser.add_argument("--split", default="dev")
    parser.add_argument(
        "--rows", type=Path, default=Path("runs/mini/all/pointwise.jsonl"), help="training rows with annotators' notes"
    )
    parser.add_argument("--notes", type=int, default=3, help="top pages of a question that get a note, whatever the recipe says")
    parser.add_argument("--questions", type=int, help="most questions of a document")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.notes < 1:
        parser.error(f"--notes is {given.notes}: there is nothing to audit; give at least 1")
    lines = measure(Reranker.from_pretrained(given.model, notes=given.notes), given.split, given.out, given.questions)
    summary = summarise(lines, annotators(given.rows))
    (given.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    (given.out / "sample.md").write_text(sample(lines), encoding="utf-8")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
