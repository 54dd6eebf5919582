"""First stage: which pages of a document to look at."""

from mmr5.retrieval.base import RETRIEVERS, Retriever, open_retriever, standardise, top_candidates

__all__ = ["RETRIEVERS", "Retriever", "open_retriever", "standardise", "top_candidates"]
