"""Schemathesis on our own OpenAPI: nothing that can be sent may break the server.  Budget: 150 s."""

import base64
import contextlib
import io
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable

from mmr5.engines.scripted import ScriptedEngine
from mmr5.reranker import Reranker
from mmr5.server.app import create_app
from mmr5.settings import ServerSettings

pytestmark = pytest.mark.slow

OPERATIONS = [
    "POST /rerank",
    "POST /v1/rerank",
    "POST /v2/rerank",
    "POST /infinity/rerank",
    "POST /score",
    "POST /v1/score",
    "POST /v1/search",
    "POST /v1/files",
    "GET /v1/files/{name}",
    "GET /v1/files/{name}/original",
    "GET /v1/files/{name}/pages/{page}/thumbnail",
    "GET /v1/files/{name}/pages/{page}/image",
    "GET /v1/example",
    "GET /v1/indexes",
    "GET /v1/indexes/{name}/documents/{key}/original",
    "GET /v1/indexes/{name}/documents/{key}/pages/{page}/thumbnail",
    "GET /v1/indexes/{name}/documents/{key}/pages/{page}/image",
    "GET /health",
    "GET /ready",
    "GET /metrics",
    "GET /info",
    "GET /v1/models",
    "GET /infinity/models",
    "GET /infinity/health",
]


def encoded(kind):
    import PIL.Image

    buffer = io.BytesIO()
    PIL.Image.effect_noise((60, 40), 50).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def damaged(data, cuts):
    """Some bytes changed, and the end perhaps missing."""
    content = bytearray(data)
    for place, value in cuts[1:]:
        content[place % len(content)] = value
    return bytes(content[: cuts[0][0] % len(content)] if cuts[0][1] < 100 else content)


CUTS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damaged_pictures_are_taken_or_refused(make_client, kind):
    client = make_client(ScriptedEngine(), method="direct", view="image")
    data = encoded(kind)

    @settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @given(cuts=CUTS)
    def check(cuts):
        document = {"image": base64.b64encode(damaged(data, cuts)).decode()}
        answer = client.post("/rerank", json={"query": "q", "documents": [document]})
        assert answer.status_code in (200, 422), answer.text

    check()


def test_damaged_uploads_are_taken_or_refused(client):
    from .test_search import REPORT, search

    @settings(max_examples=25, deadline=None, derandomize=True, database=None)
    @given(cuts=CUTS)
    def check(cuts):
        answer = search(client, ("r.pdf", damaged(REPORT, cuts)))
        assert answer.status_code in (200, 422), answer.text

    check()


def test_every_route_is_fuzzed(client):
    routes = client.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, methods in routes.items() for method in methods} == set(OPERATIONS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_request_gets_a_5xx(operation, monkeypatch):
    monkeypatch.setattr("mmr5.server.document_reader.Parser._made_for", lambda self: {"page_pixels": 0, "ocr": "never"})
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.generation import GenerationMode

    app = create_app(
        Reranker(ScriptedEngine(), method="pointwise", view="text"), ServerSettings(retriever="bm25", batch_wait_ms=0)
    )
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    method, path = operation.split(" ")
    found = schema[path][method]
    statuses = Counter()
    examples = 150 if "rerank" in path or "score" in path else 30
    for mode in GenerationMode:

        @settings(
            max_examples=examples,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
            database=None,
        )
        @given(case=found.as_strategy(generation_mode=mode))
        def check(case):
            answer = case.call(timeout=120)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (answer.status_code, answer.text, case.body)

        with contextlib.suppress(Unsatisfiable):  # a route without parameters has no invalid requests
            check()
    print(operation, dict(statuses))
    assert statuses, "nothing was sent"
    if "rerank" in path:
        assert 200 in statuses and 422 in statuses
