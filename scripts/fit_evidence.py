"""Fit the weights by which the passages shown of a page are chosen, and measure them on documents that they have not seen.

    python scripts/fit_evidence.py runs/late/a --states runs/late/states [--json results/evidence-folds.json] [--write]

Reads the fold models and the encoder's states of ``scripts/late_folds.py train``, so that the matches are of models that have not
seen the document either. A row is a relevant page with annotated words; the place to find is the first line of the shortest
stretch that holds 80 % of them. Weights are fitted by maximum likelihood (a softmax over the lines of a page), once with the
model's matches and once without, on all folds but one for the table and on all for the package. ``--write`` writes
``src/mmr5/evidence_weights.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from first_stage_folds import FOLDS
from safetensors.torch import load_file

from mmr5 import evidence_weights
from mmr5.corpora import load_corpus
from mmr5.engines.late_interaction import PASSAGE_TOKENS, base_folder
from mmr5.engines.runtime.late_head import LateHead
from mmr5.engines.runtime.text_encoder import shared_encoder
from mmr5.evidence import COVERED, JOIN, passages_at, share_held
from mmr5.evidence_features import MATCHES, TERMS, Matches, Units, cut, features, running_lines, token_spans
from mmr5.excerpts import passages
from mmr5.languages import words
from mmr5.training.late_data import States
from mmr5.training.late_interaction import WEIGHTS as WEIGHTS_FILE

EPOCHS, BATCH, RATE, DECAY = 12, 32, 0.03, 0.01
SETS = {"WEIGHTS": (*MATCHES, *TERMS), "WEIGHTS_OF_TERMS": TERMS}


@dataclass(frozen=True)
class Row:
    """A relevant page with annotated words.

    Attributes:
        doc_name: its document.
        fold: the document's.
        type: of the evidence.
        query: the question.
        quote: the annotated words.
        text: the page's.
        units: of the page.
        values: features of the units, with matches.
        first: the unit where the quote begins; None where no stretch of the page holds it.
        seconds: that the features took.
    """

    doc_name: str
    fold: int
    type: str
    query: str
    quote: str
    text: str
    units: Units
    values: np.ndarray[Any, Any]
    first: int | None
    seconds: float


def rows_of(folder: Path, states: States, names: Sequence[str]) -> list[Row]:
    """All rows, the matches by the models of the folds."""
    fold = {line["doc_name"]: line["fold"] for line in map(json.loads, (folder / "scores.jsonl").read_text().splitlines())}
    heads = {
        k: LateHead({name: value.float() for name, value in load_file(folder / f"fold-{k}" / WEIGHTS_FILE).items()})
        for k in range(FOLDS)
    }
    encoder = shared_encoder(base_folder("multilingual-e5-small"))
    rows = []
    for name in names:
        corpus = load_corpus(name).split("train")
        for document, questions in corpus.by_document():
            mine = [q for q in questions if any(words(quote) for quote in q.quotes.values())]
            if document.doc_name not in fold or not mine:
                continue
            head = heads[fold[document.doc_name]]
            examples = {example.qid: example for example in states.examples(document.doc_name)}
            texts = [page.text or "" for page in corpus.document_pages(document.doc_name)]
            for question in mine:
                example = examples[question.qid]
                with torch.inference_mode():
                    asked = head.question(states.question(example))
                running = running_lines([texts[page] for page in example.pages[:10]])
                for page, quote in question.quotes.items():
                    text, parts = texts[page], states.texts(document.doc_name)[page]
                    if not words(quote) or not parts:
                        continue
                    assert parts == passages(text, 30), "the states are of other texts: make them again"
                    read, _ = states.page(document.doc_name, page)
                    with torch.inference_mode():
                        cosines = (asked.vectors @ head.page(read).T).numpy()
                    start = time.perf_counter()
                    spans = token_spans(text, parts, encoder.offsets(parts, most=PASSAGE_TOKENS))
                    units = cut(text, running)
                    if not units.spans:
                        continue
                    values = features(question.question, text, units, Matches(spans, cosines, asked.importance.numpy()))
                    spent = time.perf_counter() - start
                    kind, place = question.type or "unknown", fold[document.doc_name]
                    first = begin(quote, units)
                    rows.append(Row(document.doc_name, place, kind, question.question, quote, text, units, values, first, spent))
        tell(f"{name}: rows", len(rows), None)
    return rows


def begin(quote: str, units: Units) -> int | None:
    """The first unit of the shortest stretch that holds a quote."""
    wanted = Counter(words(quote))
    total = sum(wanted.values())
    bags = [Counter(words(text)) for text in units.texts]
    best: tuple[int, int] | None = None
    for i, bag in enumerate(bags):
        if not bag & wanted:
            continue
        held: Counter[str] = Counter()
        size = 0
        for j in range(i, len(bags)):
            held += bags[j]
            size += units.lengths[j]
            if size > 2 * total + 30:
                break
            if (held & wanted).total() >= COVERED * total:
                best = min(best or (size, i), (size, i))
                break
    return best and best[1]


def fit(rows: Sequence[Row], columns: Sequence[int]) -> np.ndarray[Any, Any]:
    """One weight a column, by a softmax over the units of each page."""
    known = [row for row in rows if row.first is not None]
    data = [torch.tensor(row.values[:, columns], dtype=torch.float32) for row in known]
    spread = torch.cat(data).std(0).clamp_min(1e-6)
    data = [one / spread for one in data]
    weight = torch.zeros(len(columns), requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(data) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps + 1)
    rng = np.random.default_rng(0)
    for _ in range(EPOCHS):
        order = rng.permutation(len(data))
        for k in range(len(data) // BATCH):
            loss = torch.zeros(())
            for i in order[k * BATCH : (k + 1) * BATCH]:
                loss = loss - (data[i] @ weight).log_softmax(0)[known[i].first]
            optimizer.zero_grad()
            (loss / BATCH).backward()
            optimizer.step()
            schedule.step()
    return (weight.detach() / spread).numpy()


def shown(row: Row, weights: np.ndarray[Any, Any], columns: Sequence[int]) -> str:
    """The evidence, as it would stand in a result."""
    return JOIN.join(passage.text for passage in passages_at(row.text, row.units, row.values[:, columns] @ weights))


def measure(rows: Sequence[Row], texts: Sequence[str], seconds: float) -> dict[str, Any]:
    """Share covered, with a 95 % interval over documents, words, and time."""
    held = np.array([share_held(row.quote, text) >= COVERED for row, text in zip(rows, texts, strict=True)], dtype=float)
    sizes = [len(words(text)) for text in texts]
    documents = sorted({row.doc_name for row in rows})
    by_document = [[i for i, row in enumerate(rows) if row.doc_name == name] for name in documents]
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(2000):
        places = np.concatenate([by_document[k] for k in rng.integers(0, len(documents), len(documents))]).astype(int)
        drawn.append(held[places].mean())
    by_type = {kind: held[[row.type == kind for row in rows]] for kind in sorted({row.type for row in rows})}
    return {
        "n": len(rows), "documents": len(documents), "covered": round(float(held.mean()), 4),
        "interval": [round(float(x), 4) for x in np.percentile(drawn, [2.5, 97.5])],
        "words_mean": round(float(np.mean(sizes)), 1), "words_p95": float(np.percentile(sizes, 95)),
        "ms_a_page": round(1000 * seconds / len(rows), 1),
        "by_type": {kind: [len(own), round(float(own.mean()), 4)] for kind, own in by_type.items()},
    }  # fmt: skip


def tell(stage: str, done: int, total: int | None) -> None:
    """Progress on standard error."""
    sys.stderr.write(f"{stage} {done}{'' if total is None else f'/{total}'}\n")


HEAD = """\"\"\"What each feature of a line counts for as the place where the answer begins.

