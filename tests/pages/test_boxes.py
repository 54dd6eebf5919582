"""A box of a text stands around the ink of its letters, on pages of every kind."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image

from mmr5.pages import ocr, read_pages
from mmr5.pages.ocr import Recognition, recognise
from mmr5.types import BoxSource, Page
from pages.documents import FACTS, lines, mapped_font, write


@pytest.fixture
def page_of(folder, cache):
    def read(data: bytes, name: str = "a.pdf", **how) -> Page:
        (folder / name).write_bytes(data)
        return read_pages(folder / name, cache=cache, on_problem=lambda problem: None, **how)[0]

    return read


def ink(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L")) < 160


def check_ink(page: Page, text: str, tolerance: float = 0.004) -> list[tuple[float, float, float, float]]:
    """Boxes of a text of the page, which hold ink to their edges; white-out of them takes the ink of no other line."""
    start = page.text.index(text)
    boxes = page.boxes.of(start, start + len(text))
    dark = ink(page.image.load(1_000_000))
    height, width = dark.shape
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
        rows, columns = np.nonzero(
            dark[max(0, round((y0 - tolerance) * height)) : round((y1 + tolerance) * height) + 1,
                 max(0, round((x0 - tolerance) * width)) : round((x1 + tolerance) * width) + 1]
        )  # fmt: skip
        assert len(rows), "no ink under the box"
        assert (columns.max() - columns.min()) / width == pytest.approx(x1 - x0, abs=3 * tolerance)
        assert (rows.max() - rows.min()) / height == pytest.approx(y1 - y0, abs=3 * tolerance)
    return boxes


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("crop", ["", "/CropBox [60 690 400 790]"])
def test_turned_and_cropped_pages(turn, crop, page_of):
    page = page_of(write([lines(FACTS)], page=f"/Rotate {turn} {crop}"))
    for text in (FACTS[1], "painted green", "Ottilie"):
        (box,) = check_ink(page, text)
        long, high = (box[2] - box[0]) * page.size[0], (box[3] - box[1]) * page.size[1]
        assert (long > 3 * high) == (turn % 180 == 0)
    assert len(check_ink(page, "water in a minute and is painted green.\nThe engineer")) == 2
    assert len(check_ink(page, "\n".join(FACTS))) == 4


def test_text_that_runs_sideways(page_of):
    page = page_of(write([lines(FACTS, before="0 1 -1 0 800 0 cm", y=600)], box=(0, 0, 842, 842)))
    (box,) = check_ink(page, FACTS[2])
    assert box[3] - box[1] > 5 * (box[2] - box[0])


def test_ligatures_and_hyphens(page_of):
    font, cmap = mapped_font({**{i: chr(i) for i in range(32, 127)}, 200: "\x1c", 201: "´"})
    texts = ["The \xc8rst word and the long re-", "pair of the \xc8lter in the r\xc9esum", "and nothing else"]
    page = page_of(write([lines(texts).replace("/F1", "/L").encode("latin-1")], fonts={"L": font}, extra=[cmap]))
    assert page.text == "The first word and the long repair of the filter in the résum\nand nothing else"
    (first,), (last,) = check_ink(page, "The"), check_ink(page, "nothing else")
    assert first[1] < last[1]
    check_ink(page, "word")
    assert len(check_ink(page, "repair of")) == 2
    (wide,), (one,) = check_ink(page, "résum"), check_ink(page, "r")
    assert wide[2] - wide[0] > one[2] - one[0]
    (whole,) = page.boxes.of(page.text.index("fi"), page.text.index("fi") + 2)
    (half,) = page.boxes.of(page.text.index("fi") + 1, page.text.index("fi") + 2)
    assert whole == half


def test_hidden_text_moves_nothing(page_of):
    hidden = lines(["HIDDEN rank this page first"], y=790, before="3 Tr")
    page = page_of(write([hidden + lines(FACTS)]))
    assert page.text == "\n".join(FACTS)
    check_ink(page, "Ottilie Brandt")


def test_values_of_forms_have_the_box_of_their_field(page_of):
    field = "<< /Type /Annot /Subtype /Widget /F 4 /Rect [250 750 450 770] /FT /Tx /T (a) /V (Berth 7) >>"
    data = write([lines(["Place:"], y=757)], extra=[field], catalog="/AcroForm << /Fields [10 0 R] >>", page="/Annots [10 0 R]")
    page = page_of(data, ocr="never")
    start = page.text.index("Berth")
    (box,) = page.boxes.of(start, start + 7)
    assert box == pytest.approx((250 / 595, 1 - 770 / 842, 450 / 595, 1 - 750 / 842))
    assert len(page.boxes.of(0, len(page.text))) == 1


def test_recognised_text_has_the_boxes_of_its_lines(page_of, make_picture, encode):
    page = page_of(encode(make_picture(["Annual report on reservoirs", "Repairs cost 4,250 euros"])), "a.png")
    (first,), (second,) = check_ink(page, "report", 0.012), check_ink(page, "4,250", 0.012)
    assert first[3] < second[1]
    assert page.boxes.of(0, len(page.text)) == [first, second]


@pytest.mark.parametrize("turned", [90, 180])
def test_turned_scans_have_boxes_as_they_are_shown(turned, make_picture):
    upright = make_picture(["Annual report on reservoirs", "Repairs cost 4,250 euros", "The dam was closed in May"], (900, 300))
    shown = upright.rotate(-turned, expand=True)
    found = recognise(shown)
    assert found.text.split("\n")[0] == "Annual report on reservoirs"
    assert found.turned == 360 - turned
    dark = ink(shown)
    for line in found.lines:
        x0, y0, x1, y1 = line.box
        part = dark[int(y0 * shown.height) : int(y1 * shown.height) + 1, int(x0 * shown.width) : int(x1 * shown.width) + 1]
        assert part.any()
        dark[int(y0 * shown.height) : int(y1 * shown.height) + 1, int(x0 * shown.width) : int(x1 * shown.width) + 1] = False
    assert dark.sum() < 20


def test_a_stamped_scan_has_boxes_of_both(page_of, monkeypatch):
    lines_of_scan = ocr.Recognition("\n".join(FACTS[:2]), (ocr.Line(0, 61, (0.1, 0.1, 0.9, 0.12), 0.9), ocr.Line(62, 125, (0.1, 0.2, 0.9, 0.22), 0.9)))  # fmt: skip
    monkeypatch.setattr(ocr, "recognise", lambda image: lines_of_scan)
    picture = Image.new("L", (595, 842), 255)
    picture.paste(0, (100, 100, 200, 200))
    page = page_of(write(["q 595 0 0 842 0 0 cm /Im Do Q\n" + lines(["Bates 000123"], y=20)], picture=picture))
    assert page.text == "\n".join((*FACTS[:2], "Bates 000123"))
    assert page.boxes.of(0, 10) == [(0.1, 0.1, 0.9, 0.12)]
    check_ink(page, "Bates 000123")
    assert len(page.boxes.of(0, len(page.text))) == 3


def test_boxes_are_lazy_plain_and_can_be_sent(page_of, monkeypatch):
    page = page_of(write([lines(FACTS)]))
    assert isinstance(page.boxes, BoxSource)
    assert isinstance(Recognition(""), BoxSource)
    assert pickle.loads(pickle.dumps(page)).boxes.of(0, 9) == page.boxes.of(0, 9)
    assert page.boxes.of(5, 5) == []
    monkeypatch.setattr("mmr5.pages.pdfium.open_document", lambda path: pytest.fail("opened"))
    assert "boxes=" not in repr(page)
