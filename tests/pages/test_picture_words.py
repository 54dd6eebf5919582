"""Words inside the pictures of pages that have a text of their own."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from mmr5.errors import EngineError
from mmr5.evidence import find_evidence
from mmr5.pages import rapid, read_pages
from mmr5.pages.layer import Picture
from mmr5.pages.layout import TextBox
from mmr5.pages.regions import Region, line_before, regions
from pages.documents import FACTS, lines, write
from pages.test_boxes import check_ink

DIALOG = ["Choose a berth", "Yachts above 12 metres", "Harbour fee 431 crowns"]
CAPTION = "Figure 1: The dialog of the harbour master."
TEXT = lines(FACTS[:2], y=760) + lines([CAPTION], y=470) + lines(FACTS[2:], y=440)
SHOWN = "q 400 0 0 222 100 490 cm /Im Do Q\n"
"""Draws a picture of 900 x 500 pixels above the caption."""


def read(folder, cache, data, **how):
    (folder / "a.pdf").write_bytes(data)
    problems: list[str] = []
    pages = read_pages(folder / "a.pdf", cache=cache, on_problem=lambda problem: problems.append(str(problem)), **how)
    return pages, problems


def test_the_words_of_a_picture_stand_before_its_caption(folder, cache, make_picture):
    (page,), problems = read(folder, cache, write([SHOWN + TEXT], picture=make_picture(DIALOG)))
    assert page.text.split("\n") == [*FACTS[:2], *DIALOG, CAPTION, *FACTS[2:]]
    assert problems == []
    ((start, end),) = page.ocr_spans
    assert page.text[start:end].split("\n") == DIALOG
    assert page.text_kind == "layer"


def test_they_are_found_and_shown_as_evidence_with_their_places(folder, cache, make_picture):
    (page,), _ = read(folder, cache, write([SHOWN + TEXT], picture=make_picture(DIALOG)))
    assert "431 crowns" in find_evidence("What is the harbour fee of large yachts?", page.text)
    (box,) = check_ink(page, "Harbour fee 431 crowns", tolerance=0.012)
    assert 0.17 < box[0] < 0.25
    assert 842 - 490 - 222 < box[1] * 842 < box[3] * 842 < 842 - 490
    (other,) = check_ink(page, FACTS[3])
    assert other[1] * 842 > 842 - 440


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_pictures_of_turned_pages_are_read_as_shown(turn, folder, cache, make_picture):
    """The picture is drawn so that it stands upright on the page as it is shown."""
    turned = make_picture(DIALOG).rotate(turn, expand=True)
    across, down = (222, 400) if turn != 180 else (400, 222)
    data = write([f"q {across} 0 0 {down} 100 300 cm /Im Do Q\n" + lines(FACTS)], picture=turned, page=f"/Rotate {turn}")
    (page,), _ = read(folder, cache, data)
    assert [page.text[a:b].split("\n") for a, b in page.ocr_spans] == [DIALOG]
    check_ink(page, "Yachts above 12 metres", tolerance=0.012)


def test_text_that_lies_over_a_picture_is_not_read_twice(folder, cache, make_picture):
    over = lines(["Harbour fee 500 crowns"], x=120, y=640, size=9)
    (page,), _ = read(folder, cache, write([SHOWN + TEXT + over], picture=make_picture(DIALOG[:2])))
    assert page.text.count("500") == 1
    assert [page.text[a:b].split("\n") for a, b in page.ocr_spans] == [DIALOG[:2]]
    same = lines([DIALOG[0]], x=120, y=200)
    (page,), _ = read(folder, cache, write([SHOWN + TEXT + same], picture=make_picture(DIALOG)))
    assert [page.text[a:b].split("\n") for a, b in page.ocr_spans] == [DIALOG[1:]]


def test_a_picture_of_many_pages_is_read_once(folder, cache, make_picture, monkeypatch):
    calls: list[tuple[int, int]] = []
    own = rapid.read_small
    monkeypatch.setattr("mmr5.pages.picture_words.MAX_THREADS", 1)
    monkeypatch.setattr(rapid, "read_small", lambda image: calls.append(image.size) or own(image))
    data = write([SHOWN + TEXT, SHOWN + TEXT.replace("1987", "1988")], picture=make_picture(DIALOG))
    pages, _ = read(folder, cache, data)
    assert [len(page.ocr_spans) for page in pages] == [1, 1]
    assert len(calls) == 1
    again, _ = read(folder, cache, data)
    assert [(page.text, page.ocr_spans) for page in again] == [(page.text, page.ocr_spans) for page in pages]
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("how", "spans", "kind"), [({"ocr": "never"}, 0, "layer"), ({"picture_pages": 0}, 0, "layer"), ({"ocr": "always"}, 0, "ocr")]
)
def test_modes(how, spans, kind, folder, cache, make_picture):
    (page,), problems = read(folder, cache, write([SHOWN + TEXT], picture=make_picture(DIALOG)), **how)
    assert (len(page.ocr_spans), page.text_kind, problems) == (spans, kind, [])
    assert ("431 crowns" in page.text) == (how == {"ocr": "always"})


def test_pages_beyond_the_budget_are_named(folder, cache, make_picture):
    pages, problems = read(folder, cache, write([SHOWN + TEXT] * 3, picture=make_picture(DIALOG)), picture_pages=1)
    assert [len(page.ocr_spans) for page in pages] == [1, 0, 0]
    assert len(problems) == 1
    assert "pictures of 2 pages were not read" in problems[0]
    assert "raise --picture-pages" in problems[0]


def test_without_the_extra_the_text_stays_and_it_is_said(folder, cache, make_picture, monkeypatch):
    monkeypatch.setattr(rapid, "_idle", [])
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    pages, problems = read(folder, cache, write([SHOWN + TEXT] * 2, picture=make_picture(DIALOG)))
    assert [page.text.count("\n") for page in pages] == [4, 4]
    assert len(problems) == 1
    assert "pictures of 2 pages were not read" in problems[0]
    assert "pip install 'mmr5[ocr]'" in problems[0]


def test_a_picture_that_fails_leaves_the_page_its_text(folder, cache, make_picture, monkeypatch):
    def fail(image):
        raise EngineError("text recognition failed (out of memory)")

    monkeypatch.setattr(rapid, "read_small", fail)
    (page,), problems = read(folder, cache, write([SHOWN + TEXT], picture=make_picture(DIALOG)), strict=True)
    assert page.text.split("\n") == [*FACTS[:2], CAPTION, *FACTS[2:]]
    assert "out of memory" in problems[0]
    assert ", page 1:" in problems[0]


def test_uncertain_lines_and_signs_are_left_out(folder, cache, make_picture, monkeypatch):
    found = [("Berth 14", 0.95), ("Bxrlh", 0.7), ("===", 0.99)]
    monkeypatch.setattr(
        rapid,
        "read_small",
        lambda image: [rapid.Piece(t, TextBox(50, 50 + 60 * i, 300, 90 + 60 * i), s) for i, (t, s) in enumerate(found)],
    )
    (page,), _ = read(folder, cache, write([SHOWN + TEXT], picture=make_picture(DIALOG)))
    assert [page.text[a:b] for a, b in page.ocr_spans] == ["Berth 14"]


def test_pictures_without_words_change_nothing(folder, cache):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 360), dtype=np.uint8)).resize((900, 500))
    (page,), problems = read(folder, cache, write([SHOWN + TEXT], picture=noise))
    assert page.text.split("\n") == [*FACTS[:2], CAPTION, *FACTS[2:]]
    assert (page.ocr_spans, problems) == ((), [])


def shown(rect):
    """Of a page of 100 x 200 points."""
    return rect[0] / 100, 1 - rect[3] / 200, rect[2] / 100, 1 - rect[1] / 200


def test_strips_are_one_region_and_signs_are_none():
    strips = [Picture((10, 100 + 5 * i, 90, 105 + 5 * i), 800, 50) for i in range(10)]
    sign = Picture((5, 5, 10, 10), 100, 100)
    flat = Picture((0, 180, 100, 181.5), 2000, 30)
    outside = Picture((-90, 10, -10, 60), 500, 500)
    (region,) = regions([*strips, sign, flat, outside], shown, (0, 0, 100, 200))
    assert region.box == pytest.approx((0.1, 0.25, 0.9, 0.5))
    assert region.density == pytest.approx(10)


@pytest.mark.parametrize(
    ("region", "place"),
    [
        ((0.1, 0.31, 0.4, 0.48), 2),  # right above a caption
        ((0.1, 0.61, 0.4, 0.9), 4),  # below the last line of its column
        ((0.6, 0.5, 0.9, 0.9), 5),  # in the other column
        ((0.1, 0.0, 0.4, 0.08), 0),  # above all
        ((0.1, 0.08, 0.4, 0.29), 2),  # under the lines that lie on it
    ],
)
def test_places_among_the_lines_of_two_columns(region, place):
    texts = ["one", "two", "Figure 2. Pumps", "four", "right"]
    tops = [(0.1, 0.1), (0.1, 0.2), (0.1, 0.5), (0.1, 0.55), (0.6, 0.1)]
    boxes = [[(x, y, x + 0.3, y + 0.03)] for x, y in tops]
    assert line_before(Region(*region, 1.0).box, texts, [*boxes]) == place
    assert line_before((0.2, 0.2, 0.3, 0.3), ["a"], [[]]) == 0
