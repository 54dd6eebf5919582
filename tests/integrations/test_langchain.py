"""LangChain: the compressor sync and async, alone and inside a retriever, against langchain-core itself."""

import asyncio
import base64

import pytest
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda

from integrations.conftest import QUESTION, REPORT, TEXTS, pictures_seen
from mmr5 import read_pages
from mmr5.documents import pdf_page
from mmr5.errors import ConfigError, PageError
from mmr5.integrations.langchain import MMR5IndexRetriever, MMR5Rerank, MMR5Retriever, to_documents


class Fixed(BaseRetriever):
    documents: list[Document]

    def _get_relevant_documents(self, query, *, run_manager):
        return self.documents


@pytest.fixture
def documents():
    return [Document(page_content=t, metadata={"source": "a.pdf", "page": i}, id=str(i)) for i, t in enumerate(TEXTS)]


def test_documents_come_back_ranked_with_score_and_reason(documents, reasoner):
    compressor = MMR5Rerank(reranker=reasoner([1, 0, 2]))
    assert isinstance(compressor, BaseDocumentCompressor)
    found = compressor.compress_documents(documents, QUESTION)
    assert [d.id for d in found] == ["1", "0", "2"]
    assert [d.metadata["relevance_score"] for d in found] == pytest.approx([1, 1 / 2, 1 / 3])
    assert [d.metadata["reason"] for d in found] == ["note on 1", "note on 0", "note on 2"]
    assert found[0].metadata["score_kind"] == "reciprocal_rank"
    assert found[0].metadata["source"] == "a.pdf"
    assert found[0].metadata["evidence"] == TEXTS[1]
    assert all("relevance_score" not in d.metadata for d in documents), "the caller's documents were changed"


def test_async_gives_the_same_and_top_n_is_kept(documents, reader):
    compressor = MMR5Rerank(reranker=reader, top_n=2)
    now = compressor.compress_documents(documents, QUESTION)
    later = asyncio.run(compressor.acompress_documents(documents, QUESTION))
    assert [d.id for d in later] == [d.id for d in now]
    assert len(now) == 2
    assert now[0].id == "1"
    assert compressor.compress_documents([], QUESTION) == []
    with pytest.raises(ConfigError, match="top_n"):
        MMR5Rerank(reranker=reader, top_n=0).compress_documents(documents, QUESTION)


def test_inside_a_retriever_and_a_chain(documents, reader):
    retriever = MMR5Retriever(base_retriever=Fixed(documents=documents), compressor=MMR5Rerank(reranker=reader))
    assert [d.id for d in retriever.invoke(QUESTION)][0] == "1"
    assert [d.id for d in asyncio.run(retriever.ainvoke(QUESTION))][0] == "1"
    assert [len(found) for found in retriever.batch([QUESTION, "cargo"])] == [3, 3]
    chain = retriever | RunnableLambda(lambda found: found[0].page_content)
    assert chain.invoke("Cargo by terminal") == TEXTS[2]


@pytest.mark.parametrize("form", ["image", "image_path", "image_base64"])
def test_pictures_in_the_metadata_reach_the_model(form, reasoner, picture, tmp_path):
    values = []
    for word in ("a", "b"):
        data = picture(word)
        (tmp_path / f"{word}.png").write_bytes(data)
        by_form = {"image": data, "image_path": str(tmp_path / f"{word}.png"), "image_base64": base64.b64encode(data).decode()}
        values.append(by_form[form])
    seer = reasoner([1, 0], view="image")
    found = MMR5Rerank(reranker=seer).compress_documents([Document("", metadata={form: v}) for v in values], "q")
    assert pictures_seen(seer) == 2
    assert [d.metadata[form] for d in found] == values[::-1]
    assert found[0].metadata["reason"] == "note on 1"


def test_pages_of_a_pdf_as_documents_and_by_ones_own_rule(reasoner, reader):
    documents = to_documents(read_pages(REPORT, ocr="never"))
    assert len(documents) == 12
    seer = reasoner(range(12), view="image")
    MMR5Rerank(reranker=seer).compress_documents(documents, "q")
    assert pictures_seen(seer) == 12
    own = reasoner([0, 1], view="image")
    loaded = [Document("text", metadata={"source": str(REPORT), "page": i}) for i in (4, 5)]
    compressor = MMR5Rerank(reranker=own, picture_of=lambda d: pdf_page(d.metadata["source"], d.metadata["page"] + 1))
    compressor.compress_documents(loaded, "q")
    assert [part["image"].index for part in own.engine.requests[0].messages[1]["content"] if part["type"] == "image"] == [4, 5]


def test_a_damaged_picture_is_an_error_and_no_text(reasoner):
    with pytest.raises(PageError, match="document 0"):
        MMR5Rerank(reranker=reasoner([0], view="image")).compress_documents([Document("", metadata={"image": b"junk"})], "q")


def test_a_model_by_name():
    compressor = MMR5Rerank.from_pretrained(engine="scripted", method="likelihood", view="text", top_n=1)
    assert len(compressor.compress_documents([Document("a"), Document("b")], "a")) == 1


def test_a_stored_collection_is_a_retriever(searcher):
    told = []
    retriever = MMR5IndexRetriever(searcher=searcher, where="year > 2000", top_n=2, on_result=told.append)
    found = retriever.invoke(QUESTION)
    assert [(d.metadata["source"], d.metadata["page"]) for d in found][0] == ("a.pdf", 2) and len(found) == 2
    assert found[0].page_content == TEXTS[1] and found[0].metadata["year"] == 2024
    assert {"relevance_score", "relevance", "rank", "reason", "evidence", "score_kind"} <= set(found[0].metadata)
    assert asyncio.run(retriever.ainvoke(QUESTION)) == found and len(told) == 2
    with pytest.raises(ConfigError, match="no document has"):
        MMR5IndexRetriever(searcher=searcher, where="colour = red").invoke(QUESTION)
