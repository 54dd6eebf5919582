"""Files that several questions share, what a page of them looks like, and the events of a search."""

import io
from pathlib import Path

import PIL.Image
import pytest

from mmr5.engines.scripted import ScriptedEngine
from mmr5.server.page_routes import POLICY

from .conftest import png, reverser
from .test_rerank import events
from .test_search import REPORT, pdf, search

EXAMPLES = Path(__file__).parents[2] / "examples"


def send(client, *files):
    return client.post("/v1/files", files=[("files", file) for file in files])


def ask(client, ids, query="When was the harbour dredged?", **fields):
    return client.post("/v1/search", data={"query": query, "file_ids": ids, **fields})


def test_a_file_is_sent_once_and_asked_twice(client):
    answer = send(client, ("report.pdf", REPORT), ("page.png", png()))
    assert answer.status_code == 200, answer.text
    report, picture = answer.json()["files"]
    assert (report["name"], report["n_pages"], [p["page"] for p in report["pages"]]) == ("report.pdf", 3, [1, 2, 3])
    assert (picture["name"], picture["n_pages"]) == ("page.png", 1)
    assert client.get(f"/v1/files/{report['id']}").json() == report
    folder = client.app.state.store.root / report["id"]
    written = (folder / "pages.json").stat().st_mtime_ns
    for query, page in (("When was the harbour dredged?", 2), ("Where is the list of ships that called?", 3)):
        best = ask(client, [report["id"]], query).json()["ranking"][0]
        assert (best["source"], best["page"], best["file_id"]) == ("report.pdf", page, report["id"])
        assert best["thumbnail"] == report["pages"][page - 1]["thumbnail"]
    assert (folder / "pages.json").stat().st_mtime_ns == written


def test_files_and_ids_go_together_and_an_id_counts_once(client):
    known = send(client, ("report.pdf", REPORT)).json()["files"][0]["id"]
    fields = {"query": "harbour", "file_ids": [known, known]}
    other = pdf("The harbour was dredged again, which the second report says clearly.")
    body = client.post("/v1/search", data=fields, files=[("files", ("report.pdf", other))]).json()
    assert body["n_pages"] == 4
    assert {line["source"] for line in body["ranking"]} == {"report.pdf", "report.pdf (2)"}


@pytest.mark.parametrize("name", ["0" * 64, "x", "../etc", "F" * 64])
def test_an_unknown_id_is_a_404_that_says_what_to_do(client, name):
    for answer in (ask(client, [name]), ask(client, [name], stream=True)):
        assert answer.status_code == 404 and "send the file again" in answer.json()["message"]
    assert client.get(f"/v1/files/{name}").status_code == 404


def test_a_search_without_any_file_is_refused(client):
    answer = client.post("/v1/search", data={"query": "q"})
    assert answer.status_code == 422 and "file_ids" in answer.json()["message"]


def test_a_page_is_drawn_for_people_when_it_is_asked_for(client):
    page = send(client, ("report.pdf", REPORT)).json()["files"][0]["pages"][1]
    small, large = (PIL.Image.open(io.BytesIO(client.get(page[which]).content)) for which in ("thumbnail", "image"))
    assert small.format == large.format == "JPEG"
    assert small.width * small.height <= 90_000 < large.width * large.height
    again = client.get(page["image"])
    assert again.headers["content-type"] == "image/jpeg" and "max-age" in again.headers["cache-control"]
    assert client.get(page["image"].replace("/pages/2/", "/pages/4/")).status_code == 404


def test_a_store_made_for_another_view_is_read_anew(make_client, tmp_path):
    first = make_client(store_root=tmp_path)
    name = send(first, ("report.pdf", REPORT)).json()["files"][0]["id"]
    engine = ScriptedEngine(reverser)
    second = make_client(engine, method="reason", view="image", store_root=tmp_path)
    assert ask(second, [name]).status_code == 200
    assert sum(p["type"] == "image" for m in engine.requests[0].messages for p in m["content"]) == 3


def test_the_packaged_example_is_the_repositorys():
    packaged = EXAMPLES.parent / "src" / "mmr5" / "server" / "example"
    for name in ("harbour-report.pdf", "questions.json"):
        assert (packaged / name).read_bytes() == (EXAMPLES / name).read_bytes(), f"copy examples/{name} to {packaged}"


