"""Choose the weight of a model against the default first stage by folds of training documents, by group of questions.

    python scripts/tune_fusion.py mini opendocs-more opendocs-multilingual --questions 4 --out runs/tune-fusion/mini

Every sampled question is asked over hybrid's ten candidates; the model's scores go to ``scores.jsonl``, a line a question (a
killed run goes on from there). For each group (question and page English, both of one other language, of two languages) and
weight: micro Recall@1/3/5 and MRR, and what the weight is worth that is best by Recall@1 + MRR on the other folds, with the 95 %
interval of its gain over the first stage (whole documents drawn).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from first_stage_folds import FOLDS, folds_of

from mmr5 import Reranker
from mmr5.corpora import load_corpus
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import intervals
from mmr5.fusion import fuse
from mmr5.languages import ENGLISH
from mmr5.metrics import METRICS, micro, score
from mmr5.retrieval import SCALES, find_candidates, open_retriever
from mmr5.types import Candidates, Page, Ranking, ScoreKind

CANDIDATES = 10
WEIGHTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
KINDS = ("english", "same", "cross")
Line = dict[str, Any]


def measure(
    reranker: Reranker,
    corpora: Sequence[str],
    per_document: int,
    out: Path,
    kind: str | None = None,
    picture_pages: int | None = None,
) -> list[Line]:
    """The model's scores of all candidates; what the file holds already is not measured again."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "scores.jsonl"
    lines: list[Line] = [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
    done = {x["qid"] for x in lines}
    with file.open("a", encoding="utf-8") as stream:
        for name in corpora:
            corpus = load_corpus(name, picture_pages=picture_pages).split("train")
            for document, questions in corpus.by_document():
                answerable = [q for q in questions if q.answerable and kind in (None, q.type)]
                drawn = random.Random(document.doc_name).sample(answerable, min(per_document, len(answerable)))
                asked = [q for q in drawn if q.qid not in done]
                if not asked:
                    continue
                pages = corpus.document_pages(document.doc_name)
                index = open_retriever("hybrid", pages)
                for question in asked:
                    found = find_candidates(question.question, pages, index, CANDIDATES)
                    start = time.perf_counter()
                    (ranking,) = reranker.rank_many([found])
                    said, written = question.language or ENGLISH, document.language or ENGLISH
                    line = {
                        "qid": question.qid,
                        "doc_name": document.doc_name,
                        "domain": document.domain,
                        "kind": "cross" if said != written else "english" if said == ENGLISH else "same",
                        "relevant": list(question.page_ids),
                        "candidates": [found.index_of(i) for i in range(len(found))],
                        "first_stage": list(found.scores or ()),
                        "model": list(ranking.scores or ()),
                        "score_kind": ranking.score_kind,
                        "seconds": round(time.perf_counter() - start, 3),
                    }
                    lines.append(line)
                    stream.write(json.dumps(line) + "\n")
                    stream.flush()
                    sys.stderr.write(f"\r{name}: {len(lines)} questions")
    sys.stderr.write("\n")
    return lines


def order_of(line: Line, weight: float) -> list[int]:
    """Page ids in fused order."""
    n = len(line["candidates"])
    candidates = Candidates("", (Page("x"),) * n, tuple(line["first_stage"]), scale=SCALES["hybrid"])
    ranking = Ranking(tuple(range(n)), tuple(line["model"]), ScoreKind(line["score_kind"]))
    return [line["candidates"][i] for i in fuse(candidates, ranking, weight).order]


def values(lines: Sequence[Line], weight: float) -> list[dict[str, float]]:
    """Metrics of every question under a weight."""
    return [score(order_of(x, weight), x["relevant"]) for x in lines]


def mean(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Micro means of the metrics."""
    return {name: round(micro(r[name] for r in rows), 4) for name in METRICS}


def summarise(lines: Sequence[Line]) -> dict[str, Any]:
    """The grid, the best weight, and what it is worth when it is chosen on the other folds."""
    folds = folds_of([x["doc_name"] for x in lines])
    table = {w: values(lines, w) for w in WEIGHTS}

    def goodness(weight: float, outside: int | None) -> float:
        kept = [v for v, x in zip(table[weight], lines, strict=True) if folds[x["doc_name"]] != outside]
        return micro(v["recall@1"] for v in kept) + micro(v["mrr"] for v in kept)

    chosen = [max(WEIGHTS, key=lambda w, k=k: goodness(w, k)) for k in range(FOLDS)]
    held = [table[chosen[folds[x["doc_name"]]]][i] for i, x in enumerate(lines)]
    rows = [RunLine(x["qid"], x["doc_name"], x["domain"], "", tuple(x["relevant"]), (), ()) for x in lines]
    drawn = intervals(rows, table[0.0], held, None, seed=0, resamples=4000)["micro"]
    alone = [
        score([x["candidates"][i] for i in sorted(range(len(x["model"])), key=lambda i: -x["model"][i])], x["relevant"])
        for x in lines
    ]
    return {
        "questions": len(lines),
        "documents": len({x["doc_name"] for x in lines}),
        "seconds_a_question": sorted(x["seconds"] for x in lines)[len(lines) // 2],
        "first_stage": mean(table[0.0]),
        "model_alone": mean(alone),
        "grid": {str(w): mean(table[w]) for w in WEIGHTS},
        "best": max(WEIGHTS, key=lambda w: goodness(w, None)),
        "chosen_by_fold": chosen,
        "cross_validated": mean(held),
        "gain_ci95": {name: [round(v, 4) for v in drawn[name]] for name in METRICS},
    }


def main() -> None:
    """Measure, summarise, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="mini, mini-base, or a folder")
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--questions", type=int, default=4, help="questions a document")
    parser.add_argument("--type", choices=("text", "table", "figure", "layout"), help="only questions of this type")
    parser.add_argument(
        "--picture-pages", type=int, help="most pages of a document whose pictures are read for words; all by default"
    )
    parser.add_argument("--page-tokens", type=int, help="most tokens of a page's text; the recipe's by default")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    settings = {} if given.page_tokens is None else {"page_tokens": given.page_tokens}
    reranker = Reranker.from_pretrained(given.model, **settings)
    lines = measure(reranker, given.corpora, given.questions, given.out, given.type, given.picture_pages)
    summary = {kind: summarise(mine) for kind in KINDS if (mine := [x for x in lines if x["kind"] == kind])}
    text = json.dumps(summary, indent=1) + "\n"
    (given.out / "summary.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
