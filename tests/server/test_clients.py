"""The official clients against a server on a local port."""

import asyncio
import base64
import json
import shlex
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from .conftest import png
from .test_search import REPORT

DOCS = ["Nothing to see.", "The harbour was dredged in 1931.", "A list of dredged ships."]
QUERY = "harbour dredged 1931"
KEY = "a-key"
PROVIDERS = [
    ("hosted_vllm", ""), ("cohere", ""), ("jina_ai", ""), ("voyage", ""), ("huggingface", ""), ("infinity", "/infinity"),
]  # fmt: skip
"""Of LiteLLM, with what its base address ends with."""


@pytest.fixture(autouse=True)
def no_network_at_import(monkeypatch):
    """LiteLLM fetches its table of prices when it is imported, unless it is told to take its own."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")


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


def test_langchain_through_voyage(live):
    langchain_voyageai = pytest.importorskip("langchain_voyageai")
    from langchain_core.documents import Document

    compressor = langchain_voyageai.VoyageAIRerank(model="m", api_key=KEY, base_url=live.url + "/v1", top_k=2)
    documents = [Document(page_content=d, metadata={"n": i}) for i, d in enumerate(DOCS)]
    for found in (compressor.compress_documents(documents, QUERY), asyncio.run(compressor.acompress_documents(documents, QUERY))):
        assert [d.metadata["n"] for d in found] == [1, 2]
        assert 1 >= found[0].metadata["relevance_score"] >= found[1].metadata["relevance_score"] >= 0
        assert found[0].metadata["total_tokens"] > 0


@pytest.fixture
def nodes():
    schema = pytest.importorskip("llama_index.core.schema")
    return [schema.NodeWithScore(node=schema.TextNode(text=d, id_=str(i)), score=0.0) for i, d in enumerate(DOCS)]


def test_llama_index_through_jina(live, nodes):
    jina = pytest.importorskip("llama_index.postprocessor.jinaai_rerank")
    reranker = jina.JinaRerank(top_n=2, model="m", base_url=live.url + "/v1", api_key=KEY)
    found = reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert [n.node_id for n in found] == ["1", "2"] and 1 >= found[0].score >= found[1].score >= 0
    reranker._session.headers["Authorization"] = "Bearer wrong"
    with pytest.raises(RuntimeError, match="API key"):
        reranker.postprocess_nodes(nodes, query_str=QUERY)


def test_llama_index_through_tei(live, nodes):
    tei = pytest.importorskip("llama_index.postprocessor.tei_rerank")
    reranker = tei.TextEmbeddingInference(top_n=2, base_url=live.url, auth_token=f"Bearer {KEY}")
    found = reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert [n.node_id for n in found] == ["1", "2"] and 1 >= found[0].score >= found[1].score >= 0


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


def test_jina_users_http_with_pictures(live):
    picture = base64.b64encode(png()).decode()
    body = {
        "model": "jina-reranker-m0",
        "query": QUERY,
        "documents": [{"image": picture}, {"text": DOCS[1]}, DOCS[2]],
        "top_n": 3,
    }
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(live.url + "/v1/rerank", json={**body, "return_documents": True}, headers=headers, timeout=30).json()
    assert [r["index"] for r in answer["results"]] == [1, 2, 0]
    assert answer["results"][0]["document"] == {"text": DOCS[1]} and answer["results"][2]["document"] == {"image": picture}
    assert answer["usage"]["total_tokens"] > 0 and answer["id"]


@pytest.mark.parametrize(("provider", "below"), PROVIDERS)
@pytest.mark.parametrize("back", [None, True, False])
def test_litellm(live, provider, below, back):
    litellm = pytest.importorskip("litellm")
    said = {} if back is None else {"return_documents": back}
    answer = litellm.rerank(
        model=f"{provider}/m", query=QUERY, documents=DOCS, top_n=2, api_base=live.url + below, api_key=KEY, **said
    )
    assert [r["index"] for r in answer.results] == [1, 2]
    assert 1 >= answer.results[0]["relevance_score"] >= answer.results[1]["relevance_score"] >= 0
    if back is not False and provider != "voyage":  # Voyage's answer to LiteLLM's client has none
        assert answer.results[0]["document"]["text"] == DOCS[1]


def test_litellm_reads_our_errors(live):
    litellm = pytest.importorskip("litellm")
    with pytest.raises(litellm.AuthenticationError, match="API key"):
        litellm.rerank(model="cohere/m", query=QUERY, documents=DOCS, api_base=live.url, api_key="wrong")


def curl_lines():
    """The curl commands of the README and the guide, with the continued lines joined."""
    found = []
    for file in ("README.md", "docs/serving.md"):
        text = (Path(__file__).parents[2] / file).read_text(encoding="utf-8").replace("\\\n", " ")
        found += [
            pytest.param(line.strip(), id=f"{file}-{n}") for n, line in enumerate(text.split("\n")) if line.startswith("curl ")
        ]
    return found


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
@pytest.mark.parametrize("line", curl_lines())
def test_the_curl_lines_that_we_print(serve, line, tmp_path):
    live = serve()
    (tmp_path / "report.pdf").write_bytes(REPORT)
    sent = httpx.post(live.url + "/v1/files", files=[("files", ("report.pdf", REPORT))], timeout=30).json()["files"][0]["id"]
    command = shlex.split(
        line.partition(" | ")[0].replace("http://127.0.0.1:8000", live.url).replace("file_ids=ID", f"file_ids={sent}")
    )
    done = subprocess.run([*command, "--fail-with-body"], capture_output=True, timeout=30, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    answer = json.loads(done.stdout)
    assert answer.keys() & {"results", "ranking", "files", "data"}
