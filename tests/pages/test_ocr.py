from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmr5.errors import ConfigError, EngineError, MissingExtraError
from mmr5.pages import ocr, rapid, tesseract
from mmr5.pages.images import ImageBytes
from mmr5.pages.layout import TextBox, reading_order
from mmr5.pages.ocr import Recognition, read_picture, recognise, recognise_picture

LINES = ["Annual report on reservoirs", "Repairs cost 4,250 euros", "The dam was closed in May"]


def test_recognises_lines_in_order_and_quietly(make_picture, capfd):
    assert recognise(make_picture(LINES)).text.split("\n") == LINES
    assert capfd.readouterr() == ("", "")


def test_a_picture_without_text(capfd):
    gradient = Image.linear_gradient("L").resize((400, 400)).convert("RGB")
    assert recognise(gradient) == Recognition("")
    assert capfd.readouterr() == ("", "")


def line(left, top, right=None, height=10):
    return TextBox(left, top, left + 40 if right is None else right, top + height)


def test_lines_from_top_to_bottom_and_left_to_right():
    boxes = [line(100, 32), line(0, 60), line(100, 1), line(0, 0), line(0, 30)]
    assert reading_order(boxes) == [[3, 2], [4, 0], [1]]


def test_a_tall_box_shares_the_line_of_a_small_one_beside_it():
    assert reading_order([line(50, 8), line(0, 0, height=26)]) == [[1, 0]]


def test_two_columns_are_read_one_after_the_other():
    left = [line(0, 40 + 14 * i, 190) for i in range(7)]
    right = [line(210, 41 + 14 * i, 398) for i in range(7)]
    title, footer = line(80, 0, 320), line(90, 160, 310)
    assert reading_order([*right, footer, *left, title]) == [[15], *([8 + i] for i in range(7)), *([i] for i in range(7)), [7]]


@pytest.mark.parametrize("count", [3, 4])
def test_several_columns_are_read_one_after_the_other(count):
    boxes = [line(210 * k, 14 * i + k, 210 * k + 190 - 3 * (i % 3)) for i in range(20) for k in range(count)]
    title = line(100, -40, 210 * count - 100)
    assert reading_order([*boxes, title]) == [[20 * count], *([count * i + k] for k in range(count) for i in range(20))]


def test_a_doubtful_result_is_read_again_when_packs_are_installed(make_picture, encode, cache, monkeypatch):
    calls = []
    monkeypatch.setattr(ocr, "recognise", lambda image: calls.append(image.size) or Recognition("?", (), "in doubt"))
    data = encode(make_picture(LINES))
    monkeypatch.setattr(tesseract, "installed", lambda: ())
    assert [recognise_picture(ImageBytes(data), cache).doubt for _ in range(2)] == ["in doubt"] * 2
    assert len(calls) == 1
    monkeypatch.setattr(tesseract, "installed", lambda: ("osd", "rus"))
    recognise_picture(ImageBytes(data), cache)
    assert len(calls) == 2


def test_equal_pixels_of_other_files_are_recognised_once(make_picture, encode, cache, monkeypatch):
    calls = []
    whole = Recognition("read", (ocr.Line(0, 4, (0.1, 0.2, 0.3, 0.4), 0.9),), None, 90)
    monkeypatch.setattr(ocr, "recognise", lambda image: calls.append(image.size) or whole)
    for kind in ("PNG", "TIFF"):
        assert recognise_picture(ImageBytes(encode(make_picture(LINES), kind)), cache) == whole
    assert len(calls) == 1


def test_rows_of_a_table_stay_together():
    cells = [line(x, 14 * i, x + 30) for i in range(8) for x in (0, 100, 200, 300)]
    assert reading_order(cells) == [[4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3] for i in range(8)]
    terms = [box for i in range(8) for box in (line(0, 14 * i, 60), line(210, 14 * i, 400))]
    assert reading_order(terms) == [[2 * i, 2 * i + 1] for i in range(8)]


