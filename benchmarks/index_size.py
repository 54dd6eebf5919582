"""How a stored index compares with reading alone, and with the same pages in memory, by size.

    python benchmarks/index_size.py [--corpus opendocs,opendocs-more,opendocs-multilingual] [--sizes 10000 100000]
                                    [--questions 150] [--out results/index-size.md]

*Search*: the pages of the corpora, and near-duplicate versions of their documents (in each, one page in fifty has another last
line), are stored and held in memory; real questions are asked of both, each in a process of its own, the first stage alone.
*Adding*: PDFs, and versions of them that differ in a page, are read and added with an empty cache; OCR is off.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from mmr5.corpora import load_corpus
from mmr5.corpora.records import Corpus
from mmr5.pages import read_pages
from mmr5.retrieval import find_candidates, open_retriever
from mmr5.retrieval.index import Index
from mmr5.settings import ReadingSettings
from mmr5.storage.cache import Cache, default_root
from mmr5.types import Page

ALTERED = 50
"""One page in so many of a version is another one."""
DEPTH = 10
VERSIONS = 12
"""Files of each document where adding is timed, the original among them."""


def versions(corpus: Corpus, size: int) -> Iterator[list[Page]]:
    """Documents, and versions of them, until there are so many pages."""
    left = size
    for version in range(1000):
        for document in corpus.documents:
            pages = [
                replace(page, source=document.doc_name, image=None, boxes=None)
                for page in corpus.document_pages(document.doc_name)
            ]
            if version:
                pages = [_altered(page, version) for page in pages]
            yield pages[:left]
            left -= len(pages)
            if left <= 0:
                return


def _altered(page: Page, version: int) -> Page:
    source = f"{page.source} v{version}"
    if crc32(f"{source}/{page.number}".encode()) % ALTERED or not page.text:
        return replace(page, source=source)
    line = f"Revision {version} of page {page.number}: the figures were checked anew in {1990 + version}."
    return replace(page, source=source, text=f"{page.text}\n{line}")


def gold(corpus: Corpus, count: int) -> list[tuple[str, str, set[int]]]:
    """Questions with the document and pages (from one) that answer them."""
    found = [(q.question, q.doc_name, {page + 1 for page in q.page_ids}) for q in corpus.questions if q.page_ids]
    random.Random(0).shuffle(found)  # noqa: S311
    return found[:count]


def asked(corpus: Corpus, count: int, find: Any) -> dict[str, Any]:
    """Ask questions; times, the pages found, and the share of questions one of whose pages, of any version, is among them."""
    questions = gold(corpus, count)
    for question, _, _ in questions[:5]:
        find(question)
    times, found, hits = [], [], 0
    for question, name, pages in questions:
        start = time.perf_counter()
        candidates = find(question)
        times.append(time.perf_counter() - start)
        shown = [(page.source, page.number) for page in candidates.pages]
        hits += any(source.rpartition(" v")[0] in (name,) or source == name for source, number in shown if number in pages)
        found.append([[*one, score] for one, score in zip(shown, candidates.scores or (), strict=True)])
    return {
        "p50": float(np.percentile(times, 50)),
        "p95": float(np.percentile(times, 95)),
        "recall": hits / len(questions),
        "found": found,
    }


def child(part: str, options: Any) -> dict[str, Any]:
    """A part in this process."""
    place = options.home / f"{options.size}.index"
    if part in {"read", "add", "words"}:
        return _reading(part, options)
    corpus = load_corpus(options.corpus)
    if part == "build":
        index = Index.open(place, create=True)
        start = time.perf_counter()
        for group in _grouped(versions(corpus, options.size), 20_000):
            index.add_pages(group)
            print(f"  {len(index):,} pages", file=sys.stderr, flush=True)
        return {"seconds": time.perf_counter() - start, "bytes": index.stats().bytes}
    if part == "index":
        index = Index.open(place)
        start = time.perf_counter()
        index.candidates("first", 1)
        first = time.perf_counter() - start
        told = asked(corpus, options.questions, lambda question: index.candidates(question, DEPTH))
        return {**told, "first": first, "exact": index.stats().exact}
    pages = [page for group in versions(corpus, options.size) for page in group]
    start = time.perf_counter()
    memory = open_retriever("hybrid", pages)
    first = time.perf_counter() - start
    return {**asked(corpus, options.questions, lambda q: find_candidates(q, pages, memory, DEPTH)), "first": first}


def _grouped(documents: Iterator[list[Page]], most: int) -> Iterator[list[Page]]:
    group: list[Page] = []
    for pages in documents:
        group += pages
        if len(group) >= most:
            yield group
            group = []
    if group:
        yield group


def _reading(part: str, options: Any) -> dict[str, Any]:
    files = sorted((options.home / options.folder).glob("*.pdf"))
    reading = ReadingSettings(ocr="never")
    cache = Cache()
    for name in ("dense", "minilm"):
        open_retriever(name, [Page("a", 1, "warm")], cache=cache).scores("warm")
    start = time.perf_counter()
    if part == "read":
        pages = len(read_pages(files, ocr="never", cache=cache, on_problem=lambda problem: None))
    else:
        index = Index.open(
            options.home / f"{options.folder}-{part}.index", create=True, retriever="bm25" if part == "words" else None
        )
        pages = index.add(files, reading=reading, embed=False, on_problem=lambda problem: None).pages
    told = {"seconds": time.perf_counter() - start, "pages": pages}
    if part == "add":
        start = time.perf_counter()
        told |= {"embedded": index.embed(), "embedding_seconds": time.perf_counter() - start}
    return told


def make_files(corpus: Corpus, home: Path, pages: int) -> tuple[int, int]:
    """Folders ``new`` with PDFs of about so many pages, and ``mixed`` with versions of them; how many pages each has."""
    import pypdfium2 as pdfium

    documents = [document.doc_name for document in corpus.documents]
    random.Random(1).shuffle(documents)  # noqa: S311
    counts = [0, 0]
    for folder in ("new", "mixed"):
        (home / folder).mkdir()
    for name in documents:
        own = corpus.document_pages(name)
        if counts[0] >= pages or len(own) > 60 or own[0].image is None:
            continue
        original = Path(str(own[0].image.file.path))
        shutil.copy(original, home / "new" / f"{name}.pdf")
        counts[0] += len(own)
        for version in range(VERSIONS):
            with pdfium.PdfDocument(original) as document:
                if version and len(document) > 1:
                    document.del_page(version % len(document))  # every page after it is another page of the file
                counts[1] += len(document)
                document.save(home / "mixed" / f"{name} v{version}.pdf")
    return counts[0], counts[1]


def run(part: str, options: Any, *, cache: Path | None = None, **more: Any) -> dict[str, Any]:
    """A part in a process of its own, with the most memory that it took."""
    arguments = [
        sys.executable,
        __file__,
        "--part",
        part,
        "--corpus",
        options.corpus,
        "--questions",
        str(options.questions),
        "--home",
        str(options.home),
    ]
    for name, value in more.items():
        arguments += [f"--{name}", str(value)]
    environment = dict(os.environ)
    if cache is not None:
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir()
        (cache / "models").symlink_to(default_root() / "models")
        environment["MMR5_CACHE"] = str(cache)
    print(f"{part} {more}", file=sys.stderr, flush=True)
    done = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def report(
    sizes: dict[int, dict[str, dict[str, Any]]], adding: dict[str, dict[str, Any]], counts: tuple[int, int], command: str
) -> str:
    """The tables."""
    lines = ["# A stored index by size", "", f"`{command}`", "", "Search, the first stage `hybrid` alone, ten candidates:", ""]
    lines += ["| pages | | p50 | p95 | recall within ten | opened in | memory |", "|---:|---|---:|---:|---:|---:|---:|"]
    for size, parts in sizes.items():
        for name, words in (
            ("memory", "in memory"),
            ("index", "stored, " + ("every vector compared" if parts["index"]["exact"] else "vectors looked up")),
        ):
            one = parts[name]
            cells = [
                f"{size:,}",
                words,
                f"{one['p50'] * 1000:.0f} ms",
                f"{one['p95'] * 1000:.0f} ms",
                f"{one['recall']:.3f}",
                f"{one['first']:.1f} s",
                f"{one['rss'] / 1e6:.2f} GB",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    for size, parts in sizes.items():
        a, b = parts["memory"], parts["index"]
        built = f"built in {parts['build']['seconds']:.0f} s with known embeddings of unaltered pages"
        disk = f"{parts['build']['bytes'] / 1e6:,.0f} MB on disk"
        lines.append(f"- {size:,} pages: p95 {b['p95'] / a['p95']:.2f} times that in memory; {_same(a, b)}; {built}, {disk}.")
    small, large = min(sizes), max(sizes)
    lines.append(
        f"- p95 at {large:,} pages is {sizes[large]['index']['p95'] / sizes[small]['index']['p95']:.2f} times that at {small:,}."
    )
    lines += [
        "",
        f"Adding PDFs with empty caches, OCR off ({counts[0]:,} pages of originals; {counts[1]:,} pages of {VERSIONS} versions):",
        "",
    ]
    lines += ["| | pages a second | of reading alone | memory |", "|---|---:|---:|---:|"]
    for name, words, base in (
        ("read new", "read alone, originals", "read new"),
        ("add new", "stored and found by words, originals", "read new"),
        ("words new", "the same without vectors to come (`--retriever bm25`)", "read new"),
        ("read mixed", "read alone, versions", "read mixed"),
        ("add mixed", "stored and found by words, versions", "read mixed"),
    ):
        rate, alone = (adding[key]["pages"] / adding[key]["seconds"] for key in (name, base))
        lines.append(f"| {words} | {rate:.1f} | {rate / alone:.2f} | {adding[name]['rss'] / 1e6:.2f} GB |")
    lines.append("")
    for name, words in (("add new", "originals"), ("add mixed", "versions")):
        one = adding[name]
        rate = one["embedded"] / one["embedding_seconds"] if one["embedded"] else 0.0
        whole = one["pages"] / (one["seconds"] + one["embedding_seconds"])
        lines.append(
            f"- {words}: {one['embedded']:,} of {one['pages']:,} pages had then to be embedded, {rate:.1f} a second; "
            f"stored and embedded together {whole:.1f} pages a second."
        )
    return "\n".join(lines) + "\n"


def _same(memory: dict[str, Any], index: dict[str, Any]) -> str:
    """How many of the exact candidates the index found: by page, and by score, since versions alike have equal ones."""
    found = total = 0
    worst = 0.0
    for a, b in zip(memory["found"], index["found"], strict=True):
        held = {(source, number): score for source, number, score in b}
        least = min(score for _, _, score in a)
        found += sum(score >= least - 1e-4 for _, _, score in b)
        total += len(a)
        worst = max([worst, *(abs(score - held[source, number]) for source, number, score in a if (source, number) in held)])
    return f"{found / total:.4f} of its candidates are among the exact ten, and the scores differ by {worst:.0e} at most"


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", default="opendocs,opendocs-more,opendocs-multilingual")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--questions", type=int, default=150)
    parser.add_argument("--added", type=int, default=250, help="Pages of originals where adding is timed.")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--home", type=Path, help="Where indexes are kept; what is there is used again.")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        told = child(options.part, options)
        print(json.dumps({**told, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024}))
        return
    options.home = options.home or Path(tempfile.mkdtemp(prefix="mmr5-size-"))
    options.home.mkdir(exist_ok=True)
    corpus = load_corpus(options.corpus)
    sizes: dict[int, dict[str, dict[str, Any]]] = {}
    for size in options.sizes:
        kept = options.home / f"{size}.json"
        if not kept.exists():
            shutil.rmtree(options.home / f"{size}.index", ignore_errors=True)
            kept.write_text(json.dumps(run("build", options, size=size)))
        sizes[size] = {"build": json.loads(kept.read_text())}
        sizes[size] |= {part: run(part, options, size=size) for part in ("memory", "index")}
    for folder in ("new", "mixed"):
        shutil.rmtree(options.home / folder, ignore_errors=True)
        for old in options.home.glob(f"{folder}-*.index"):
            shutil.rmtree(old)
    counts = make_files(corpus, options.home, options.added)
    adding = {
        f"{part} {folder}": run(part, options, cache=options.home / "cache", folder=folder)
        for part, folder in (("read", "new"), ("add", "new"), ("words", "new"), ("read", "mixed"), ("add", "mixed"))
    }
    command = f"python benchmarks/index_size.py --sizes {' '.join(map(str, options.sizes))} --questions {options.questions}"
    text = report(sizes, adding, counts, command)
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
