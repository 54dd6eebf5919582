"""``python -m vision_proof draw|half|summary``: the steps of ``scripts/smoke.sh`` that are no verb of ``mmr5``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from vision_proof import base, corpus, half, summary


def main(arguments: list[str] | None = None) -> int:
    """Run one step; 1 when ``summary --check`` finds a goal that does not hold."""
    parser = argparse.ArgumentParser(prog="python -m vision_proof", description=__doc__)
    steps = parser.add_subparsers(dest="step", required=True)
    draw = steps.add_parser("draw", help="draw the corpus and build the base model")
    draw.add_argument("--scale", type=float, default=1.0, help="share of the documents, above 0")
    middle = steps.add_parser("half", help="take the SFT checkpoint before the part of full lists")
    done = steps.add_parser("summary", help="write summary.json")
    done.add_argument("--seconds", type=float, help="what the whole proof took")
    done.add_argument("--check", action="store_true", help="fail when a goal does not hold")
    for step in (draw, middle, done):
        step.add_argument("--out", type=Path, default=Path("runs/smoke"))
    given = parser.parse_args(arguments)
    if given.step == "draw":
        full = corpus.Amount()
        amount = corpus.Amount(**{k: max(1, round(v * given.scale)) for k, v in dataclasses.asdict(full).items()})
        told: dict[str, object] = {"parameters": base.build(given.out / "base"), **corpus.build(given.out, amount)}
    elif given.step == "half":
        told = half.take_half(given.out)
    else:
        told = summary.summarise(given.out, seconds=given.seconds)
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    missed = [name for name, holds in dict(told.get("goals") or {}).items() if not holds]  # type: ignore[call-overload]
    if missed and given.check:
        sys.stderr.write(f"goals that do not hold: {', '.join(missed)}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
