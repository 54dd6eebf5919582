"""From measured rates to a billion question-page pairs: hours of machines, bytes, shards. Arithmetic alone; it runs nothing.

    python benchmarks/scale_plan.py                                          # the tables of docs/scale.md
    python benchmarks/scale_plan.py --pairs 1e8 --days 7 --rate "mine, measured=2.0 s / 10 pages"

A *pair* is one page looked at for one question. Every rate is a number of seconds for a number of pages on one machine, and says
where it comes from; pass your own, measured on your machine, with ``--rate``.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

PAIRS, CANDIDATES, DAYS, BUSY = 1e9, 10, 30.0, 0.85
A4_POINTS = (595.0, 842.0)
MAX_PIXELS = 1_003_520
UNIT = 28
"""Side of a visual token of Qwen2.5-VL, in pixels."""

SHARD_QUESTIONS = 100_000
"""Questions of one ``mmr5 rerank-run``: see docs/scale.md for what its driver was measured to bear."""
RUN_BYTES = 615
"""Bytes of a line of run.jsonl without its reply: measured, benchmarks/rerank_run.py --driver."""
FIRST_STAGE_BYTES = 349
"""Bytes of a question with ten candidates in a TREC run: measured likewise."""
REPLY_BYTES = 1000
"""Bytes of a reply with its reasoning: an assumption."""
PDF_BYTES, JPEG_BYTES = 17_181, 128_410
"""Bytes a page of opendocs dev: its PDFs, and pictures of 1,003,520 pixels: measured, benchmarks/page_cost.py."""
RENDER_MS, PNG_MS, CUT_MS = 23.3, 32.6, 32.7
"""Processor time a page: measured likewise."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model's shape decides how large its states are.

    Attributes:
        name: the model's.
        layers: of the language model.
        hidden: width of an embedding, and of a visual token.
        kv_heads: heads of keys and values.
        head: width of a head.
        width: bytes a number.
    """

    name: str
    layers: int
    hidden: int
    kv_heads: int
    head: int
    width: int = 2


QWEN = Shape("Qwen2.5-VL-7B", layers=28, hidden=3584, kv_heads=4, head=128)
SMOL = Shape("SmolLM2-135M (mini-lm)", layers=30, hidden=576, kv_heads=3, head=64)


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast one machine is.

    Attributes:
        name: of what runs.
        seconds: for ``pages`` pages, more than 0.
        pages: pairs, more than 0.
        machine: what it ran on.
        source: who measured it.
    """

    name: str
    seconds: float
    pages: float
    machine: str
    source: str


ZIP = "arXiv 2605.11864"
BLOG = "UlrickBL's blog"
RATES = (
    Rate("MM-R5, `generate`, 20 pages a list", 3.74, 20, "1 GPU", ZIP),
    Rate("MM-R5, `generate`, 10 pages a list", 3.74, 10, "1 GPU", ZIP),
    Rate("ZipRerank 8B, 20 pages a list", 0.36 + 0.18, 20, "1 GPU", ZIP),
    Rate("ZipRerank 8B, 10 pages a list", 0.36 + 0.18, 10, "1 GPU", ZIP),
    Rate("UlrickBL 2B, page by page", 101, 1250, "A100 40 GB", BLOG),
    Rate("jina-reranker-m0, page by page", 132, 1250, "A100 40 GB", BLOG),
    Rate("Qwen3-VL-Reranker-2B, page by page", 417, 1250, "A100 40 GB", BLOG),
)
"""Published rates. The first source does not say whether its lists hold 10 or 20 pages, so both are shown."""


def visual_tokens(width: float, height: float, max_pixels: int = MAX_PIXELS, unit: int = UNIT) -> int:
    """Visual tokens of a page: its largest picture within the budget, both sides rounded to whole tokens."""
    scale = math.sqrt(max_pixels / (width * height))
    pixels = int(width * scale), int(height * scale)
    columns, rows = (max(1, round(side / unit)) for side in pixels)
    if columns * rows * unit * unit > max_pixels:
        shrink = math.sqrt(pixels[0] * pixels[1] / max_pixels)
        columns, rows = (max(1, math.floor(side / shrink / unit)) for side in pixels)
    return columns * rows


def feature_bytes(tokens: int, shape: Shape) -> int:
    """Bytes of what the vision tower saw of a page: tokens x hidden x width."""
    return tokens * shape.hidden * shape.width


def state_bytes(tokens: int, shape: Shape) -> int:
    """Bytes of keys and values of a page that was read: 2 x layers x heads x head x width x tokens."""
    return 2 * shape.layers * shape.kv_heads * shape.head * shape.width * tokens


def machine_hours(pairs: float, rate: Rate) -> float:
    """Hours of one machine, never idle."""
    return pairs * rate.seconds / rate.pages / 3600


