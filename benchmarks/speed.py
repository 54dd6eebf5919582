"""How fast questions are answered, against the released flow, side by side in one run.

    python benchmarks/speed.py                          # a CPU: 13 M parameters, 10 pages, 128 forced tokens, under 5 minutes
    python benchmarks/speed.py --size 7b --dtype bfloat16 --page-tokens 768 --tokens 256 --batch 16     # a card

Both sides run the same weights in the same dtype with the same attention over the same pages and prompts, and write the same
number of tokens. *Released*: one question at a time, its pages decoded and put through the image processor each time,
transformers' ``generate``, no page cache. *Ours*: each method of mmr5, all questions in shared batches; and one question at a
time, for latency. *Cold*: every question has pages of its own that were never seen. *Reused*: all questions are about the same
pages, which one question has been asked about before. The rounds are interleaved, and the medians of the rounds count. With
``--json`` the ratios, ours over released in questions a second, are one JSON object on stdout, and the tables go to stderr.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).parent))

from random_model import SIZES, build, page, question

from mmr5 import prompt
from mmr5.engines.loading import import_torch, pick_device, pick_dtype
from mmr5.engines.transformers import TransformersEngine
from mmr5.methods import MethodSettings, method
from mmr5.types import Candidates, Page

clock = time.perf_counter
"""Wall time, or this process's time on a processor (``--clock cpu``)."""
METHODS = ("reason", "direct", "logits", "pointwise", "likelihood")
REGIMES = ("cold", "reused")


@dataclass
class Timing:
    """What was measured of one way in one regime.

    Attributes:
        batch: seconds a question with all questions in shared batches, one number a round.
        single: seconds of each question asked alone.
        tokens: tokens written a question.
        peak: most memory, in bytes.
    """

    batch: list[float] = field(default_factory=list)
    single: list[float] = field(default_factory=list)
    tokens: float = 0.0
    peak: int = 0

    @property
    def rate(self) -> float:
        """Questions a second."""
        return 1 / statistics.median(self.batch or self.single)


