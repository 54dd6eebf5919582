"""Calibrated relevance on the routes: told, obeyed, and named where it is not."""

import dataclasses

import pytest
from fastapi.testclient import TestClient

from mmr5.engines.scripted import ScriptedEngine
from mmr5.models import Recipe
from mmr5.relevance import Calibration, Setting
from mmr5.reranker import Reranker
from mmr5.server.app import create_app
from mmr5.settings import ServerSettings

ALONE = Calibration(Setting("pointwise", "text", "none", None), 1.0, 0.5, 99.0, (1.0, 0.0, 0.0), 0.0, 0.2, 0.8)
FOUND = dataclasses.replace(ALONE, setting=Setting("pointwise", "text", "bm25", 1.0))
BODY = {"query": "When was the harbour dredged?", "documents": ["Dredged in 1931.", "A list of ships.", "Dredged harbour."]}


@pytest.fixture
def client():
    recipe = Recipe(method="pointwise", view="text", fusion=1.0, notes=0, calibrations=(ALONE, FOUND))
    app = create_app(Reranker(ScriptedEngine(), recipe=recipe), ServerSettings(retriever="bm25", batch_wait_ms=0))
    with TestClient(app) as made:
        yield made


def test_results_carry_it_and_it_falls_along_the_order(client):
    answer = client.post("/v1/rerank", json=BODY).json()
    found = [line["relevance"] for line in answer["results"]]
    assert found == sorted(found, reverse=True)
    assert all(0 <= value <= 1 for value in found)
    assert set(answer["answerable"]) == {"probability", "verdict"}
    assert answer["meta"]["warnings"] == []


@pytest.mark.parametrize("spelling", ["min_relevance", "score_threshold", "min_score"])
def test_every_spelling_leaves_out_what_is_below(client, spelling):
    whole = client.post("/v1/rerank", json=BODY).json()
    values = [line["relevance"] for line in whole["results"]]
    cut = client.post("/v1/rerank", json={**BODY, spelling: (values[0] + values[-1]) / 2}).json()
    assert 0 < len(cut["results"]) < 3
    assert cut["results"] == whole["results"][: len(cut["results"])]
    assert cut["answerable"] == whole["answerable"], "the verdict is of all documents"
    assert client.post("/v1/rerank", json={**BODY, spelling: 1.0}).json()["results"] == []


def test_wrong_cuts_are_refused(client):
    assert client.post("/v1/rerank", json={**BODY, "min_relevance": 1.5}).status_code == 422
    both = client.post("/v1/rerank", json={**BODY, "min_relevance": 0.2, "min_score": 0.3})
    assert both.status_code == 422
    assert "give one of them" in both.text


def test_without_a_calibration_it_is_named_and_not_obeyed(make_client):
    answer = make_client().post("/v1/rerank", json={**BODY, "min_relevance": 0.9}).json()
    assert len(answer["results"]) == 3
    assert "relevance" not in answer["results"][0]
    assert "answerable" not in answer
    assert answer["meta"]["warnings"] == ["min_relevance is not obeyed: this model has no calibration (mmr5 calibrate)"]


def test_a_search_has_it_too(client, make_client):
    files = {"files": ("fees.txt", b"# Fees\nThe harbour was dredged in 1931.\n", "text/plain")}
    answer = client.post("/v1/search", data={"query": BODY["query"]}, files=files).json()
    [line] = answer["ranking"]
    assert 0 <= line["relevance"] <= 1
    assert answer["answerable"]["verdict"] in ("yes", "no", "unsure")
    cut = client.post("/v1/search", data={"query": BODY["query"], "min_relevance": "1"}, files=files)
    assert (cut.status_code, cut.json()["ranking"]) == (200, [])
    refused = make_client().post("/v1/search", data={"query": BODY["query"], "min_relevance": "0.5"}, files=files)
    assert 400 <= refused.status_code < 500
    assert "needs a calibration" in refused.text