def machines(hours: float, days: float, busy: float) -> int:
    """Machines that give so many hours within the days, when each is busy for that share of the time."""
    return math.ceil(hours / (days * 24 * busy))


def size(n: float) -> str:
    """Bytes for people, decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n < 999.5:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:,.3g} PB"


def parse_rate(text: str) -> Rate:
    """``NAME=SECONDS s / PAGES pages`` as a rate.

    Raises:
        ValueError: it is no such text.
    """
    found = re.fullmatch(r"(.+)=\s*([\d.]+)\s*s?\s*/\s*([\d.]+)\s*(?:pages?)?\s*", text)
    if found is None or min(float(found[2]), float(found[3])) <= 0:
        raise ValueError(f"{text!r} is no rate: write NAME=SECONDS s / PAGES pages, e.g. 'mine=2.0 s / 10 pages'")
    return Rate(found[1], float(found[2]), float(found[3]), "yours", "you")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def hours_table(pairs: float, days: float, busy: float, rates: Sequence[Rate]) -> str:
    """Rate → hours of machines, machines for the days."""
    rows = []
    for rate in rates:
        hours = machine_hours(pairs, rate)
        each = f"{rate.seconds / rate.pages * 1000:,.0f} ms"
        rows.append([f"{rate.name} ({rate.source})", rate.machine, each, f"{hours:,.0f}", f"{machines(hours, days, busy):,}"])
    return _table(["what runs", "on", "a pair", "machine-hours", f"machines for {days:g} days"], rows)


def storage_table(pairs: float, uses: Sequence[int]) -> str:
    """What is kept of a page → bytes of all pages, by how many questions look at each."""
    tokens = visual_tokens(*A4_POINTS)
    kept = (
        ("PDF, as it came", PDF_BYTES),
        ("picture, JPEG", JPEG_BYTES),
        (f"vision features, {QWEN.name}, {tokens:,} tokens", feature_bytes(tokens, QWEN)),
        (f"states of a picture read, {QWEN.name}", state_bytes(tokens, QWEN)),
        (f"states of 300 text tokens, {QWEN.name}", state_bytes(300, QWEN)),
        (f"states of 300 text tokens, {SMOL.name}", state_bytes(300, SMOL)),
    )
    head = ["what is kept of a page", "a page", *(f"{n} questions a page" if n > 1 else "1 question a page" for n in uses)]
    return _table(head, [[name, size(each), *(size(each * pairs / n) for n in uses)] for name, each in kept])


def files_table(pairs: float, candidates: int) -> str:
    """Questions, shards and the bytes of runs."""
    questions = pairs / candidates
    rows = [
        ["questions", f"{questions:,.0f}"],
        [f"shards of {SHARD_QUESTIONS:,} questions", f"{math.ceil(questions / SHARD_QUESTIONS):,}"],
        ["first-stage runs", size(questions * FIRST_STAGE_BYTES)],
        [f"results, replies of {REPLY_BYTES:,} bytes", size(questions * (RUN_BYTES + REPLY_BYTES))],
        ["results without replies", size(questions * RUN_BYTES)],
    ]
    return _table(["", "in all"], rows)


def cores_table(rates: Sequence[Rate]) -> str:
    """Rate → cores that keep one machine fed when each pair's page is rendered anew, and when each page is used ten times."""
    own, sent = (RENDER_MS + CUT_MS) / 1000, (RENDER_MS + PNG_MS) / 1000
    rows = []
    for rate in rates:
        each = rate.seconds / rate.pages
        rows.append([rate.name, f"{own / each:.2f}", f"{sent / each:.2f}", f"{own / each / 10:.2f}"])
    return _table(["what runs", "in process", "sent to a server", "in process, page kept for 10 questions"], rows)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=float, default=PAIRS)
    parser.add_argument("--candidates", type=int, default=CANDIDATES)
    parser.add_argument("--days", type=float, default=DAYS)
    parser.add_argument("--busy", type=float, default=BUSY, help="share of the time in which a machine works")
    parser.add_argument("--rate", type=parse_rate, action="append", default=[], metavar="NAME=SECONDS s / PAGES pages")
    given = parser.parse_args(argv)
    if min(given.pairs, given.candidates, given.days, given.busy) <= 0 or given.busy > 1:
        parser.error("pairs, candidates and days are more than 0, busy more than 0 and at most 1")
    rates = [*RATES, *given.rate]
    print(f"{given.pairs:,.0f} pairs, {given.candidates} candidates a question, machines busy {given.busy:.0%} of the time\n")
    print(hours_table(given.pairs, given.days, given.busy, rates), end="\n\n")
    print(cores_table(rates), end="\n\n")
    print(storage_table(given.pairs, (1, 10, 100)), end="\n\n")
    print(files_table(given.pairs, given.candidates))


if __name__ == "__main__":
    main()
