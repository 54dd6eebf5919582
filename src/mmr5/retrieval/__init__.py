"""First stage: which pages of a document to look at."""

from mmr5.fusion import standardise
from mmr5.retrieval.base import Retriever, open_retriever, release_models, top_candidates
from mmr5.retrieval.names import SPELLINGS, check_retriever, is_retriever

__all__ = [
    "SPELLINGS",
    "Retriever",
    "check_retriever",
    "is_retriever",
    "open_retriever",
    "release_models",
    "standardise",
    "top_candidates",
]
