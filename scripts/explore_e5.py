"""Explore a cross-encoder grown from multilingual-e5-small, by folds of training documents.

    python scripts/explore_e5.py lists  --out runs/e5                       # candidates of the default first stage, once
    python scripts/explore_e5.py train  --out runs/e5/a --lists runs/e5/lists.jsonl --fold 0 --steps 330
    python scripts/explore_e5.py scores --out runs/e5/a --lists runs/e5/lists.jsonl --fold 0 --questions 4
    python scripts/explore_e5.py report runs/e5/a/scores.jsonl

A group is one relevant page of a question and others out of the first stage's first 24; of an unanswerable question all pages
are irrelevant. The input is the question and an excerpt of the page as one pair; the score is a two-layer head on the mean of the
last states. The loss is the softmax of the relevant page in its group (of the score alone, or with a share of the first stage's
log-odds added) + a share of the binary cross-entropy. Embeddings are frozen. A killed training goes on from its last checkpoint.
``report`` gives Recall of the first stage, of the score alone, and of sums of both, by kind, type of evidence and language.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from first_stage_folds import FOLDS, folds_of

from mmr5.corpora import load_corpus
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import intervals
from mmr5.excerpts import excerpt
from mmr5.languages import ENGLISH
from mmr5.metrics import recall, score
from mmr5.models.e5 import checkpoint
from mmr5.retrieval import find_candidates, open_retriever
from mmr5.types import Page

CORPORA = ("opendocs", "opendocs-more", "opendocs-multilingual")
DEPTH = 24
CANDIDATES = 10
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
Line = dict[str, Any]


class Scorer(torch.nn.Module):
    """The encoder with its head: pairs of token lists → log-odds."""

    def __init__(self) -> None:
        super().__init__()
        import transformers

        folder = checkpoint()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.encoder = transformers.BertModel.from_pretrained(
            folder, dtype=torch.float32, add_pooling_layer=False, attn_implementation="sdpa"
        )
        for weight in self.encoder.embeddings.parameters():
            weight.requires_grad_(False)
        width = self.encoder.config.hidden_size
        self.head = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.Tanh(), torch.nn.Linear(width, 1))

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def pair(self, question: str, text: str, page_tokens: int) -> tuple[str, str]:
        """What is read of a page for a question."""
        return f"query: {question}", f"passage: {excerpt(question, text, page_tokens, self.count)}"

    def forward(self, pairs: Sequence[tuple[str, str]]) -> torch.Tensor:
        """Log-odds of pairs, (pairs,)."""
        coded = self.tokenizer(
            [a for a, _ in pairs],
            [b for _, b in pairs],
            padding=True,
            truncation="only_second",
            max_length=510,
            return_tensors="pt",
        )
        mask = coded["attention_mask"]
        states = self.encoder(input_ids=coded["input_ids"], attention_mask=mask).last_hidden_state.float()
        pooled = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.head(pooled).squeeze(-1).float()


def make_lists(out: Path) -> None:
    """One line a training question: its pages of the default first stage with their scores."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lists.jsonl").open("w", encoding="utf-8") as stream:
        for name in CORPORA:
            corpus = load_corpus(name).split("train")
            for document, questions in corpus.by_document():
                pages = corpus.document_pages(document.doc_name)
                index = open_retriever("hybrid", pages)
                for question in questions:
                    found = find_candidates(question.question, pages, index, DEPTH)
                    said, written = question.language or ENGLISH, document.language or ENGLISH
                    record = {
                        "corpus": name,
                        "qid": question.qid,
                        "doc_name": document.doc_name,
                        "domain": document.domain,
                        "question": question.question,
                        "kind": "cross" if said != written else "english" if said == ENGLISH else "same",
                        "language": said,
                        "type": question.type or "unknown",
                        "hard": question.kind,
                        "relevant": list(question.page_ids),
                        "candidates": [found.index_of(i) for i in range(len(found))],
                        "scores": [round(s, 4) for s in found.scores or ()],
                    }
                    stream.write(json.dumps(record, ensure_ascii=False) + "\n")
                sys.stderr.write(f"\r{name} {document.doc_name}          ")


class Texts:
    """Texts of the pages of training documents, read when asked for."""

    def __init__(self) -> None:
        self._corpora = {name: load_corpus(name).split("train") for name in CORPORA}
        self._held: dict[str, list[str]] = {}

    def __call__(self, line: Line, page: int) -> str:
        """The text of a page of a question's document."""
        name = line["doc_name"]
        if name not in self._held:
            pages: Sequence[Page] = self._corpora[line["corpus"]].document_pages(name)
            self._held[name] = [p.text or "" for p in pages]
        return self._held[name][page]