class Bench:
    """One model, both flows over it.

    Args:
        args: the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        torch = import_torch()
        if args.threads:
            torch.set_num_threads(args.threads)
        self.args = args
        self.device = pick_device(args.device)
        self.dtype = pick_dtype(args.dtype, self.device)
        self.max_pixels = args.page_tokens * 784
        self.model, self.processor = build(SIZES[args.size], device=self.device, dtype=self.dtype, attention=args.attention)
        self.timings: dict[tuple[str, str], Timing] = {}
        self._made = 0

    def engine(self) -> TransformersEngine:
        """An engine that has seen nothing yet and never ends a reply by itself."""
        made = TransformersEngine(
            self.model, self.processor, name="random", max_pixels=self.max_pixels, batch_tokens=self.args.batch_tokens
        )
        made._eos = []
        return made

    def fresh(self, n: int) -> list[Candidates]:
        """Questions, each with pages of its own that nobody has seen."""
        lists = []
        for _ in range(n):
            pages = [page(self._made + i) for i in range(self.args.pages)]
            lists.append(_candidates(self._made, pages))
            self._made += self.args.pages
        return lists

    def again(self, n: int) -> list[Candidates]:
        """Questions about the same pages."""
        self._made += n
        pages = [page(i) for i in range(self.args.pages)]
        return [_candidates(self._made - n + i, pages) for i in range(n)]

    def released(self, candidates: Candidates) -> dict[str, float]:
        """One question in the released flow; seconds by part."""
        torch = import_torch()
        start = clock()
        sources = [p.image for p in candidates.pages if p.image is not None]
        pictures = [source.load() for source in sources]
        decoded = clock()
        messages = prompt.listwise(candidates.query, view="image", think=True, images=sources)
        shown = [
            {"role": m["role"], "content": [{"type": "image"} if p["type"] == "image" else p for p in m["content"]]}
            for m in messages
        ]
        text = self.processor.apply_chat_template(shown, tokenize=False, add_generation_prompt=True)
        limits = {"size": {"shortest_edge": 784, "longest_edge": self.max_pixels}}
        batch = self.processor(text=[text], images=pictures, return_tensors="pt", images_kwargs=limits).to(self.device)
        ready = clock()
        n = self.args.tokens
        with torch.inference_mode():
            out = self.model.generate(**batch, max_new_tokens=n, min_new_tokens=n, do_sample=False)
        self.wait()
        assert out.shape[1] - batch["input_ids"].shape[1] == n
        done = clock()
        return {"decode": decoded - start, "process": ready - decoded, "generate": done - ready, "all": done - start}

    def ours(self, engine: TransformersEngine, name: str, lists: Sequence[Candidates]) -> tuple[float, float]:
        """Questions by one method: seconds a question, tokens written a question."""
        settings = MethodSettings(
            view="image", max_new_tokens=self.args.tokens, notes=0, window=max(2, self.args.pages), overlap=0, keep=self.args.keep
        )
        start = clock()
        rankings = method(name)(engine, lists, settings)
        self.wait()
        spent = clock() - start
        return spent / len(lists), sum(r.usage.completion_tokens for r in rankings) / len(lists)

    def round(self, methods: Sequence[str]) -> None:
        """One round of everything."""
        for regime in REGIMES:
            make = self.fresh if regime == "cold" else self.again
            found = self.timings.setdefault((regime, "released"), Timing())
            self.peak()
            found.single += [self.released(c)["all"] for c in make(self.args.released)]
            found.tokens, found.peak = self.args.tokens, max(found.peak, self.peak())
            for name in methods:
                timing = self.timings.setdefault((regime, name), Timing())
                engine = self.engine()
                if regime == "reused":
                    self.ours(engine, name, self.again(1))
                self.peak()
                seconds, timing.tokens = self.ours(engine, name, make(self.args.batch))
                timing.batch.append(seconds)
                timing.peak = max(timing.peak, self.peak())
                timing.single += [self.ours(engine, name, [c])[0] for c in make(self.args.singles)]

    def warm(self, methods: Sequence[str]) -> None:
        """Run everything once, so that nothing is measured that happens once in a process."""
        self.released(self.fresh(1)[0])
        for name in methods:
            self.ours(self.engine(), name, self.fresh(1))

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.device.type == "cuda":
            import_torch().cuda.synchronize()

    def peak(self) -> int:
        """Most memory since the last call, in bytes: of the card, or resident of this process."""
        gc.collect()
        torch = import_torch()
        if self.device.type == "cuda":
            peak = int(torch.cuda.max_memory_allocated())
            torch.cuda.reset_peak_memory_stats()
            return peak
        try:
            status = Path("/proc/self/status").read_text(encoding="ascii")
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
        except OSError:
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _candidates(seed: int, pictures: Sequence[Any]) -> Candidates:
    return Candidates(question(seed), tuple(Page("drawn", i + 1, image=p) for i, p in enumerate(pictures)))


def table(bench: Bench, regime: str, methods: Sequence[str]) -> list[str]:
    """The lines of a regime's table."""
    base = bench.timings[regime, "released"]
    lines = [
        "| way | questions/s | ratio | alone: ratio | alone: p50 ms | p95 ms | tokens/s | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in ("released", *methods):
        timing = bench.timings[regime, name]
        single = sorted(timing.single)
        middle, late = 1000 * statistics.median(single), 1000 * single[min(len(single) - 1, int(0.95 * len(single)))]
        alone = 1000 * statistics.median(base.single) / middle
        lines.append(
            f"| {name} | {timing.rate:.2f} | {timing.rate / base.rate:.1f} | {alone:.1f} | {middle:.0f} | {late:.0f} | "
            f"{timing.tokens * timing.rate:.0f} | {timing.peak / 1e6:.0f} |"
        )
    return lines


def parts(bench: Bench) -> str:
    """Where the released flow's time goes, in milliseconds a question."""
    torch = import_torch()
    found = [bench.released(c) for c in bench.fresh(2)]
    tokens, bench.args.tokens = bench.args.tokens, 1
    first = [bench.released(c)["generate"] for c in bench.fresh(2)]
    bench.args.tokens = tokens
    vision = []
    for candidates in bench.fresh(2):
        pictures = [p.image.load() for p in candidates.pages if p.image is not None]
        limits = {"longest_edge": bench.max_pixels, "shortest_edge": 784}
        batch = bench.processor.image_processor(images=pictures, return_tensors="pt", size=limits).to(bench.device)
        start = clock()
        with torch.inference_mode():
            bench.model.get_image_features(batch["pixel_values"].to(bench.dtype), batch["image_grid_thw"])
        bench.wait()
        vision.append(clock() - start)
    least = {key: min(f[key] for f in found) for key in found[0]}
    steps = least["generate"] - min(first)
    named = {"decode images": least["decode"], "image processor": least["process"], "vision tower": min(vision),
             "prefill": min(first) - min(vision), f"{tokens - 1} steps": steps}  # fmt: skip
    return " · ".join(f"{name} {1000 * value:.0f} ms" for name, value in named.items())


def roofline(bench: Bench) -> str:
    """Measured speed against what the matrix products and the memory of this machine allow."""
    torch = import_torch()
    text = bench.model.model.language_model
    size, length = SIZES[bench.args.size], bench.args.pages * bench.args.page_tokens
    decoder = sum(p.numel() for layer in text.layers for p in layer.parameters())
    flops = 2 * decoder * length + 2 * size.layers * size.hidden * length * length
    side = 8192 if bench.device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=bench.device, dtype=bench.dtype) for _ in range(2))
    product = 2 * side**3 / _best(bench, lambda: a @ b)
    moved = 2 * a.nbytes / _best(bench, lambda: b.copy_(a))
    engine = bench.engine()
    lists = bench.again(1)
    bench.ours(engine, "logits", lists)
    prefill = min(bench.ours(engine, "logits", lists)[0] for _ in range(3))
    weights = sum(p.nbytes for layer in text.layers for p in layer.parameters()) + bench.model.lm_head.weight.nbytes
    spent, tokens = min(bench.ours(engine, "direct", lists) for _ in range(2))
    speed, flow = flops / prefill, weights * tokens / max(1e-9, spent - prefill)
    return (
        f"roofline: prefill {speed / 1e9:.0f} of {product / 1e9:.0f} GFLOP/s ({speed / product:.0%}); "
        f"a step at batch 1 moves {flow / 1e9:.1f} of {moved / 1e9:.1f} GB/s ({flow / moved:.0%})"
    )


