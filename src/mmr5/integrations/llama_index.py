"""LlamaIndex: a node postprocessor that looks at text and image nodes, and a retriever over a stored collection.

Extra ``llama-index``.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from mmr5.errors import InputError, missing_extra

try:
    from llama_index.core.bridge.pydantic import Field, PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import BaseNode, ImageNode, MetadataMode, Node, NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise missing_extra(error.name or "llama_index", "llama-index", "rerank in LlamaIndex") from error

from mmr5.documents import Draft
from mmr5.integrations.adapter import NOTES, Adapter, OnResult, jpeg, search_stored, with_notes
from mmr5.pipeline import Searcher
from mmr5.reranker import Reranker
from mmr5.types import Page, RerankResult

PREFIX = "mmr5_"
"""Before the names in a node's metadata, which LlamaIndex hands on to language models unless they are excluded."""


class MMR5Postprocessor(BaseNodePostprocessor):
    """Ranks nodes, each a page: a ``TextNode``, an ``ImageNode``, or a ``Node`` with an ``image_resource``.

    Every node comes back (unless ``top_n`` or ``similarity_cutoff`` leave some out), best first, as a copy with the new score
    and, in its metadata and excluded from prompts and embeddings, ``mmr5_relevance_score``, ``mmr5_relevance``,
    ``mmr5_score_kind``, ``mmr5_rank``, ``mmr5_reason`` and ``mmr5_evidence``.

    Args:
        reranker: ranks the pages.
        top_n: keep only the best; None keeps all.
        similarity_cutoff: leave out nodes whose ``relevance``, a calibrated probability, is below it; None keeps all.
        picture_of: gives a node's picture, or None, instead of the node's own fields.
        image_root: folder below which paths to pictures must lie; None reads any path.
        on_result: told of every result, with the whole reasoning.
    """

    top_n: int | None = Field(default=None, description="Keep only the best; None keeps all.")
    similarity_cutoff: float | None = Field(default=None, description="Least relevance of a node; None keeps all.")
    _adapter: Adapter = PrivateAttr()
    _picture_of: Callable[[BaseNode], Any] = PrivateAttr()

    def __init__(
        self,
        reranker: Reranker,
        top_n: int | None = None,
        *,
        similarity_cutoff: float | None = None,
        picture_of: Callable[[BaseNode], Any] | None = None,
        image_root: str | Path | None = None,
        on_result: OnResult | None = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self.top_n = top_n
        self.similarity_cutoff = similarity_cutoff
        self._adapter = Adapter(reranker, image_root=image_root, on_result=on_result)
        self._picture_of = picture_of or picture_of_node

    @classmethod
    def from_pretrained(
        cls, model: str = "mini", *, top_n: int | None = None, similarity_cutoff: float | None = None, **options: Any
    ) -> MMR5Postprocessor:
        """Load a model by name; ``options`` are those of :meth:`mmr5.Reranker.from_pretrained`."""
        return cls(Reranker.from_pretrained(model, **options), top_n, similarity_cutoff=similarity_cutoff)

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows this class."""
        return "MMR5Postprocessor"

    def _postprocess_nodes(self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None) -> list[NodeWithScore]:
        query = _question(query_bundle)
        return _told(nodes, self._adapter.rank(query, self._drafts(nodes), self.top_n, self.similarity_cutoff))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        query = _question(query_bundle)
        return _told(nodes, await self._adapter.arank(query, self._drafts(nodes), self.top_n, self.similarity_cutoff))

    def _drafts(self, nodes: list[NodeWithScore]) -> list[Draft]:
        return [
            Draft(
                str(item.node.metadata.get("file_name", item.node.node_id)),
                i + 1,
                item.node.get_content(metadata_mode=MetadataMode.NONE),
                partial(self._picture_of, item.node),
            )
            for i, item in enumerate(nodes)
        ]


class MMR5IndexRetriever(BaseRetriever):
    """A retriever over a stored collection: the first stage that it holds, and the reranker.

    Its nodes are pages, best first, with the score by which they are sorted, and in their metadata the fields of their document,
    ``file_name``, ``page`` (one-based) and, excluded from prompts and embeddings, what :class:`MMR5Postprocessor` tells.

    Args:
        searcher: first stage and reranker, ``Searcher(reranker, index=Index.open(…))``.
        where: only documents and pages for which this holds, such as ``"year >= 2020"``.
        top_n: keep only the best; None keeps all candidates.
        similarity_cutoff: leave out pages whose ``relevance``, a calibrated probability, is below it; None keeps all.
        on_result: told of every result.
        base: further arguments of LlamaIndex' own retrievers.
    """

    def __init__(
        self,
        searcher: Searcher,
        where: str | None = None,
        top_n: int | None = None,
        *,
        similarity_cutoff: float | None = None,
        on_result: OnResult | None = None,
        **base: Any,
    ) -> None:
        super().__init__(**base)
        self._searcher = searcher
        self._asked = (where, top_n, similarity_cutoff, on_result)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        found = []
        for page, fields in search_stored(self._searcher, _question(query_bundle), *self._asked):
            score = fields["relevance_score"]
            notes = {PREFIX + name: fields.pop(name) for name in NOTES}
            metadata = {**fields, "file_name": fields["source"], **notes}
            node = TextNode(text=page.text or "", metadata=metadata)
            node.excluded_llm_metadata_keys = node.excluded_embed_metadata_keys = list(notes)
            found.append(NodeWithScore(node=node, score=score))
        return found


def picture_of_node(node: BaseNode) -> object:
    """A node's picture: base64, a path or an address of an ``ImageNode``, or the ``image_resource`` of a ``Node``; or None."""
    if isinstance(node, ImageNode):
        encoded = None if node.image is None else f"data:image/*;base64,{node.image}"
        return next((value for value in (encoded, node.image_path, node.image_url) if value is not None), None)
    resource = node.image_resource if isinstance(node, Node) else None
    if resource is None:
        return None
    if resource.data is not None:
        return f"data:image/*;base64,{resource.data.decode()}"
    return resource.path or (None if resource.url is None else str(resource.url))


def to_nodes(pages: list[Page]) -> list[ImageNode]:
    """Pages of :func:`mmr5.read_pages` as image nodes: text, JPEG and the metadata ``file_name`` and ``page``."""
    nodes = []
    for page in pages:
        picture = jpeg(page)
        nodes.append(
            ImageNode(
                text=page.text or "",
                image=None if picture is None else base64.b64encode(picture).decode(),
                image_mimetype="image/jpeg",
                metadata={"file_name": page.source, "page": page.number},
            )
        )
    return nodes


def _question(bundle: QueryBundle | None) -> str:
    if bundle is None:
        raise InputError("ranking needs the question: give query_str or query_bundle")
    return str(bundle.query_str)


def _told(nodes: list[NodeWithScore], result: RerankResult) -> list[NodeWithScore]:
    """Copies of the nodes in the result's order, with scores and metadata."""
    found = []
    for ranked, told in with_notes(nodes, result):
        node = ranked.node.model_copy()
        notes = {PREFIX + name: value for name, value in told.items()}
        node.metadata = {**node.metadata, **notes}
        node.excluded_llm_metadata_keys = list(dict.fromkeys([*node.excluded_llm_metadata_keys, *notes]))
        node.excluded_embed_metadata_keys = list(dict.fromkeys([*node.excluded_embed_metadata_keys, *notes]))
        found.append(NodeWithScore(node=node, score=told["relevance_score"]))
    return found
