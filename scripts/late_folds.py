"""Train late-interaction models on folds of documents, and measure them on the documents that they have not seen.

    python scripts/late_folds.py train mini/late --out runs/late/a --states runs/late/states [--folds 0,1,2,3,4] [--set KEY=VALUE]
    python scripts/late_folds.py report runs/late/a [runs/late/b …] [--json results/mini-late-folds.json]

A fold is every fifth document; those of one project share a fold (``scripts/first_stage_folds.py``). ``train`` writes a line a
held-out question to ``scores.jsonl`` in --out; what it holds is not trained again. ``report`` prints Recall of the first stage,
of the sum by which the default sorts, and of the model alone, over ten candidates, with 95 % intervals of the gain (documents are
drawn), by kind of question, language and type of evidence; the share of questions whose relevant pages are all within five; and
how well the best page's score tells answerable questions. Several folders, such as seeds, are averaged question by question.
Evidence is measured by ``scripts/fit_evidence.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from first_stage_folds import FOLDS, folds_of

from mmr5.cli.train import find
from mmr5.engines.runtime.late_head import LateHead
from mmr5.evaluation.answerability import auroc
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import intervals
from mmr5.metrics import score
from mmr5.training.late_config import load_late_config
from mmr5.training.late_data import States, prepare
from mmr5.training.late_interaction import WEIGHTS, train_late
from mmr5.training.late_interaction import score as score_list

CANDIDATES = 10
Line = dict[str, Any]


def train(given: argparse.Namespace) -> None:
    """Train on all folds but one, for each fold that is asked for, and score the one that was left out."""
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "scores.jsonl"
    done = {json.loads(x)["fold"] for x in file.read_text(encoding="utf-8").splitlines()} if file.exists() else set()
    overrides = [f'data.states="{given.states}"', *given.set]
    names = prepare(load_late_config(find(given.config), [*overrides, 'run.out=""']), tell)
    folds = folds_of(names)
    for fold in given.folds:
        if fold in done:
            continue
        out = given.out / f"fold-{fold}"
        left = json.dumps([name for name in names if folds[name] == fold])
        config = load_late_config(find(given.config), [*overrides, f'run.out="{out}"', f"data.leave_out={left}"])
        if not (out / WEIGHTS).is_file():
            train_late(config, resume=out.is_dir(), progress=tell)
        from safetensors.torch import load_file

        head = LateHead({name: value.float() for name, value in load_file(out / WEIGHTS).items()})
        states = States(config.states)
        lines = [measured(head, states, e, fold) for name in names if folds[name] == fold for e in states.examples(name)]
        with file.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def measured(head: LateHead, states: States, example: Any, fold: int) -> Line:
    """A question with the scores of its candidates."""
    pages = list(dict.fromkeys([*example.pages[:CANDIDATES], *(p for p in example.pages if p in example.relevant)]))
    with torch.inference_mode():
        _, found = score_list(head, states, example)
    return {
        "qid": example.qid, "doc_name": example.doc_name, "domain": example.domain, "fold": fold, "kind": kind(example),
        "language": example.language, "written": example.written, "type": example.type, "hard": example.kind,
        "corrected": example.corrected, "relevant": example.relevant, "pages": pages[:CANDIDATES],
        "first": example.first[:CANDIDATES], "late": [round(float(v), 4) for v in found.pages[:CANDIDATES]],
        "weight": round(float(head.weights["first_stage"]), 4),
    }  # fmt: skip


def kind(example: Any) -> str:
    """Question and page both English; both of one other language; of two languages."""
    if example.language != example.written:
        return "cross"
    return "english" if example.language == "en" else "same"


def order_of(line: Line, which: str) -> list[int]:
    """Page ids in the order of the first stage, of the sum, or of the model alone."""
    values = {
        "first stage": line["first"],
        "default": [line["weight"] * a + b for a, b in zip(line["first"], line["late"], strict=True)],
        "model alone": line["late"],
    }[which]
    return [line["pages"][i] for i in sorted(range(len(values)), key=lambda i: (-values[i], i))]


def report(given: argparse.Namespace) -> None:
    """Print the tables."""
    runs = [
        [json.loads(x) for x in (folder / "scores.jsonl").read_text(encoding="utf-8").splitlines()] for folder in given.folders
    ]
    by_qid = [{line["qid"]: line for line in run} for run in runs]
    shared = [line for line in runs[0] if all(line["qid"] in run for run in by_qid)]
    asked = [line for line in shared if line["relevant"]]
    groups: list[tuple[str, Callable[[Line], bool]]] = [("all", lambda _: True)]
    groups += [(f"fold {k}", lambda x, k=k: x["fold"] == k) for k in range(FOLDS)]
    groups += [(k, lambda x, k=k: x["kind"] == k) for k in ("english", "same", "cross")]
    groups += [("not English", lambda x: x["kind"] != "english")]
    groups += [(f"type {t}", lambda x, t=t: x["type"] == t) for t in sorted({x["type"] for x in asked})]
    groups += [(f"{t} in {s}", lambda x, t=t, s=s: (x["written"], x["language"]) == (t, s)) for t, s in
               sorted({(x["written"], x["language"]) for x in asked if x["kind"] != "english"})]  # fmt: skip
    groups += [("several pages", lambda x: len(x["relevant"]) > 1)]
    table = []
    for label, belongs in groups:
        mine = [x for x in asked if belongs(x)]
        if not mine:
            continue
        row: Line = {"group": label, "questions": len(mine), "documents": len({x["doc_name"] for x in mine})}
        for which in ("first stage", "default", "model alone"):
            values = [mean_score([order_of(run[x["qid"]], which) for run in by_qid], x["relevant"]) for x in mine]
            row[which] = [round(float(np.mean([v[m] for v in values])), 4) for m in ("recall@1", "recall@3", "recall@5")]
            within = [
                float(np.mean([set(x["relevant"]) <= set(order_of(run[x["qid"]], which)[:5]) for run in by_qid])) for x in mine
            ]
            row[f"{which}, all within 5"] = round(float(np.mean(within)), 4)
            if which == "first stage":
                was = values
            elif which == "default":
                rows = [RunLine(x["qid"], x["doc_name"], x["domain"], "", tuple(x["relevant"]), (), ()) for x in mine]
                drawn = intervals(rows, was, values, None, seed=0, resamples=4000)["micro"]
                row["gain"] = {
                    m: [round(b - a, 4), *(round(v, 4) for v in drawn[m] or ())]
                    for m, a, b in zip(("recall@1", "recall@3", "recall@5"), row["first stage"], row["default"], strict=True)
                }
        table.append(row)
        gain = " ".join(f"{v[0]:+.3f} [{', '.join(f'{x:.3f}' for x in v[1:])}]" for v in row["gain"].values())
        columns = "  ".join(cells(row[which]) for which in ("first stage", "default", "model alone"))
        print(f"{label:<16} {len(mine):>5}  {columns}  {gain}"
              f"  all in 5: {row['first stage, all within 5']:.3f} {row['default, all within 5']:.3f}")  # fmt: skip
    found = {"table": table, "answerability": answerability(shared, by_qid)}
    print(json.dumps(found["answerability"], indent=1))
    if given.json:
        given.json.write_text(json.dumps({"made_by": " ".join(sys.argv), **found}, indent=1) + "\n", encoding="utf-8")


def mean_score(orders: Sequence[Sequence[int]], relevant: Sequence[int]) -> dict[str, float]:
    """Metrics of a question, averaged over runs."""
    scores = [score(order, relevant) for order in orders]
    return {name: sum(one[name] for one in scores) / len(scores) for name in scores[0]}


def cells(values: Sequence[float]) -> str:
    """Recall@1/3/5."""
    return "/".join(f"{v:.3f}" for v in values)


def answerability(lines: Sequence[Line], runs: Sequence[dict[str, Line]]) -> dict[str, Any]:
    """AUROC of the best page's score, hard unanswerable questions (no page corrects them) against answerable ones."""
    found: dict[str, Any] = {}
    for which in ("first stage", "default", "model alone"):
        best = {}
        for x in lines:
            own = [run[x["qid"]] for run in runs]
            best[x["qid"]] = float(np.mean([max(value_of(one, which)) for one in own]))
        good = [best[x["qid"]] for x in lines if x["relevant"]]
        for label, bad in (("", [x for x in lines if not x["relevant"] and not x["corrected"]]),
                           (", corrected by a page", [x for x in lines if not x["relevant"] and x["corrected"]])):  # fmt: skip
            found[which + label] = round(auroc(good, [best[x["qid"]] for x in bad]), 4) if bad else None
    return found


def value_of(line: Line, which: str) -> list[float]:
    """Scores of the candidates."""
    if which == "default":
        return [line["weight"] * a + b for a, b in zip(line["first"], line["late"], strict=True)]
    return list(line["first"] if which == "first stage" else line["late"])


def tell(stage: str, done: int, total: int | None) -> None:
    """Progress on one line."""
    sys.stderr.write(f"\r{stage} {done}/{total}        ")


def main() -> None:
    """Train or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    own = verbs.add_parser("train")
    own.add_argument("config")
    own.add_argument("--out", type=Path, required=True)
    own.add_argument("--states", type=Path, required=True)
    own.add_argument("--folds", type=lambda text: [int(x) for x in text.split(",")], default=list(range(FOLDS)))
    own.add_argument("--set", action="append", default=[])
    told = verbs.add_parser("report")
    told.add_argument("folders", type=Path, nargs="+")
    told.add_argument("--json", type=Path)
    given = parser.parse_args()
    (train if given.verb == "train" else report)(given)


if __name__ == "__main__":
    main()
