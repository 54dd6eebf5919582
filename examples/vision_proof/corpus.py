"""Scenes → a corpus folder with PDFs that hold pictures alone, and the rows of both stages."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.data.candidates import CandidateList
from mmr5.data.rows import list_row
from vision_proof.drawing import SIDE, draw
from vision_proof.scenes import BY_NAME, KINDS, Scene, document

PAGES = 5
"""Pages of a document; all of them are the candidates."""
ROWS = {1: 4, 2: 2, 3: 2, PAGES: 4}
"""So many pages → so many rows of every training document."""
BLOCK = 32
"""Rows of equally many pages in succession, ``optim.batch_size`` of ``configs/smoke/sft``: a batch pads nothing."""
EARLY = 0.1
"""Share of full lists among the rows of several pages, before the rest of the full lists comes: their form is learnt from few."""
CURRICULUM = "curriculum.json"


@dataclass(frozen=True, slots=True)
class Amount:
    """How much is drawn.

    Attributes:
        train: documents a kind for SFT, each page of which is asked about.
        grpo: documents a kind with a threshold for GRPO, each page of which is asked about.
        test: documents a kind for the test, two pages of which are asked about.
    """

    train: int = 500
    grpo: int = 40
    test: int = 50


def build(folder: Path, amount: Amount, *, seed: int = 0) -> dict[str, int]:
    """Draw the corpus, and write ``sft.jsonl`` and ``grpo.jsonl`` beside it.

    Splits: ``train``, ``grpo``, ``test`` (the kinds with a threshold), ``axis`` (values read off an axis). Only ``test`` and
    ``axis`` hold combinations that are held out.

    The SFT rows are a curriculum: first one page and a broad question, so that its note can only be seen; then lists of two and
    three pages with few of all pages between them; then the other lists of all pages.

    Args:
        folder: gets ``corpus/``, ``sft.jsonl``, ``grpo.jsonl`` and, for :mod:`vision_proof.half`, ``curriculum.json``.
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
    parts: dict[int, list[dict[str, Any]]] = {pages: [] for pages in ROWS}
    later: list[dict[str, Any]] = []
    for split, per_kind in (("train", amount.train), ("grpo", amount.grpo), ("test", amount.test)):
        for kind in KINDS:
            for number in range(per_kind if kind.judged or split != "grpo" else 0):
                name = f"{split}-{kind.name}-{number:03d}"
                scenes, asked = document(kind, PAGES, rng, held_out=split == "test")
                _save(scenes, home / "pdf" / f"{name}.pdf")
                shown = split if split != "test" or kind.judged else kind.name
                documents.append({"doc_name": name, "domain": kind.name, "pages": len(scenes), "split": shown})
                own = [(scenes[i].question, [i]) for i in asked]
                if split == "train":
                    own += [(question, list(range(PAGES))) for question, _ in kind.broad]
                    turn = itertools.cycle(range(PAGES))
                    for pages, part in parts.items():
                        part += [_row(name, next(turn), scenes, asked, rng, pages=pages) for _ in range(ROWS[pages])]
                elif split == "grpo":
                    later += [_row(name, k, scenes, asked, rng, pages=PAGES, kind="grpo") for k in range(PAGES)]
                questions += [
                    {"doc_name": name, "question": q, "page_ids": ids, "type": kind.name, "split": shown} for q, ids in own
                ]
    rows, before = curriculum(parts, rng)
    (folder / CURRICULUM).write_text(json.dumps({"rows": len(rows), "before_full_lists": before}) + "\n", encoding="utf-8")
    _write_lines(home / "questions.jsonl", questions)
    (home / "docs.json").write_text(json.dumps(documents, indent=1) + "\n", encoding="utf-8")
    _write_lines(folder / "sft.jsonl", rows)
    _write_lines(folder / "grpo.jsonl", later)
    return {"documents": len(documents), "questions": len(questions), "sft_rows": len(rows), "grpo_rows": len(later)}


def curriculum(parts: Mapping[int, list[dict[str, Any]]], rng: random.Random) -> tuple[list[dict[str, Any]], int]:
    """Rows by number of pages → rows in training order, and how many come before the part that is of full lists alone.

    Blocks that are not whole come last, where they shift none.
    """
    one: list[list[dict[str, Any]]] = []
    short: list[list[dict[str, Any]]] = []
    full: list[list[dict[str, Any]]] = []
    odd: list[list[dict[str, Any]]] = []
    for pages, part in parts.items():
        rng.shuffle(part)
        blocks = [part[i : i + BLOCK] for i in range(0, len(part), BLOCK)]
        (one if pages == 1 else full if pages == PAGES else short).extend(b for b in blocks if len(b) == BLOCK)
        odd += [b for b in blocks if len(b) < BLOCK]
    early = round(len(short) * EARLY / (1 - EARLY))
    mixed = short + full[:early]
    rng.shuffle(mixed)
    before = BLOCK * (len(one) + len(mixed))
    return [row for block in (*one, *mixed, *full[early:], *odd) for row in block], before


def _row(
    name: str, k: int, scenes: Sequence[Scene], asked: Sequence[int], rng: random.Random, *, pages: int, kind: str = "listwise"
) -> dict[str, Any]:
    """A row that asks for the ``k``-th page, among so many pages in random order; of one page alone, with a broad question."""
    page_id = asked[k]
    others = [i for i in range(len(scenes)) if i != page_id]
    rng.shuffle(others)
    candidates = [page_id, *others[: pages - 1]]
    rng.shuffle(candidates)
    target = scenes[page_id]
    number, question = k, target.question
    relevant: tuple[int, ...] = (page_id,)
    notes = [scenes[i].note(target) for i in candidates]
    if pages == 1:
        broad = BY_NAME[target.kind].broad
        choice = rng.randrange(len(broad))
        number, question, relevant = len(asked) + choice, broad[choice][0], tuple(range(len(scenes)))
        notes = [f"Shows {target.told(broad[choice][1])}, so yes."]
    scores, split = (0.0,) * len(candidates), name.partition("-")[0]
    found = CandidateList(f"{name}#{number}", name, question, relevant, tuple(candidates), scores, split)
    return list_row(found, kind=kind, method="reason", view="image", notes=notes if kind == "listwise" else None).to_dict()


def _save(scenes: Sequence[Scene], path: Path) -> None:
    """A PDF of pictures without a text layer, as from a scanner."""
    first, *rest = [draw(scene) for scene in scenes]
    first.save(path, save_all=True, append_images=rest, resolution=72.0 * SIDE / 224, quality=95)


def _write_lines(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
