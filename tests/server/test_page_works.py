"""Working in the web page: marks, early answers, addresses, bad files, and nothing that axe-core objects to. Budget: 240 s."""

from __future__ import annotations

import threading
from pathlib import Path

import axe_playwright_python
import pytest

from mmr5.engines.scripted import ScriptedEngine
from mmr5.server import search_routes

from .test_page import ask, browser, open_page, order, pdf, thinker, until, upload  # noqa: F401 - fixtures

pytestmark = pytest.mark.slow

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
LONG = ("The harbour was dredged in 1931 by the dredger Ardent. " * 4, "Ships in the harbour.", "The dredged mud was sold.")
BAD = {"name": "bad.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 broken"}


def violations(page) -> list[str]:
    page.evaluate(AXE)
    return [f"{v['id']}: {v['nodes'][0]['target']}" for v in page.evaluate("axe.run()")["violations"]]


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_axe_finds_nothing_in_any_state(serve, open_page, width, scheme):  # noqa: F811
    go_on = threading.Event()

    def slow(request) -> str:
        assert go_on.wait(90)
        return thinker(request)

    page = open_page(
        serve(ScriptedEngine(slow), method="reason").url, viewport={"width": width, "height": 860}, color_scheme=scheme
    )
    assert violations(page) == []
    page.set_input_files("#file", [BAD])
    page.locator("#error b").wait_for()
    assert violations(page) == []
    upload(page)
    page.fill("#question", "When was the harbour dredged?")
    page.keyboard.press("Enter")
    page.locator(".card .evidence").first.wait_for()
    assert violations(page) == []
    go_on.set()
    page.wait_for_selector("body[data-state=result]")
    page.wait_for_timeout(900)  # cards glide
    assert violations(page) == []
    page.locator("#earlier summary").click()
    assert violations(page) == []
    page.locator(".thumb").first.click()
    until(page, "document.getElementById('large-picture').naturalWidth > 300")
    assert violations(page) == []


def test_the_evidence_is_marked_on_thumbnail_and_enlarged_page_which_scrolls_to_it(serve, open_page):  # noqa: F811
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url, viewport={"width": 1280, "height": 420})
    upload(page)
    ask(page)
    card = page.locator(".card").filter(has_text="Page 3")
    mark = card.locator(".marks rect")
    assert mark.count() == 1
    share = float(mark.get_attribute("y")) / 1000
    assert share == pytest.approx(1 - 355 / 400, abs=0.03)
    assert float(mark.get_attribute("width")) > 500
    card.locator(".thumb").click()
    until(page, "document.getElementById('large-picture').naturalWidth > 300")
    assert page.locator("#large .marks rect").count() == 1
    assert page.evaluate("document.activeElement.className") == "sheet"
    before = page.evaluate("document.querySelector('.sheet').scrollTop")
    page.keyboard.press("ArrowDown")
    until(page, f"document.querySelector('.sheet').scrollTop > {before}")


def test_a_first_answer_comes_by_words_and_the_cards_move(serve, open_page, monkeypatch):  # noqa: F811
    monkeypatch.setattr(search_routes, "EARLY", "none")  # document order before BM25, as BM25 before the hybrid
    go_on, seen = threading.Event(), threading.Event()
    find = search_routes.find_candidates

    def late(*arguments):
        found = find(*arguments)
        seen.set()
        return found

    def slow(request) -> str:
        assert go_on.wait(90)
        return thinker(request)

    monkeypatch.setattr(search_routes, "find_candidates", late)
    page = open_page(serve(ScriptedEngine(slow), method="reason").url)
    upload(page, pdf("Ships of the port.", "Mud was sold here.", "The harbour was dredged in 1931."))
    page.fill("#question", "When was the harbour dredged?")
    page.keyboard.press("Enter")
    until(page, "document.getElementById('headline').textContent === 'A first look, by words alone'")
    assert seen.is_set()
    assert order(page)[0] == "Page 3"
    assert "1931" in page.locator(".card .evidence").first.text_content()
    assert page.locator(".card").count() == 3
    go_on.set()
    page.wait_for_selector("body[data-state=result]")


def test_a_question_has_an_address_that_works_again_and_for_others(serve, open_page):  # noqa: F811
    live = serve(ScriptedEngine(thinker), method="reason")
    page = open_page(live.url)
    upload(page)
    ask(page)
    first = page.url
    assert "#q=When+was+the+harbour+dredged" in first
    ask(page, "Who sold the mud?")
    assert page.locator("#earlier li").count() == 2
    page.reload()
    page.wait_for_selector("body[data-state=result]")
    assert page.input_value("#question") == "Who sold the mud?"
    assert page.locator("#documents b").text_content() == "book.pdf"
    page.go_back()
    until(page, "document.getElementById('question').value === 'When was the harbour dredged?'")
    page.wait_for_selector("body[data-state=result]")
    other = open_page(live.url)
    other.goto(first)
    other.wait_for_selector("body[data-state=result]")
    assert len(order(other)) == 3
    page.locator("#earlier summary").click()
    page.get_by_role("button", name="Forget them").click()
    assert page.locator("#earlier").is_hidden()
    gone = open_page(live.url)
    gone.goto(f"{live.url}/#q=x&file={'0' * 64}")
    gone.get_by_text("send the file again").wait_for()


def test_one_bad_file_does_not_stop_the_question(serve, open_page):  # noqa: F811
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url)
    page.set_input_files("#file", [BAD, pdf("The harbour was dredged in 1931.", "Ships.", "Mud.")])
    page.fill("#question", "When was the harbour dredged?")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-state=result]")
    assert len(order(page)) == 3
    page.set_input_files("#file", [BAD])
    told = page.locator("#error p")
    told.wait_for()
    said = told.text_content()
    assert said.startswith("bad.pdf could not be taken")
    assert said.count("bad.pdf") == 1
    assert "the file:" not in said


def test_several_documents_are_named(serve, open_page):  # noqa: F811
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url)
    upload(page)
    page.set_input_files("#file", [{**pdf("Nothing is written here at all."), "name": "other.pdf"}])
    page.get_by_text("1 page", exact=True).wait_for()
    ask(page)
    assert page.locator("#headline").text_content() in {f"{name.replace(' book', ' of book').replace(' other', ' of other')} comes first" for name in order(page)[:1]}  # fmt: skip


def test_long_evidence_can_be_shown_whole_and_the_pdf_opened(serve, open_page):  # noqa: F811
    page = open_page(serve(ScriptedEngine(thinker), method="reason").url, viewport={"width": 390, "height": 800})
    upload(page, pdf(*LONG))
    ask(page)
    card = page.locator(".card").filter(has_text="Ardent")
    more = card.locator(".more")
    until(page, "[...document.querySelectorAll('.more')].some((button) => !button.hidden)")
    cut = card.locator(".evidence").bounding_box()["height"]
    more.click()
    assert more.get_attribute("aria-expanded") == "true"
    assert card.locator(".evidence").bounding_box()["height"] > cut
    link = card.locator(".original")
    assert link.get_attribute("href").endswith("/original#page=1")
    sent = page.request.get(f"{page.url.split('/#')[0]}{link.get_attribute('href').split('#')[0]}")
    assert sent.headers["content-type"] == "application/pdf"
    assert sent.body().startswith(b"%PDF")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_a_key_is_asked_for(serve, open_page, scheme):  # noqa: F811
    page = open_page(serve(api_keys=("sesame",)).url, color_scheme=scheme)
    page.locator("#locked[open]").wait_for()
    assert violations(page) == []
