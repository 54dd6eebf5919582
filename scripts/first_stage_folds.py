"""Measure first stages on the training documents of a corpus, and the difference to an earlier measurement.

    python scripts/first_stage_folds.py opendocs --out runs/first-stages/before.jsonl
    python scripts/first_stage_folds.py opendocs --out runs/first-stages/after.jsonl --before runs/first-stages/before.jsonl

Writes one line a question and first stage to ``--out``, and prints micro and macro Recall@1/3/5, micro Recall@1 and @3 by fold of
documents, by evidence, by language of the document, and by whether the question is of that language. With ``--before`` each row
has the earlier value first, and the averages have 95 % intervals of the difference (whole documents are drawn). Nothing is
trained: a fold is every fifth document.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mmr5.corpora import Corpus, load_corpus
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import averages, intervals
from mmr5.metrics import micro, score
from mmr5.retrieval import open_retriever, top_candidates
from mmr5.retrieval.base import HybridRetriever, Retriever
from mmr5.types import Page

NAMES = ("bm25", "dense", "hybrid")
METRICS = ("recall@1", "recall@3", "recall@5")
FOLDS = 5
Row = dict[str, Any]


def measure(corpus: Corpus, spoken: dict[str, str], names: Sequence[str]) -> list[Row]:
    """One row a question and first stage, in corpus order."""
    rows: list[Row] = []
    seconds = dict.fromkeys(names, 0.0)
    for place, (document, questions) in enumerate(corpus.by_document()):
        pages = _texts(corpus.document_pages(document.doc_name))
        kept: dict[str, Kept] = {}
        for name in names:
            start = time.perf_counter()
            index = _open(name, pages, kept)
            for question in questions:
                found = top_candidates(question.question, pages, index.scores(question.question), 10)
                ranking = [found.index_of(i) for i in range(len(found))]
                language = str(document.extra.get("language", "en"))
                rows.append(
                    {
                        "qid": question.qid,
                        "retriever": name,
                        "doc_name": document.doc_name,
                        "domain": document.domain,
                        "fold": place % FOLDS,
                        "language": language,
                        "asked in": "its language" if spoken.get(question.qid, language) == language else "another language",
                        "type": question.type or "unknown",
                        "relevant": list(question.page_ids),
                        "ranking": ranking,
                    }
                )
            seconds[name] += time.perf_counter() - start
        sys.stderr.write(f"\r{place + 1} documents")
    sys.stderr.write("\r" + "  ".join(f"{name} {value:.1f} s" for name, value in seconds.items()) + "\n")
    return rows


def report(rows: list[Row], before: list[Row] | None) -> str:
    """All tables as Markdown."""
    earlier = {(r["retriever"], r["qid"]): r for r in before or rows}
    rows = [r for r in rows if (r["retriever"], r["qid"]) in earlier]
    out = []
    for name in dict.fromkeys(r["retriever"] for r in rows):
        mine = [r for r in rows if r["retriever"] == name]
        old = [earlier[name, r["qid"]] for r in mine]
        out += [f"## {name}: {len(mine)} questions, {len({r['doc_name'] for r in mine})} documents", ""]
        out += _table(mine, old, before is not None)
    return "\n".join(out)


def _table(mine: list[Row], old: list[Row], differs: bool) -> list[str]:
    lines, was = [_line(r) for r in mine], [score(r["ranking"], r["relevant"]) for r in old]
    now = [score(r["ranking"], r["relevant"]) for r in mine]
    drawn = intervals(lines, was, now, None, seed=0, resamples=4000)
    first, second = averages(lines, was, None), averages(lines, now, None)
    out = ["| | n | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 2) + "|"]
    for kind in ("micro", "macro"):
        cells = [
            _cell(first[kind][m], second[kind][m], differs) + (f" [{low:+.3f}, {high:+.3f}]" if differs else "")
            for m in METRICS
            for low, high in [drawn[kind][m]]
        ]
        out.append(f"| {kind} | {len(mine)} | {' | '.join(cells)} |")
    keys: dict[str, Callable[[Row], str]] = {
        key: (lambda r, key=key: f"{key} {r[key]}") for key in ("fold", "type", "language", "asked in")
    }
    for key in keys.values():
        for group in sorted({key(r) for r in mine}):
            members = [i for i, r in enumerate(mine) if key(r) == group]
            cells = [_cell(micro(was[i][m] for i in members), micro(now[i][m] for i in members), differs) for m in METRICS]
            out.append(f"| {group} | {len(members)} | {' | '.join(cells)} |")
    return [*out, ""]


def _cell(old: float, new: float, differs: bool) -> str:
    return f"{old:.3f} → {new:.3f} ({new - old:+.3f})" if differs else f"{new:.3f}"


def _line(row: Row) -> RunLine:
    return RunLine(row["qid"], row["doc_name"], row["domain"], "", tuple(row["relevant"]), (), tuple(row["ranking"]))


class Kept:
    """A first stage that scores each question once."""

    def __init__(self, index: Retriever) -> None:
        self.name = index.name
        self.scores = cache(index.scores)


def _open(name: str, pages: Sequence[Page], kept: dict[str, Kept]) -> Retriever:
    """A first stage; a sum takes what has been opened."""
    parts = ("bm25", "dense") if name == "hybrid" else (name,)
    for part in parts:
        if part not in kept:
            kept[part] = Kept(open_retriever(part, pages))
    return HybridRetriever(*(kept[part] for part in parts)) if name == "hybrid" else kept[name]


def _texts(pages: Sequence[Page]) -> list[Page]:
    return [replace(page, image=None) for page in pages]


def main() -> None:
    """Measure, write the rows, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="a corpus by name, or its folder")
    parser.add_argument("--split", default="train")
    parser.add_argument("--ocr", default="never", choices=("auto", "never", "always"))
    parser.add_argument("--retrievers", nargs="+", default=list(NAMES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="the file of an earlier measurement")
    options = parser.parse_args()
    corpus = load_corpus(options.corpus, ocr=options.ocr).split(options.split)
    rows = measure(corpus, _languages(Path(options.corpus), corpus), options.retrievers)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    before = [json.loads(x) for x in options.before.read_text().splitlines()] if options.before else None
    print(report(rows, before))


def _languages(folder: Path, corpus: Corpus) -> dict[str, str]:
    """Question id → its language, where the corpus is a folder whose questions name one."""
    file = folder / "questions.jsonl"
    if not file.is_file():
        return {}
    named = {(r["doc_name"], r["question"]): r.get("language") for r in map(json.loads, file.read_text().splitlines())}
    return {q.qid: found for q in corpus.questions if (found := named.get((q.doc_name, q.question)))}


if __name__ == "__main__":
    main()
