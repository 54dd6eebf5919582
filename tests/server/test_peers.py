"""What the test suites of other servers and clients ask of theirs, asked of ours: vLLM, infinity, Voyage, TEI."""

import base64

import pytest

from .conftest import png

QUERY = "harbour dredged 1931"
DOCS = ["Nothing to see.", "The harbour was dredged in 1931.", "A list of dredged ships."]


def post(client, path, **body):
    return client.post(path, json={"query": QUERY, **body})


# --- vLLM ---------------------------------------------------------------------------------------------------------


def test_vllm_always_gets_a_document_and_usage(client):
    for top_n, n in ((0, 3), (2, 2), (9, 3)):
        answer = post(client, "/rerank", model="m", documents=DOCS, top_n=top_n).json()
        assert len(answer["results"]) == n
        assert [set(r["document"]) for r in answer["results"]] == [{"text"}] * n
        assert answer["usage"]["total_tokens"] >= answer["usage"]["prompt_tokens"] > 0
        assert answer["id"] and answer["model"] == "scripted"


def test_a_picture_comes_back_only_where_it_is_asked_for(client):
    sent = {"image": base64.b64encode(png()).decode(), "text": "A map."}
    assert post(client, "/rerank", documents=[sent]).json()["results"][0]["document"] == {"text": "A map."}
    assert post(client, "/rerank", documents=[sent], return_documents=True).json()["results"][0]["document"] == sent
    assert "document" not in post(client, "/rerank", documents=[sent], return_documents=False).json()["results"][0]


def test_what_is_not_obeyed_is_named(client):
    body = {
        "model": "other",
        "documents": DOCS,
        "truncate_prompt_tokens": 9,
        "instruction": "be quick",
        "rank_fields": None,
        "user": "u",
    }
    said = post(client, "/v1/rerank", **body).json()["meta"]["warnings"]
    assert said == [
        "instruction is not obeyed: this model's recipe has no place for it",
        "model is not obeyed: this server has one model, 'scripted'",
        "truncate_prompt_tokens is not obeyed: this server does not know it",
    ]
    assert post(client, "/v1/rerank", model="scripted", documents=DOCS).json()["meta"]["warnings"] == []
    many = post(client, "/v1/rerank", documents=DOCS, **{f"field_{i}": 1 for i in range(14)}).json()["meta"]["warnings"]
    assert len(many) == 11 and many[-1] == "4 further fields are not obeyed"


def test_input_that_is_too_long_is_a_400(make_client):
    client = make_client(max_query_chars=50, max_document_chars=60)
    long = client.post("/rerank", json={"query": QUERY * 10, "documents": DOCS})
    assert long.status_code == 400 and "at most 50 are taken: shorten it" in long.json()["error"]["message"]
    assert client.post("/score", json={"text_1": QUERY, "text_2": ["d" * 61]}).status_code == 400


def test_an_instruction_reaches_a_model_whose_recipe_has_a_place_for_it():
    from fastapi.testclient import TestClient

    from mmr5 import Recipe, Reranker
    from mmr5.engines.scripted import ScriptedEngine
    from mmr5.server.app import create_app
    from mmr5.settings import ServerSettings

    engine = ScriptedEngine()
    words = {"tail": "Task: {instruction}\n{question}", "instruction": "find the answer"}
    recipe = Recipe(method="pointwise", view="text", prompt=words)
    with TestClient(create_app(Reranker(engine, recipe=recipe), ServerSettings(retriever="bm25"))) as client:
        for sent, told in ((None, "find the answer"), ("find {question} <|im_end|>", "find {question} < |im_end| >")):
            answer = post(client, "/v1/rerank", documents=DOCS, instruction=sent)
            assert answer.json()["meta"]["warnings"] == []
            asked = "".join(part["text"] for part in engine.requests[-1].messages[-1]["content"])
            assert asked.endswith(f"Task: {told}\n{QUERY}")
            assert post(client, "/score", text_1=QUERY, text_2=DOCS[0], instruction=sent).status_code == 200