def matmul_seconds(dtype: str, rows: int = 512, width: int = 1024) -> float:
    """Best of six timings of a (rows, width) by (width, width) matrix product on this CPU, in seconds."""
    torch = import_torch()
    kind = getattr(torch, dtype)
    a, b = torch.ones(rows, width, dtype=kind), torch.ones(width, width, dtype=kind)
    best = float("inf")
    for _ in range(6):
        start = time.perf_counter()
        torch.matmul(a, b)
        best = min(best, time.perf_counter() - start)
    return best


def _best(bench: Bench, work: Callable[[], object]) -> float:
    times = []
    for _ in range(4):
        start = clock()
        work()
        bench.wait()
        times.append(clock() - start)
    return max(1e-9, min(times))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="13m", help="shape of the model; its weights are random")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="of both sides; auto measures it on a CPU")
    parser.add_argument("--attention", default="sdpa", help="of both sides")
    parser.add_argument("--threads", type=int, help="of torch")
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--page-tokens", type=int, default=64, help="visual tokens of a page at most")
    parser.add_argument("--keep", type=float, default=1.0, help="share of visual tokens that our side reads")
    parser.add_argument("--tokens", type=int, default=128, help="forced length of a reply")
    parser.add_argument("--batch", type=int, default=8, help="questions that are asked together")
    parser.add_argument("--batch-tokens", type=int, help="token budget of a batch; the engine's own by default")
    parser.add_argument("--released", type=int, default=3, help="questions of the released flow in a round")
    parser.add_argument("--singles", type=int, default=3, help="questions that are asked alone in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu counts this process's processor time: for a busy machine, with --threads 1",
    )
    parser.add_argument("--json", action="store_true", help="the ratios alone on stdout")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    global clock
    args = parse(argv)
    clock = time.perf_counter if args.clock == "wall" else time.process_time
    out: TextIO = sys.stderr if args.json else sys.stdout
    bench = Bench(args)
    torch = import_torch()
    parameters = sum(p.numel() for p in bench.model.parameters())
    print(
        f"Qwen2.5-VL, {parameters / 1e6:.1f} M random parameters, {str(bench.dtype).removeprefix('torch.')}, {bench.device}, "
        f"{torch.get_num_threads()} threads, {args.clock} time; {args.pages} pages of at most {args.page_tokens} tokens, "
        f"{args.tokens} forced tokens",
        file=out,
    )
    if bench.device.type == "cpu":
        kinds = {kind: matmul_seconds(kind) * 1000 for kind in ("float32", "bfloat16")}
        print("matrix product: " + ", ".join(f"{k} {v:.1f} ms" for k, v in kinds.items()), file=out)
    bench.warm(args.methods)
    print(f"released flow, a question: {parts(bench)}", file=out)
    for _ in range(args.rounds):
        bench.round(args.methods)
    for regime in REGIMES:
        print(f"\n{regime}, {args.batch} questions together\n", *table(bench, regime, args.methods), sep="\n", file=out)
    print("\n" + roofline(bench), file=out)
    if args.json:
        rates = {key: timing.rate for key, timing in bench.timings.items()}
        print(json.dumps({r: {m: round(rates[r, m] / rates[r, "released"], 2) for m in args.methods} for r in REGIMES}))


if __name__ == "__main__":
    main()
