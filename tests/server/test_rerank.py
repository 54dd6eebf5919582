import base64
import json
from pathlib import Path

import pytest

from mmr5.engines.scripted import ScriptedEngine

from .conftest import png, reverser

DOCS = ["Nothing to see.", "The harbour was dredged in 1931.", "A list of dredged ships."]
QUERY = "harbour dredged 1931"
PNG = base64.b64encode(png()).decode()
BROKEN = base64.b64encode(png(400, 400)[:-40] + b"").decode()


def post(client, path="/v1/rerank", **body):
    return client.post(path, json={"query": QUERY, **body})


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_sorted_complete_and_indexed(client, path):
    answer = post(client, path, documents=DOCS)
    assert answer.status_code == 200
    body = answer.json()
    assert [r["index"] for r in body["results"]] == [1, 2, 0]
    scores = [r["relevance_score"] for r in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= s <= 1 for s in scores)
    assert body["score_kind"] == "relevance_probability"
    assert body["model"] == "scripted" and body["object"] == "rerank"
    assert body["usage"]["total_tokens"] > 0
    assert body["meta"]["api_version"]["version"] == "2"
    assert body["results"][0]["document"] == {"text": DOCS[1]} and "reasoning" not in body
    assert "document" not in post(client, path, documents=DOCS, return_documents=False).json()["results"][0]


def test_chinese_documents_without_spaces_are_told_apart(client):
    body = json.loads((Path(__file__).parent / "rerank_zh.json").read_text(encoding="utf-8"))
    found = client.post("/v1/rerank", json=body).json()["results"]
    assert [r["index"] for r in found][0] == 1
    assert found[0]["relevance_score"] > found[1]["relevance_score"]


@pytest.mark.parametrize(
    ("spelling", "n"), [({"top_n": 1}, 1), ({"top_k": 2}, 2), ({"top_n": 0}, 3), ({"top_n": 99}, 3), ({"top_n": None}, 3)]
)
def test_top_n_in_every_spelling(client, spelling, n):
    assert len(post(client, documents=DOCS, **spelling).json()["results"]) == n


def test_cohere_v1_and_jina_texts_with_documents_back(client):
    body = post(
        client, documents=[{"text": d, "id": 7} for d in DOCS], return_documents=True, model="any", max_tokens_per_doc=9
    ).json()
    assert body["results"][0]["document"] == {"text": DOCS[1]}


def test_voyage_finds_its_data(client):
    body = post(client, documents=DOCS, top_k=2, truncation=True).json()
    assert [(d["index"], d["relevance_score"]) for d in body["data"]] == [
        (r["index"], r["relevance_score"]) for r in body["results"]
    ]


def test_tei_gets_a_bare_array(client):
    rows = post(client, "/rerank", texts=DOCS, return_text=True, truncate=False, raw_scores=False).json()
    assert [row["index"] for row in rows] == [1, 2, 0]
    assert rows[0]["text"] == DOCS[1] and set(rows[0]) == {"index", "score", "text"}
    assert set(post(client, "/rerank", texts=DOCS).json()[0]) == {"index", "score"}


def test_tei_texts_are_texts_even_when_they_look_like_addresses(client):
    assert post(client, "/rerank", texts=["https://example.org/", "harbour"]).status_code == 200


def test_tei_gets_its_own_error_shape(client):
    answer = post(client, "/rerank", texts=[])
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "error_type"} and answer.json()["error_type"] == "Validation"
    answer = post(client, "/rerank", texts=[1])
    assert answer.status_code == 422 and answer.json()["error_type"] == "Validation"


def test_raw_scores_are_the_models_own(make_client):
    client = make_client(method="likelihood")
    raw = post(client, "/rerank", texts=DOCS, raw_scores=True).json()
    assert all(-2 <= row["score"] <= 0 for row in raw)
    mapped = post(client, documents=DOCS).json()
    assert mapped["score_kind"] == "geometric_mean_token_probability"
    assert [r["index"] for r in mapped["results"]] == [r["index"] for r in raw]


