"""Agents: the tools by the SDK's own client, in this process, over standard streams and over HTTP, and what they may not read."""

import asyncio
import base64
import io
import os
import subprocess
import sys
import time

import pytest

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters
from PIL import Image

from mmr5 import Searcher
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError, InputError, SourceNotFoundError
from mmr5.reranker import Reranker
from mmr5.server.mcp_server import make_server
from mmr5.server.mcp_tools import MARK, PageTools
from mmr5.settings import ReadingSettings
from support.corpora import draw_pdf

QUESTION = "When was the harbour dredged?"
PAGES = ["The ferry leaves at nine.", "The harbour was dredged in 1931.", "A list of ships."]


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "allowed"
    draw_pdf(home / "reports" / "harbour.pdf", PAGES)
    (home / "notes.md").write_text("# Notes\nThe dredger Ardent was sold.\n")
    (home / "broken.pdf").write_bytes(b"%PDF-1.4 broken")
    (tmp_path / "secret.txt").write_text("The key is under the mat.")
    (home / "link.txt").symlink_to(tmp_path / "secret.txt")
    return home


@pytest.fixture
def tools(folder):
    reranker = Reranker(ScriptedEngine(), method="pointwise", view="text")
    return PageTools(Searcher(reranker, "bm25"), [folder], ReadingSettings())


def ask(server, *calls):
    """The answers of a session: what tools there are, and the result of each call."""

    async def session():
        async with Client(server, read_timeout_seconds=60) as client:
            listed = (await client.list_tools()).tools
            return listed, [await client.call_tool(name, arguments) for name, arguments in calls]

    return asyncio.run(session())


def test_a_session_of_an_agent(tools):
    listed, found = ask(
        make_server(tools),
        ("list_documents", {}),
        ("search_pages", {"question": QUESTION, "top_n": 2}),
        ("get_page", {"document": "reports/harbour.pdf", "page": 2}),
        (
            "rerank_pages",
            {"question": QUESTION, "pages": [{"document": "reports/harbour.pdf", "page": 1}, PAGES[1], {"text": "x"}]},
        ),
    )
    assert {tool.name for tool in listed} == {"list_documents", "list_indexes", "search_pages", "rerank_pages", "get_page"}
    assert all(tool.description and tool.annotations.read_only_hint for tool in listed)
    assert not any(answer.is_error for answer in found), found
    documents, search, page, order = found
    assert documents.structured_content == {"result": ["broken.pdf", "notes.md", "reports/harbour.pdf"]}
    told = search.structured_content
    assert [(r["document"], r["page"]) for r in told["results"]][0] == ("reports/harbour.pdf", 2)
    assert "dredged in 1931" in told["results"][0]["evidence"] and len(told["results"]) == 2
    assert told["n_pages"] == 4 and [p["document"] for p in told["problems"]] == ["broken.pdf"]
    text, picture = page.content
    assert text.text.split() == PAGES[1].split() and picture.mime_type == "image/jpeg"
    assert near(MARK, picture.data) > 200
    assert [r["index"] for r in order.structured_content["results"]][0] == 1


def near(colour, data) -> int:
    """How many pixels of a picture have about a colour."""
    pixels = Image.open(io.BytesIO(base64.b64decode(data) if isinstance(data, str) else data)).convert("RGB").getdata()
    return sum(max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) < 24 for pixel in pixels)


def test_marks_are_of_the_question_or_of_the_last_search(tools):
    assert near(MARK, tools.get_page("reports/harbour.pdf", 2)[1]) == 0
    assert near(MARK, tools.get_page("reports/harbour.pdf", 2, QUESTION)[1]) > 200
    tools.search_pages(QUESTION)
    assert near(MARK, tools.get_page("reports/harbour.pdf", 2)[1]) > 200


@pytest.mark.parametrize(
    "name", ["../secret.txt", "link.txt", "/etc/passwd", "reports/../../secret.txt", "nothing.pdf", "", "a\0b", "x" * 5000, "~"]
)
def test_nothing_outside_of_the_folders_is_read(tools, folder, name):
    if name == "":
        name = str(folder.parent / "secret.txt")
    with pytest.raises(SourceNotFoundError, match="below the allowed folders"):
        tools.get_page(name, 1)
    with pytest.raises(SourceNotFoundError, match="below the allowed folders"):
        tools.search_pages(QUESTION, [name])
    assert not any("mat" in (line["evidence"] or "") for line in tools.search_pages("Where is the key?", top_n=50)["results"])


