"""The report in Chromium: nothing runs that should not, nothing is fetched, and it fits a phone.  Budget: 60 s."""

import shutil

import pytest

from evaluation.samples import FACTS, HOSTILE, PAGES
from mmr5.evaluation.report_page import report_html
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import summarise
from mmr5.storage.cache import Cache

pytestmark = pytest.mark.slow


def lines():
    found = [RunLine("d#0", "d", HOSTILE, HOSTILE, (0,), (0, 1, 2), (0, 1, 2), type=HOSTILE)]
    found.append(
        RunLine("d#1", "d", "x", "a win", (3,), (0, 1, 2, 3), (3, 1, 2, 0), notes=(HOSTILE, None, "says", None), reply=HOSTILE)
    )
    found.append(RunLine("d#2", "d", "y", "a small loss", (1,), (0, 1, 2, 3), (0, 3, 1, 2), issues=("MISSING",)))
    found += [RunLine(f"e#{i}", "d", "y", f"same {i}", (1,), (0, 1), (0, 1)) for i in range(40)]
    return found


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program, "chromium is missing: run make browser"
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900, "light"), (390, 844, "dark")], ids=["desktop", "phone"])
def page(chromium, request, tmp_path):
    width, height, scheme = request.param
    found = lines()
    file = tmp_path / "report.html"
    file.write_text(report_html(found, summarise(found, resamples=50), FACTS, lambda name: PAGES, cache=Cache()))
    page = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(message.text) if message.type == "error" else None)
    page.on("dialog", lambda dialog: page.problems.append("a script ran"))
    page.on(
        "request", lambda request: page.problems.append(request.url) if not request.url.startswith(("file:", "data:")) else None
    )
    page.goto(file.as_uri())
    yield page
    assert page.problems == []
    page.close()


def asked(page):
    return page.locator(".question .asked").all_inner_texts()


def test_what_changed_most_comes_first_and_the_rest_on_demand(page):
    assert asked(page)[:2] == ["a win", "a small loss"]
    assert len(asked(page)) == 25
    page.click("#more")
    assert len(asked(page)) == 43
    assert not page.is_visible("#more")


def test_sorting_and_filters(page):
    page.select_option("#order", "loss")
    assert asked(page)[0] == "a small loss"
    page.select_option("#order", "file")
    assert "alert(1)" in asked(page)[0]
    page.select_option("#outcome", "better")
    assert asked(page) == ["a win"]
    page.select_option("#outcome", "issues")
    assert asked(page) == ["a small loss"]
    page.select_option("#outcome", "")
    page.fill("#words", "SAME 17")
    assert asked(page) == ["same 17"]
    page.fill("#words", "")
    page.select_option("#domain", HOSTILE)
    assert len(asked(page)) == 1


def open_the_first(page):
    """What a question holds is drawn when the browser says that it was opened, which it says later than it opens."""
    page.locator(".question summary").first.click()
    page.locator(".question").first.locator(".strip").nth(1).wait_for()


def test_a_question_shows_both_orders_the_gold_and_the_reasons(page):
    open_the_first(page)
    strips = page.locator(".question").first.locator(".strip")
    labels = [[text.split("\n")[0] for text in strips.nth(i).locator(".tag").all_inner_texts()] for i in range(2)]
    assert labels == [["p. 1", "p. 2", "p. 3", "p. 4 ★"], ["p. 4 ★", "p. 2", "p. 3", "p. 1"]]
    assert strips.nth(1).locator(".shot.gold img").count() == 1
    assert page.locator(".notes li").count() == 2
    assert "alert(1)" in page.locator(".notes li").first.inner_text()
    strips.nth(1).locator(".shot").first.click()
    assert page.locator("#large img").is_visible()
    assert "relevant" in page.locator("#large .caption").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()


def test_it_fits_the_width_of_the_screen(page):
    open_the_first(page)
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
