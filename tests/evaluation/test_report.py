import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.samples import FACTS, HOSTILE, PAGES
from mmr5 import Page
from mmr5.evaluation.browser import browser_data, draw, first_stage_order, ranked_order, shown
from mmr5.evaluation.plots import bars, dumbbells, forest, grid, ticks
from mmr5.evaluation.report import report_markdown
from mmr5.evaluation.report_page import report_html
from mmr5.evaluation.runs import RunLine
from mmr5.evaluation.statistics import summarise
from mmr5.storage.cache import Cache


def lines():
    kept = RunLine("d#0", "d", HOSTILE, HOSTILE, (0,), (0, 1, 2), (0, 1, 2), type=HOSTILE)
    won = RunLine("d#1", "d", "x", "won", (2, 3), (0, 1, 2), (2, 0, 1), (3.0, 2.0, 1.0), (0.5, 0.4, 0.3), HOSTILE,
                  (HOSTILE, None, "says"), ("MISSING",), {"model": 5.0}, {"prompt_tokens": 7}, "text")  # fmt: skip
    return [kept, won]


def html(**options):
    found = lines()
    return report_html(found, summarise(found, resamples=50), FACTS, lambda name: PAGES, cache=Cache(), **options)


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_the_report_is_one_inert_file():
    page = html()
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert "<img src=x" not in page
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "@import" not in page
    assert "url(" not in page
    data = data_of(page)
    assert data["questions"][0]["question"] == HOSTILE
    assert data["questions"][1]["after"]["notes"] == [HOSTILE, None, "says"]
    assert data["questions"][1]["after"]["reply"] == HOSTILE


def test_the_browser_holds_both_orders_the_gold_and_the_change():
    first, second = data_of(html())["questions"]
    assert (first["gain"], first["places"]) == (0, [1, 1])
    assert second["gain"] > 0
    assert second["places"] == [3, 1]
    assert second["gold"] == [2, 3]
    assert second["before"]["ids"] == [0, 1, 2]
    assert second["before"]["scores"] == [0.5, 0.4, 0.3]
    assert second["after"]["ids"] == [2, 0, 1]
    assert second["after"]["issues"] == ["MISSING"]
    assert "The model did not name every page" in data_of(html())["issues"]["MISSING"]


def test_every_page_that_is_shown_has_a_picture_the_missed_ones_too():
    pictures = data_of(html())["pictures"]["d"]
    assert sorted(pictures) == ["0", "1", "2", "3"]
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in pictures.values())


def test_pictures_keep_to_their_budget_and_the_largest_changes_come_first():
    items = [shown(x, first_stage_order(x), ranked_order(x)) for x in lines()]
    whole = draw(items, lambda name: PAGES, cache=Cache(), progress=None, budget=10_000_000)["d"]
    small = draw(items, lambda name: PAGES, cache=Cache(), progress=None, budget=60_000)["d"]
    assert sum(map(len, small.values())) <= 60_000 < sum(map(len, whole.values()))
    assert 2 in small
    assert list(whole)[0] == 2


def test_pictures_are_drawn_once(monkeypatch):
    html()
    monkeypatch.setattr("mmr5.evaluation.browser.page_uri", lambda *_: pytest.fail("drawn again"))
    assert data_of(html())["pictures"]["d"]


def test_a_page_without_pictures_can_be_made():
    items = [shown(x, first_stage_order(x), ranked_order(x)) for x in lines()]
    assert json.loads(browser_data(items, None).replace("\\u003c", "<"))["pictures"] == {}


def test_layouts_are_shown_by_the_page_that_they_lie_on():
    line = RunLine("d#0", "d", "x", "q", (1,), (0, 1), (1, 0), areas=(0.0, 0.4))
    parts = [Page("d", 7, text="a"), Page("d", 9, text="b")]
    found = json.loads(browser_data([shown(line, first_stage_order(line), ranked_order(line))], lambda name: parts))
    assert found["numbers"] == {"d": {"0": 7, "1": 9}}
    assert found["layouts"]


def test_the_markdown_report_names_every_setting_of_its_table():
    found = lines()
    text = report_markdown(summarise(found, resamples=20), FACTS)
    assert "| micro gain |" in text
    assert "Only 1 document was asked about" in text
    assert "Only 1 document was asked about" in html()
    assert "MISSING 100.0%" in text
    assert "commit cccccccccccc+changes" in text
    assert text.count("\n| First relevant page") == 1


@pytest.mark.parametrize(
    "svg",
    [
        forest([("a <b> & c", 0.1, (-0.2, 0.4)), ("nothing", 0.0, None)], 'the "label" <x>'),
        dumbbells([(HOSTILE, 3, 0.1, 0.9), ("y", 1, 0.5, 0.5)], "label"),
        bars([("a", 0.1, 0.2, 0.9), ("b", 0.1, 1.7, None)], "label"),
        grid({(1, 2): 3, (12, 1): 1, (0, 1): 5}, 10, "label"),
        grid({}, 1, "label"),
    ],
)
def test_plots_are_well_formed_and_stay_inside(svg):
    root = ElementTree.fromstring(str(svg))
    width, height = map(float, root.get("viewBox").split()[2:])
    for node in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(node.get(name, 0)) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(node.get(name, 0)) <= height


def test_the_grid_counts_every_question_that_has_places():
    root = ElementTree.fromstring(str(grid({(1, 1): 4, (12, 1): 2, (10, 1): 1, (0, 3): 9}, 10, "label")))
    counts = [node.text for node in root.iter("text") if "count" in node.get("class")]
    assert sorted(counts) == ["3", "4"]


@given(st.floats(-1, 0.99), st.floats(0.01, 2))
def test_ticks_are_few_and_inside(low, width):
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 6
    assert all(low - 1e-9 <= t <= low + width + 1e-9 for t in found)
    assert 0 in found or not low <= 0 <= low + width
