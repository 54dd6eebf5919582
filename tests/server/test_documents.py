import base64
import hashlib
import io
import json
import re
import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmr5 import Reranker
from mmr5.documents import draft, to_pages
from mmr5.engines.scripted import ScriptedEngine
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import EngineError, InputError, PageError, missing_extra
from mmr5.integrations.rerankers import MMR5Ranker
from mmr5.integrations.sentence_transformers import MMR5CrossEncoder
from mmr5.server.protocol import Document
from mmr5.server.request_documents import drafts, echo, embedded_bytes

from .conftest import png, reverser

PICTURE = {"image": base64.b64encode(png()).decode()}


@pytest.mark.parametrize(
    ("text", "picture"),
    [
        ("words", False), ("https://example.org/p.png", True), (" HTTP://example.org ", True), ("see https://example.org", False),
        ("https://example.org and more", False), ("file:///p.png", True), ("data:image/png;base64,AAAA", True), ("data: a lot", False),
        ("iVBORw0KGgoAAAANSUhEUgAA", True), ("iVBORw0KGgoAAAAN\nSUhEUgAA", True), ("/9j/4AAQSkZJRgABAQAAAQ==", True),
        ("A" * 127, False), ("A" * 128, False), ("R0lGODlh is how a GIF begins", False), ("ü" * 200, False), ("", False),
    ],
)  # fmt: skip
def test_bare_strings(text, picture):
    sent = drafts([text], 1000)[0][0]
    assert (sent.text, sent.picture) == ((None, text) if picture else (text, None))


def test_what_comes_back():
    def back(item):
        return echo(item, drafts([item], 1000)[0][0])

    assert back("words") == {"text": "words"}
    assert back("https://example.org/p.png") == {"image": "https://example.org/p.png"}
    assert back(Document(text="t", image="x")) == {"text": "t", "image": "x"}
    parts = Document(
        content=[{"type": "text", "text": "a"}, {"type": "input_text", "text": "b"}, {"type": "input_image", "image_url": "u"}]
    )
    assert back(parts) == {"text": "a\nb", "multi_modal": [{"type": "image_url", "image_url": {"url": "u"}}]}
    assert back(Document(content="words", image_url={"url": "u"})) == {"text": "words", "image": "u"}


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

    monkeypatch.setattr("mmr5.pages.ocr.read_picture", read_picture)


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
    calls = re.findall(r"curl -s http://127\.0\.0\.1:8000(\S+)[^`]*?-d '(\{.*?\})'", guide)
    assert {path for path, _ in calls} == {"/v1/rerank", "/score"}
    for path, body in calls:
        assert client.post(path, json=json.loads(body)).status_code == 200


# --- one rule for the server and the adapters -------------------------------------------------------------------------


def encoded(kind, size=(3, 2)):
    buffer = io.BytesIO()
    Image.new("RGB", size, "red").save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def in_lines(text, width=76):
    return "\r\n".join(text[i : i + width] for i in range(0, len(text), width))


