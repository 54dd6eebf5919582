"""First stage: which pages of a document to look at."""

from mmr5.fusion import standardise
from mmr5.retrieval.base import Retriever, find_candidates, open_retriever, release_models, top_candidates
from mmr5.retrieval.names import SCALES, SPELLINGS, check_retriever, is_retriever

__all__ = [
    "SCALES",
    "SPELLINGS",
    "Retriever",
    "check_retriever",
    "find_candidates",
    "is_retriever",
    "open_retriever",
    "release_models",
    "standardise",
    "top_candidates",
]
