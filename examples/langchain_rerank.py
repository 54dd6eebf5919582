"""LangChain: rerank what a retriever finds. Run: python examples/langchain_rerank.py [ENGINE]   (ENGINE scripted is a dry run)."""

import sys
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

from mmr5 import read_pages
from mmr5.integrations.langchain import MMR5Rerank, MMR5Retriever, to_documents

REPORT = Path(__file__).parent / "harbour-report.pdf"
QUESTION = "What does one night in July cost for a boat of 14 metres?"


class EveryPage(BaseRetriever):
    """Stands for your own retriever."""

    documents: list[Document]

    def _get_relevant_documents(self, query, *, run_manager):
        return self.documents


compressor = MMR5Rerank.from_pretrained("mini", engine=sys.argv[1] if len(sys.argv) > 1 else "transformers", top_n=3)
retriever = MMR5Retriever(base_retriever=EveryPage(documents=to_documents(read_pages(REPORT))), compressor=compressor)
for document in retriever.invoke(QUESTION):
    found = document.metadata
    print(f"p. {found['page']:<3} {found['relevance_score']:7.3f}  {(found['reason'] or found['evidence'])[:70]}")
