"""What each part of the runtime earns: processor time of the same work with the part and without it, in turns.

    python benchmarks/ablation.py mini --method pointwise
    python benchmarks/ablation.py 13m --method logits

``mini`` reads ten pages of about 250 tokens; the other sizes are those of ``random_model.py`` and read ten drawn pages. In every
round each way is asked one question about pages that it has not seen, then one about the same pages. The processor time of the
whole process counts; a ratio is that of one round, the way's time over that of the shipped engine.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # a thread that waits for another must not count
sys.path.insert(0, str(Path(__file__).parent))

from random_model import SIZES, WORDS, build, page, question

from mmr5.engines.loading import import_torch, pick_device, pick_dtype
from mmr5.engines.transformers import TransformersEngine
from mmr5.methods import MethodSettings, method
from mmr5.reranker import Reranker
from mmr5.types import Candidates, Page


class Bench:
    """One model, and the ways of reading with it.

    Args:
        args: the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.sees = args.model != "mini"
        self.pages, self.page_tokens, self.words = args.pages, args.page_tokens, args.words
        if self.sees:
            device = pick_device("cpu")
            self.model, self.processor = build(SIZES[args.model], device=device, dtype=pick_dtype(args.dtype, device))
            own = MethodSettings(view="image")
        else:
            reranker = Reranker.from_pretrained("mini", dtype=args.dtype)
            engine = reranker.engine
            assert isinstance(engine, TransformersEngine)
            self.model, self.processor = engine._model, engine._processor
            own = reranker.settings
        self.settings = replace(own, max_new_tokens=args.tokens, window=max(2, args.pages), overlap=0)

    def ways(self) -> dict[str, Callable[[], TransformersEngine]]:
        """Makers of engines that have seen nothing, the shipped one first."""
        return {
            "shipped": self._engine,
            "caches off": lambda: self._engine(keep_bytes=0),
            "library's own path": lambda: self._engine(caches=False),
        }

    def _engine(self, **options: object) -> TransformersEngine:
        made = TransformersEngine(self.model, self.processor, name="m", max_pixels=self.page_tokens * 784, **options)  # type: ignore[arg-type]
        made._eos = []  # a reply has its full length
        return made

    def candidates(self, seed: int, asked: int) -> Candidates:
        """Pages of a seed, with one of the questions about them."""
        pages = [
            Page("p", i + 1, image=page(seed * 100 + i)) if self.sees else _text(seed * 100 + i, self.words)
            for i in range(self.pages)
        ]
        return Candidates(question(10 * seed + asked), tuple(pages))


def _text(seed: int, words: int) -> Page:
    """A page of so many words, each about 1.4 tokens."""
    draw = random.Random(seed)  # noqa: S311 - words, not a secret
    return Page("p", seed, text=" ".join(f"{draw.choice(WORDS)}{draw.choice('..,;   ')}" for _ in range(words)))


def measure(bench: Bench, name: str, rounds: int, asked: int, ways: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    """Seconds of processor time by question (first, again) and way, one number a round; round 0 is left out."""
    makers = {way: make for way, make in bench.ways().items() if not ways or way in ways or way == "shipped"}
    found: dict[str, dict[str, list[float]]] = {regime: {w: [] for w in makers} for regime in ("first", "again")[:asked]}
    rank = method(name)
    for turn in range(rounds + 1):
        lists = [bench.candidates(turn, i) for i in range(asked)]
        for way, make in makers.items():
            engine = make()
            for regime, candidates in zip(found, lists, strict=True):
                start = time.process_time()
                usage = rank(engine, [candidates], bench.settings)[0].usage
                if turn:
                    found[regime][way].append(time.process_time() - start)
                else:
                    print(f"{regime}, {way}: {usage}", file=sys.stderr, flush=True)
    return found


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=("mini", *SIZES))
    parser.add_argument("--method", default="pointwise")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--page-tokens", type=int, default=64, help="visual tokens of a drawn page at most")
    parser.add_argument("--words", type=int, default=170, help="of a page of text")
    parser.add_argument("--tokens", type=int, default=64, help="most tokens of a list-wise reply")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--asked", type=int, choices=(1, 2), default=2, help="1 leaves out the second question")
    parser.add_argument("--ways", nargs="+", default=(), help="only these, beside the shipped one")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table's lines."""
    args = parse(argv)
    bench = Bench(args)
    found = measure(bench, args.method, args.rounds, args.asked, args.ways)
    kind = str(bench.model.dtype).removeprefix("torch.")
    print(f"{args.model}, {kind}, {import_torch().get_num_threads()} threads, {args.pages} pages", file=sys.stderr)
    for regime, times in found.items():
        for way, spent in times.items():
            ratios = sorted(s / base for s, base in zip(spent, times["shipped"], strict=True))
            middle = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})"
            print(f"| {args.model} | {args.method} | {regime} | {way} | {statistics.median(spent):.2f} | {middle} |")


if __name__ == "__main__":
    main()
