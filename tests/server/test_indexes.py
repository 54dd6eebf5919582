"""Stored collections behind the server: found by name, filtered, shown, and refused in words."""

import json

import pytest

from mmr5 import Searcher
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError, InputError, SourceNotFoundError
from mmr5.reranker import Reranker
from mmr5.retrieval.index import Index
from mmr5.server.mcp_server import make_server
from mmr5.server.mcp_tools import MARK, PageTools
from mmr5.settings import ReadingSettings, ServerSettings, named_places
from support.corpora import draw_pdf

from .test_mcp import ask, near

QUESTION = "When was the harbour dredged?"
PAGES = ["The ferry leaves at nine.", "The harbour was dredged in 1931.", "A list of ships."]


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "docs"
    draw_pdf(home / "reports" / "harbour.pdf", PAGES)
    (home / "texts").mkdir()
    (home / "texts" / "notes.md").write_text("# Notes\n\nThe dredger Ardent was sold after the harbour was done.\n")
    return home


@pytest.fixture
def place(home, tmp_path):
    index = Index.open(tmp_path / "port.index", create=True, retriever="bm25")
    index.add(home / "reports", metadata={"year": 1931})
    index.add(home / "texts", metadata={"year": 1950})
    return index.place


@pytest.fixture
def client(make_client, place):
    return make_client(index=(f"port={place}",), retriever="bm25")


def search(client, **fields):
    return client.post("/v1/search", data={"query": QUESTION, **fields})


def test_a_collection_is_searched_by_name(client, place):
    assert client.get("/v1/indexes").json() == {"indexes": [{"name": "port", "documents": 2, "pages": 4, "retriever": "bm25"}]}
    answer = search(client, index="port", top_n=2)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    best = body["ranking"][0]
    assert (best["source"], best["page"], best["file_id"], body["n_pages"]) == ("harbour.pdf", 2, None, 4)
    assert "1931" in best["evidence"] and best["evidence_passages"][0]["boxes"]
    stored = Searcher(client.app.state.service.reranker, index=Index.open(place)).search(QUESTION, top_n=2)
    assert [(line["source"], line["page"], line["score"]) for line in body["ranking"]] == [
        (line.source, line.page, line.score) for line in stored
    ]
    for kind in ("thumbnail", "image"):
        picture = client.get(best[kind])
        assert picture.status_code == 200 and picture.content[:2] == b"\xff\xd8", picture.text
    original = client.get(best["document"])
    assert original.headers["content-type"] == "application/pdf" and original.content[:5] == b"%PDF-"
    assert "harbour.pdf" in original.headers["content-disposition"]


def test_a_text_is_shown_as_a_drawing_of_its_words(client, home):
    best = search(client, index="port", where="kind = md").json()["ranking"][0]
    assert best["document"] is None
    for kind in ("thumbnail", "image"):
        card = client.get(best[kind])
        assert card.headers["content-type"].startswith("image/svg") and "dredger" in card.text


def test_filters(client):
    found = search(client, index="port", where="year < 1940").json()["ranking"]
    assert {line["source"] for line in found} == {"harbour.pdf"} and len(found) == 3
    none = search(client, index="port", where="page = 9")
    assert none.status_code == 200 and none.json()["ranking"] == [] and none.json()["answerable"] is None


def test_a_stream_over_a_collection(client):
    with client.stream("POST", "/v1/search", data={"query": QUESTION, "index": "port", "stream": "true"}) as answer:
        text = answer.read().decode()
    events = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
    assert events[-1] == "done" and "candidates" in events and events.count("page") == 4
    stages = [json.loads(line[6:])["stage"] for line in text.splitlines() if line.startswith('data: {"stage"')]
    assert stages == ["retrieving", "ranking"]


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"index": "starboard"}, 404, "no index 'starboard' is served here: there is port"),
        ({"index": "port", "where": "colour = red"}, 422, "which no document has"),
        ({"index": "port", "file_ids": "0" * 64}, 422, "about files or about an index"),
        ({"where": "year = 1"}, 422, "where is for an index"),
        ({}, 422, "there is no file"),
    ],
)
def test_what_is_wrong_is_said(client, fields, status, said):
    answer = search(client, **fields)
    assert answer.status_code == status and said in answer.json()["message"]


