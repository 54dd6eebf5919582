"""Haystack: a ranker behind BM25. Run: python examples/haystack_rerank.py [ENGINE]   (ENGINE scripted is a dry run)."""

import sys
from pathlib import Path

from haystack import Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from mmr5 import read_pages
from mmr5.integrations.haystack import MMR5Ranker, to_documents

REPORT = Path(__file__).parent / "harbour-report.pdf"
QUESTION = "What does one night in July cost for a boat of 14 metres?"

store = InMemoryDocumentStore()
store.write_documents(to_documents(read_pages(REPORT)))
pipeline = Pipeline()
pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=8))
engine = sys.argv[1] if len(sys.argv) > 1 else "transformers"
pipeline.add_component("ranker", MMR5Ranker("mini", top_k=3, options={"engine": engine}))
pipeline.connect("retriever.documents", "ranker.documents")
answer = pipeline.run({"retriever": {"query": QUESTION}, "ranker": {"query": QUESTION}})
for document in answer["ranker"]["documents"]:
    found = document.meta
    print(f"p. {found['page_number']:<3} {document.score:7.3f}  {(found['reason'] or found['evidence'])[:70]}")
