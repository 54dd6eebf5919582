"""Times to the first evidence and to the final order, against the time of reading the text: a warm server, unseen documents.

    MMR5_CACHE=$(mktemp -d) mmr5 serve --port 8917 &
    python benchmarks/first_evidence.py http://127.0.0.1:8917 "question" a.pdf b.pdf c.pdf

The server has answered a question about the example before, and holds nothing of the documents (give it an empty cache). Each
text is first read in this process, with nothing kept; ratios of one run compare between machines.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import httpx

from mmr5 import read_pages
from mmr5.storage.cache import Cache

EXAMPLE = Path(__file__).parents[1] / "examples" / "harbour-report.pdf"


def reading(data: bytes) -> tuple[int, float]:
    """Pages of a document, and seconds of reading its text with nothing kept."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "document.pdf"
        file.write_bytes(data)
        start = time.perf_counter()
        pages = read_pages(file, cache=Cache(root=Path(folder) / "cache"), on_problem=lambda problem: None)
        return len(pages), time.perf_counter() - start


def asking(url: str, data: bytes, question: str) -> dict[str, float]:
    """Seconds from sending to each answer: ``bm25``, the first stage's, and the ``result``."""
    start = time.perf_counter()
    told: dict[str, float] = {}
    files = {"files": ("document.pdf", data, "application/pdf")}
    with httpx.stream("POST", f"{url}/v1/search", data={"query": question, "stream": "true"}, files=files, timeout=900) as answer:
        name = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: ") and name in {"candidates", "result"}:
                body = json.loads(line.removeprefix("data: "))
                told["result" if name == "result" else body["retriever"]] = time.perf_counter() - start
    return told


def main() -> None:
    """Print a line a document, and medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("question")
    parser.add_argument("documents", type=Path, nargs="+")
    given = parser.parse_args()
    asking(given.url, EXAMPLE.read_bytes(), given.question)
    rows = []
    for file in given.documents:
        pages, read = reading(file.read_bytes())
        rows.append({"pages": pages, "read": read, **asking(given.url, file.read_bytes(), given.question)})
        print(file.name, {name: round(value, 2) for name, value in rows[-1].items()})
    for name in rows[0]:
        if name not in {"pages", "read"}:
            ratios = [row[name] / row["read"] for row in rows]
            print(f"{name}: {statistics.median(ratios):.2f} × reading ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
