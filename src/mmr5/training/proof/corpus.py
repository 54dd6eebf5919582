"""Scenes → a corpus folder with PDFs that hold pictures alone, and the rows of both stages."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.data.candidates import CandidateList
from mmr5.data.rows import list_row
from mmr5.training.proof.drawing import SIDE, draw
from mmr5.training.proof.scenes import KINDS, Kind, Scene, document

PAGES = 5
"""Pages of a document; all of them are the candidates."""
WARM_UP = 2
"""Pages of a row in the first part of the curriculum."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is drawn.

    Attributes:
        train: documents a kind for SFT, each with one question a page.
        grpo: documents a kind for GRPO.
        test: documents a kind for the test, each with one question.
    """

    train: int = 240
    grpo: int = 30
    test: int = 50


def build(folder: Path, amount: Amount, *, seed: int = 0) -> dict[str, int]:
    """Draw the corpus, and write ``sft.jsonl`` and ``grpo.jsonl`` beside it.

    Splits: ``train``, ``grpo``, ``test`` (the kinds with a threshold), ``axis`` (values read off an axis). Only ``test`` and
    ``axis`` hold combinations that are held out.

    Args:
        folder: gets ``corpus/``, ``sft.jsonl`` and ``grpo.jsonl``.
        amount: how much.
        seed: of everything.

    Returns:
        Counts: documents, questions, SFT rows, GRPO rows.
    """
    home = folder / "corpus"
    (home / "pdf").mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)  # noqa: S311
    documents: list[dict[str, Any]] = []
    questions: list[dict[str, Any]] = []
    warm: list[dict[str, Any]] = []
    full: list[dict[str, Any]] = []
    later: list[dict[str, Any]] = []
    for split, per_kind in (("train", amount.train), ("grpo", amount.grpo), ("test", amount.test)):
        for kind in KINDS:
            for number in range(per_kind):
                name = f"{split}-{kind.name}-{number:03d}"
                scenes, asked = document(kind, PAGES, rng, held_out=split == "test")
                _save(scenes, home / "pdf" / f"{name}.pdf")
                shown = split if split != "test" or kind.judged else kind.name
                documents.append({"doc_name": name, "domain": kind.name, "pages": len(scenes), "split": shown})
                for k, page_id in enumerate(asked):
                    questions.append(_question(name, kind, scenes, page_id, shown))
                    if split == "train":
                        warm.append(_row(name, k, scenes, page_id, rng, pages=WARM_UP))
                        full.append(_row(name, k, scenes, page_id, rng))
                    elif split == "grpo":
                        later.append(_row(name, k, scenes, page_id, rng, kind="grpo"))
    rng.shuffle(warm)
    rng.shuffle(full)
    _write_lines(home / "questions.jsonl", questions)
    (home / "docs.json").write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    _write_lines(folder / "sft.jsonl", [*warm, *full])
    _write_lines(folder / "grpo.jsonl", later)
    return {"documents": len(documents), "questions": len(questions), "sft_rows": len(warm) + len(full), "grpo_rows": len(later)}


def _question(name: str, kind: Kind, scenes: Sequence[Scene], page_id: int, split: str) -> dict[str, Any]:
    return {"doc_name": name, "question": scenes[page_id].question, "page_ids": [page_id], "type": kind.name, "split": split}


def _row(
    name: str,
    k: int,
    scenes: Sequence[Scene],
    page_id: int,
    rng: random.Random,
    *,
    pages: int | None = None,
    kind: str = "listwise",
) -> dict[str, Any]:
    """A row over the document's pages in random order; with ``pages``, over so many of them."""
    others = [i for i in range(len(scenes)) if i != page_id]
    rng.shuffle(others)
    candidates = [page_id, *others[: len(scenes) - 1 if pages is None else pages - 1]]
    rng.shuffle(candidates)
    found = CandidateList(
        f"{name}#{k}",
        name,
        scenes[page_id].question,
        (page_id,),
        tuple(candidates),
        (0.0,) * len(candidates),
        name.partition("-")[0],
    )
    notes = [scenes[i].note(scenes[page_id]) for i in candidates]
    return list_row(found, kind=kind, method="reason", view="image", notes=notes if kind == "listwise" else None).to_dict()


def _save(scenes: Sequence[Scene], path: Path) -> None:
    """A PDF of pictures without a text layer, as from a scanner."""
    first, *rest = [draw(scene) for scene in scenes]
    first.save(path, save_all=True, append_images=rest, resolution=72.0 * SIDE / 224, quality=95)


def _write_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
