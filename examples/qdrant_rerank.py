"""Qdrant: rerank what your own database finds. Run: python examples/qdrant_rerank.py [ENGINE]   (ENGINE scripted is a dry run)."""

import sys
import zlib
from pathlib import Path

from qdrant_client import QdrantClient, models

from mmr5 import Reranker, read_pages

REPORT = Path(__file__).parent / "harbour-report.pdf"
QUESTION = "What does one night in July cost for a boat of 14 metres?"
SIZE = 512


def embed(text):
    """Stands for your own embedding model: words counted by their hash."""
    vector = [0.0] * SIZE
    for word in text.lower().split():
        vector[zlib.crc32(word.encode()) % SIZE] += 1.0
    return vector


pages = read_pages(REPORT)
database = QdrantClient(":memory:")
database.create_collection("pages", models.VectorParams(size=SIZE, distance=models.Distance.COSINE))
database.upsert(
    "pages", [models.PointStruct(id=i, vector=embed(p.text), payload={"page": p.number}) for i, p in enumerate(pages)]
)

found = database.query_points("pages", embed(QUESTION), limit=10).points
candidates = [pages[point.id] for point in found]  # or {"text": …, "image": …} out of the payload
reranker = Reranker.from_pretrained("mini", engine=sys.argv[1] if len(sys.argv) > 1 else "transformers")
for line in reranker.rerank(QUESTION, candidates, top_n=3):
    print(f"p. {line.page:<3} {line.score:7.3f}  {(line.reason or line.evidence)[:70]}")