def test_addresses_of_pages_that_are_not_there(client, home):
    best = search(client, index="port").json()["ranking"][0]
    base = best["thumbnail"].removesuffix("/pages/2/thumbnail")
    for path in (
        f"{base}/pages/9/image", f"{base}/pages/0/thumbnail", f"{base}/pages/-1/image", "/v1/indexes/port/documents/x/original",
        "/v1/indexes/nope/documents/x/pages/1/image", f"{base}/pages/99999999999999999999/image",
    ):  # fmt: skip
        assert client.get(path).status_code == 404, path
    draw_pdf(home / "reports" / "harbour.pdf", ["Something else."])
    changed = client.get(best["image"])
    assert changed.status_code == 404 and "was changed" in changed.json()["message"]
    problems = search(client, index="port").json()["problems"]
    assert [(p["source"], p["message"]) for p in problems] == [
        ("harbour.pdf", "its file was changed after it was added: add it again")
    ]


def test_what_is_added_is_found_at_once(client, place, home):
    draw_pdf(home / "new.pdf", ["The harbour was dredged again in 1977."])
    Index.open(place).add(home / "new.pdf")
    assert client.get("/v1/indexes").json()["indexes"][0]["documents"] == 3
    assert "1977" in " ".join(line["evidence"] for line in search(client, index="port").json()["ranking"])


def test_names_of_indexes():
    assert named_places(["a=/x/y", "/data/reports.index", "s3=s3://bucket/port"]) == {
        "a": "/x/y", "reports": "/data/reports.index", "s3": "s3://bucket/port",
    }  # fmt: skip
    for wrong, said in ((["a=x", "a=y"], "two indexes are called 'a'"), (["a/b=x"], "has no name"), (["="], "has no name")):
        with pytest.raises(ConfigError, match=said):
            ServerSettings(index=tuple(wrong))


@pytest.fixture
def tools(place, home):
    reranker = Reranker(ScriptedEngine(), method="pointwise", view="text")
    return PageTools(
        Searcher(reranker, "bm25"), [home / "reports"], ReadingSettings(), {"port": Searcher(reranker, index=Index.open(place))}
    )


def test_agents_ask_a_collection(tools):
    _, found = ask(
        make_server(tools),
        ("list_indexes", {}),
        ("list_documents", {"index": "port"}),
        ("search_pages", {"question": QUESTION, "index": "port", "where": "year < 1940", "top_n": 1}),
        ("get_page", {"document": "harbour.pdf", "page": 2, "index": "port"}),
        ("rerank_pages", {"question": QUESTION, "pages": [{"document": "notes.md", "page": 1, "index": "port"}, "x"]}),
        ("search_pages", {"question": QUESTION, "index": "nope"}),
        ("search_pages", {"question": QUESTION}),
    )
    indexes, documents, search, page, order, wrong, folder = found
    assert indexes.structured_content == {"result": [{"index": "port", "documents": 2, "pages": 4}]}
    assert documents.structured_content == {"result": ["harbour.pdf", "notes.md"]}
    told = search.structured_content
    assert [(r["document"], r["page"]) for r in told["results"]] == [("harbour.pdf", 2)] and told["index"] == "port"
    text, picture = page.content
    assert "1931" in text.text and near(MARK, picture.data) > 200
    assert order.structured_content["results"][0]["document"] == "notes.md"
    assert wrong.is_error and "no index 'nope': there is port" in wrong.content[0].text
    assert folder.structured_content["n_pages"] == 3, "without a name the folders are asked"


def test_tools_over_collections_alone(tools):
    alone = PageTools(tools.searcher, [], ReadingSettings(), tools.indexes)
    assert alone.search_pages(QUESTION, top_n=1)["results"][0]["page"] == 2
    assert "Ardent" in alone.get_page("notes.md", 1)[0]
    with pytest.raises(InputError, match="documents are below folders"):
        alone.search_pages(QUESTION, ["notes.md"], index="port")
    with pytest.raises(InputError, match="there is nothing to read"):
        PageTools(tools.searcher, [], ReadingSettings())
    with pytest.raises(SourceNotFoundError, match="has no page 7"):
        alone.get_page("notes.md", 7)
