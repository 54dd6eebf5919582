"""Stored collections in the web page. Budget: 60 s."""

import pytest

from mmr5.engines.scripted import ScriptedEngine
from mmr5.retrieval.index import Index
from support.corpora import draw_pdf

from .test_page import ask, browser, open_page, order, until, upload  # noqa: F401 - fixtures
from .test_page_works import violations

pytestmark = pytest.mark.slow


@pytest.fixture
def place(tmp_path):
    home = tmp_path / "docs"
    draw_pdf(home / "harbour.pdf", ["The harbour was dredged in 1931.", "A list of ships.", "Mud was sold."])
    draw_pdf(home / "fog.pdf", ["The fog bell of the harbour rings in May."])
    index = Index.open(tmp_path / "port.index", create=True, retriever="bm25")
    index.add(home / "harbour.pdf", metadata={"year": 1931})
    index.add(home / "fog.pdf", metadata={"year": 1950})
    return index.place


@pytest.mark.parametrize(("width", "scheme"), [(1180, "light"), (390, "dark")])
def test_a_collection_is_chosen_filtered_and_asked(serve, open_page, place, width, scheme):  # noqa: F811
    url = serve(ScriptedEngine(), index=(f"port={place}",)).url
    page = open_page(url, viewport={"width": width, "height": 860}, color_scheme=scheme)
    page.get_by_text("port 4 pages").wait_for()
    assert page.locator(".drop").is_visible() and not page.locator("#where").is_visible()
    page.get_by_text("port 4 pages").click()
    assert not page.locator(".drop").is_visible() and page.locator("#where").is_visible()
    assert violations(page) == []
    ask(page)
    assert len(order(page)) == 4 and "4 pages searched" in page.locator("#facts").text_content()
    until(page, "[...document.querySelectorAll('.thumb img')].every((image) => image.naturalWidth > 50)")
    page.wait_for_timeout(900)  # cards glide
    assert violations(page) == []
    page.fill("#where", "year > 1940")
    ask(page)
    until(page, "document.querySelectorAll('.card').length === 1")
    assert "index=port&where=year" in page.url
    page.locator(".thumb").first.click()
    until(page, "document.getElementById('large-picture').naturalWidth > 300")
    page.keyboard.press("Escape")
    again = open_page(url)
    again.goto(page.url)
    again.wait_for_selector("body[data-state=result]")
    assert again.locator("#where").input_value() == "year > 1940" and len(order(again)) == 1
    again.fill("#where", "colour = red")
    again.keyboard.press("Enter")
    again.get_by_text("which no document has").wait_for()
    upload(again)
    assert again.locator(".drop").is_visible(), "a file that is added is what is asked next"
    ask(again)
    assert len(order(again)) == 3 and "index=" not in again.url


def test_without_collections_nothing_is_offered(serve, open_page):  # noqa: F811
    page = open_page(serve(ScriptedEngine()).url)
    page.get_by_text("scripted").wait_for()
    assert not page.locator("#collections").is_visible()
