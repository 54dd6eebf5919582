"""Fit what the scores of `mini`, and of the first stages alone, mean, on documents that the models have not seen.

    python scripts/calibrate_mini.py runs/late/a --recipe src/mmr5/models/mini/recipe.json --none src/mmr5/models/none.json \
        --out runs/calibration

The models are those of the folds (``scripts/late_folds.py train``): each asks documents that it was not trained on. Fitted are
a first stage and the model together, the model alone (documents that are handed to ``Reranker.rerank``), and a first stage alone
(``--model none``), the first and the last for candidates of one document and of many. The settings with the model go into
--recipe, the others into --none; --out keeps what was measured, and a killed run goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from first_stage_folds import FOLDS, folds_of

from mmr5 import Reranker, Searcher
from mmr5.corpora import load_corpus
from mmr5.evaluation.calibration import Asked, collect, fit
from mmr5.models.recipes import parse_recipe
from mmr5.relevance import Calibration, Setting
from mmr5.storage.jsonl import write_json

CORPORA = ("opendocs", "opendocs-more", "opendocs-multilingual")
WAYS = {
    "together": ("mini", "hybrid", False),
    "alone": ("mini", "none", False),
    "first": ("none", "hybrid", False),
    "bm25": ("none", "bm25", False),
    "dense": ("none", "dense", False),
    "together-pooled": ("mini", "hybrid", True),
    "first-pooled": ("none", "hybrid", True),
}
"""Model, first stage, and whether the pages of many documents are asked together."""


def main() -> None:
    """Ask, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--none", type=Path, required=True)
    given = parser.parse_args()
    rows = ask(given.folds, given.out)
    recipe = parse_recipe(given.recipe.read_text(encoding="utf-8"), str(given.recipe))
    said = f"{', '.join(CORPORA)}, training documents, each by a model that has not seen it, {datetime.now(UTC):%Y-%m-%d}"
    found: dict[str, Calibration] = {}
    for way, (model, retriever, pool) in WAYS.items():
        scope = "pooled" if pool else "document"
        fusion = recipe.fusion if model == "mini" and retriever != "none" else None
        method = recipe.method if model == "mini" else "none"
        found[way] = fit(rows[way], Setting(method, "text", retriever, fusion, scope), said, folds_of)
    print(json.dumps({way: one.to_dict() for way, one in found.items()}, indent=1))
    of_mini = tuple(one for way, one in found.items() if WAYS[way][0] == "mini")
    given.recipe.write_text(replace(recipe, calibrations=of_mini).to_json(), encoding="utf-8")
    write_json(given.none, [one.to_dict() for way, one in found.items() if WAYS[way][0] == "none"])


def ask(folds_of_models: Path, out: Path) -> dict[str, list[Asked]]:
    """Every way's scores of every question, by the model of a fold that has not seen the document."""
    corpora = {name: load_corpus(name).split("train") for name in CORPORA}
    folds = folds_of([d.doc_name for corpus in corpora.values() for d, _ in corpus.by_document()])
    rows: dict[str, list[Asked]] = {way: [] for way in WAYS}
    for fold in range(FOLDS):
        reranker = Reranker.from_pretrained(str(folds_of_models / f"fold-{fold}"))
        alone = Reranker(reranker.engine, recipe=replace(reranker.recipe, fusion=None))
        first = Reranker.from_pretrained("none")
        searchers = {
            way: Searcher(alone if model == "mini" else first)
            if retriever == "none"
            else Searcher(reranker if model == "mini" else first, retriever)
            for way, (model, retriever, _) in WAYS.items()
        }
        for name, corpus in corpora.items():
            documents = [d.doc_name for d, _ in corpus.by_document() if folds[d.doc_name] == fold]
            for way, searcher in searchers.items():
                file = out / f"{name}-{fold}-{way}.jsonl"
                rows[way] += collect(corpus, searcher, file, documents=documents, pool=WAYS[way][2], progress=tell)
    return rows


def tell(stage: str, done: int, total: int | None) -> None:
    """Progress on one line."""
    sys.stderr.write(f"\r{stage} {done}/{total}        ")


if __name__ == "__main__":
    main()
