"""The official clients against a server on a local port."""

import base64
import json
import subprocess

import httpx
import pytest

from .conftest import png

DOCS = ["Nothing to see.", "The harbour was dredged in 1931.", "A list of dredged ships."]
QUERY = "harbour dredged 1931"
KEY = "a-key"


@pytest.fixture
def live(serve):
    return serve(api_keys=(KEY,))


def test_cohere_v2(live):
    cohere = pytest.importorskip("cohere")
    answer = cohere.ClientV2(KEY, base_url=live.url).rerank(model="rerank-v3.5", query=QUERY, documents=DOCS, top_n=2)
    assert [r.index for r in answer.results] == [1, 2]
    assert answer.results[0].relevance_score >= answer.results[1].relevance_score
    assert answer.meta.api_version.version == "2" and answer.id


def test_cohere_v1_with_documents_back(live):
    cohere = pytest.importorskip("cohere")
    client = cohere.Client(KEY, base_url=live.url)
    answer = client.rerank(model="m", query=QUERY, documents=[{"text": d} for d in DOCS], return_documents=True)
    assert [r.document.text for r in answer.results] == [DOCS[1], DOCS[2], DOCS[0]]


def test_cohere_reads_our_errors(live):
    cohere = pytest.importorskip("cohere")
    with pytest.raises(cohere.UnauthorizedError) as wrong:
        cohere.ClientV2("wrong", base_url=live.url).rerank(model="m", query=QUERY, documents=DOCS)
    assert "API key" in wrong.value.body["message"]
    with pytest.raises(cohere.UnprocessableEntityError) as empty:
        cohere.ClientV2(KEY, base_url=live.url).rerank(model="m", query=QUERY, documents=[])
    assert "empty" in empty.value.body["message"]


def test_voyage(live):
    voyageai = pytest.importorskip("voyageai")
    client = voyageai.Client(api_key=KEY, base_url=live.url + "/v1")
    answer = client.rerank(QUERY, DOCS, model="rerank-2", top_k=2)
    assert [(r.index, r.document) for r in answer.results] == [(1, DOCS[1]), (2, DOCS[2])]
    assert answer.total_tokens > 0
    with pytest.raises(voyageai.error.VoyageError, match="empty"):
        client.rerank(QUERY, [], model="rerank-2")


def test_langchain_through_cohere(live):
    langchain_cohere = pytest.importorskip("langchain_cohere")
    from langchain_core.documents import Document

    compressor = langchain_cohere.CohereRerank(model="m", cohere_api_key=KEY, base_url=live.url, top_n=2)
    found = compressor.compress_documents([Document(page_content=d, metadata={"n": i}) for i, d in enumerate(DOCS)], QUERY)
    assert [d.metadata["n"] for d in found] == [1, 2]
    assert 0 <= found[0].metadata["relevance_score"] <= 1


def test_vllm_users_http_with_pictures(live):
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": DOCS[1]}]
    body = {
        "model": "m",
        "query": QUERY,
        "documents": [DOCS[0], {"content": parts}],
        "top_n": 0,
        "instruction": "x",
        "return_documents": True,
    }
    answer = httpx.post(live.url + "/v1/rerank", json=body, headers={"Authorization": f"Bearer {KEY}"}).json()
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["document"] == {
        "text": DOCS[1],
        "multi_modal": [{"type": "image_url", "image_url": {"url": url}}],
    }
    assert answer["usage"]["prompt_tokens"] > 0


def test_tei_users_http(live):
    body = {"query": QUERY, "texts": DOCS, "truncate": False, "truncation_direction": "right", "raw_scores": False}
    rows = httpx.post(live.url + "/rerank", json=body, headers={"Authorization": f"Bearer {KEY}"}).json()
    assert [row["index"] for row in rows] == [1, 2, 0]


def test_curl(live):
    body = json.dumps({"query": QUERY, "documents": DOCS, "top_n": 1})
    command = [
        "curl",
        "-s",
        f"{live.url}/v1/rerank",
        "-H",
        "Content-Type: application/json",
        "-H",
        f"Authorization: Bearer {KEY}",
        "-d",
        body,
    ]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=20, check=True)
    except FileNotFoundError:
        pytest.skip("curl is not on this machine")
    assert json.loads(answer.stdout)["results"][0]["index"] == 1


def test_llama_index_through_cohere(live):
    rerank = pytest.importorskip("llama_index.postprocessor.cohere_rerank")
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=d, id_=str(i))) for i, d in enumerate(DOCS)]
    found = rerank.CohereRerank(api_key=KEY, base_url=live.url, model="m", top_n=2).postprocess_nodes(nodes, query_str=QUERY)
    assert [n.node_id for n in found] == ["1", "2"] and 0 <= found[0].score <= 1
