"""Haystack: the component alone, in a pipeline, async, and through its YAML."""

import asyncio

import pytest
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ByteStream
from haystack.document_stores.in_memory import InMemoryDocumentStore

from integrations.conftest import QUESTION, REPORT, TEXTS, pictures_seen
from mmr5 import read_pages
from mmr5.errors import ConfigError, PageError, SourceNotFoundError
from mmr5.integrations.haystack import MMR5Ranker, to_documents

DRY = {"engine": "scripted", "method": "likelihood", "view": "text"}


def texts():
    return [Document(id=str(i), content=t, meta={"page": i}, score=0.1) for i, t in enumerate(TEXTS)]


def test_documents_come_back_ranked_with_score_and_reason(reasoner):
    documents = texts()
    found = MMR5Ranker(reranker=reasoner([1, 0, 2])).run(query=QUESTION, documents=documents)["documents"]
    assert [d.id for d in found] == ["1", "0", "2"]
    assert [d.score for d in found] == pytest.approx([1, 1 / 2, 1 / 3])
    assert found[0].meta["reason"] == "note on 1"
    assert found[0].meta["relevance_score"] == found[0].score
    assert found[0].meta["page"] == 1
    assert all(d.score == 0.1 and "reason" not in d.meta for d in documents), "the caller's documents were changed"


def test_async_gives_the_same_and_top_k_is_kept(reader):
    ranker = MMR5Ranker(reranker=reader, top_k=2)
    now = ranker.run(query=QUESTION, documents=texts())["documents"]
    later = asyncio.run(ranker.run_async(query=QUESTION, documents=texts(), top_k=1))["documents"]
    assert [d.id for d in now][0] == "1"
    assert (len(now), len(later)) == (2, 1)
    assert later[0].id == "1"
    assert ranker.run(query="q", documents=[])["documents"] == []
    with pytest.raises(ConfigError, match="top_k"):
        MMR5Ranker(top_k=0)


def pipeline(ranker):
    store = InMemoryDocumentStore()
    store.write_documents(texts())
    built = Pipeline()
    built.add_component("retriever", InMemoryBM25Retriever(store))
    built.add_component("ranker", ranker)
    built.connect("retriever.documents", "ranker.documents")
    return built


INPUTS = {"retriever": {"query": QUESTION}, "ranker": {"query": QUESTION}}


def test_in_a_pipeline_and_an_async_one(reader):
    assert [d.id for d in pipeline(MMR5Ranker(reranker=reader)).run(INPUTS)["ranker"]["documents"]][0] == "1"
    later = pipeline(MMR5Ranker(options=DRY))
    assert [d.id for d in asyncio.run(later.run_async(INPUTS))["ranker"]["documents"]][0] == "1"


def test_a_pipeline_survives_its_yaml(reader):
    text = pipeline(MMR5Ranker(top_k=1, options=DRY, root_path="pages")).dumps()
    assert "mmr5.integrations.haystack.MMR5Ranker" in text
    again = Pipeline.loads(text, allowed_modules=["mmr5.integrations.haystack"]).get_component("ranker")
    assert (again.top_k, again.root_path, again.options) == (1, "pages", DRY)
    again.warm_up()
    assert len(again.run(query=QUESTION, documents=texts())["documents"]) == 1
    with pytest.raises(ConfigError, match="model and options"):
        MMR5Ranker(reranker=reader).to_dict()


def test_blobs_are_looked_at(reasoner, picture):
    documents = [Document(id=w, blob=ByteStream(picture(w), mime_type="image/png")) for w in ("a", "b")]
    seer = reasoner([1, 0], view="image")
    found = MMR5Ranker(reranker=seer).run(query="q", documents=documents)["documents"]
    assert pictures_seen(seer) == 2
    assert [d.id for d in found] == ["b", "a"]
    with pytest.raises(PageError, match="document 0"):
        MMR5Ranker(reranker=seer).run(query="q", documents=[Document(blob=ByteStream(b"junk", mime_type="image/png"))])


def test_files_named_by_the_metadata_are_read_below_the_root_only(reasoner, picture, tmp_path):
    (tmp_path / "1.png").write_bytes(picture())
    (tmp_path / "report.pdf").write_bytes(REPORT.read_bytes())
    documents = [
        Document(content="a", meta={"file_path": "1.png"}),
        Document(content="b", meta={"file_path": "report.pdf", "page_number": 3}),
    ]
    seer = reasoner([0, 1], view="image")
    MMR5Ranker(reranker=seer, root_path=str(tmp_path)).run(query="q", documents=documents)
    assert pictures_seen(seer) == 2
    blind = reasoner([0, 1], view="image", label="Page")
    ranker = MMR5Ranker(reranker=blind)
    assert len(ranker.run(query="q", documents=documents)["documents"]) == 2
    assert pictures_seen(blind) == 0
    outside = Document(content="c", meta={"file_path": "../1.png"})
    with pytest.raises(PageError, match="lies outside"):
        MMR5Ranker(reranker=reasoner([0], view="image"), root_path=str(tmp_path / "sub")).run(query="q", documents=[outside])


def test_a_file_that_is_only_where_the_text_came_from_is_no_error(reasoner, tmp_path):
    (tmp_path / "notes.txt").write_text("words")
    documents = [Document(content="a", meta={"file_path": name}) for name in ("notes.txt", "gone.png")]
    ranker = MMR5Ranker(reranker=reasoner([1, 0], view="image", label="Page"), root_path=str(tmp_path))
    assert len(ranker.run(query="q", documents=documents)["documents"]) == 2
    with pytest.raises(SourceNotFoundError, match="document 0"):
        ranker.run(query="q", documents=[Document(meta={"file_path": "gone.png"})])


def test_pages_of_a_pdf_as_documents():
    documents = to_documents(read_pages(REPORT, ocr="never")[6:9])
    found = MMR5Ranker(options=DRY).run(query="berthing fees", documents=documents, top_k=1)["documents"]
    assert found[0].meta["page_number"] == 8
