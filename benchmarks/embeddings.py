"""What embedding passages costs: both bundled models by our own pass, and the English one as sentence-transformers does it.

    python benchmarks/embeddings.py opendocs --passages 500

Wall time of the same passages in turns, three rounds, and the ratios to sentence-transformers' all-MiniLM-L6-v2, which embedded
all passages until the multilingual model came; cosines to the same models in float32.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from mmr5.corpora import load_corpus
from mmr5.engines.encoders import load_encoder
from mmr5.engines.runtime.text_encoder import TextEncoder
from mmr5.excerpts import passages
from mmr5.models import e5
from mmr5.models.weights import MINILM, obtain
from mmr5.retrieval.dense import BATCH, PASSAGE_WORDS

ROUNDS = 3


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of some work."""
    clock = time.perf_counter()
    work()
    return time.perf_counter() - clock


def by_library(model: Any, texts: Sequence[str]) -> None:
    """Embed as was done before: batches by length in characters."""
    order = sorted(texts, key=len, reverse=True)
    for start in range(0, len(order), BATCH):
        model.encode_document(order[start : start + BATCH], normalize_embeddings=True, show_progress_bar=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus")
    parser.add_argument("--passages", type=int, default=500)
    given = parser.parse_args()
    texts: list[str] = []
    corpus = load_corpus(given.corpus, ocr="never").split("train")
    for document in corpus.documents:
        if len(texts) < given.passages:
            texts += [p for page in corpus.document_pages(document.doc_name) for p in passages(page.text or "", PASSAGE_WORDS)]
    texts = texts[: given.passages]
    library = load_encoder("SentenceTransformer", str(obtain(MINILM)))
    ways = {"e5": TextEncoder(e5.checkpoint()), "minilm": TextEncoder(obtain(MINILM))}
    times: dict[str, list[float]] = {name: [] for name in ("sentence-transformers", *ways)}
    for _ in range(ROUNDS):
        times["sentence-transformers"].append(seconds(lambda: by_library(library, texts)))
        for name, encoder in ways.items():
            times[name].append(seconds(lambda encoder=encoder: encoder.encode(texts)))  # type: ignore[misc]
    ratios = {
        name: [b / a for a, b in zip(times["sentence-transformers"], values, strict=True)]
        for name, values in {**times, "both": [a + b for a, b in zip(times["e5"], times["minilm"], strict=True)]}.items()
    }
    exact = {"e5": TextEncoder(e5.checkpoint(), dtype="float32"), "minilm": TextEncoder(obtain(MINILM), dtype="float32")}
    few = texts[:100]
    cosines = {name: float((encoder.encode(few) * exact[name].encode(few)).sum(1).min()) for name, encoder in ways.items()}
    print(
        json.dumps(
            {
                "passages": len(texts),
                "seconds": {name: round(statistics.median(values), 2) for name, values in times.items()},
                "ratio": {name: round(statistics.median(values), 2) for name, values in ratios.items()},
                "least_cosine_to_float32": {name: round(value, 5) for name, value in cosines.items()},
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
