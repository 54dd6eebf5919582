"""How well questions without an answer are told, by first stage, model and kind of question, before and after calibration.

    python scripts/relevance_table.py runs/late/a runs/calibration

The second folder is that of ``scripts/calibrate_mini.py``, whose rows are used; what it lacks is measured. Printed are Markdown
tables: AUROC of answerable questions against each kind with 95 % intervals (bootstrap over documents), and the share refused
where 95 % of the answerable questions are kept, by the top score (before) and by the probability of a fit that has not seen the
document (after); then the calibration of the relevance of pages.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrate_mini import WAYS, ask
from first_stage_folds import folds_of

from mmr5.evaluation.answerability import KEPT, auroc, refused
from mmr5.evaluation.calibration import Asked, fit, held_out
from mmr5.relevance import LIST_FEATURES, Setting, list_features

DRAWS = 1000
CUTS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
KINDS = ("foreign", "hard", "corrected")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folds", type=Path)
    parser.add_argument("out", type=Path)
    given = parser.parse_args()
    rows = {way: [row for row in found if row.scores] for way, found in ask(given.folds, given.out).items()}
    print("| candidates by | kind | questions | AUROC before | AUROC after | refused before | refused after |")
    print("|---|---|---|---|---|---|---|")
    for way, found in rows.items():
        before, after = [row.scores[0] for row in found], held_out(found, folds_of)
        for kind in KINDS:
            n = sum(row.kind == kind for row in found)
            if n:
                cells = [f"{level(found, s, kind)} {interval(found, s, kind)}" for s in (before, after)]
                cuts = [f"{share(found, s, kind):.1%}" for s in (before, after)]
                print(f"| {way} | {kind} | {n} | " + " | ".join([*cells, *cuts]) + " |")
    print("\n| single signal, together | " + " | ".join(KINDS) + " |\n|---|---|---|---|")
    for place, name in enumerate(LIST_FEATURES):
        signal = [list_features(row.scores, math.inf)[place] for row in rows["together"]]
        print(f"| {name} | " + " | ".join(level(rows["together"], signal, kind) for kind in KINDS) + " |")
    print("\n| cut, together | candidates kept | of these right | of the relevant pages kept |\n|---|---|---|---|")
    fitted = fit(rows["together"], Setting("together", "text", "hybrid", None), "", folds_of)
    pages = [(fitted.relevance(s), r) for row in rows["together"] for s, r in zip(row.scores, row.relevant, strict=True)]
    for cut in CUTS:
        kept = [relevant for said, relevant in pages if said >= cut]
        cells = len(kept) / len(pages), sum(kept) / len(kept), sum(kept) / sum(relevant for _, relevant in pages)
        print(f"| {cut} | " + " | ".join(f"{cell:.0%}" for cell in cells) + " |")
    print("\n| relevance | pages | said | true | ECE | Brier skill |\n|---|---|---|---|---|---|")
    for way, found in rows.items():
        quality = fit(found, Setting(way, "text", WAYS[way][1], None), "", folds_of).figures["relevance"]
        for name, q in quality.items():
            print(f"| {way} | {name} {q['n']} | {q['mean']:.3f} | {q['share']:.3f} | {q['ece']:.3f} | {q['brier_skill']:+.3f} |")


def split(rows: Sequence[Any], signal: Sequence[float], kind: str) -> tuple[list[float], list[float]]:
    """The signal of the answerable questions, and of those of a kind."""
    pairs = list(zip(rows, signal, strict=True))
    return [s for row, s in pairs if row.kind == "answerable"], [s for row, s in pairs if row.kind == kind]


def level(rows: Sequence[Asked], signal: Sequence[float], kind: str) -> str:
    """AUROC."""
    return f"{auroc(*split(rows, signal, kind)):.3f}"


def share(rows: Sequence[Asked], signal: Sequence[float], kind: str) -> float:
    """Share refused."""
    return refused(*split(rows, signal, kind), KEPT)


def interval(rows: Sequence[Asked], signal: Sequence[float], kind: str) -> str:
    """:func:`bounds` in three digits."""
    low, high = bounds(rows, signal, kind)
    return f"[{low:.3f}, {high:.3f}]"


def bounds(rows: Sequence[Any], signal: Sequence[float], kind: str) -> tuple[float, float]:
    """95 % interval of the AUROC of rows with a ``kind`` and a ``doc_name``: whole documents are drawn with replacement."""
    of: dict[str, list[tuple[Any, float]]] = {}
    for row, value in zip(rows, signal, strict=True):
        if row.kind in ("answerable", kind):
            of.setdefault(row.doc_name, []).append((row, value))
    draw, names, values = random.Random(0), sorted(of), []
    for _ in range(DRAWS):
        drawn = [pair for name in draw.choices(names, k=len(names)) for pair in of[name]]
        positive, negative = split([r for r, _ in drawn], [v for _, v in drawn], kind)
        if positive and negative:
            values.append(auroc(positive, negative))
    values.sort()
    return values[int(0.025 * len(values))], values[int(0.975 * len(values))]


if __name__ == "__main__":
    main()
