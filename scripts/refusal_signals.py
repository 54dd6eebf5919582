"""What could tell hard questions that no page answers from answerable ones, on documents that neither model nor fit has seen.

    python scripts/refusal_signals.py runs/late/a --heads runs/late/a --states runs/late/states [--json FILE]

--heads is a folder of models by fold: that of ``scripts/late_folds.py train``, or one of ``scripts/order_folds.py train``. The
questions are those of the first folder's ``scores.jsonl``. A logistic regression on the other folds sees one of these sets:

* ``list``: what ships, :data:`mmr5.relevance.LIST_FEATURES`;
* ``matches``: these, and how well the worst-matched tokens of the question match: on the first page, in its best passage, on any
  candidate, on any page of the document;
* ``length``: how many tokens the question has, and nothing of any page;
* ``wording``: the question's words, and nothing of any page;
* ``list and length``.

Each is judged on two tasks: *hard*, the annotators' hard questions against those that a page answers, and *removed*, the
answerable questions against the same questions with their relevant pages taken out of the list, whose wording tells nothing.
Printed are AUROC with 95 % intervals (documents are drawn) and the share refused where 95 % of the answerable are kept.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from first_stage_folds import FOLDS
from late_folds import CANDIDATES, Line, value_of
from relevance_table import bounds
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from mmr5.engines.late_interaction import read_head
from mmr5.evaluation.answerability import KEPT, auroc, refused
from mmr5.relevance import list_features
from mmr5.training.late_data import Example, States, tokens_of

LOWEST = 3
"""Worst-matched tokens that are averaged."""
KNEE = 0.15
"""Share of the answerable questions whose best score is below the knee of the list's best one (``mmr5 calibrate``)."""
TASKS = ("hard", "removed")


@dataclass(frozen=True, slots=True)
class Row:
    """A question, perhaps without its relevant pages: what each set of signals is made of."""

    kind: str
    doc_name: str
    fold: int
    question: str
    scores: list[float]
    length: float
    matches: list[float]


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("--heads", type=Path, required=True)
    parser.add_argument("--states", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = read(given.folds, given.heads, States(given.states))
    knee = float(np.quantile([max(row.scores) for row in rows if row.kind == "answerable"], KNEE))
    of_list = np.array([list_features(row.scores, knee) for row in rows])
    matches, length = np.array([row.matches for row in rows]), np.array([[row.length] for row in rows])
    sets = {
        "list": of_list, "matches": np.hstack([of_list, matches]), "length": length, "wording": None,
        "list and length": np.hstack([of_list, length]),
    }  # fmt: skip
    found: dict[str, Any] = {}
    for name, values in sets.items():
        for task in TASKS:
            if name == "wording" and task == "removed":
                continue  # the same words on both sides
            mine = [i for i, row in enumerate(rows) if row.kind in ("answerable", task)]
            chosen = [rows[i] for i in mine]
            said = by_wording(chosen) if values is None else by_values(chosen, values[mine])
            good, bad = ([p for row, p in zip(chosen, said, strict=True) if row.kind == kind] for kind in ("answerable", task))
            low, high = bounds(chosen, said, task)
            found[f"{name}, {task}"] = [round(v, 4) for v in (auroc(good, bad), low, high, refused(good, bad, KEPT))]
            level, low, high, share = found[f"{name}, {task}"]
            print(f"{name:<16} {task:<8} AUROC {level:.3f} [{low:.3f}, {high:.3f}]  refused {share:.3f}")
    if given.json:
        given.json.write_text(json.dumps({"made_by": " ".join(sys.argv), "signals": found}, indent=1) + "\n", encoding="utf-8")


def read(folds: Path, models: Path, states: States) -> list[Row]:
    """The rows of all questions that no page corrects."""
    lines: dict[str, list[Line]] = defaultdict(list)
    for text in (folds / "scores.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if not line["corrected"]:
            lines[line["doc_name"]].append(line)
    own = {json.loads(x)["qid"]: json.loads(x) for x in (models / "scores.jsonl").read_text(encoding="utf-8").splitlines()}
    heads = {fold: read_head(models / f"fold-{fold}") for fold in range(FOLDS)}
    rows = []
    for doc_name, asked in lines.items():
        examples = {e.qid: e for e in states.examples(doc_name)}
        head = heads[asked[0]["fold"]]
        some = next(iter(examples.values()))
        pages = len(states.texts(doc_name))
        with torch.inference_mode():
            tokens = [tokens_of(head, states, some, [page])[0] for page in range(pages)]
            for line in asked:
                example = examples[line["qid"]]
                question = head.question(states.question(example))
                held = [matched(question, page) for page in tokens]
                for kind in ("answerable", "removed") if line["relevant"] else ("hard",):
                    row = row_of(kind, own[line["qid"]], example, question, held)
                    if row is not None:
                        rows.append(row)
    return rows


def matched(question: Any, page: Any) -> tuple[np.ndarray, np.ndarray]:
    """Each token's best match over a page, and in the passage of it that fits best."""
    if not len(page.vectors):
        none = np.full(len(question.importance), -1.0)
        return none, none
    matches = question.vectors @ page.vectors.float().T
    passages = torch.stack([one.amax(1) for one in torch.split(matches, list(page.lengths), 1)], 1)
    return matches.amax(1).numpy(), passages[:, int((question.importance @ passages).argmax())].numpy()


def row_of(kind: str, line: Line, example: Example, question: Any, held: Sequence[Any]) -> Row | None:
    """The signals of a list; None where no page is left in it."""
    gone = set(line["relevant"]) if kind == "removed" else set()
    places = [i for i, page in enumerate(line["pages"][:CANDIDATES]) if page not in gone]
    if not places:
        return None
    values = value_of(line, "default")
    scores = [values[i] for i in places]
    pages = [line["pages"][i] for i in places]
    first = held[pages[int(np.argmax(scores))]]
    listed = np.max([held[page][0] for page in pages], 0)
    anywhere = np.max([own for page, (own, _) in enumerate(held) if page not in gone], 0)
    heavy = question.importance.numpy() >= 0.5 / len(question.importance)
    matches = [float(np.sort(one[heavy])[:LOWEST].mean()) for one in (*first, listed, anywhere)]
    return Row(kind, line["doc_name"], line["fold"], example.question, scores, float(np.log(len(heavy))), matches)


def by_values(rows: Sequence[Row], values: np.ndarray) -> list[float]:
    """What regressions on the other folds say of numbers."""
    values = (values - values.mean(0)) / (values.std(0) + 1e-9)
    return held_out(rows, lambda seen, left: (values[seen], values[left]))


def by_wording(rows: Sequence[Row]) -> list[float]:
    """What regressions on the other folds say of words, one and two at a time."""

    def both(seen: np.ndarray, left: np.ndarray) -> tuple[Any, Any]:
        words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
        learnt = words.fit_transform([rows[i].question for i in seen])
        return learnt, words.transform([rows[i].question for i in left])

    return held_out(rows, both)


def held_out(rows: Sequence[Row], both: Any) -> list[float]:
    """Probabilities of "answerable", each by a regression that has not seen the fold."""
    said = np.zeros(len(rows))
    folds = np.array([row.fold for row in rows])
    for fold in range(FOLDS):
        seen, left = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        learnt, asked = both(seen, left)
        model = LogisticRegression(class_weight="balanced", max_iter=3000).fit(
            learnt, [rows[i].kind == "answerable" for i in seen]
        )
        said[left] = model.predict_proba(asked)[:, 1]
    return [float(v) for v in said]


if __name__ == "__main__":
    main()
