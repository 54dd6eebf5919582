"""A stored collection of documents, on LanceDB (extra ``index``)."""

from mmr5.retrieval.index.collection import Added, Index, IndexStats
from mmr5.retrieval.index.rows import Document

__all__ = ["Added", "Document", "Index", "IndexStats"]
