"""Measure first stages on the training documents of corpora, and the difference to an earlier measurement.

    python scripts/first_stage_folds.py opendocs --out runs/first-stages/before.jsonl
    python scripts/first_stage_folds.py opendocs --out runs/first-stages/after.jsonl --before runs/first-stages/before.jsonl

Writes one line a question and first stage to ``--out``, and prints micro and macro Recall@1/3/5, and micro Recall@1 and @3 by
evidence, by fold of documents, by language of the document, and by whether the question is of that language. With ``--before``
each row has the earlier value first, and averages and types of evidence have 95 % intervals of the difference (documents are
drawn). Nothing is trained: a fold is every fifth document (those of one project share a fold).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmr5.corpora import Corpus, load_corpus
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import averages, intervals
from mmr5.metrics import micro, score
from mmr5.retrieval import find_candidates, open_retriever
from mmr5.types import Page

NAMES = ("bm25", "minilm", "dense", "hybrid")
METRICS = ("recall@1", "recall@3", "recall@5")
FOLDS = 5
PROJECTS = {"debian_edu_de": "debian_edu", "memdesign": "titlepages", "texlive_ru": "texlive_pl"}
"""Documents that share a fold with another, since both are of one project."""
Row = dict[str, Any]


def measure(corpus: Corpus, names: Sequence[str]) -> list[Row]:
    """One row a question and first stage, in corpus order."""
    rows: list[Row] = []
    seconds = dict.fromkeys(names, 0.0)
    folds = folds_of([document.doc_name for document, _ in corpus.by_document()])
    for place, (document, questions) in enumerate(corpus.by_document()):
        pages = _texts(corpus.document_pages(document.doc_name))
        for name in names:
            start = time.perf_counter()
            index = open_retriever(name, pages)
            for question in questions:
                found = find_candidates(question.question, pages, index, 10)
                ranking = [found.index_of(i) for i in range(len(found))]
                if not question.answerable:
                    continue
                language = document.language or "en"
                rows.append(
                    {
                        "qid": question.qid,
                        "retriever": name,
                        "doc_name": document.doc_name,
                        "domain": document.domain,
                        "fold": folds[document.doc_name],
                        "language": language,
                        "asked in": "its language" if (question.language or language) == language else "another language",
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
    out = ["| | n | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 2) + "|"]
    for kind in ("micro", "macro"):
        out.append(_row(kind, kind, mine, old, differs))
    for group in sorted({r["type"] for r in mine}):
        members = [i for i, r in enumerate(mine) if r["type"] == group]
        out.append(_row(f"type {group}", "micro", [mine[i] for i in members], [old[i] for i in members], differs))
    was, now = ([score(r["ranking"], r["relevant"]) for r in rows] for rows in (old, mine))
    keys: dict[str, Callable[[Row], str]] = {
        key: (lambda r, key=key: f"{key} {r[key]}") for key in ("fold", "language", "asked in")
    }
    for key in keys.values():
        for group in sorted({key(r) for r in mine}):
            members = [i for i, r in enumerate(mine) if key(r) == group]
            cells = [_cell(micro(was[i][m] for i in members), micro(now[i][m] for i in members), differs) for m in METRICS]
            out.append(f"| {group} | {len(members)} | {' | '.join(cells)} |")
    return [*out, ""]


def _row(label: str, kind: str, mine: list[Row], old: list[Row], differs: bool) -> str:
    """A row of averages with intervals of the difference."""
    lines = [_line(r) for r in mine]
    was, now = ([score(r["ranking"], r["relevant"]) for r in rows] for rows in (old, mine))
    drawn = intervals(lines, was, now, None, seed=0, resamples=4000)[kind]
    first, second = averages(lines, was, None)[kind], averages(lines, now, None)[kind]
    cells = [
        _cell(first[m], second[m], differs) + (f" [{drawn[m][0]:+.3f}, {drawn[m][1]:+.3f}]" if differs else "") for m in METRICS
    ]
    return f"| {label} | {len(mine)} | {' | '.join(cells)} |"


def _cell(old: float, new: float, differs: bool) -> str:
    return f"{old:.3f} → {new:.3f} ({new - old:+.3f})" if differs else f"{new:.3f}"


def _line(row: Row) -> RunLine:
    return RunLine(row["qid"], row["doc_name"], row["domain"], "", tuple(row["relevant"]), (), tuple(row["ranking"]))


def folds_of(doc_names: Sequence[str]) -> dict[str, int]:
    """The fold of each document: every fifth project."""
    projects = list(dict.fromkeys(PROJECTS.get(name, name) for name in doc_names))
    return {name: projects.index(PROJECTS.get(name, name)) % FOLDS for name in doc_names}


def _texts(pages: Sequence[Page]) -> list[Page]:
    return [replace(page, image=None) for page in pages]


def main() -> None:
    """Measure, write the rows, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", help="corpora by name, or their folders")
    parser.add_argument("--split", default="train")
    parser.add_argument("--ocr", default="never", choices=("auto", "never", "always"))
    parser.add_argument(
        "--picture-pages", type=int, help="most pages of a document whose pictures are read for words; all by default"
    )
    parser.add_argument("--retrievers", nargs="+", default=list(NAMES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="the file of an earlier measurement")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.corpora:
        corpus = load_corpus(name, ocr=options.ocr, picture_pages=options.picture_pages).split(options.split)
        rows += measure(corpus, options.retrievers)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    before = [json.loads(x) for x in options.before.read_text().splitlines()] if options.before else None
    print(report(rows, before))


if __name__ == "__main__":
    main()
