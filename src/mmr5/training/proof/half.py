"""A deliberately half-trained checkpoint: what stage two starts from in the vision proof."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from mmr5 import Reranker
from mmr5.data.corpus import load_corpus
from mmr5.errors import InputError
from mmr5.training.folder import write

HALF = "half"
SHARE = 0.7
"""Of the Recall@1 of the last checkpoint. At half of it a reply holds so many errors that its reward says little of each."""
QUESTIONS = 50
"""So many questions of the ``grpo`` split, evenly spread, measure a checkpoint: pages that SFT has not seen."""
BATCH = 10


def take_half(folder: Path, *, share: float = SHARE, measure: Callable[[Path], float] | None = None) -> dict[str, object]:
    """Copy the SFT checkpoint that ranks most nearly a share as well as the last one.

    Reading, naming and comparing come in sudden steps, at other times in every run, so that a fixed step may lie before or
    after all of them. Looked at are the earliest checkpoint that reaches the share, found by bisection, and the one before it.

    Args:
        folder: of the proof; ``half/`` is written into it.
        share: of the last checkpoint's Recall@1, in (0, 1).
        measure: Recall@1 of a checkpoint; None asks :data:`QUESTIONS` questions.

    Returns:
        The checkpoint's step, and Recall@1 of every checkpoint that was measured, by step.

    Raises:
        InputError: SFT left no checkpoint.
    """
    steps = sorted(int(p.name.partition("-")[2]) for p in (folder / "sft").glob("checkpoint-*"))
    if not steps:
        raise InputError(f"{folder / 'sft'} holds no checkpoint: run the first stage before")
    asked = measure or (lambda checkpoint: recall(checkpoint, folder / "corpus"))
    found: dict[int, float] = {}

    def recall_at(step: int) -> float:
        if step not in found:
            found[step] = asked(folder / "sft" / f"checkpoint-{step}")
        return found[step]

    goal = share * recall_at(steps[-1])
    reached = first(steps, lambda one: recall_at(one) >= goal)
    step = min(steps[max(0, steps.index(reached) - 1) : steps.index(reached) + 1], key=lambda one: abs(recall_at(one) - goal))
    target = folder / HALF
    if target.exists():
        shutil.rmtree(target)
    left = shutil.ignore_patterns("optimizer.pt", "scheduler.pt", "rng_state*", "trainer_state.json", "training_args.bin")
    shutil.copytree(folder / "sft" / f"checkpoint-{step}", target, ignore=left)
    told: dict[str, object] = {"step": step, "recall@1": {str(k): found[k] for k in sorted(found)}}
    write(folder / "half.json", json.dumps(told, indent=2) + "\n")
    return told


def first(values: Sequence[int], good: Callable[[int], bool]) -> int:
    """The first good value by bisection, where all after a good one are good; the last one is taken to be."""
    low, high = 0, len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if good(values[middle]):
            high = middle
        else:
            low = middle + 1
    return values[low]


def recall(checkpoint: Path, corpus: Path) -> float:
    """Recall@1 of a checkpoint over the questions of :data:`QUESTIONS`."""
    own = load_corpus(str(corpus), ocr="never").split("grpo")
    picked = own.questions[:: max(1, len(own.questions) // QUESTIONS)]
    items = [(question.question, own.document_pages(question.doc_name)) for question in picked]
    reranker = Reranker.from_pretrained(str(checkpoint), method="reason", view="image", max_new_tokens=96)
    ranked = [result for start in range(0, len(items), BATCH) for result in reranker.rerank_many(items[start : start + BATCH])]
    hits = [result.ranking[0].index in question.page_ids for result, question in zip(ranked, picked, strict=True)]
    return sum(hits) / len(hits)
