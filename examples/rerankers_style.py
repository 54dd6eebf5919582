"""The shape of `rerankers`. Run: python examples/rerankers_style.py [ENGINE]   (ENGINE scripted is a dry run)."""

import sys
from pathlib import Path

from mmr5 import read_pages
from mmr5.integrations.rerankers import MMR5Ranker

REPORT = Path(__file__).parent / "harbour-report.pdf"
QUESTION = "What does one night in July cost for a boat of 14 metres?"

pages = read_pages(REPORT)
ranker = MMR5Ranker("mini", engine=sys.argv[1] if len(sys.argv) > 1 else "transformers")
results = ranker.rank(QUESTION, pages, doc_ids=[f"p. {page.number}" for page in pages])
for result in results.top_k(3):
    print(f"{result.doc_id:<6} {result.score:7.3f}  {result.reason or result.text[:70]!r}")