def flat(letters, n):
    """Letters in an order that repeats late."""
    return "".join(letters[(i * i + 7 * i + i // 5) % len(letters)] for i in range(n))


KINDS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
BMP_OF_80 = base64.b64encode(
    b"BM\x3a\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\1\0\0\0\1\0\0\0\1\0\x18\0" + bytes(24) + b"\0\0\xff\0\0\0"
).decode()
VERDICTS = {
    "words": ("The berthing fees rise.", "text"),
    "nothing": ("", "text"),
    "spaces": ("  \n ", "text"),
    "512 bits in hex": ("0123456789abcdef" * 8, "text"),
    "sha256": ("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "text"),
    "sha512 in base64": (base64.b64encode(hashlib.sha512(b"mmr5").digest()).decode(), "text"),
    "a token": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "text"),
    "DNA": (flat("ACGT", 200), "text"),
    "DNA in lines": (in_lines(flat("ACGT", 400), 60), "text"),
    "a protein": (flat("ACDEFGHIKLMNPQRSTVWY", 300), "text"),
    "a long word": ("Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbeamtengesellschaft" * 2, "text"),
    "one letter": ("A" * 500, "text"),
    "base64 of words": (base64.b64encode(b"just some words, and a few more of them" * 9).decode(), "text"),
    "base64 of a zip": (base64.b64encode(b"PK\3\4" + bytes(range(200))).decode(), "text"),
    "a path": ("/9j/scans/of/2024/harbour", "text"),
    "a path with a suffix": ("scans/page-1.png", "text"),
    "a head and words": ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB is how a PNG begins", "text"),
    "a head alone": ("iVBORw0KGgo", "text"),
    "a URI of words": ("data:text/plain,hello", "text"),
    "a URI of encoded words": ("data:text/plain;base64,aGVsbG8gd29ybGQ=", "text"),
    "a URI of no type": ("data:,hello", "text"),
    "a URI of JSON": ('data:application/json,{"a":1}', "text"),
    "no URI": ("data: the results, in short", "text"),
    "a picture's URI in words": ("see data:image/png;base64,AAAA", "text"),
    "an address in words": ("see https://example.org for more", "text"),
    "a BMP of 80 characters": (BMP_OF_80, "picture"),
    **{f"{kind} in base64": (encoded(kind), "picture") for kind in KINDS},
    **{f"{kind} of a page": (encoded(kind, (170, 220)), "picture") for kind in KINDS},
    "in lines": (in_lines(encoded("PNG", (170, 220))), "picture"),
    "for addresses, unpadded": (encoded("JPEG").replace("+", "-").replace("/", "_").rstrip("="), "picture"),
    "among spaces": (f"\n {encoded('PNG')}\n", "picture"),
    "a URI": (f"data:image/png;base64,{encoded('PNG')}", "picture"),
    "a URI in capitals": (f"DATA:IMAGE/PNG;BASE64,{encoded('PNG')}", "picture"),
    "a URI of any image": (f"data:image/*;base64,{encoded('GIF')}", "picture"),
    "a URI with a parameter": (f"data:image/png;name=a.png;base64,{encoded('PNG')}", "picture"),
    "a URI of another image": (f"data:image/png;base64,{encoded('JPEG')}", "picture"),
    "a URI of bytes": (f"data:application/octet-stream;base64,{encoded('TIFF')}", "picture"),
    "a URI of base64": (f"data:;base64,{encoded('PNG')}", "picture"),
    "an escaped URI": (f"data:image/png;base64,{quote(encoded('PNG'), safe='')}", "picture"),
    "a URI that claims": ("data:image/png;base64,AAAA", "refused"),
    "a URI that is cut": (f"data:image/png;base64,{encoded('PNG', (170, 220))[:-80]}", "refused"),
    "a URI in plain": ("data:image/svg+xml,<svg/>", "refused"),
    "an SVG": ("data:image/svg+xml;base64,PHN2Zy8+", "refused"),
    "a URI of no base64": ("data:image/png;base64,####", "refused"),
    "a URI of nothing": ("data:image/*,", "refused"),
    "a cut picture": (encoded("PNG", (170, 220))[:-80], "refused"),
    "a PDF": (base64.b64encode(b"%PDF-1.7\n1 0 obj <<>> endobj\n").decode(), "refused"),
    "a PDF's URI": ("data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7 and more").decode(), "refused"),
}  # fmt: skip


def of_server(client, value):
    answer = ask(client, [value], return_documents=True)
    if answer.status_code == 422:
        assert answer.json()["message"].startswith("documents[0]: ")
        return "refused"
    assert answer.status_code == 200, answer.text
    document = answer.json()["results"][0]["document"]
    assert list(document.values()) == [value]
    return {"text": "text", "image": "picture"}[next(iter(document))]


def of_adapter(adapter, reranker, value):
    reranker.engine.requests.clear()
    try:
        adapter.rank("harbour", [value])
    except PageError as error:
        assert "document 0" in str(error)
        return "refused"
    parts = [part for request in reranker.engine.requests for message in request.messages for part in message["content"]]
    return "picture" if any(part["type"] == "image" for part in parts) else "text"


def of_library(value):
    try:
        page = to_pages([value], "image")[0][0]
    except PageError:
        return "refused"
    assert (page.text == value) is (page.image is None)
    return "text" if page.image is None else "picture"


@pytest.mark.parametrize("name", VERDICTS)
def test_a_bare_string_is_the_same_for_the_server_the_adapters_and_the_library(name, make_client):
    value, verdict = VERDICTS[name]
    seer = Reranker(ScriptedEngine(reverser), method="reason", view="image")
    found = {
        "server": of_server(make_client(ScriptedEngine(reverser), method="reason", view="image"), value),
        "rerankers": of_adapter(MMR5Ranker(seer), seer, value),
        "sentence-transformers": of_adapter(MMR5CrossEncoder(seer), seer, value),
        "library": of_library(value),
    }
    assert found == dict.fromkeys(found, verdict)


@pytest.mark.parametrize("name", VERDICTS)
def test_what_is_called_an_image_is_one_or_is_refused_by_both(name, make_client):
    value, verdict = VERDICTS[name]
    client = make_client(ScriptedEngine(reverser), method="reason", view="image")
    status = ask(client, [{"image": value}]).status_code
    if verdict == "picture":
        assert status == 200
        assert to_pages([{"image": value}], "image")[0][0].image is not None
    else:
        assert status == 422
        with pytest.raises(InputError):
            to_pages([{"image": value}], "image")


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        st.text(), st.text(string.ascii_letters + string.digits + "+/=-_\n", min_size=20), st.from_regex(r"data:[a-z/;,]*.*")
    )
)
def test_text_is_never_lost(value):
    sent = drafts([value], 10**6)[0][0]
    library = draft(value)
    if re.fullmatch(r"(?i)\s*(https?|file)://\S+\s*", value):
        assert (sent.picture, library.text) == (value, value)
    else:
        assert (sent.text, sent.picture) == (library.text, library.picture)
        claims = value.strip().lower().startswith("data:image/")
        assert sent.text == value or (claims and sent.picture == value)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(KINDS), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 60, 76]))
def test_a_picture_is_never_text(kind, width, height, line):
    value = encoded(kind, (width, height))
    value = in_lines(value, line) if line else value
    assert (drafts([value], 1000)[0][0].picture, draft(value).picture) == (value, value)
    assert to_pages([value], "image")[0][0].image.load().size == (width, height)


def test_the_text_beside_a_picture_may_be_empty(make_client, monkeypatch):
    """As for the adapters: a picture with an empty text is read where a model reads."""
    read(monkeypatch, "the harbour of the picture")
    answer = ask(make_client(), ["nothing", {"text": "", **PICTURE}], return_documents=True).json()
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["document"] == {"text": "", **PICTURE}


def test_a_lone_surrogate_is_replaced_in_questions_and_documents(make_client, tiny_text):
    real = TransformersEngine.from_pretrained(str(tiny_text), device="cpu", dtype="float32")
    for engine, method in ((real, "likelihood"), (real, "direct")):
        client = make_client(engine, method=method, view="text", max_query_chars=100)
        body = b'{"query": "which \\udfff harbour", "documents": ["a \\ud800 b", {"text": "\\udfff"}, "plain"], "return_documents": true}'
        answer = client.post("/rerank", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text
        back = {r["index"]: r["document"]["text"] for r in answer.json()["results"]}
        assert back == {0: "a \ufffd b", 1: "\ufffd", 2: "plain"}