def test_no_boxes():
    assert reading_order([]) == []


@given(
    st.lists(st.builds(line, st.integers(0, 300), st.integers(0, 300), height=st.integers(1, 30)), max_size=40),
    st.lists(st.integers(0, 20), max_size=40),
)
def test_every_box_is_read_once(boxes, rows):
    boxes = boxes + [TextBox(220 * (i % 2), 14 * row, 220 * (i % 2) + 180, 14 * row + 10) for i, row in enumerate(rows)]
    assert sorted(i for found in reading_order(boxes) for i in found) == list(range(len(boxes)))


def test_texts_are_cached_by_content(make_picture, encode, cache, monkeypatch):
    calls = []
    monkeypatch.setattr(ocr, "recognise", lambda image: calls.append(image.size) or Recognition("read"))
    data = encode(make_picture(LINES))
    assert [read_picture(ImageBytes(data), cache) for _ in range(3)] == ["read"] * 3
    assert len(calls) == 1
    read_picture(ImageBytes(data))
    monkeypatch.setitem(rapid._SETTINGS, "Global.use_cls", True)
    read_picture(ImageBytes(data), cache)
    assert len(calls) == 3


def test_pictures_are_recognised_within_the_budget(encode, monkeypatch):
    sizes = []
    monkeypatch.setattr(ocr, "recognise", lambda image: sizes.append(image.width * image.height) or Recognition(""))
    image = Image.new("RGB", (3000, 2000), "white")
    image.paste("black", (0, 0, 1000, 1000))
    read_picture(ImageBytes(encode(image)))
    assert 0.99 * ocr.OCR_MAX_PIXELS < sizes[0] <= ocr.OCR_MAX_PIXELS


def test_blank_pictures_are_not_recognised(encode, cache, monkeypatch):
    monkeypatch.setattr(ocr, "recognise", lambda image: pytest.fail("a blank page"))
    assert read_picture(ImageBytes(encode(Image.new("RGB", (600, 800), "white"))), cache) == ""


def test_missing_extra_is_named(make_picture, monkeypatch):
    monkeypatch.setattr(rapid, "_engine", None)
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'mmr5\[ocr\]'"):
        recognise(make_picture(LINES))


def test_a_failing_engine_is_an_engine_error(make_picture, monkeypatch):
    def fail(pixels, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(rapid, "_engine", fail)
    with pytest.raises(EngineError, match="out of memory"):
        recognise(make_picture(LINES))


def test_a_recogniser_of_another_script_is_taken_from_a_folder(make_picture, tmp_path, monkeypatch):
    """The wheel's own recogniser under another name: what it reads counts where the first reading is in doubt."""
    from pathlib import Path

    import rapidocr

    (own,) = Path(rapidocr.__file__).parent.rglob("*_rec_*.onnx")
    (tmp_path / "other.onnx").symlink_to(own)
    monkeypatch.setenv("MMR5_OCR_MODELS", str(tmp_path))
    monkeypatch.setattr(tesseract, "installed", lambda: ())
    sparse = [rapid.Piece(".", TextBox(20, 20, 300, 40), 0.94)]
    own_read = rapid.read
    monkeypatch.setattr(rapid, "read", lambda image, model=None: own_read(image, model=model) if model else sparse)
    monkeypatch.setattr(ocr, "_mean_score", lambda crops: 0.1)
    found = recognise(make_picture(LINES))
    assert (found.text.split("\n"), found.doubt) == (LINES, None)
    assert ocr._readers() == ["other"]


def test_recognisers_that_are_not_there_or_broken_are_named(make_picture, tmp_path, monkeypatch):
    monkeypatch.setenv("MMR5_OCR_MODELS", str(tmp_path / "away"))
    with pytest.raises(ConfigError, match=r"MMR5_OCR_MODELS is .*away"):
        rapid.other_models()
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(EngineError, match=r"broken\.onnx"):
        rapid.read(make_picture(LINES), model=rapid.other_models()[0])