Made by ``{command}``.
\"\"\"
"""
SAID = {
    "WEIGHTS": "By name, in the order of the features; with a model's matches.",
    "WEIGHTS_OF_TERMS": "The same without a model.",
}


def written(found: dict[str, np.ndarray[Any, Any]], command: str) -> str:
    """The module of the weights."""
    lines = [HEAD.format(command=command)]
    for name, names in SETS.items():
        values = [f'    "{one}": {value:.4f},' for one, value in zip(names, found[name], strict=True)]
        lines += [f"{name}: dict[str, float] = {{", *values, "}", f'"""{SAID[name]}"""', ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Fit, measure, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--states", type=Path, required=True)
    parser.add_argument("--corpora", nargs="*", default=["opendocs", "opendocs-more"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    rows = rows_of(given.folder, States(given.states), given.corpora)
    every = (*MATCHES, *TERMS)
    table, final = {}, {}
    for name, names in SETS.items():
        columns = [every.index(one) for one in names]
        texts = [""] * len(rows)
        spent = 0.0
        for k in range(FOLDS):
            weights = fit([row for row in rows if row.fold != k], columns)
            start = time.perf_counter()
            for i, row in enumerate(rows):
                if row.fold == k:
                    texts[i] = shown(row, weights, columns)
            spent += time.perf_counter() - start
        table[name] = measure(rows, texts, spent + sum(row.seconds for row in rows))
        final[name] = fit(rows, columns)
        print(name, json.dumps(table[name]))
        print({one: round(float(v), 3) for one, v in zip(names, final[name], strict=True)})
    command = " ".join(["python", *(a for a in sys.argv if a != "--write")])
    if given.json:
        given.json.write_text(json.dumps({"made_by": command, **table}, indent=1) + "\n", encoding="utf-8")
    if given.write:
        Path(evidence_weights.__file__).write_text(written(final, command), encoding="utf-8")


if __name__ == "__main__":
    main()