def test_folders_and_absolute_names_are_understood(tools, folder):
    assert tools.search_pages(QUESTION, ["reports"])["n_pages"] == 3
    assert (
        tools.search_pages(QUESTION, [str(folder / "reports" / "harbour.pdf")])["results"][0]["document"] == "reports/harbour.pdf"
    )
    two = PageTools(tools.searcher, [folder, folder / "reports"], ReadingSettings())
    assert two.list_documents()[-1] == "reports/harbour.pdf"
    assert two.get_page("allowed/notes.md", 1)[0].startswith("# Notes")


def test_a_document_that_changed_is_read_again(tools, folder):
    assert "sold" in tools.get_page("notes.md", 1)[0]
    (folder / "notes.md").write_text("# Notes\nThe dredger Ardent was scrapped in the end.\n")
    assert "scrapped" in tools.get_page("notes.md", 1)[0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda t: t.search_pages("  "), "question is empty"),
        (lambda t: t.search_pages(QUESTION, top_n=0), "top_n is 0: ask for at least 1 page"),
        (lambda t: t.search_pages(QUESTION, ["broken.pdf"]), "there are no pages to look through"),
        (lambda t: t.rerank_pages(QUESTION, []), "0 pages were given: give 1 to 200"),
        (lambda t: t.rerank_pages(QUESTION, [{"page": 1}]), r"pages\[0\] has page: give document and page, or text"),
        (lambda t: t.get_page("", 1), "names 3 documents: name one"),
    ],
)
def test_what_cannot_be_done_is_said(tools, call, said):
    with pytest.raises(InputError, match=said):
        call(tools)


def test_errors_reach_the_agent_in_our_words(tools):
    _, (missing, wrong) = ask(
        make_server(tools),
        ("get_page", {"document": "reports/harbour.pdf", "page": 9}),
        ("search_pages", {"question": QUESTION, "min_relevance": 0.5}),
    )
    assert missing.is_error and "has no page 9: it has 3 pages" in missing.content[0].text
    assert wrong.is_error and "calibration" in wrong.content[0].text


COMMAND = ["-m", "mmr5.cli.main", "mcp", "--engine", "scripted", "--method", "pointwise", "--retriever", "bm25"]


def test_over_standard_streams(folder, tmp_path):
    environment = {**os.environ, "MMR5_CACHE": str(tmp_path / "cache")}
    server = StdioServerParameters(command=sys.executable, args=[*COMMAND, str(folder)], env=environment)
    listed, [found] = ask(server, ("search_pages", {"question": QUESTION, "top_n": 1}))
    assert len(listed) == 5 and found.structured_content["results"][0]["page"] == 2


def test_over_http(folder, tmp_path):
    from .test_proxy import free_port

    port = free_port()
    environment = {**os.environ, "MMR5_CACHE": str(tmp_path / "cache")}
    running = subprocess.Popen(
        [sys.executable, *COMMAND, str(folder), "--transport", "http", "--port", str(port)], env=environment
    )
    try:
        until = time.monotonic() + 60
        while True:
            try:
                _, [found] = ask(f"http://127.0.0.1:{port}/mcp", ("search_pages", {"question": QUESTION, "top_n": 1}))
                break
            except Exception:  # it is not up yet
                assert running.poll() is None and time.monotonic() < until
                time.sleep(0.3)
        assert found.structured_content["results"][0]["document"] == "reports/harbour.pdf"
        import httpx

        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        rebound = httpx.post(f"http://127.0.0.1:{port}/mcp", json=body, headers={"Host": "evil.example.org"})
        assert rebound.status_code == 421
    finally:
        running.terminate()
        running.wait(30)


def test_it_listens_on_this_machine_alone(folder):
    from typer.testing import CliRunner

    from mmr5.cli.main import app

    done = CliRunner().invoke(app, ["mcp", str(folder), "--transport", "http", "--host", "0.0.0.0"])
    assert isinstance(done.exception, ConfigError) and "put a proxy that asks for a key before it" in str(done.exception)
