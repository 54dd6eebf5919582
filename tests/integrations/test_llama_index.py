"""LlamaIndex: the postprocessor over text and image nodes, sync and async, alone and inside a query engine."""

import asyncio
import base64

import pytest
from llama_index.core.schema import ImageNode, MediaResource, MetadataMode, Node, NodeWithScore, QueryBundle, TextNode

from integrations.conftest import QUESTION, REPORT, TEXTS, pictures_seen
from mmr5 import read_pages
from mmr5.errors import InputError, PageError
from mmr5.integrations.llama_index import MMR5IndexRetriever, MMR5Postprocessor, to_nodes


def texts():
    return [
        NodeWithScore(node=TextNode(text=t, id_=str(i), metadata={"file_name": "a.pdf"}), score=0.5) for i, t in enumerate(TEXTS)
    ]


def test_nodes_come_back_ranked_with_score_and_reason(reasoner):
    nodes = texts()
    found = MMR5Postprocessor(reasoner([1, 0, 2])).postprocess_nodes(nodes, query_str=QUESTION)
    assert [n.node.node_id for n in found] == ["1", "0", "2"]
    assert [n.score for n in found] == pytest.approx([1, 1 / 2, 1 / 3])
    assert found[0].node.metadata["mmr5_reason"] == "note on 1"
    assert found[0].node.metadata["file_name"] == "a.pdf"
    assert "mmr5" not in found[0].node.get_content(metadata_mode=MetadataMode.LLM)
    assert "mmr5" not in found[0].node.get_content(metadata_mode=MetadataMode.EMBED)
    assert all(n.score == 0.5 and "mmr5_reason" not in n.node.metadata for n in nodes), "the caller's nodes were changed"


def test_async_gives_the_same_and_top_n_is_kept(reader):
    post = MMR5Postprocessor(reader, top_n=2)
    now = post.postprocess_nodes(texts(), QueryBundle(QUESTION))
    later = asyncio.run(post.apostprocess_nodes(texts(), QueryBundle(QUESTION)))
    assert [n.node.node_id for n in later] == [n.node.node_id for n in now]
    assert len(now) == 2
    assert now[0].node.node_id == "1"
    assert post.postprocess_nodes([], query_str="q") == []
    with pytest.raises(InputError, match="query_str"):
        post.postprocess_nodes(texts())


def image_nodes(form, data, path):
    encoded = base64.b64encode(data).decode()
    path.write_bytes(data)
    return {
        "image": lambda: ImageNode(image=encoded),
        "image_path": lambda: ImageNode(image_path=str(path)),
        "image_url": lambda: ImageNode(image_url=f"data:image/png;base64,{encoded}"),
        "resource data": lambda: Node(image_resource=MediaResource(data=data)),
        "resource path": lambda: Node(image_resource=MediaResource(path=path)),
    }[form]()


@pytest.mark.parametrize("form", ["image", "image_path", "image_url", "resource data", "resource path"])
def test_image_nodes_are_looked_at(form, reasoner, picture, tmp_path):
    nodes = [NodeWithScore(node=image_nodes(form, picture(w), tmp_path / f"{w}.png")) for w in ("a", "b")]
    seer = reasoner([1, 0], view="image")
    found = MMR5Postprocessor(seer).postprocess_nodes(nodes, query_str="q")
    assert pictures_seen(seer) == 2
    assert [n.node.node_id for n in found] == [nodes[1].node.node_id, nodes[0].node.node_id]
    assert type(found[0].node) is type(nodes[0].node)


def test_an_image_node_among_text_nodes_is_read_by_ocr(reader, picture):
    nodes = [*texts(), NodeWithScore(node=ImageNode(image=base64.b64encode(picture("seals")).decode(), id_="scan"))]
    found = MMR5Postprocessor(reader).postprocess_nodes(nodes, query_str="seals")
    assert {n.node.node_id for n in found} == {"0", "1", "2", "scan"}
    assert found[0].score == next(n.score for n in found if n.node.node_id == "scan")


def test_addresses_are_not_fetched_and_damage_is_named(reasoner):
    for node, said in (
        (ImageNode(image_url="https://example.org/a.png"), "not fetched"),
        (ImageNode(image="aGVsbG8="), "no known kind"),
    ):
        with pytest.raises(PageError, match=said):
            MMR5Postprocessor(reasoner([0], view="image")).postprocess_nodes([NodeWithScore(node=node)], query_str="q")


def test_pages_of_a_pdf_as_nodes_and_a_model_by_name():
    nodes = [NodeWithScore(node=n) for n in to_nodes(read_pages(REPORT, ocr="never")[6:9])]
    post = MMR5Postprocessor.from_pretrained(engine="scripted", method="likelihood", view="text", top_n=1)
    assert post.class_name() == "MMR5Postprocessor"
    best = post.postprocess_nodes(nodes, query_str="berthing fees")[0].node
    assert best.metadata["page"] == 8
    assert base64.b64decode(best.image)[:2] == b"\xff\xd8"


def test_inside_a_query_engine(reader, monkeypatch):
    from llama_index.core import Settings, get_response_synthesizer
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.llms import MockLLM
    from llama_index.core.query_engine import RetrieverQueryEngine

    class Fixed(BaseRetriever):
        def _retrieve(self, query_bundle):
            return texts()

    monkeypatch.setattr(Settings, "_llm", MockLLM())
    engine = RetrieverQueryEngine(
        Fixed(),
        get_response_synthesizer(llm=MockLLM(), response_mode="no_text"),
        node_postprocessors=[MMR5Postprocessor(reader, top_n=2)],
    )
    assert [n.node.node_id for n in engine.query(QUESTION).source_nodes][0] == "1"
    later = asyncio.run(engine.aquery(QUESTION)).source_nodes
    assert (later[0].node.node_id, len(later)) == ("1", 2)


def test_a_stored_collection_is_a_retriever(searcher):
    retriever = MMR5IndexRetriever(searcher, "year > 2000", 2)
    found = retriever.retrieve(QUESTION)
    assert [(n.node.metadata["file_name"], n.node.metadata["page"]) for n in found][0] == ("a.pdf", 2) and len(found) == 2
    assert found[0].node.get_content() == TEXTS[1] and found[0].node.metadata["year"] == 2024
    assert found[0].score == found[0].node.metadata["mmr5_relevance_score"] >= found[1].score
    assert "mmr5" not in found[0].node.get_content(metadata_mode=MetadataMode.LLM)
    again = asyncio.run(retriever.aretrieve(QUESTION))
    assert [n.node.get_content() for n in again] == [n.node.get_content() for n in found]
