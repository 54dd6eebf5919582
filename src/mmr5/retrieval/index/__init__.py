"""A stored collection of documents, on LanceDB (extra ``index``)."""

from mmr5.retrieval.index.adding import Added
from mmr5.retrieval.index.collection import Index, IndexStats
from mmr5.retrieval.index.rows import Document

__all__ = ["Added", "Document", "Index", "IndexStats"]
