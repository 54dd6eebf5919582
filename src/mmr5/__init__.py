"""MM-R5: a multimodal reasoning reranker for document pages.

>>> from mmr5 import Reranker, Searcher, read_pages          # doctest: +SKIP
>>> Searcher(Reranker.from_pretrained()).search("Which region grew fastest?", read_pages("report.pdf"))  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmr5.models import Recipe
    from mmr5.pages import read_pages
    from mmr5.pipeline import Searcher
    from mmr5.reranker import Reranker
    from mmr5.retrieval.index import Index
    from mmr5.types import Candidates, Issue, Page, Problem, RankedPage, Ranking, RerankResult

    __version__: str

__all__ = [
    "Candidates",
    "Index",
    "Issue",
    "Page",
    "Problem",
    "RankedPage",
    "Ranking",
    "Recipe",
    "RerankResult",
    "Reranker",
    "Searcher",
    "__version__",
    "read_pages",
]

_HOMES = {
    "Candidates": "mmr5.types",
    "Index": "mmr5.retrieval.index",
    "Issue": "mmr5.types",
    "Page": "mmr5.types",
    "Problem": "mmr5.types",
    "RankedPage": "mmr5.types",
    "Ranking": "mmr5.types",
    "Recipe": "mmr5.models",
    "RerankResult": "mmr5.types",
    "Reranker": "mmr5.reranker",
    "Searcher": "mmr5.pipeline",
    "read_pages": "mmr5.pages",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'mmr5' has no attribute {name!r}; its public names are {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def _version() -> str:
    """Of the installed package; finding it reads files and takes memory."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mmr5")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0.0.0"


def __dir__() -> list[str]:
    return __all__
