"""Whether every family of models is read as transformers reads it, and whether a page's score depends on its company.

    python benchmarks/exactness.py families
    python benchmarks/exactness.py company --model mini --dtype bfloat16

``families``: tiny checkpoints with random weights, in float32; for each family and method how far the scores of a list lie from
those of the list alone, and whether replies equal transformers' own ``generate``. ``company``: six questions over the pages of
the examples; the greatest difference in log-odds between a page in its list and the same page alone, in half the list, in a
shuffled list, beside five other questions, with one thread, and without kept states; and the time of each way of reading.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from mmr5 import Page, Reranker, read_pages  # noqa: E402
from mmr5.engines.loading import import_torch  # noqa: E402
from mmr5.engines.protocol import Request, Sampling  # noqa: E402
from mmr5.engines.transformers import TransformersEngine  # noqa: E402
from mmr5.methods import MethodSettings, method  # noqa: E402
from mmr5.prompt import listwise  # noqa: E402
from mmr5.types import Candidates  # noqa: E402
from support.families import FAMILIES, build  # noqa: E402
from support.tiny import Picture  # noqa: E402

SIZES = [[(84, 112)], [(56, 56), (140, 84), (60, 60)], [(112, 112), (84, 56)]]
METHODS = ("reason", "direct", "logits", "pointwise", "likelihood")
QUESTIONS = (
    "Which region grew fastest?", "How many containers were handled in 2023?", "Who chairs the safety committee?",
    "What is the depth of the eastern quay?", "Why did costs rise?", "What share of energy came from solar power?",
)  # fmt: skip
TOKENS = 24


def families() -> None:
    """A row a family: for each method the greatest difference in company, ``=`` for none; replies against ``generate``."""
    print(f"| family | {' | '.join(METHODS)} | replies = `generate` | reader |")
    print("|---|" + "---|" * (len(METHODS) + 2))
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            build(family, Path(folder))
            engine = TransformersEngine.from_pretrained(folder, dtype="float32", device="cpu")
        cells = [_company(engine, name) for name in METHODS]
        kind = "pages and openings kept" if type(engine._reader).__name__ == "CachedRunner" else "the model's own pass"
        print(f"| {family} | {' | '.join(cells)} | {_replies(engine)} | {kind} |")


def _company(engine: TransformersEngine, name: str) -> str:
    lists = [
        Candidates("q" * (3 * i + 1), tuple(Page("d.pdf", k, image=p) for k, p in enumerate(_pictures(i), 1)))
        for i in range(len(SIZES))
    ]
    settings = MethodSettings(view="image", max_new_tokens=TOKENS)
    alone = [method(name)(engine, [one], settings)[0] for one in lists]
    together = method(name)(engine, lists, settings)
    if any((a.order, a.reply) != (b.order, b.reply) for a, b in zip(alone, together, strict=True)):
        return "differs"
    pairs = [(x, y) for a, b in zip(alone, together, strict=True) for x, y in zip(a.scores or (), b.scores or (), strict=True)]
    worst = max((abs(x - y) for x, y in pairs), default=0.0)
    return "=" if worst == 0 else f"{worst:.0e}"


def _replies(engine: TransformersEngine) -> str:
    """How many of the prompts, in one ragged batch, are answered as ``generate`` answers each alone."""
    asked = [
        Request(listwise("q" * (3 * i + 1), view="image", think=True, images=_pictures(i)), "<think>\n")
        for i in range(len(SIZES))
    ]
    written = [reply.text for reply in engine.generate(asked, Sampling(TOKENS))]
    plain = TransformersEngine(engine._model, engine._processor, name="plain", caches=False)
    expected = []
    for request in asked:
        inputs = dict(plain._reader.encode(plain.render(request), request).inputs or {})
        for module in engine._model.modules():
            if hasattr(module, "rope_deltas"):
                module.rope_deltas = None
        out = engine._model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        expected.append(engine._tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))
    return f"{sum(a == b for a, b in zip(written, expected, strict=True))} of {len(asked)}"


def _pictures(i: int) -> list[Picture]:
    return [Picture(f"{i}.{k}", size, mark=("red", "blue", "green")[k]) for k, size in enumerate(SIZES[i])]


def company(model: str, dtype: str) -> None:
    """The table of one model."""
    torch = import_torch()
    reranker = Reranker.from_pretrained(model, dtype=dtype, device="cpu")
    pages = [page for file in sorted((ROOT / "examples").rglob("*.pdf")) for page in read_pages(file)][:12]
    whole = {q: _odds(reranker, q, pages) for q in QUESTIONS}
    found: dict[str, list[float]] = {}

    def note(way: str, q: str, other: dict[int, float]) -> None:
        found.setdefault(way, []).append(max(abs(whole[q][i] - v) for i, v in other.items()))

    for q in QUESTIONS:
        note("alone", q, {i: _odds(reranker, q, [page])[0] for i, page in enumerate(pages)})
        note("in half the list", q, _odds(reranker, q, pages[: len(pages) // 2]))
        order = random.Random(1).sample(range(len(pages)), len(pages))  # noqa: S311 - a seeded order
        note("in a shuffled list", q, {order[k]: v for k, v in _odds(reranker, q, [pages[i] for i in order]).items()})
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        note("with one thread", q, _odds(reranker, q, pages))
        torch.set_num_threads(threads)
    for q, result in zip(QUESTIONS, reranker.rerank_many([(q, pages) for q in QUESTIONS]), strict=True):
        note("beside five questions", q, {line.index: _logit(line.score) for line in result})
    reader: Any = reranker.engine._reader  # type: ignore[attr-defined]
    held, reader.prefixes.capacity = reader.prefixes.capacity, 0
    reader.prefixes.clear()
    for q in QUESTIONS:
        note("without kept states", q, _odds(reranker, q, pages))
    reader.prefixes.capacity = held
    print(f"{reranker.model}, {reranker.dtype}, {len(pages)} pages, {len(QUESTIONS)} questions\n")
    print("| a page's log-odds, against those in its list | greatest difference |\n|---|---|")
    for way, values in found.items():
        print(f"| {way} | {max(values):.4f} |")
    distinct = min(len(set(values.values())) for values in whole.values())
    print(f"\nDistinct scores in a list of {len(pages)}: at least {distinct}.")
    engine: Any = reranker.engine
    times: dict[str, list[float]] = {"one by one": [], "in batches": []}
    for _ in range(3):
        for way, alone in (("one by one", True), ("in batches", False)):
            engine._scores_alone = alone
            clock = time.perf_counter()
            for q in QUESTIONS:
                reranker.rerank(q, pages)
            times[way].append(time.perf_counter() - clock)
    ratio = statistics.median(times["one by one"]) / statistics.median(times["in batches"])
    print(f"Time of reading one by one, against batches: {ratio:.2f} (median of three rounds in turns).")


def _odds(reranker: Reranker, question: str, pages: Sequence[Page]) -> dict[int, float]:
    return {line.index: _logit(line.score) for line in reranker.rerank(question, pages)}


def _logit(probability: float | None) -> float:
    assert probability is not None
    return math.log(probability / (1 - probability))


def main() -> None:
    """Parse arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("families", "company"))
    parser.add_argument("--model", default="mini")
    parser.add_argument("--dtype", default="bfloat16")
    args = parser.parse_args()
    if args.what == "families":
        families()
    else:
        company(args.model, args.dtype)


if __name__ == "__main__":
    main()
