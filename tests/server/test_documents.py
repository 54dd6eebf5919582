import base64
import json
import re
from pathlib import Path

import pytest

from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import EngineError, PageError, missing_extra
from mmr5.server.documents import draft, embedded_bytes, looks_binary
from mmr5.server.protocol import Document

from .conftest import png, reverser

PICTURE = {"image": base64.b64encode(png()).decode()}


@pytest.mark.parametrize(
    ("text", "binary"),
    [
        ("words", False), ("https://example.org/p.png", True), (" HTTP://example.org ", True), ("see https://example.org", False),
        ("https://example.org and more", False), ("file:///p.png", True), ("data:image/png;base64,AAAA", True), ("data: a lot", False),
        ("data:,x", True), ("iVBORw0KGgoAAAANSUhEUgAA", True), ("iVBORw0KGgoAAAAN\nSUhEUgAA", True), ("/9j/4AAQSkZJRgABAQAAAQ==", True),
        ("A" * 127, False), ("A" * 128, True), ("A" * 128 + " b", False), ("R0lGODlh is how a GIF begins", False), ("ü" * 200, False), ("", False),
    ],
)  # fmt: skip
def test_bare_strings(text, binary):
    assert looks_binary(text) is binary


def test_what_comes_back():
    assert draft("words").echo() == {"text": "words"}
    assert draft(Document(text="t", image="x")).echo() == {"text": "t", "image": "x"}
    parts = Document(
        content=[{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, {"type": "input_image", "image_url": "u"}]
    )
    assert draft(parts).echo() == {"text": "a\nb", "multi_modal": [{"type": "image_url", "image_url": {"url": "u"}}]}
    assert draft(Document(content="words")).text == "words"


@pytest.mark.parametrize("mangled", [
    lambda text: "\n".join(text[i : i + 76] for i in range(0, len(text), 76)),
    lambda text: " ".join(text),
    lambda text: text.replace("+", "-").replace("/", "_").rstrip("="),
    lambda text: "data:image/png;base64," + text.replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
])  # fmt: skip
def test_base64_is_read_in_the_forms_that_clients_write(mangled):
    data = bytes(range(256)) * 3 + b"\xfb\xff\xfe?"
    assert embedded_bytes(mangled(base64.b64encode(data).decode()), None, 1) == data


def ask(client, documents, **body):
    return client.post("/rerank", json={"query": "harbour", "documents": documents, **body})


def read(monkeypatch, result):
    def read_picture(source, cache=None):
        if isinstance(result, Exception):
            raise result
        return result

    monkeypatch.setattr("mmr5.server.service.recognition.read_picture", read_picture)


def test_text_in_pictures_is_recognised_for_a_model_that_reads(make_client, monkeypatch):
    read(monkeypatch, "the harbour of the picture")
    answer = ask(make_client(), ["nothing", PICTURE], diagnostics=True).json()
    assert answer["results"][0]["index"] == 1 and answer["diagnostics"]["view"] == "text"


def test_a_picture_that_cannot_be_recognised_is_named(make_client, monkeypatch):
    read(monkeypatch, EngineError("recognition failed"))
    answer = ask(make_client(), ["nothing", PICTURE])
    assert answer.status_code == 422 and "documents[1]" in answer.json()["message"]


def test_without_ocr_a_reading_model_refuses_and_a_seeing_one_goes_on(make_client, monkeypatch):
    read(monkeypatch, missing_extra("rapidocr", "ocr", "read"))
    answer = ask(make_client(), [PICTURE])
    assert answer.status_code == 501 and "mmr5[ocr]" in answer.json()["message"]
    seeing = make_client(ScriptedEngine(reverser), method="reason", view="both")
    answer = ask(seeing, [PICTURE, PICTURE], diagnostics=True)
    assert answer.status_code == 200 and answer.json()["diagnostics"]["view"] == "both"


class Fetched:
    def __init__(self, result):
        self.result, self.urls = result, []

    async def fetch(self, url, on_bytes):
        self.urls.append(url)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def test_addresses_are_fetched_where_that_is_allowed(make_client):
    engine = ScriptedEngine(reverser)
    client = make_client(engine, method="reason", view="image", allow_urls=True)
    client.app.state.service.fetcher = fetched = Fetched(png())
    assert ask(client, ["https://a.example/1", {"image_url": {"url": "https://a.example/2"}}]).status_code == 200
    assert sorted(fetched.urls) == ["https://a.example/1", "https://a.example/2"]
    client.app.state.service.fetcher = Fetched(PageError("the address answered 404"))
    answer = ask(client, ["https://a.example/1"])
    assert answer.status_code == 422 and answer.json()["message"] == "documents[0]: the address answered 404"
    client.app.state.service.fetcher = Fetched(b"<html>")
    assert ask(client, ["https://a.example/1"]).status_code == 422


def test_fetched_pictures_are_bounded_for_a_request_and_for_all(make_client):
    class Many:
        async def fetch(self, url, on_bytes):
            for _ in range(10):
                on_bytes(1000)
            return png()

    urls = [f"https://a.example/{i}" for i in range(6)]
    client = make_client(ScriptedEngine(reverser), method="reason", view="image", allow_urls=True, max_request_fetch_bytes=50_000)
    client.app.state.service.fetcher = Many()
    assert ask(client, urls[:5]).status_code == 200
    answer = ask(client, urls)
    assert answer.status_code == 413 and "more than 50,000 bytes in all" in answer.json()["message"]
    client = make_client(ScriptedEngine(reverser), method="reason", view="image", allow_urls=True, max_held_bytes=50_000)
    client.app.state.service.fetcher = Many()
    for _ in range(3):
        assert ask(client, urls[:4]).status_code == 200
        assert ask(client, urls).status_code == 503


def test_the_curl_lines_of_the_guide(client):
    guide = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    bodies = re.findall(r"-d '(\{.*?\})'", guide)
    assert bodies
    for body in bodies:
        assert client.post("/v1/rerank", json=json.loads(body)).status_code == 200
