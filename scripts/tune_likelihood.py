"""Choose page budget and fusion weight of an untrained model by cross-validation over the training documents of opendocs.

    python scripts/tune_likelihood.py --out runs/tune-likelihood --questions 2 --budgets 150 300 600

Writes one line a question and budget to ``scores.jsonl`` (a killed run goes on from there), and ``summary.json``: for each budget
and weight the micro Recall@1/3/5 and MRR over all sampled questions, and the cross-validated choice: for each of five folds of
documents the pair that is best on the other four is scored on the fold.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mmr5 import Reranker
from mmr5.corpora import Corpus, Question, load_corpus
from mmr5.metrics import METRICS, micro, score
from mmr5.pipeline import fuse
from mmr5.retrieval import open_retriever, top_candidates
from mmr5.types import Ranking, ScoreKind

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
FOLDS = 5
CANDIDATES = 10
Line = dict[str, object]


def sample(corpus: Corpus, per_document: int, documents: int | None, seed: int) -> list[Question]:
    """So many questions of each of the first documents (None: of all)."""
    found: list[Question] = []
    for document, questions in corpus.by_document()[:documents]:
        found += random.Random(f"{seed}:{document.doc_name}").sample(list(questions), min(per_document, len(questions)))
    return found


def measure(corpus: Corpus, questions: list[Question], budgets: list[int], out: Path) -> list[Line]:
    """Scores of every candidate under every budget; what the file holds already is not measured again."""
    file = out / "scores.jsonl"
    out.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
    done = {(x["qid"], x["budget"]) for x in lines}
    rerankers = {b: Reranker.from_pretrained("mini", method="likelihood", page_tokens=b) for b in budgets[:1]}
    engine = rerankers[budgets[0]].engine
    rerankers |= {b: Reranker(engine, method="likelihood", view="text", page_tokens=b) for b in budgets}
    by_document: dict[str, list[Question]] = {}
    for question in questions:
        if any((question.qid, b) not in done for b in budgets):
            by_document.setdefault(question.doc_name, []).append(question)
    with file.open("a", encoding="utf-8") as stream:
        for number, (name, asked) in enumerate(by_document.items(), start=1):
            pages = corpus.document_pages(name)
            index = open_retriever("hybrid", pages)
            lists = [top_candidates(q.question, pages, index.scores(q.question), CANDIDATES) for q in asked]
            for budget in budgets:
                start = time.perf_counter()
                rankings = rerankers[budget].rank_many(lists)
                seconds = (time.perf_counter() - start) / len(asked)
                for question, candidates, ranking in zip(asked, lists, rankings, strict=True):
                    if (question.qid, budget) in done:
                        continue
                    line: Line = {
                        "qid": question.qid,
                        "doc_name": name,
                        "budget": budget,
                        "relevant": list(question.page_ids),
                        "candidates": [candidates.index_of(i) for i in range(len(candidates))],
                        "first_stage": list(candidates.scores or ()),
                        "model": list(ranking.scores or ()),
                        "seconds": round(seconds, 3),
                    }
                    lines.append(line)
                    stream.write(json.dumps(line) + "\n")
                    stream.flush()
            sys.stderr.write(f"\r{number} of {len(by_document)} documents")
    return lines


def scored(lines: list[Line], budget: int, weight: float) -> Iterator[tuple[str, dict[str, float]]]:
    """Document and metrics of every question under one pair."""
    for x in lines:
        if x["budget"] == budget:
            ids, model = list(x["candidates"]), tuple(x["model"])  # type: ignore[call-overload]
            order = tuple(sorted(range(len(ids)), key=lambda i: (-model[i], i)))
            ranking = fuse(x["first_stage"], Ranking(order, model, ScoreKind.MEAN_LOG_LIKELIHOOD), weight)  # type: ignore[arg-type]
            yield str(x["doc_name"]), score([ids[i] for i in ranking.order], x["relevant"])  # type: ignore[arg-type]


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    """Micro means of the metrics."""
    return {name: round(micro(r[name] for r in rows), 4) for name in METRICS}


def summarise(lines: list[Line], budgets: list[int]) -> dict[str, object]:
    """The grid, and the cross-validated choice (by the mean of Recall@1 and MRR)."""
    grid = {(b, w): list(scored(lines, b, w)) for b in budgets for w in WEIGHTS}
    documents = sorted({name for name, _ in next(iter(grid.values()))})
    random.Random(0).shuffle(documents)
    held: list[dict[str, float]] = []
    choices = []
    for fold in range(FOLDS):
        test = set(documents[fold::FOLDS])

        def goodness(pair: tuple[int, float], test: set[str] = test) -> float:
            rows = [r for name, r in grid[pair] if name not in test]
            return micro(r["recall@1"] for r in rows) + micro(r["mrr"] for r in rows)

        best = max(grid, key=goodness)
        choices.append({"budget": best[0], "weight": best[1]})
        held += [r for name, r in grid[best] if name in test]
    alone = {b: mean([_alone(x) for x in lines if x["budget"] == b]) for b in budgets}
    return {
        "n_questions": len(held),
        "n_documents": len(documents),
        "first_stage": mean([r for _, r in grid[budgets[0], 0.0]]),
        "alone": alone,
        "fused": {f"{b}/{w}": mean([r for _, r in rows]) for (b, w), rows in grid.items()},
        "cross_validated": mean(held),
        "choices": choices,
        "seconds": {b: round(micro(float(str(x["seconds"])) for x in lines if x["budget"] == b), 2) for b in budgets},
    }


def _alone(x: Line) -> dict[str, float]:
    ids, model = list(x["candidates"]), list(x["model"])  # type: ignore[call-overload]
    return score([ids[i] for i in sorted(range(len(ids)), key=lambda i: (-model[i], i))], x["relevant"])  # type: ignore[arg-type]


def main() -> None:
    """Measure and summarise."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=2, help="questions a document")
    parser.add_argument("--documents", type=int, help="only the first documents")
    parser.add_argument("--budgets", type=int, nargs="+", default=[150, 300, 600], help="tokens of page text")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    corpus = load_corpus("opendocs").split("train")
    questions = sample(corpus, arguments.questions, arguments.documents, arguments.seed)
    lines = measure(corpus, questions, arguments.budgets, arguments.out)
    text = json.dumps(summarise(lines, arguments.budgets), indent=2)
    (arguments.out / "summary.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