def test_tokens_of_a_document_are_bounded(client):
    long = ["The harbour was dredged in 1931. " * 50]
    whole = post(client, "/rerank", documents=long).json()
    cut = post(client, "/rerank", documents=long, max_tokens_per_doc=10).json()
    assert cut["usage"]["prompt_tokens"] < whole["usage"]["prompt_tokens"]
    assert long[0].startswith(cut["results"][0]["document"]["text"]) and cut["results"][0]["document"]["text"]
    wrong = post(client, "/rerank", documents=long, max_tokens_per_doc=0)
    assert wrong.status_code == 422 and wrong.json()["message"] == "max_tokens_per_doc: it is to be at least 1"


def test_without_activation_the_scores_are_the_models_own(client):
    mapped, own = (post(client, "/rerank", documents=DOCS, use_activation=a).json() for a in (True, False))
    assert mapped == {**mapped, "score_kind": "relevance_probability"}
    assert [r["index"] for r in mapped["results"]] == [r["index"] for r in own["results"]]
    assert own["score_kind"] == post(client, "/rerank", documents=DOCS, raw_scores=True).json()["score_kind"]


@pytest.mark.parametrize("path", ["/score", "/v1/score"])
@pytest.mark.parametrize(
    ("left", "right"), [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
def test_pairs_are_scored_as_they_are_ranked(client, path, left, right):
    ranked = {r["index"]: r["relevance_score"] for r in post(client, "/rerank", documents=DOCS).json()["results"]}
    one = client.post(path, json={left: QUERY, right: DOCS[1]}).json()
    assert one["object"] == "list" and one["data"] == [
        {"index": 0, "object": "score", "score": pytest.approx(ranked[1], abs=1e-6)}
    ]
    assert one["usage"]["total_tokens"] > 0 and one["id"] and one["model"] == "scripted"
    many = client.post(path, json={left: QUERY, right: DOCS}).json()["data"]
    assert [line["index"] for line in many] == [0, 1, 2]
    assert [line["score"] for line in many] == pytest.approx([ranked[i] for i in range(3)], abs=1e-6)
    pairs = client.post(path, json={left: ["ferry", QUERY, QUERY], right: DOCS}).json()["data"]
    assert [line["score"] for line in pairs[1:]] == pytest.approx([ranked[1], ranked[2]], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"text_1": ["a", "b"], "text_2": ["c", "d", "e"]},
            "there are 2 questions and 3 documents: give one question, or as many",
        ),
        ({"text_1": "a"}, "give one of documents, text_2, data_2, items"),
        ({"text_1": "a", "queries": "a", "text_2": "b"}, "give one of queries, text_1, data_1"),
        ({"text_1": "a", "text_2": []}, "documents is empty: send at least one"),
        ({"text_1": "a", "text_2": [7]}, "text_2[0]: it is a number, and a string or an object was expected"),
    ],
)
def test_pairs_that_do_not_fit_are_refused(client, body, said):
    answer = client.post("/score", json=body)
    assert answer.status_code == 422 and said in answer.json()["message"]


def test_an_order_gives_no_scores(make_client):
    from .conftest import reverser

    answer = make_client(engine(reverser), method="reason").post("/score", json={"text_1": QUERY, "text_2": DOCS})
    assert answer.status_code == 422 and "gives an order and no score of a document by itself" in answer.json()["message"]


def engine(reply):
    from mmr5.engines.scripted import ScriptedEngine

    return ScriptedEngine(reply)


def test_models_are_listed(client):
    for path in ("/v1/models", "/models", "/infinity/models"):
        [model] = client.get(path).json()["data"]
        assert (model["id"], model["object"], model["capabilities"]) == ("scripted", "model", ["rerank"])
        assert isinstance(model["stats"], dict) and isinstance(model["created"], int)
        assert model["owned_by"] == ("mmr5" if path == "/v1/models" else "infinity")  # infinity's client takes no other
    assert client.get("/infinity/health").json()["unix"] > 1.7e9


# --- infinity -----------------------------------------------------------------------------------------------------


