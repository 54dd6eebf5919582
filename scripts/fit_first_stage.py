"""Fit the weights of the default first stage on training documents, and measure what they are worth on held-out folds.

    python scripts/fit_first_stage.py opendocs opendocs-more opendocs-multilingual --out runs/first-stage [--write]

For every answerable training question the signals of all pages of its document go to ``signals.jsonl``, a line a question (a
killed run goes on from there): BM25 as a share of what the question could reach, the cosines of both embeddings, and the group
of each page. The weights of a group are those that make the relevant pages likeliest by a softmax over the document's pages, none
below 0. The tables compare, by group, language and type, single signals, sums of z-scores, and the weights fitted on the other
folds (documents of one project share a fold). ``--write`` puts the weights fitted on all questions into the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from first_stage_folds import FOLDS, folds_of
from scipy.optimize import minimize

from mmr5.corpora import load_corpus
from mmr5.fusion import standardise
from mmr5.languages import ENGLISH
from mmr5.metrics import recall
from mmr5.retrieval.dense import NOTHING
from mmr5.retrieval.hybrid import FILE, GROUPS, SIGNALS, HybridRetriever, Weights

DEPTHS = (1, 3, 5, 10)
PENALTY = 1e-5
FLOOR_SHARE = 0.005
"""The floor of cosines is the quantile at this share of those of pages with text."""
BEFORE = "z: bm25 + minilm (before)"
ENGLISH_ONLY = ("minilm", BEFORE, "z: all three")
"""Columns that hold the English embeddings, which are not computed for pages in other languages."""
Line = dict[str, Any]
Score = Callable[[Line], "np.ndarray[Any, Any]"]


def measure(names: Sequence[str], out: Path, ocr: dict[str, str]) -> list[Line]:
    """The signals of all questions; what the file holds already is not measured again."""
    out.mkdir(parents=True, exist_ok=True)
    file = out / "signals.jsonl"
    lines: list[Line] = [json.loads(x) for x in file.read_text().splitlines()] if file.exists() else []
    done = {x["doc_name"] for x in lines}
    with file.open("a", encoding="utf-8") as stream:
        for name in names:
            corpus = load_corpus(name, ocr=ocr.get(name, "never")).split("train")  # type: ignore[arg-type]
            for document, questions in corpus.by_document():
                if document.doc_name in done:
                    continue
                pages = [replace(page, image=None) for page in corpus.document_pages(document.doc_name)]
                index = HybridRetriever(pages)
                fresh = []
                for question in questions:
                    if not question.answerable:
                        continue
                    asked, written = question.language or ENGLISH, document.language or ENGLISH
                    fresh.append(
                        {
                            "qid": question.qid,
                            "corpus": name,
                            "doc_name": document.doc_name,
                            "kind": "cross" if asked != written else "english" if asked == ENGLISH else "same",
                            "language": asked if asked == written else f"{asked} about {written}",
                            "type": question.type or "unknown",
                            "relevant": list(question.page_ids),
                            "groups": index.groups(question.question),
                            **index.signals(question.question),
                        }
                    )
                lines += fresh
                stream.write("".join(json.dumps(x) + "\n" for x in fresh))
                stream.flush()
                sys.stderr.write(f"\r{name}: {document.doc_name}, {len(lines)} questions      ")
    sys.stderr.write("\n")
    return lines


def features(line: Line, floor: float) -> np.ndarray[Any, Any]:
    """(pages, signals): what the weights multiply."""
    english = [
        value if value is not None and group == "english" else 0.0
        for value, group in zip(line["minilm"], line["groups"], strict=True)
    ]
    return np.stack([line["bm25"], np.maximum(line["dense"], floor), np.maximum(english, 0.0)], axis=1)


def fit(lines: Sequence[Line]) -> dict[str, Weights]:
    """Weights and bias of each group; a question counts for the group of its relevant pages."""
    cosines = np.concatenate([x["dense"] for x in lines])
    floor = round(float(np.quantile(cosines[cosines > NOTHING], FLOOR_SHARE)), 3)
    found = {}
    for group in GROUPS:
        mine = [x for x in lines if x["kind"] == group]
        columns = len(SIGNALS) if group == "english" else len(SIGNALS) - 1
        arrays = [features(x, floor)[:, :columns] for x in mine]
        golds = [x["relevant"] for x in mine]
        weights = likeliest(arrays, golds)
        rest = np.concatenate([np.delete(a @ weights, gold) for a, gold in zip(arrays, golds, strict=True)])
        bm25, dense, minilm = (round(float(v), 3) for v in (*weights, 0.0)[: len(SIGNALS)])
        found[group] = Weights(bm25, dense, minilm, floor, round(float(-rest.mean()), 3))
    return found


def likeliest(arrays: Sequence[np.ndarray[Any, Any]], golds: Sequence[Sequence[int]]) -> np.ndarray[Any, Any]:
    """The weights, at least 0, that maximise the mean log-probability of the relevant pages under a softmax over the pages."""

    def loss(weights: np.ndarray[Any, Any]) -> tuple[float, np.ndarray[Any, Any]]:
        total, slope = 0.0, np.zeros_like(weights)
        for array, gold in zip(arrays, golds, strict=True):
            scores = array @ weights
            chances = np.exp(scores - scores.max())
            chances /= chances.sum()
            share = chances[gold].sum()
            total -= np.log(share + 1e-12)
            target = np.zeros_like(chances)
            target[gold] = chances[gold] / share
            slope += array.T @ (chances - target)
        n = len(arrays)
        return total / n + PENALTY / 2 * weights @ weights, slope / n + PENALTY * weights

    size = arrays[0].shape[1]
    return np.asarray(minimize(loss, np.ones(size), jac=True, method="L-BFGS-B", bounds=[(0, None)] * size).x)


def held_out(lines: Sequence[Line]) -> list[np.ndarray[Any, Any]]:
    """The scores of all pages of each question, by weights fitted on the other folds."""
    folds = folds_of([x["doc_name"] for x in lines])
    fitted = [fit([x for x in lines if folds[x["doc_name"]] != k]) for k in range(FOLDS)]
    return [scored(x, fitted[folds[x["doc_name"]]]) for x in lines]


def scored(line: Line, weights: dict[str, Weights]) -> np.ndarray[Any, Any]:
    """The scores of all pages of a question."""
    rows = zip(line["groups"], line["bm25"], line["dense"], line["minilm"], strict=True)
    return np.array([weights[g].score(b, d, m if g == "english" else None) for g, b, d, m in rows])


def z_sum(*names: str) -> Score:
    """The sum of z-scores over the pages of a document; a page that a signal abstains from counts as one without text."""

    def score(line: Line) -> np.ndarray[Any, Any]:
        columns = [[NOTHING if v is None else v for v in line[name]] for name in names]
        return np.sum([standardise(column) for column in columns], axis=0)

    return score


def table(lines: Sequence[Line], columns: dict[str, Sequence[np.ndarray[Any, Any]]], key: str) -> str:
    """Recall at :data:`DEPTHS` by group of questions and first stage, as Markdown."""
    out = [f"| {key} | first stage | n | " + " | ".join(f"R@{k}" for k in DEPTHS) + " |", "|---" * (3 + len(DEPTHS)) + "|"]
    for group in sorted({x[key] for x in lines}):
        members = [i for i, x in enumerate(lines) if x[key] == group]
        for name, scores in columns.items():
            if name in ENGLISH_ONLY and any(lines[i]["kind"] != "english" for i in members):
                continue
            orders = {i: np.argsort(-np.asarray(scores[i]), kind="stable").tolist() for i in members}
            cells = [np.mean([recall(orders[i], lines[i]["relevant"], k) for i in members]) for k in DEPTHS]
            out.append(f"| {group} | {name} | {len(members)} | " + " | ".join(f"{value:.3f}" for value in cells) + " |")
    return "\n".join([*out, ""])


def main() -> None:
    """Measure, fit, compare, and write on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--write", action="store_true", help="put the weights into the package")
    given = parser.parse_args()
    lines = measure(given.corpora, given.out, {"opendocs-multilingual": "auto"})
    columns = {
        "bm25": [np.array(x["bm25"]) for x in lines],
        "minilm": [z_sum("minilm")(x) for x in lines],
        "dense (e5)": [np.array(x["dense"]) for x in lines],
        BEFORE: [z_sum("bm25", "minilm")(x) for x in lines],
        "z: bm25 + dense": [z_sum("bm25", "dense")(x) for x in lines],
        "z: all three": [z_sum("bm25", "dense", "minilm")(x) for x in lines],
        "weights of other folds": held_out(lines),
    }
    for key in ("kind", "corpus", "language", "type"):
        print(table(lines, columns, key))
    weights = fit(lines)
    best = [np.sort(scored(x, weights))[::-1][:10] for x in lines]
    print("standard deviation of the score over ten candidates, mean:", round(float(np.mean([b.std() for b in best])), 2))
    for name in SIGNALS:
        arrays = [np.array([[0.0 if v is None else v] for v in x[name]]) for x in lines]
        print(f"scale of {name} alone:", round(float(likeliest(arrays, [x["relevant"] for x in lines])[0]), 1))
    record = {
        "made_by": f"python scripts/fit_first_stage.py {' '.join(given.corpora)} --write",
        "groups": {g: asdict(w) for g, w in weights.items()},
    }
    text = json.dumps(record, indent=1) + "\n"
    print(text)
    if given.write:
        (Path(__file__).parent.parent / "src" / "mmr5" / "retrieval" / FILE).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