def test_the_example_is_read_and_answers(make_client, monkeypatch):
    monkeypatch.setattr("mmr5.server.document_reader.Parser._made_for", lambda self: {"page_pixels": 0, "ocr": "never"})
    client = make_client()
    body = client.get("/v1/example").json()
    assert body["file"]["name"] == "harbour-report.pdf" and body["file"]["n_pages"] == 12
    assert len(body["questions"]) >= 3
    best = ask(client, [body["file"]["id"]], body["questions"][0]).json()["ranking"][0]
    assert best["source"] == "harbour-report.pdf"


def test_a_search_tells_what_it_does(make_client):
    client = make_client(ScriptedEngine(reverser), method="reason")
    told = events(search(client, ("report.pdf", REPORT), stream="true").text)
    names = [name for name, _ in told]
    assert [n for n in names if n not in ("stage", "thinking")] == [
        "candidates",
        "page",
        "page",
        "page",
        "reasoning",
        "result",
        "done",
    ]
    stages = [data for name, data in told if name == "stage"]
    assert [s["stage"] for s in stages if "source" not in s] == ["reading", "retrieving", "ranking"]
    assert {"stage": "reading", "source": "report.pdf", "part": "pictures", "done": 2, "total": 3} in stages
    data = dict(told)
    first = data["candidates"]["ranking"]
    assert [line["rank"] for line in first] == [1, 2, 3] and first[0]["page"] == 2 and data["candidates"]["n_pages"] == 3
    assert first[0]["first_stage_score"] >= first[1]["first_stage_score"]
    result = data["result"]
    assert [line["page"] for line in result["ranking"]] == [line["page"] for line in reversed(first)]
    assert [d for n, d in told if n == "page"] == result["ranking"]
    assert result["ranking"][0]["reason"] == "page 3 is good." and "page 1 is good." in data["reasoning"]["reasoning"]
    assert client.get(result["ranking"][0]["image"]).status_code == 200


def test_an_error_of_a_search_that_streams_is_an_event(client):
    told = events(search(client, ("report.pdf", REPORT[:200]), stream="true").text)
    assert [name for name, _ in told] == ["stage", "error"]
    assert told[1][1]["error"]["code"] == 422 and told[1][1]["message"].startswith("report.pdf: ")


def test_the_page_comes_with_a_policy_and_its_parts_need_no_key(make_client, monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text("<!doctype html><title>mmr5</title>")
    (tmp_path / "page.js").write_text("'use strict'")
    monkeypatch.setattr("mmr5.server.page_routes.STATIC", tmp_path)
    client = make_client(api_keys=("key",))
    answer = client.get("/")
    assert answer.status_code == 200 and answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY and "default-src 'none'" in POLICY
    assert client.get("/static/page.js").status_code == 200
    for path in ("/static/../page_routes.py", "/static/%2e%2e/page_routes.py", "/static/none.js"):
        assert client.get(path).status_code in (401, 404)


@pytest.mark.slow
def test_the_examples_scan_is_recognised(client):  # budget: 60 s
    file = client.get("/v1/example").json()["file"]
    assert file["problems"] == []
    best = ask(client, [file["id"]], "What was the diver paid for bringing up the fog bell?").json()["ranking"]
    assert 11 in [line["page"] for line in best[:3]]


def test_texts_and_office_documents_are_taken(make_client, monkeypatch):
    """Their pages are shown as drawings of their words; what they are called says that they are texts."""
    from mmr5.pages import office

    monkeypatch.setattr(office, "program", lambda: None)
    client = make_client()
    text = "# Fees\n\nThe ferry costs <b>12</b> euros a day & more.\n\n# Other\n\n" + "word " * 700
    files = [("files", ("fees.md", text.encode())), ("files", ("note.txt", "Caf\xe9 at nine".encode("cp1252")))]
    held = client.post("/v1/files", files=files).json()["files"]
    assert [(f["name"], f["n_pages"]) for f in held] == [("fees.md", 3), ("note.txt", 1)]
    drawn = client.get(held[0]["pages"][0]["thumbnail"])
    assert drawn.headers["content-type"] == "image/svg+xml"
    assert drawn.headers["content-security-policy"] == "default-src 'none'"
    assert "The ferry costs &lt;b&gt;12&lt;/b&gt; euros a day &amp;" in drawn.text
    assert "Café at nine" in client.get(held[1]["pages"][0]["image"]).text
    answer = client.post("/v1/search", data={"query": "What does the ferry cost?", "file_ids": [f["id"] for f in held]}).json()
    assert (answer["ranking"][0]["source"], answer["ranking"][0]["page"]) == ("fees.md", 1)