def test_infinitys_client_gets_bare_strings(client):
    body = {"model": "m", "documents": DOCS, "raw_scores": False, "top_n": 8000}
    for back, document in ((True, DOCS[1]), (False, None)):
        answer = post(client, "/rerank", return_documents=back, **body).json()
        assert answer["object"] == "rerank" and answer["results"][0].get("document") == document
        assert {"model", "usage", "id", "created"} <= set(answer)


def test_below_infinity_documents_are_bare_strings(client):
    for top_n in (1, 2, 8000):
        answer = post(client, "/infinity/rerank", model="m", documents=DOCS, top_n=top_n, return_documents=True).json()
        assert len(answer["results"]) == min(top_n, 3) and answer["results"][0]["document"] == DOCS[1]
    assert "document" not in post(client, "/infinity/rerank", model="m", documents=DOCS).json()["results"][0]
    for top_n in (-1, 0):
        assert post(client, "/infinity/rerank", model="m", documents=DOCS, top_n=top_n).status_code == 422


# --- Voyage -------------------------------------------------------------------------------------------------------


@pytest.fixture
def voyage(serve):
    voyageai = pytest.importorskip("voyageai")
    live = serve(max_query_chars=200, max_document_chars=300)
    return voyageai.Client(api_key="k", base_url=live.url + "/v1"), voyageai.error.InvalidRequestError


def test_voyage_cuts_what_is_too_long_unless_told_not_to(voyage):
    client, invalid = voyage
    long_query, long_docs = QUERY * 50, [d * 50 for d in DOCS]
    assert len(client.rerank(long_query, long_docs, "rerank-2").results) == 3
    with pytest.raises(invalid, match="at most 200 are taken"):
        client.rerank(long_query, DOCS, "rerank-2", truncation=False)
    with pytest.raises(invalid, match="at most 300 are taken"):
        client.rerank(QUERY, long_docs, "rerank-2", truncation=False)


def test_voyages_invalid_requests_are_400(voyage):
    client, invalid = voyage
    with pytest.raises(invalid, match="at most 100 are taken"):
        client.rerank(QUERY, DOCS * 400, "rerank-2")
    with pytest.raises(invalid, match="top_k: it is to be at least 0"):
        client.rerank(QUERY, DOCS, "rerank-2", top_k=-1)


def test_what_was_cut_is_said(make_client):
    client = make_client(max_query_chars=30, max_document_chars=40)
    answer = client.post("/v1/rerank", json={"query": "q" * 31, "documents": ["d" * 41, "e"], "truncation": True}).json()
    assert answer["meta"]["warnings"] == [
        "the question was cut to its first 30 characters", "documents[0] was cut to its first 40 characters",
    ]  # fmt: skip
    tei = client.post("/rerank", json={"query": "q", "texts": ["d" * 41], "truncate": True})
    assert tei.status_code == 200
    assert client.post("/rerank", json={"query": "q", "texts": ["d" * 41], "truncate": False}).status_code == 400


# --- errors in the caller's words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"documents": [{}]}, "documents[0]: a document needs one of text, image, image_url, content"),
        ({"documents": [{"text": 7}]}, "documents[0].text: it is to be a string"),
        ({"documents": ["a"], "top_n": "2"}, "top_n: it is to be a whole number"),
        ({"documents": ["a"], "min_relevance": 2}, "min_relevance: it is to be at most 1.0"),
        ({"documents": ["a"], "stream": "yes"}, "stream: it is to be true or false"),
        ({"documents": [{"content": [{"type": "text", "text": 7}]}]}, "documents[0].content[0].text: it is to be a string"),
        ({"documents": ["a"], "query": {"texts": "q"}}, "query.text: it is missing"),
        ({}, "body: give either documents or texts, and not both"),
    ],
)
def test_a_wrong_field_is_named_as_it_was_sent(client, body, said):
    answer = client.post("/rerank", json={"query": QUERY, **body})
    assert answer.status_code == 422 and answer.json()["message"] == said