def groups(lines: Sequence[Line], pages: int, passes: int, seed: int) -> list[tuple[Line, list[int], bool]]:
    """Question, page ids and whether the first is relevant, in training order."""
    made = []
    for number in range(passes):
        order = list(lines)
        random.Random(f"{seed}:{number}").shuffle(order)
        for line in order:
            draw = random.Random(f"{seed}:{number}:{line['qid']}")
            bad = [p for p in line["candidates"] if p not in line["relevant"]]
            if not bad:
                continue
            good = [draw.choice(line["relevant"])] if line["relevant"] else []
            hard = draw.sample(bad[:8], min(pages // 2, len(bad[:8])))
            rest = [p for p in bad if p not in hard]
            others = hard + draw.sample(rest, min(pages - len(good) - len(hard), len(rest)))
            made.append((line, good + others, bool(good)))
    return made


def train(given: argparse.Namespace) -> None:
    """Train on all folds but one."""
    torch.manual_seed(given.seed)
    lines = [json.loads(x) for x in given.lists.read_text(encoding="utf-8").splitlines()]
    folds = folds_of([x["doc_name"] for x in lines])
    lines = [x for x in lines if folds[x["doc_name"]] != given.fold]
    made = groups(lines, given.pages, given.passes, given.seed)
    model, texts = Scorer(), Texts()
    weights = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=given.rate, weight_decay=0.01)
    total = min(given.steps or len(made), len(made) // given.batch)
    warm = max(1, total // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (total - step) / max(1, total - warm)))
    )
    given.out.mkdir(parents=True, exist_ok=True)
    file, start = given.out / "state.pt", 0
    if file.exists():
        state = torch.load(file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        start = state["step"]
    held: list[tuple[float, float, float]] = []
    began = time.perf_counter()
    with (given.out / "log.jsonl").open("a", encoding="utf-8") as log:
        for step in range(start, total):
            model.train()
            optimizer.zero_grad()
            for line, pages, has_answer in made[step * given.batch : (step + 1) * given.batch]:
                pairs = [model.pair(line["question"], texts(line, p), given.page_tokens) for p in pages]
                with torch.autocast("cpu", torch.bfloat16, enabled=not given.float32):
                    found = model(pairs)
                first = torch.tensor(
                    [line["scores"][line["candidates"].index(p)] if p in line["candidates"] else 0.0 for p in pages]
                )
                labels = torch.tensor([float(p in line["relevant"]) for p in pages])
                ranked = (found + given.first_stage_share * first).log_softmax(0)
                rank_loss = -ranked[0] if has_answer else torch.zeros(())
                binary = torch.nn.functional.binary_cross_entropy_with_logits(found, labels)
                ((rank_loss + given.binary_share * binary) / given.batch).backward()
                if has_answer:
                    held.append((float(rank_loss.detach()), float(binary.detach()), float(found.argmax() == 0)))
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            if (step + 1) % 10 == 0:
                means = [round(sum(column) / len(held), 4) for column in zip(*held, strict=True)]
                record = dict(zip(("rank", "binary", "hits"), means, strict=True)) | {
                    "step": step + 1, "of": total, "seconds": round((time.perf_counter() - began) / (step + 1 - start), 2),
                }  # fmt: skip
                log.write(json.dumps(record) + "\n")
                log.flush()
                held.clear()
            if (step + 1) % given.save == 0 or step + 1 == total:
                draft = file.with_suffix(".part")
                torch.save(
                    {
                        "model": model.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(),
                        "step": step + 1,
                    },
                    draft,
                )
                draft.replace(file)


def measure(given: argparse.Namespace) -> None:
    """Scores of the ten candidates of questions of the fold that was left out; what the file holds is not measured again."""
    lines = [json.loads(x) for x in given.lists.read_text(encoding="utf-8").splitlines()]
    folds = folds_of([x["doc_name"] for x in lines])
    by_document: dict[str, list[Line]] = {}
    for line in lines:
        if folds[line["doc_name"]] == given.fold:
            by_document.setdefault(line["doc_name"], []).append(line)
    model, texts = Scorer(), Texts()
    model.load_state_dict(torch.load(given.out / "state.pt", weights_only=True)["model"])
    model.eval()
    file = given.out / "scores.jsonl"
    done = {json.loads(x)["qid"] for x in file.read_text(encoding="utf-8").splitlines()} if file.exists() else set()
    with file.open("a", encoding="utf-8") as stream, torch.inference_mode():
        for name, own in by_document.items():
            drawn = random.Random(name).sample(own, min(given.questions, len(own))) if given.questions else own
            for line in drawn:
                if line["qid"] in done:
                    continue
                pages = line["candidates"][:CANDIDATES]
                start = time.perf_counter()
                pairs = [model.pair(line["question"], texts(line, p), given.page_tokens) for p in pages]
                with torch.autocast("cpu", torch.bfloat16, enabled=not given.float32):
                    found = [round(v, 4) for v in model(pairs).tolist()]
                record = line | {"model": found, "fold": given.fold, "seconds": round(time.perf_counter() - start, 3)}
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")
                stream.flush()


def report(files: Sequence[Path]) -> None:
    """Recall of the sums, and the gain of a weight of 1 with its interval."""
    lines = [json.loads(x) for file in files for x in file.read_text(encoding="utf-8").splitlines()]
    asked = [x for x in lines if x["relevant"]]
    for label, key in (("all", lambda x: "all"), ("kind", lambda x: x["kind"]), ("type", lambda x: f"{x['kind']} {x['type']}"),
                       ("language", lambda x: f"{x['kind']} {x['language']}")):  # fmt: skip
        for group in sorted({key(x) for x in asked}):
            mine = [x for x in asked if key(x) == group]
            if len(mine) < 8:
                continue
            print(f"{label} {group}: {len(mine)} questions, {len({x['doc_name'] for x in mine})} documents")
            for weight in (*WEIGHTS, None) if label in ("all", "kind") else (0.0, 1.0):
                orders = [order_of(x, weight) for x in mine]
                cells = [
                    sum(recall(o, x["relevant"], k) for o, x in zip(orders, mine, strict=True)) / len(mine) for k in (1, 3, 5)
                ]
                print(f"    {'alone' if weight is None else weight}: " + " ".join(f"{c:.3f}" for c in cells))
            if label in ("all", "kind"):
                rows = [RunLine(x["qid"], x["doc_name"], x["domain"], "", tuple(x["relevant"]), (), ()) for x in mine]
                was, now = ([score(order_of(x, w), x["relevant"]) for x in mine] for w in (0.0, 1.0))
                drawn = intervals(rows, was, now, None, seed=0, resamples=4000)["micro"]
                print("    gain of weight 1:", {k: [round(v, 3) for v in drawn[k]] for k in ("recall@1", "recall@3", "recall@5")})
    print("seconds a question, median:", sorted(x["seconds"] for x in lines)[len(lines) // 2])


def order_of(line: Line, weight: float | None) -> list[int]:
    """Page ids by the sum of the first stage's log-odds and the model's, or by the model's alone."""
    pages = line["candidates"][:CANDIDATES]
    values = line["model"] if weight is None else [f + weight * m for f, m in zip(line["scores"], line["model"], strict=False)]
    return [pages[i] for i in sorted(range(len(pages)), key=lambda i: (-values[i], i))]


def main() -> None:
    """Make lists, train, score, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("lists").add_argument("--out", type=Path, required=True)
    verbs.add_parser("report").add_argument("files", type=Path, nargs="+")
    for verb in ("train", "scores"):
        own = verbs.add_parser(verb)
        own.add_argument("--out", type=Path, required=True)
        own.add_argument("--lists", type=Path, required=True)
        own.add_argument("--fold", type=int, choices=range(FOLDS), required=True)
        own.add_argument("--page-tokens", type=int, default=200)
        own.add_argument("--questions", type=int, default=0, help="of a document that are scored; 0 for all")
        own.add_argument("--pages", type=int, default=6)
        own.add_argument("--passes", type=int, default=1)
        own.add_argument("--steps", type=int, default=0)
        own.add_argument("--batch", type=int, default=4, help="groups in a step")
        own.add_argument("--rate", type=float, default=8e-5)
        own.add_argument("--binary-share", type=float, default=0.3)
        own.add_argument("--first-stage-share", type=float, default=0.0)
        own.add_argument("--seed", type=int, default=1)
        own.add_argument("--save", type=int, default=20)
        own.add_argument("--float32", action="store_true")
    given = parser.parse_args()
    if given.verb == "lists":
        make_lists(given.out)
    elif given.verb == "report":
        report(given.files)
    else:
        (train if given.verb == "train" else measure)(given)


if __name__ == "__main__":
    main()
