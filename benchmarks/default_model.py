"""What the embedded default costs: time a question over ten candidates, and processor time before the first page is read.

    python benchmarks/default_model.py mini mini-lm --questions 24

Each question is asked of another document of opendocs, the models in turn, so that both meet the same machine. *New* pages
were never seen by the model; *known* ones are asked about again, with another question. Both are medians of what ranking takes,
the first stage not included. *Start* is the processor time of a new process with weights on disk, from its beginning until the
model reads the first page of the example document; the best of three, the models in turn.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mmr5 import Reranker, Searcher
from mmr5.corpora import load_corpus
from mmr5.storage.cache import Cache

ROOT = Path(__file__).resolve().parents[1]
START = """
import sys, time
from mmr5 import Reranker, Searcher, read_pages
def hear(stage, done, total):
    if stage.startswith("reading ") and "candidate" in stage:
        print(time.process_time())
pages = read_pages(sys.argv[2])
Searcher(Reranker.from_pretrained(sys.argv[1]), progress=hear).search("What does a night cost in July?", pages)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--questions", type=int, default=24)
    given = parser.parse_args()
    example = str(ROOT / "examples" / "harbour-report.pdf")
    starts: dict[str, list[float]] = {name: [] for name in given.models}
    for turn in range(4):
        for name in given.models:
            done = subprocess.run([sys.executable, "-c", START, name, example], capture_output=True, text=True, check=True)
            if turn:  # the first one fills the cache
                starts[name].append(float(done.stdout.split()[0]))
    corpus = load_corpus("opendocs")
    spent: dict[str, dict[str, list[float]]] = {name: {"new": [], "known": []} for name in given.models}
    with tempfile.TemporaryDirectory() as made:
        store = Cache(root=Path(made))
        store.root.mkdir(parents=True, exist_ok=True)
        (store.root / "models").symlink_to(Cache().directory("models"))
        rerankers = {name: Reranker.from_pretrained(name, cache=store) for name in given.models}
        for document, questions in corpus.by_document()[: given.questions]:
            pages = corpus.document_pages(document.doc_name)
            for name, reranker in rerankers.items():
                searcher = Searcher(reranker)
                first, second = (searcher.candidates(q.question, pages) for q in questions[:2])
                for kind, candidates in (("new", first), ("known", type(first)(second.query, *first_parts(first)))):
                    began = time.perf_counter()
                    searcher.rank([candidates])
                    spent[name][kind].append(time.perf_counter() - began)
    print(
        f"{'model':<12} {'new':>8} {'known':>8} {'start':>8}   seconds, medians of {len(spent[given.models[0]]['new'])} questions"
    )
    for name in given.models:
        new, known = (statistics.median(spent[name][kind]) for kind in ("new", "known"))
        print(f"{name:<12} {new:8.3f} {known:8.3f} {min(starts[name]):8.2f}")


def first_parts(candidates: object) -> tuple[object, ...]:
    """Pages, scores, indices and scale of candidates."""
    return tuple(getattr(candidates, name) for name in ("pages", "scores", "indices", "scale"))


if __name__ == "__main__":
    main()