@pytest.mark.parametrize(
    "document",
    [
        PNG,
        "data:image/png;base64," + PNG,
        {"image": PNG},
        {"image": "data:image/png;base64," + PNG},
        {"image_url": "data:image/png;base64," + PNG},
        {"image_url": {"url": "data:image/png;base64," + PNG}},
        {"content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + PNG}}, {"type": "text", "text": "a"}]},
        {"text": "a", "image": PNG},
        {"image": base64.urlsafe_b64encode(png()).decode().rstrip("=")},
    ],
)
def test_pictures_in_every_spelling_reach_the_model_as_pictures(make_client, document):
    engine = ScriptedEngine()
    client = make_client(engine, method="reason", view="image")
    answer = post(client, documents=[document, {"image": PNG}], diagnostics=True)
    assert answer.status_code == 200, answer.text
    assert answer.json()["diagnostics"]["view"] == "image"
    parts = [p for m in engine.requests[0].messages for p in m["content"]]
    assert sum(p["type"] == "image" for p in parts) == 2
    assert PNG[:30] not in "".join(p["text"] for p in parts if p["type"] == "text")


@pytest.mark.parametrize(
    "document",
    [
        BROKEN,
        {"image": BROKEN},
        {"image": "not base64 at all!"},
        {"image": "data:text/html;base64,PGI+"},
        {"image": "data:image/png,raw"},
        {"image": ""},
        "data:image/png;base64,AAAA",
        {"image": "QUJD" * 60},
        {"image": base64.b64encode(b"%PDF-1.7 hello").decode()},
        base64.b64encode(b"%PDF-1.7 hello and more").decode(),
        {"content": [{"type": "image_url"}]},
        {"content": []},
        {"content": [{"type": "image", "image": PNG}, {"type": "image", "image": PNG}]},
        {},
    ],
)
def test_a_page_that_cannot_be_decoded_is_refused_by_name(make_client, document):
    engine = ScriptedEngine()
    client = make_client(engine)
    answer = post(client, documents=["good", document])
    assert answer.status_code == 422
    assert "documents" in answer.json()["message"] and "1" in answer.json()["message"]
    assert answer.json()["message"] == answer.json()["detail"] == answer.json()["error"]["message"]
    assert engine.requests == []


def test_texts_that_only_resemble_something_stay_texts(client):
    texts = ["data: the results", "see https://example.org for more", "internationalisation", "/9j/", "A" * 128, "QUJD" * 60]
    assert post(client, documents=texts).status_code == 200


def test_text_documents_are_read_as_text_by_a_model_for_pictures(make_client):
    client = make_client(method="reason", view="image")
    answer = post(client, documents=DOCS, diagnostics=True)
    assert answer.json()["diagnostics"]["view"] == "text"


def test_one_object_for_all_documents_is_refused_loudly(client):
    answer = post(client, documents={"content": [{"type": "text", "text": "a"}]})
    assert answer.status_code == 422 and "list of documents" in answer.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"documents": []},
        {"documents": DOCS, "texts": DOCS},
        {},
        {"documents": DOCS, "query": "  "},
        {"documents": DOCS, "query": {"image": PNG}},
        {"documents": DOCS, "top_n": -1},
        {"documents": DOCS, "top_n": 1, "top_k": 2},
        {"documents": [None]},
        {"documents": [["a"]]},
    ],
)
def test_bad_requests_are_422(client, body):
    assert post(client, **body).status_code == 422


def test_a_body_that_is_not_json(client):
    answer = client.post("/rerank", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert client.post("/rerank", content=b"[" * 100_000, headers={"content-type": "application/json"}).status_code in (400, 422)
    assert client.post(
        "/rerank", content=b'{"query": "\\ud800", "documents": ["\\ud800"]}', headers={"content-type": "application/json"}
    ).status_code in (200, 422)


def test_reasoning_and_diagnostics_on_request(make_client):
    client = make_client(ScriptedEngine(reverser), method="reason")
    body = post(client, documents=DOCS, reasoning=True, diagnostics=True).json()
    assert [r["index"] for r in body["results"]] == [2, 1, 0]
    assert body["results"][0]["reasoning"] == "page 3 is good."
    assert "page 1 is good." in body["reasoning"]
    assert body["diagnostics"]["method"] == "reason" and body["diagnostics"]["issues"] == []
    assert body["score_kind"] == "reciprocal_rank"


def test_a_bad_reply_still_ranks_every_document_and_says_so(make_client):
    client = make_client(ScriptedEngine(lambda request: "I do not know"), method="reason")
    body = post(client, documents=DOCS, diagnostics=True).json()
    assert len(body["results"]) == 3
    assert body["diagnostics"]["fallback"] is True and "NO_ANSWER" in body["diagnostics"]["issues"]


def events(text):
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def test_server_sent_events_page_by_page(make_client):
    client = make_client(ScriptedEngine(reverser), method="reason")
    answer = post(client, documents=DOCS, stream=True, top_n=2)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = [told for told in events(answer.text) if told[0] != "thinking"]
    assert [name for name, _ in found] == ["accepted", "page", "page", "reasoning", "result", "done"]
    assert found[1][1]["rank"] == 1 and found[1][1]["index"] == 2 and found[1][1]["reasoning"] == "page 3 is good."
    assert [r["index"] for r in found[4][1]["results"]] == [2, 1]


def test_an_error_in_a_stream_is_an_event(make_client):
    client = make_client(ScriptedEngine([]), method="reason")
    found = events(post(client, documents=DOCS, stream=True).text)
    assert [name for name, _ in found] == ["accepted", "error"]
    assert found[1][1]["error"]["code"] == 502


def test_an_engine_that_fails_is_a_502(make_client):
    assert post(make_client(ScriptedEngine([]), method="reason"), documents=DOCS).status_code == 502


def test_a_bug_is_a_500_that_says_nothing(make_client):
    def bug(request):
        raise RuntimeError("secret page text")

    answer = post(make_client(ScriptedEngine(bug), method="reason"), documents=DOCS)
    assert answer.status_code == 500 and "secret" not in answer.text


def test_pages_that_only_tell(client):
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/ready").status_code == 200
    info = client.get("/info").json()
    assert info["model"] == "scripted" and info["method"] == "pointwise" and len(info["prompt_fingerprint"]) > 5
    post(client, documents=DOCS)
    text = client.get("/metrics").text
    assert 'mmr5_requests_total{route="/v1/rerank",status="200"} 1.0' in text
    assert client.get("/nowhere").status_code == 404 and client.get("/nowhere").json()["error"]["code"] == 404
    assert client.get("/rerank").status_code == 405


def test_openapi_has_an_example_a_client_shape(client):
    examples = client.get("/openapi.json").json()["paths"]["/v1/rerank"]["post"]["requestBody"]["content"]["application/json"][
        "examples"
    ]
    assert set(examples) >= {"texts", "pictures", "parts", "tei", "voyage"}
    for example in examples.values():
        answer = client.post("/v1/rerank", json=example["value"])
        assert answer.status_code == 200, answer.text
