"""Stage two on orders over folds of documents: what it does to models of stage one, on documents that neither has seen.

    python scripts/order_folds.py train both --stage-one runs/late/a --states runs/late/states --out runs/order/both
    python scripts/order_folds.py report runs/order/both … --stage-one runs/late/a --states runs/late/states [--json FILE]

Stage one is that of ``scripts/late_folds.py train``; each fold's model is trained on, on the documents that it has seen, by
``mini/order`` and:

* ``both``: nothing else;
* ``rl``: from an untrained head, without stage one;
* ``verdicts``: by the older way, a sampled "Yes" or "No" a page;
* ``refusal``: with questions that no page answers, where "none of these" is the place to find.

``train`` writes a line a held-out question to ``scores.jsonl`` in --out; what it holds is not trained again. ``report`` prints
Recall, MRR and the ranking reward of the order that is served (first stage and model, ten candidates) and the mean reward of
drawn orders (temperature .4, the whole list), each with its gain over stage one and its 95 % interval (documents are drawn), and
AUROC of the best score, answerable against hard unanswerable questions. ``--folds 1,3,4`` takes some folds.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from first_stage_folds import FOLDS, folds_of
from late_folds import Line, measured, order_of, tell, value_of

from mmr5.cli.train import find
from mmr5.corpora import load_corpus
from mmr5.engines.late_interaction import WEIGHTS, read_head
from mmr5.engines.runtime.late_head import LateHead
from mmr5.evaluation.answerability import auroc
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import averages, intervals
from mmr5.metrics import score
from mmr5.models.late import LateConfig
from mmr5.rewards import discounted_gain
from mmr5.storage.atomic import make_folder
from mmr5.training.late_data import Example, States
from mmr5.training.late_interaction import centre, sample_states, save, useful
from mmr5.training.late_interaction import score as score_list
from mmr5.training.order_config import load_order_config
from mmr5.training.order_policy import train_order
from mmr5.training.plackett_luce import draw_orders, ranking_rewards

WAYS = {
    "both": (),
    "rl": ("optim.scale_rate=2e-2", "optim.kl_weight=0.0"),
    "verdicts": ('optim.policy="verdicts"', "optim.temperature=1.0"),
    "refusal": ("data.unanswerable=true",),
}
DRAWS, TEMPERATURE = 64, 0.4
SHOWN = ("recall@1", "recall@3", "recall@5", "mrr", "reward", "drawn reward")


def train(given: argparse.Namespace) -> None:
    """Train each fold's model on, and score the documents of the fold."""
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "scores.jsonl"
    lines = read(file) if file.exists() else []
    done = {line["fold"] for line in lines}
    states = States(given.states)
    corpora = load_order_config(find("mini/order")).data.corpora
    names = [d.doc_name for corpus in corpora for d, _ in load_corpus(corpus).split("train").by_document()]
    folds = folds_of(names)  # as scripts/late_folds.py has them: they go by the order of the corpora
    if any(folds[line["doc_name"]] != line["fold"] for line in read(given.stage_one / "scores.jsonl")):
        raise SystemExit(f"{given.stage_one} was measured with other folds than the corpora of mini/order give")
    for fold in (f for f in given.folds if f not in done):
        left = [name for name in names if folds[name] == fold]
        start = given.stage_one / f"fold-{fold}"
        if given.way == "rl":
            start = untrained(given.out / f"untrained-{fold}", start, states, [n for n in names if n not in left])
        out = given.out / f"fold-{fold}"
        settings = [
            f'model.start="{start}"', f'data.states="{given.states}"', f'run.out="{out}"', f"data.leave_out={json.dumps(left)}",
            *WAYS[given.way], *given.set,
        ]  # fmt: skip
        if not (out / WEIGHTS).is_file():
            print(fold, train_order(load_order_config(find("mini/order"), settings), resume=out.is_dir(), progress=tell))
        head = read_head(out)
        found = [line_of(head, states, e, fold) for name in left for e in states.examples(name)]
        with file.open("a", encoding="utf-8") as stream:
            stream.write("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in found))


def untrained(folder: Path, like: Path, states: States, names: Sequence[str]) -> Path:
    """A head as stage one begins with, in a folder."""
    if not (folder / WEIGHTS).is_file():
        config = LateConfig.read(like)
        examples = [e for name in names for e in states.examples(name) if useful(e, 0.0)]
        head = LateHead.untrained(sample_states(states, examples), config.dimension)
        centre(head, states, examples)
        make_folder(folder)
        save(head, config, folder)
    return folder


def line_of(head: LateHead, states: States, example: Example, fold: int) -> Line:
    """A question with the scores of its candidates, and the mean reward of drawn orders of the whole list."""
    line: Line = measured(head, states, example, fold)
    relevant = torch.tensor([page in example.relevant for page in example.pages])
    drawn = 0.0
    if relevant.any():
        with torch.inference_mode():
            scores, _ = score_list(head, states, example)
            orders = draw_orders(scores / TEMPERATURE, DRAWS, torch.Generator().manual_seed(0))
            drawn = float(ranking_rewards(orders, relevant).mean())
    return line | {"drawn": round(drawn, 5)}


def report(given: argparse.Namespace) -> None:
    """Print what each way gives and gains."""
    stage_one = [line for line in read(given.stage_one / "scores.jsonl") if line["fold"] in given.folds]
    states, heads = States(given.states), {fold: read_head(given.stage_one / f"fold-{fold}") for fold in given.folds}
    examples = {e.qid: e for name in sorted({x["doc_name"] for x in stage_one}) for e in states.examples(name)}
    before = {x["qid"]: line_of(heads[x["fold"]], states, examples[x["qid"]], x["fold"]) for x in stage_one}
    rows = {"stage one": summary(before, before)}
    for folder in given.folders:
        own = {x["qid"]: x for x in read(folder / "scores.jsonl") if x["fold"] in given.folds}
        rows[folder.name] = summary({qid: before[qid] for qid in own}, own)
    for name, row in rows.items():
        print(f"\n{name}: {row['questions']} questions, {row['documents']} documents, folds {row['folds']}")
        for metric in SHOWN:
            was, value, low, high = row[metric]
            print(f"  {metric:<13} {was:.4f} → {value:.4f}  {value - was:+.4f} [{low:+.4f}, {high:+.4f}]")
        print(f"  AUROC hard    {row['auroc hard'][0]:.4f} → {row['auroc hard'][1]:.4f}")
    if given.json:
        given.json.write_text(json.dumps({"made_by": " ".join(sys.argv), "ways": rows}, indent=1) + "\n", encoding="utf-8")


def summary(before: dict[str, Line], after: dict[str, Line]) -> dict[str, Any]:
    """Each metric before and after, with the interval of the gain."""
    asked = [x for x in before.values() if x["relevant"]]
    lines = [RunLine(x["qid"], x["doc_name"], x["domain"], "", tuple(x["relevant"]), (), ()) for x in asked]
    was, now = ([values(side[x["qid"]]) for x in asked] for side in (before, after))
    drawn = intervals(lines, was, now, None, seed=0, resamples=4000)["micro"]
    old, new = averages(lines, was, None)["micro"], averages(lines, now, None)["micro"]
    found: dict[str, Any] = {
        "questions": len(asked), "documents": len({x["doc_name"] for x in asked}), "folds": sorted({x["fold"] for x in asked}),
    }  # fmt: skip
    for name in SHOWN:
        low, high = drawn[name] or (float("nan"), float("nan"))
        found[name] = [round(float(v), 5) for v in (old[name], new[name], low, high)]
    hard = [x["qid"] for x in before.values() if not x["relevant"] and not x["corrected"]]
    found["auroc hard"] = [
        round(auroc([best(side[x["qid"]]) for x in asked], [best(side[qid]) for qid in hard]), 5) for side in (before, after)
    ]
    return found


def values(line: Line) -> dict[str, float]:
    """Metrics of the order that is served, its ranking reward, and the reward of drawn orders."""
    order = order_of(line, "default")
    return score(order, line["relevant"]) | {"reward": discounted_gain(order, line["relevant"]), "drawn reward": line["drawn"]}


def best(line: Line) -> float:
    """The highest score of a list."""
    return max(value_of(line, "default"))


def read(file: Path) -> list[Line]:
    """The lines of a file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    """Train or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    own = verbs.add_parser("train")
    own.add_argument("way", choices=WAYS)
    own.add_argument("--out", type=Path, required=True)
    own.add_argument("--set", action="append", default=[])
    told = verbs.add_parser("report")
    told.add_argument("folders", type=Path, nargs="+")
    told.add_argument("--json", type=Path)
    for verb in (own, told):
        verb.add_argument("--stage-one", type=Path, required=True)
        verb.add_argument("--states", type=Path, required=True)
        verb.add_argument("--folds", type=lambda text: [int(x) for x in text.split(",")], default=list(range(FOLDS)))
    given = parser.parse_args()
    (train if given.verb == "train" else report)(given)


if __name__ == "__main__":
    main()
