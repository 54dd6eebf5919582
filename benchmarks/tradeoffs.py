"""What is saved, and what is lost, when a model thinks less or sees less: seconds and Recall@1 at several settings.

    python benchmarks/tradeoffs.py runs/smoke/corpus --model runs/smoke/sft --split test --think-tokens 8 16 32 64
    python benchmarks/tradeoffs.py runs/smoke/corpus --model runs/smoke/sft --split test --keep 0.5 0.25 --methods logits reason

The model needs a checkpoint that ranks: random weights give times alone. Every page of a question's document is a candidate, in
page order. Pages have been through the vision tower before the clock starts, and nothing else is kept between settings. Beside
each share of visual tokens stands what as many tokens give that are drawn at random (``random``) instead of chosen by the
question. A change of Recall@1 against the full setting comes with the questions won and lost.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mmr5 import metrics
from mmr5.corpora import load_corpus
from mmr5.engines import open_engine
from mmr5.engines.loading import import_torch
from mmr5.engines.runtime import pruning
from mmr5.engines.transformers import TransformersEngine
from mmr5.methods import MethodSettings, method
from mmr5.types import Candidates

METHODS = ("reason", "direct", "logits", "pointwise", "likelihood")


@dataclass(frozen=True)
class Outcome:
    """One setting of one method.

    Attributes:
        method: its name.
        setting: as shown.
        hits: Recall@1 of each question.
        seconds: a question.
        read: tokens read a question.
        written: tokens written a question.
        clean: share of replies that needed no repair.
    """

    method: str
    setting: str
    hits: tuple[float, ...]
    seconds: float
    read: float
    written: float
    clean: float

    @property
    def recall(self) -> float:
        """Mean Recall@1."""
        return metrics.micro(self.hits)


class Bench:
    """A model and the questions of a corpus, each with all pages of its document.

    Args:
        engine: the model.
        lists: the candidates of each question.
        relevant: their relevant pages.
        batch: questions asked together.
        constrain: constrained answers.
        tokens: most tokens of a list-wise reply.
        clock: tells seconds.
    """

    def __init__(
        self,
        engine: TransformersEngine,
        lists: Sequence[Candidates],
        relevant: Sequence[Sequence[int]],
        *,
        batch: int = 16,
        constrain: bool = False,
        tokens: int = 512,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.engine, self.lists, self.relevant = engine, lists, relevant
        self._batch, self._clock = batch, clock
        self._options: dict[str, Any] = {"max_new_tokens": tokens, "constrain": constrain, "notes": 0}

    def measure(self, name: str, setting: str, **options: Any) -> Outcome:
        """Ask all questions by one method under one setting; the second of two passes over a few is a warm-up."""
        view = "image" if self.engine.capabilities.images else "text"
        settings = MethodSettings(view=view, **{**self._options, **options})
        rank = method(name)
        rank(self.engine, self.lists[:2], settings)
        self._forget()
        rankings, spent = [], 0.0
        for start in range(0, len(self.lists), self._batch):
            part = self.lists[start : start + self._batch]
            if view == "image":
                with import_torch().inference_mode():
                    self.engine._reader.pages.get([p.image for c in part for p in c.pages])  # type: ignore[attr-defined]
            begun = self._clock()
            rankings += rank(self.engine, part, settings)
            spent += self._clock() - begun
        n = len(self.lists)
        hits = tuple(metrics.recall(r.order, gold, 1) for r, gold in zip(rankings, self.relevant, strict=True))
        read, written = (sum(getattr(r.usage, f"{kind}_tokens") for r in rankings) / n for kind in ("prompt", "completion"))
        return Outcome(name, setting, hits, spent / n, read, written, sum(not r.issues for r in rankings) / n)

    def at_random(self, name: str, share: float) -> Outcome:
        """As many visual tokens, drawn at random."""
        chosen, draw = pruning.strongest, random.Random(0)  # noqa: S311 - a sample, not a secret
        pruning.strongest = lambda worth, n: tuple(sorted(draw.sample(range(len(worth)), n)))
        try:
            self._forget()
            return self.measure(name, f"random {share:g}", keep=share)
        finally:
            pruning.strongest = chosen
            self._forget()

    def _forget(self) -> None:
        """Nothing but the features of pages is kept between settings."""
        reader: Any = self.engine._reader
        reader.prefixes.clear()
        if reader.pruner is not None:
            reader.pruner.remembered.clear()


def questions(
    corpus: str, split: str | None, limit: int | None, ocr: str = "auto"
) -> tuple[list[Candidates], list[tuple[int, ...]]]:
    """The questions of a corpus, each with all pages of its document, and their relevant pages."""
    loaded = load_corpus(corpus, ocr=ocr).split(split)
    lists, relevant = [], []
    for document, asked in loaded.by_document():
        pages = tuple(loaded.document_pages(document.doc_name))
        for question in asked:
            lists.append(Candidates(question.question, pages))
            relevant.append(question.page_ids)
    return lists[:limit], relevant[:limit]


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Lines of Markdown; the first outcome of a method is what its others are compared with."""
    lines = [
        "| method | setting | Recall@1 | won / lost | ms a question | times | tokens read | written | clean |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    first: dict[str, Outcome] = {}
    for one in outcomes:
        full = first.setdefault(one.method, one)
        pairs = list(zip(one.hits, full.hits, strict=True))
        changed = f"{sum(a > b for a, b in pairs)} / {sum(a < b for a, b in pairs)}" if one is not full else ""
        lines.append(
            f"| {one.method} | {one.setting} | {one.recall:.3f} | {changed} | {1000 * one.seconds:.0f} | "
            f"{full.seconds / one.seconds:.2f} | {one.read:.0f} | {one.written:.0f} | {one.clean:.0%} |"
        )
    return lines


def settings(bench: Bench, args: argparse.Namespace) -> Iterator[Outcome]:
    """One outcome a method and setting, as they are measured."""
    for name in args.methods:
        yield bench.measure(name, "full")
        for n in args.think_tokens if name == "reason" else ():
            yield bench.measure(name, f"think {n}", think_tokens=n)
        for share in args.keep:
            yield bench.measure(name, f"keep {share:g}", keep=share)
            yield bench.at_random(name, share)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", help="a folder with a corpus, or opendocs")
    parser.add_argument("--model", required=True, help="a folder with a checkpoint, or mini-base")
    parser.add_argument("--split")
    parser.add_argument("--ocr", choices=("auto", "never", "always"), default="auto")
    parser.add_argument("--limit", type=int, help="only the first questions")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["reason"])
    parser.add_argument("--think-tokens", nargs="*", type=int, default=[], help="bounds of the reasoning, for reason")
    parser.add_argument("--keep", nargs="*", type=float, default=[], help="shares of visual tokens")
    parser.add_argument("--constrain", action="store_true", help="constrained answers throughout")
    parser.add_argument("--tokens", type=int, default=512, help="most tokens of a list-wise reply")
    parser.add_argument("--batch", type=int, default=16, help="questions asked together")
    parser.add_argument("--max-pixels", type=int, help="pixel budget of a page; the recipe's by default")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall",
        help="cpu counts this process's processor time: for a busy machine, with --threads 1",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="one JSON object a setting on stdout, the table on stderr")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    args = parse(argv)
    if args.threads:
        import_torch().set_num_threads(args.threads)
    lists, relevant = questions(args.corpus, args.split, args.limit, args.ocr)
    engine, _ = open_engine(args.model, device=args.device, dtype=args.dtype, max_pixels=args.max_pixels)
    assert isinstance(engine, TransformersEngine)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    bench = Bench(engine, lists, relevant, batch=args.batch, constrain=args.constrain, tokens=args.tokens, clock=clock)
    out = sys.stderr if args.json else sys.stdout
    print(
        f"{args.model}, {engine.device}, {len(lists)} questions, {len(lists[0].pages)} pages at first, {args.clock} time",
        file=out,
    )
    outcomes: list[Outcome] = []
    for one in settings(bench, args):
        outcomes.append(one)
        lines = table(outcomes)
        print("\n".join(lines if len(outcomes) == 1 else lines[-1:]), file=out, flush=True)
    if args.json:
        for one in outcomes:
            print(json.dumps({"method": one.method, "setting": one.setting, "recall@1": one.recall, "seconds": one.seconds}))


if __name__ == "__main__":
    main()
