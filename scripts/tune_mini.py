"""Choose how a `pointwise` checkpoint's two signals and the first stage are weighed, on documents that it was not trained on.

    python scripts/tune_mini.py --model runs/mini/grpo --documents runs/mini/held.txt --out runs/mini/tune

Every question of the documents is asked over hybrid's ten candidates. One line a question goes to ``scores.jsonl`` (a killed run
goes on from there): the log-odds of the verdict, and the log-likelihood of the question, of every candidate, and beside them the
likelihood that the untrained base gives (300 tokens a page; not with --trained-only). ``summary.json``
holds micro Recall@1/3/5 and MRR for a grid of the question's weight and the fusion weight, the best of them, what the choice
is worth when it is made on four fifths of the documents and scored on the fifth, and the ranking reward of sampled verdicts.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

from tune_fusion import CANDIDATES, FOLDS, mean, order_of

from mmr5 import Reranker
from mmr5.corpora import load_corpus
from mmr5.methods import pointwise
from mmr5.metrics import score
from mmr5.models.resolve import BASE_RECIPE
from mmr5.retrieval import find_candidates, open_retriever
from mmr5.rewards import discounted_gain
from mmr5.types import ScoreKind

ALONE = 1000.0
"""A fusion weight under which the first stage only breaks ties."""
QUESTION_WEIGHTS = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 1000.0)
DRAWS = 100
"""Draws of a question's verdicts."""
FUSIONS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, ALONE)
Line = dict[str, Any]


def measure(reranker: Reranker, untrained: Reranker | None, names: list[str], out: Path, per_document: int | None) -> list[Line]:
    """Both signals of every candidate; what the file holds already is not measured again."""
    from mmr5.answer import VERDICTS

    out.mkdir(parents=True, exist_ok=True)
    file = out / "scores.jsonl"
    lines: list[Line] = [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
    done = {x["qid"] for x in lines}
    corpus = load_corpus("opendocs")
    with file.open("a", encoding="utf-8") as stream:
        for document, questions in corpus.by_document():
            asked = [q for q in [q for q in questions if q.answerable][:per_document] if q.qid not in done]
            if document.doc_name not in names or not asked:
                continue
            pages = corpus.document_pages(document.doc_name)
            index = open_retriever("hybrid", pages)
            for question in asked:
                found = find_candidates(question.question, pages, index, CANDIDATES)
                start = time.perf_counter()
                requests = [pointwise.request(reranker.engine, found.query, page, reranker.settings) for page in found.pages]
                scored = reranker.engine.score_choices(requests, [VERDICTS] * len(requests))
                seconds = time.perf_counter() - start
                line = {
                    "qid": question.qid,
                    "doc_name": document.doc_name,
                    "relevant": list(question.page_ids),
                    "candidates": [found.index_of(i) for i in range(len(found))],
                    "first_stage": list(found.scores or ()),
                    "odds": [s.logprobs[0] - s.logprobs[1] for s in scored],
                    "question": [s.measured.mean_logprob * s.measured.n_tokens for s in scored if s.measured],
                    "seconds": round(seconds, 3),
                }
                if untrained is not None:
                    line["untrained"] = list(untrained.rank_many([found])[0].scores or ())
                lines.append(line)
                stream.write(json.dumps(line) + "\n")
                stream.flush()
            sys.stderr.write(f"\r{len(lines)} questions")
    return lines


def values(lines: list[Line], question_weight: float, fusion: float) -> list[dict[str, float]]:
    """Metrics of every question under one pair of weights."""
    return fused(lines, [[o + question_weight * q for o, q in zip(x["odds"], x["question"], strict=True)] for x in lines], fusion)


def fused(lines: list[Line], scores: list[list[float]], fusion: float) -> list[dict[str, float]]:
    """Metrics of every question when a model's scores are fused with the first stage's."""
    found = []
    for x, model in zip(lines, scores, strict=True):
        line = {**x, "model": model, "score_kind": ScoreKind.RELEVANCE_LOG_ODDS}
        found.append(score(order_of(line, fusion), set(x["relevant"])))
    return found


def sampled_reward(line: Line) -> float:
    """What stage two trains: the ranking reward of verdicts drawn from their odds, over all candidates, ties by first stage."""
    draw = random.Random(line["qid"])
    chances = [1 / (1 + math.exp(-odds)) for odds in line["odds"]]
    wanted = [i for i, page in enumerate(line["candidates"]) if page in line["relevant"]]
    if not wanted:
        return 0.0
    gains = []
    for _ in range(DRAWS):
        said = [draw.random() < chance for chance in chances]
        gains.append(discounted_gain(sorted(range(len(said)), key=lambda i: (not said[i], i)), wanted))
    return sum(gains) / DRAWS


def summarise(lines: list[Line]) -> dict[str, Any]:
    """The grid, its best pair by MRR, and the cross-validated worth of choosing so."""
    pairs = [(q, f) for q in QUESTION_WEIGHTS for f in FUSIONS if f or not q]
    table = {pair: values(lines, *pair) for pair in pairs}
    documents = sorted({x["doc_name"] for x in lines})
    fold = {name: i % FOLDS for i, name in enumerate(documents)}

    def mrr(pair: tuple[float, float], keep: Any) -> float:
        kept = [v["mrr"] for v, x in zip(table[pair], lines, strict=True) if keep(fold[x["doc_name"]])]
        return sum(kept) / max(1, len(kept))

    chosen = [max(pairs, key=lambda p: mrr(p, lambda f, k=k: f != k)) for k in range(FOLDS)]
    held = [table[chosen[fold[x["doc_name"]]]][i] for i, x in enumerate(lines)]
    best = max(pairs, key=lambda p: mrr(p, lambda f: True))
    base = [x["untrained"] for x in lines if "untrained" in x]
    compared = len(base) == len(lines)
    grid = [{"question_weight": q, "fusion": f, **mean(table[q, f])} for q, f in pairs]
    return {
        "questions": len(lines),
        "documents": len(documents),
        "seconds_a_question": sorted(x["seconds"] for x in lines)[len(lines) // 2],
        "first_stage": mean(table[0.0, 0.0]),
        "sampled_reward": sum(sampled_reward(x) for x in lines) / max(1, len(lines)),
        "best": {"question_weight": best[0], "fusion": best[1], **mean(table[best])},
        "cross_validated": mean(held),
        "alone": {"question_weight": best[0], **mean(values(lines, best[0], ALONE))},
        "untrained": mean(fused(lines, base, BASE_RECIPE.fusion or ALONE)) if compared else None,
        "untrained_alone": mean(fused(lines, base, ALONE)) if compared else None,
        "grid": grid,
    }


def main() -> None:
    """Measure, summarise, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the checkpoint")
    parser.add_argument("--documents", type=Path, required=True, help="file of document names, one a line")
    parser.add_argument("--questions", type=int, help="most questions of a document")
    parser.add_argument("--page-tokens", type=int, help="most tokens of a page's text; the recipe's by default")
    parser.add_argument("--trained-only", action="store_true", help="leave the untrained base out")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    reranker = Reranker.from_pretrained(
        given.model, method="pointwise", view="text", page_tokens=given.page_tokens, question_weight=1.0
    )
    names = given.documents.read_text(encoding="utf-8").split()
    untrained = None if given.trained_only else Reranker.from_pretrained("mini-base")
    summary = summarise(measure(reranker, untrained, names, given.out, given.questions))
    (given.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in summary.items() if k != "grid"}, indent=1))


if __name__ == "__main__":
    main()
