"""Fit what the scores of `mini`, and of the first stage alone, mean, on documents that the models have not seen.

    python scripts/calibrate_mini.py runs/late/a --recipe src/mmr5/models/mini/recipe.json --none src/mmr5/models/none.json \
        --out runs/calibration

The models are those of the folds (``scripts/late_folds.py train``): each asks documents that it was not trained on. Fitted are
three settings: first stage and model together, the model alone (documents that are handed to ``Reranker.rerank``), and the first
stage alone (``--model none``). The first two go into --recipe, the third into --none; --out keeps what was measured, and a killed
run goes on.
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
WAYS = ("together", "alone", "first")


def main() -> None:
    """Ask, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--none", type=Path)
    given = parser.parse_args()
    corpora = {name: load_corpus(name).split("train") for name in CORPORA}
    folds = folds_of([d.doc_name for corpus in corpora.values() for d, _ in corpus.by_document()])
    rows: dict[str, list[Asked]] = {way: [] for way in WAYS}
    for fold in range(FOLDS):
        reranker = Reranker.from_pretrained(str(given.folds / f"fold-{fold}"))
        alone = Reranker(reranker.engine, recipe=replace(reranker.recipe, fusion=None))
        searchers = {
            "together": Searcher(reranker),
            "alone": Searcher(alone),
            "first": Searcher(Reranker.from_pretrained("none")),
        }
        for name, corpus in corpora.items():
            documents = [d.doc_name for d, _ in corpus.by_document() if folds[d.doc_name] == fold]
            for way, searcher in searchers.items():
                file = given.out / f"{name}-{fold}-{way}.jsonl"
                rows[way] += collect(corpus, searcher, file, documents=documents, progress=tell)
    recipe = parse_recipe(given.recipe.read_text(encoding="utf-8"), str(given.recipe))
    settings = {
        "together": Setting(recipe.method, recipe.view, "hybrid", recipe.fusion),
        "alone": Setting(recipe.method, recipe.view, "none", None),
        "first": Setting("none", "text", "hybrid", None),
    }
    said = f"{', '.join(CORPORA)}, training documents, each by a model that has not seen it, {datetime.now(UTC):%Y-%m-%d}"
    found: dict[str, Calibration] = {way: fit(rows[way], settings[way], said, folds_of) for way in WAYS}
    print(json.dumps({way: one.to_dict() for way, one in found.items()}, indent=1))
    given.recipe.write_text(replace(recipe, calibrations=(found["together"], found["alone"])).to_json(), encoding="utf-8")
    if given.none is not None:
        write_json(given.none, [found["first"].to_dict()])


def tell(stage: str, done: int, total: int | None) -> None:
    """Progress on one line."""
    sys.stderr.write(f"\r{stage} {done}/{total}        ")


if __name__ == "__main__":
    main()
