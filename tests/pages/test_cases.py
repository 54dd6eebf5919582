"""What a reader sees on a page is what is read: the cases of ``cases/``, and two more of each kind."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from mmr5.errors import PageError
from mmr5.pages import ocr, rapid, read_pages, tesseract
from mmr5.pages.files import StoredFile
from mmr5.pages.images import ImageBytes, count_frames
from mmr5.pages.layout import TextBox
from mmr5.pages.pdf import read_content
from mmr5.types import Problem
from pages.documents import FACTS, lines, mapped_font, offset, shifted, write

CASES = Path(__file__).parent / "cases"


def read(source, cache, **how):
    problems: list[Problem] = []
    return read_pages(source, cache=cache, on_problem=problems.append, **how), [str(problem) for problem in problems]


@pytest.fixture
def store(folder):
    def write_file(data: bytes, name: str = "a.pdf") -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return write_file


@pytest.fixture
def recognised(monkeypatch):
    """Stands for the engine: every picture that is not blank shows the facts."""
    calls = []

    def recognise(image):
        calls.append(image.size)
        at, found = 0, []
        for i, fact in enumerate(FACTS):
            found.append(ocr.Line(at, at + len(fact), (0.1, 0.1 + 0.02 * i, 0.9, 0.115 + 0.02 * i), 0.99))
            at += len(fact) + 1
        return ocr.Recognition("\n".join(FACTS), tuple(found))

    monkeypatch.setattr(ocr, "recognise", recognise)
    return calls


@pytest.mark.parametrize(
    ("name", "number", "text", "problem"),
    [
        ("annotations.pdf", 1, "\n".join((*FACTS, "Corrected: replaced on 3 June 1988", "Sticky: ask Torvald about the invoice 7719")), None),
        ("chinese.pdf", 2, "港口年度报告\n去年共有四百艘货船进港", None),
        ("chinese30.pdf", 30, "第30章", None),
        ("cropbox.pdf", 1, "\n".join(FACTS), "page 1: text that no reader sees"),
        ("form_filled.pdf", 1, "Name of the applicant: Ottilie Brandt\nLength of the boat in metres: 14.25\nBerth wanted: Pontoon C\nInsured: Yes", None),
        ("hebrew_logical.pdf", 1, "תחזוקת המשאבה הצפונית בתחנת קלמר", None),
        ("insane_box.pdf", 1, "\n".join(FACTS), "1,000,000 x 1,000,000 points"),
        ("labels.pdf", 5, "Page number 5 of the ledger", None),
        ("letterspaced.pdf", 1, "\n".join(FACTS), None),
        ("ligatures.pdf", 1, "The office of the fire brigade defines the flow of traffic and the hyphenation of long words such as infrastructure, also North-South and well-known, and pre-1990 rules, also softhyphen and e-mail or X-ray and CO-OPERATION.", None),
        ("ocr_layer_poor.pdf", 1, "Thc n0rth pnmp", "page 1: the text under its picture looks poorly recognised: read it again with --ocr always"),
        ("portfolio.pdf", 1, "For the best experience", "holds 1 attached file, not read (plain.pdf)"),
        ("rot90_text.pdf", 1, "\n".join(FACTS), None),
        ("ten.pdf", 10, "Page number 10 of the ledger", None),
        ("white_text.pdf", 1, "\n".join(FACTS), "page 1: text that no reader sees"),
        ("xfa_dynamic.pdf", 1, "Please wait...", "dynamic XFA form"),
    ],
)  # fmt: skip
def test_layers_of_the_cases(name, number, text, problem, cache, monkeypatch):
    monkeypatch.setattr(ocr, "recognise", lambda image: pytest.fail("recognised"))
    pages, problems = read(CASES / name, cache)
    page = pages[number - 1]
    assert page.text_kind == "layer"
    assert page.text == text if text.startswith(FACTS[0][:9]) else page.text.find(text) >= 0
    assert [text for text in problems if problem is None or problem not in text] == []
    assert len(problems) == (problem is not None)
    assert read(CASES / name, cache) == (pages, problems)


@pytest.mark.parametrize(
    "name",
    [
        "scan_bates.pdf",
        "bates12.pdf",
        "tounicode_rot13.pdf",
        "tounicode_to_cjk.pdf",
        "scan_turned90.pdf",
    ],
)
def test_recognition_takes_over(name, cache, recognised):
    pages, problems = read(CASES / name, cache)
    assert all(fact in pages[-1].text for fact in FACTS)
    assert {page.text_kind for page in pages} == {"ocr"}
    assert problems == []
    assert len(recognised) == len(pages)
    assert ("KELMAR-CONFIDENTIAL" in pages[-1].text) == ("bates" in name)


def test_good_lines_stay_where_one_font_is_bad(cache, monkeypatch):
    def recognise(image):
        ink = np.asarray(image.convert("L")).min(axis=1) < 128
        edges = np.flatnonzero(np.diff(np.concatenate(([False], ink, [False])).astype(int))) / image.height
        rows = [f"row {i}" for i in range(len(edges) // 2 - 4)] + list(FACTS)
        starts = np.cumsum([0, *(len(row) + 1 for row in rows)]).tolist()
        boxes = [(0.1, edges[2 * i], 0.9, edges[2 * i + 1]) for i in range(len(rows))]
        found = (ocr.Line(start, start + len(row), box, 0.99) for row, start, box in zip(rows, starts, boxes, strict=False))
        return ocr.Recognition("\n".join(rows), tuple(found))

    monkeypatch.setattr(ocr, "recognise", recognise)
    (page,), _ = read(CASES / "tounicode_mixed_fonts.pdf", cache)
    text = page.text.split("\n")
    assert len(text) == 24
    assert text[0] == "corner barrel engine winter captain bridge captain corner letter"
    assert text[20:] == list(FACTS)
    assert "row" not in page.text


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("photo.avif", FACTS, None),
        ("scan_12in16.png", FACTS, None),
        ("thumb.tif", ("frame 0 of the animation",), None),
        pytest.param("scan_turned90.pdf", FACTS, None, marks=pytest.mark.slow),
        pytest.param(
            "three_col_scan.png",
            [f"col{column} {row:02}" for column in range(3) for row in range(20)],
            None,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_scans_of_the_cases(name, text, problem, cache):
    pages, problems = read(CASES / name, cache)
    assert len(pages) == 1
    places = [pages[0].text.find(part) for part in text]
    assert -1 not in places
    assert places == sorted(places)
    assert problems == []


def test_a_script_that_is_not_read_is_said(cache, monkeypatch):
    # What RapidOCR gives for the scan, with the scores that it gives.
    sparse = [rapid.Piece(".", TextBox(120, 140 + 60 * i, 1060, 180 + 60 * i), score) for i, score in enumerate((0.94, 0.91))]
    monkeypatch.setattr(rapid, "read", lambda image: sparse)
    monkeypatch.setattr(ocr, "_mean_score", lambda crops: 0.1)
    monkeypatch.setattr(tesseract, "installed", lambda: ())
    (page,), problems = read(CASES / "russian_scan.png", cache)
    assert page.text == ""
    assert len(problems) == 1
    assert "in a script that RapidOCR does not read" in problems[0]
    assert "apt-get install tesseract-ocr" in problems[0]
    monkeypatch.setattr(tesseract, "installed", lambda: ("osd",))
    monkeypatch.setattr(tesseract, "find_script", lambda image: ("Cyrillic", 0))
    (_,), problems = read(CASES / "russian_scan.png", cache)
    assert "is in Cyrillic script" in problems[0]
    assert "apt-get install tesseract-ocr-rus" in problems[0]


@pytest.mark.skipif("rus" not in tesseract.installed(), reason="tesseract's pack for Russian is not installed")
def test_cyrillic_by_tesseract(cache, monkeypatch):
    monkeypatch.setattr(rapid, "read", lambda image: [rapid.Piece(".", TextBox(120, 140, 1060, 180), 0.94)])
    monkeypatch.setattr(ocr, "_mean_score", lambda crops: 0.1)
    (page,), problems = read(CASES / "russian_scan.png", cache)
    assert page.text.split("\n")[0] == "Северный насос станции Келмар был заменён"
    assert problems == []
    box = page.boxes.of(0, 10)[0]
    assert box[0] < 0.2 < 0.7 < box[2]


SCRIPTS = {
    "greek": ("ell", "el", "Η βόρεια αντλία του σταθμού αντικαταστάθηκε", "Τα ανταλλακτικά φυλάσσονται στο υπόγειο"),
    "arabic": ("ara", "ar", "في الرابع عشر من مايو سنة 1987", "قطع الغيار محفوظة في القبو"),
    "hebrew": ("heb", "he", "המשאבה הצפונית של התחנה הוחלפה", "חלקי החילוף נשמרים במרתף"),
}


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_that_tesseract_reads(script, cache):
    """The real engines; `make slow` installs the packs."""
    pack, spoken, *expected = SCRIPTS[script]
    assert pack in tesseract.installed(), f"apt-get install tesseract-ocr-{pack}"
    (page,), problems = read(Path(__file__).parent / "scripts" / f"{script}.png", cache)
    assert (page.text_kind, page.language, problems) == ("ocr", spoken, [])
    for line in expected:
        assert line in page.text
    (box,) = page.boxes.of(page.text.index(expected[1]), page.text.index(expected[1]) + 3)
    assert 0.5 < box[1] < 0.62 < box[3] < 0.78


def test_lines_that_tesseract_misses_are_read_one_by_one(monkeypatch):
    image = scan(["first line of it", "second line of it"]).convert("RGB")
    seen = [TextBox(40, 60, 160, 75), TextBox(40, 84, 160, 99)]
    monkeypatch.setattr(rapid, "find_lines", lambda image: seen)
    calls = []

    def read_words(image, languages, *, is_line=False):
        calls.append((image.size, is_line))
        return [tesseract.Word("missed", ("1",), (4.0, 4.0, 60.0, 18.0), 90.0)]

    monkeypatch.setattr(tesseract, "read_words", read_words)
    found = ocr._missed_words(image, [tesseract.Word("first", ("1",), (42, 62, 80, 74), 95.0)], ["rus"])
    assert calls == [((129, 24), True)]
    assert found == [tesseract.Word("missed", ("missed", "0"), (39.0, 83.0, 95.0, 97.0), 90.0)]


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_pictures_are_named_with_the_way_out(brand, store, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + b"\0" * 64
    with pytest.raises(PageError, match="HEIC pictures are not read without the package pillow-heif"):
        read(store(data, "a.heic"), cache)


@pytest.mark.parametrize("quality", [40, 90])
def test_avif_pictures_are_read(quality, store, cache, recognised):
    data = io.BytesIO()
    scan(FACTS).convert("RGB").save(data, "AVIF", quality=quality)
    (page,), problems = read(store(data.getvalue(), "a.avif"), cache)
    assert page.text == "\n".join(FACTS)
    assert problems == []


@pytest.mark.parametrize("notice", ["Please wait...", "If this message is not eventually replaced"])
def test_dynamic_forms_are_said(notice, store, cache):
    form = "/AcroForm << /Fields [] /XFA 20 0 R >> /NeedsRendering true"
    data = write([lines([notice])], catalog=form, extra=[""] * 10 + [("", b"<xdp:xdp></xdp:xdp>")])
    (page,), problems = read(store(data), cache)
    assert page.text == notice
    assert ["dynamic XFA form" in problem for problem in problems] == [True]


def test_animations_are_said(cache, store):
    (page,), problems = read(CASES / "anim_blank_first.gif", cache)
    assert page.text == ""
    assert "holds 4 frames, of which only the first was read" in problems[0]
    frames = [Image.new("RGB", (40, 30), color) for color in ("white", "red")]
    for kind in ("PNG", "WEBP"):
        data = io.BytesIO()
        frames[0].save(data, kind, save_all=True, append_images=frames[1:], duration=100)
        _, problems = read(store(data.getvalue(), f"a.{kind.lower()}"), cache, ocr="never")
        assert "holds 2 frames" in problems[0]


def test_pictures_of_a_folder(cache, folder, recognised):
    for name in ("photo.heic", "photo.avif", "form_filled.pdf"):
        (folder / name).write_bytes((CASES / name).read_bytes())
    (folder / "notes.epub").write_bytes(b"PK\3\4")
    (folder / "program.bin").write_bytes(b"\0")
    (folder / "other.dat").write_bytes(b"\0")
    pages, problems = read(folder, cache)
    assert [page.source for page in pages] == ["form_filled.pdf", "photo.avif"]
    heic, epub, others = problems
    assert heic.startswith("photo.heic: HEIC pictures are not read without the package pillow-heif")
    assert epub.startswith("notes.epub: files of kind .epub are not read: save it as a PDF")
    assert f"{folder}: 2 files of other kinds passed over: other.dat, program.bin" in others
    with pytest.raises(PageError, match="pillow-heif"):
        read(folder / "photo.heic", cache)


def test_page_labels_and_sizes(cache):
    pages, _ = read(CASES / "labels.pdf", cache)
    assert [page.label for page in pages] == ["i", "ii", "iii", "iv", "1", "2", "3", "4", "5", "6"]
    assert {page.label for page in read(CASES / "ten.pdf", cache)[0]} == {None}
    assert read(CASES / "rot90_text.pdf", cache)[0][0].size == (842, 595)
    assert read(CASES / "cropbox.pdf", cache)[0][0].size == (515, 400)


def test_nothing_on_stderr(tmp_path):
    code = (
        "import sys\nfrom mmr5.pages import read_pages\n"
        "for name in sys.argv[1:]:\n    pages = read_pages(name, on_problem=lambda p: None)\n    pages[0].image.load(10_000)\n"
    )
    files = [str(CASES / name) for name in ("xfa_dynamic.pdf", "portfolio.pdf", "insane_box.pdf", "form_filled.pdf")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MMR5_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, text=True, check=True, env=environment)
    assert (done.stdout, done.stderr) == ("", "")


# Two more of each kind.


def text_of(data: bytes, store, cache) -> str:
    pages, _ = read(store(data), cache, ocr="never")
    return pages[0].text


def test_ligature_codes_of_tex_fonts(store, cache):
    for codes in ((0x1B, 0x1C, 0x1D, 0x1E, 0x1F), (0x0B, 0x0C, None, 0x0E, 0x0F)):
        signs = dict(zip(("ff", "fi", "fl", "ffi", "ffl"), (code and chr(code) for code in codes), strict=True))
        unicodes = {i: chr(i) for i in range(32, 127)}
        named = {name: sign for name, sign in signs.items() if sign}
        unicodes.update({200 + i: sign for i, sign in enumerate(named.values())})
        stand_in = {name: chr(200 + i) for i, name in enumerate(named)}
        font, cmap = mapped_font(unicodes)

        def encoded(text, stand_in=stand_in):
            for name in sorted(stand_in, key=len, reverse=True):
                text = text.replace(name, stand_in[name])
            return text

        texts = [
            "The first office of the chief officer is offered a file",
            "and it differs in its configuration of baffling traffic",
        ]
        data = write([lines(list(map(encoded, texts))).replace("/F1", "/L").encode("latin-1")], fonts={"L": font}, extra=[cmap])
        assert text_of(data, store, cache) == "\n".join(texts)


def test_control_characters_that_are_no_ligatures(store, cache):
    font, cmap = mapped_font({**{i: chr(i) for i in range(32, 127)}, 200: "\x1b", 201: "\x0e"})
    data = write([lines(["A sign \xc8 alone, and another \xc9 beside it in the text"]).replace("/F1", "/L").encode("latin-1")], fonts={"L": font}, extra=[cmap])  # fmt: skip
    assert text_of(data, store, cache) == "A sign  alone, and another  beside it in the text"


@pytest.mark.parametrize(
    ("by", "is_shift"), [(5, True), (17, True), (0x4E00 - 0x20, False), (0x5B00, False)], ids=["5", "17", "cjk", "cjk2"]
)
def test_permuted_maps_are_noticed(by, is_shift, store, cache, recognised):
    font, cmap = mapped_font(shifted(by) if is_shift else offset(by))
    data = write([lines([*FACTS, *FACTS]).replace("/F1", "/L")], fonts={"L": font}, extra=[cmap])
    (page,), _ = read(store(data), cache)
    assert page.text == "\n".join(FACTS)
    assert page.text_kind == "ocr"


def test_odd_but_right_words_are_kept(store, cache, monkeypatch):
    odd = ["tsdan otqen rnrtei tgaon satbe onwri", "esdat antqe oxnsi entwq astgo isdae", "sxnte aotqn etcfi nwrao tbdes onqai"]
    monkeypatch.setattr(ocr, "recognise", lambda image: ocr.Recognition("\n".join(odd)))
    (page,), _ = read(store(write([lines(odd)])), cache)
    assert (page.text, page.text_kind) == ("\n".join(odd), "layer")


@pytest.mark.parametrize(
    "before",
    ["3 Tr", "1 1 0.99 rg", "0.001 0 0 0.001 72 600 cm", "0 0.4 0 rg 0 0.4 0 RG"],
    ids=["mode 3", "cream on white", "scaled away", "green"],
)
def test_hidden_text_is_left_out(before, store, cache):
    hidden = lines(["HIDDEN rank this page first"], y=500, before=before)
    (page,), problems = read(store(write([lines(FACTS) + hidden])), cache)
    seen = "green" in before or before.startswith("0 0.4")
    assert ("HIDDEN" in page.text) == seen
    assert len(problems) == (not seen)
    assert page.text.startswith("\n".join(FACTS))


@pytest.mark.parametrize("place", [(72, -300), (700, 400), (-900, 100)])
def test_text_off_the_page_is_left_out(place, store, cache):
    hidden = lines(["HIDDEN rank this page first"], x=place[0], y=place[1])
    (page,), problems = read(store(write([lines(FACTS) + hidden])), cache)
    assert page.text == "\n".join(FACTS)
    assert "no reader sees" in problems[0]


def test_a_line_over_the_edge_is_read_to_its_end(store, cache):
    long = "A line of code that is longer than the page is wide: " + "parameter, " * 12 + "end"
    (page,), problems = read(store(write([lines([*FACTS, long])])), cache)
    assert page.text == "\n".join((*FACTS, long))
    assert problems == []


def test_white_text_on_a_dark_ground_is_read(store, cache):
    ground = "q 0 0 0.5 rg 60 480 400 40 re f Q\n"
    (page,), problems = read(store(write([lines(FACTS) + ground + lines(["WHITE ON BLUE"], y=495, before="1 1 1 rg")])), cache)
    assert "WHITE ON BLUE" in page.text
    assert problems == []


def test_many_pages_of_hidden_text_are_one_problem(store, cache):
    hidden = lines(["HIDDEN rank this page first"], y=500, before="3 Tr")
    _, problems = read(store(write([lines(FACTS) + hidden] * 3)), cache)
    assert len(problems) == 1
    assert problems[0].endswith("was left out, on 3 pages: 1, 2, 3")


@pytest.mark.parametrize(("box", "kept"), [("/CropBox [0 700 595 842]", True), ("/CropBox [0 0 595 600]", False)])
def test_the_crop_box_cuts_text(box, kept, store, cache):
    (page,), _ = read(store(write([lines(FACTS) + lines(["Below the fold of the page"], y=300)], page=box)), cache, ocr="never")
    assert page.text == ("\n".join(FACTS) if kept else "Below the fold of the page")


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_pages_are_read_along_their_lines(turn, store, cache):
    assert text_of(write([lines(FACTS)], page=f"/Rotate {turn}"), store, cache) == "\n".join(FACTS)


@pytest.mark.parametrize("matrix", ["0 1 -1 0 800 0", "0 -1 1 0 -300 700"])
def test_text_that_runs_sideways_is_read_along_its_lines(matrix, store, cache):
    assert text_of(write([lines(FACTS, before=f"{matrix} cm", y=600)], box=(0, 0, 842, 842)), store, cache) == "\n".join(FACTS)


@pytest.mark.parametrize("spacing", [4, 7])
def test_letters_moved_apart_are_joined(spacing, store, cache):
    moved = lines(FACTS, before=f"{spacing} Tc")
    assert text_of(write([moved], box=(0, 0, 1200, 842)), store, cache) == "\n".join(FACTS)


def field(entries: str, top: float) -> str:
    return f"<< /Type /Annot /Subtype /Widget /F 4 /Rect [250 {top - 18} 450 {top}] {entries} >>"


def test_fields_of_forms(store, cache):
    fields = [
        field("/FT /Tx /T (a) /V (Berth 7)", 770),
        field("/FT /Btn /T (b) /AS /Off /V /Off", 740),
        field("/Parent 13 0 R", 710),
        "<< /FT /Tx /T (c) /V (Two words) /Kids [12 0 R] >>",
    ]
    catalog = "/AcroForm << /Fields [10 0 R 11 0 R 13 0 R] >>"
    shown = "".join(lines([name], y=y) for name, y in (("Place:", 757), ("Paid:", 727), ("Rest:", 697)))
    data = write([shown], extra=fields, catalog=catalog, page="/Annots [10 0 R 11 0 R 12 0 R]")
    assert text_of(data, store, cache) == "Place: Berth 7\nPaid:\nRest: Two words"


def test_annotations(store, cache):
    notes = [
        "<< /Type /Annot /Subtype /FreeText /Rect [72 740 300 755] /Contents (Written between) /DA (/F1 9 Tf) >>",
        "<< /Type /Annot /Subtype /Highlight /Rect [72 755 300 770] /Contents (Check this!) >>",
        "<< /Type /Annot /Subtype /Text /F 2 /Rect [10 10 20 20] /Contents (A hidden note) >>",
        "<< /Type /Annot /Subtype /Highlight /Rect [72 700 300 715] /Contents (Spare parts are kept) >>",
    ]
    shown = lines(FACTS[:1], y=760) + lines(FACTS[3:], y=702)
    text = text_of(write([shown], extra=notes, page="/Annots [10 0 R 11 0 R 12 0 R 13 0 R]"), store, cache)
    assert sorted(text.split("\n")[1:3]) == ["Check this!", "Written between"]
    assert (text.split("\n")[0], text.split("\n")[3:]) == (FACTS[0], [FACTS[3]])


@pytest.mark.parametrize("names", [("a.txt",), ("one.csv", "two.csv", "three.csv", "four.csv")])
def test_attached_files_are_said(names, store, cache):
    files = []
    for i, name in enumerate(names):
        files += [f"<< /Type /Filespec /F ({name}) /EF << /F {11 + 2 * i} 0 R >> >>", ("/Type /EmbeddedFile", b"x")]
    shown = " ".join(f"({name}) {10 + 2 * i} 0 R" for i, name in sorted(enumerate(names), key=lambda item: item[1]))
    _, problems = read(
        store(write([lines(FACTS)], extra=files, catalog=f"/Names << /EmbeddedFiles << /Names [{shown}] >> >>")), cache
    )
    assert len(problems) == 1
    assert ("holds 1 attached file, not read (a.txt)" if len(names) == 1 else "holds 4 attached files, not read") in problems[0]


@pytest.mark.parametrize("box", [(0, 0, 200_000, 300), (0, 0, 20_000, 20_000)])
def test_huge_pages_are_said(box, store, cache):
    (page,), problems = read(store(write([lines(FACTS, y=200)], box=box)), cache)
    assert page.text == "\n".join(FACTS)
    assert f"{box[2]:,} x {box[3]:,} points" in problems[0]


def scan(texts, size=(595, 842)) -> Image.Image:
    image = Image.new("L", size, 255)
    draw = ImageDraw.Draw(image)
    for i, text in enumerate(texts):
        draw.text((40, 60 + 24 * i), text, fill=0, font=ImageFont.load_default(15))
    return image


DRAWN = "q 595 0 0 842 0 0 cm /Im Do Q\n"


@pytest.mark.parametrize("stamp", ["RECEIVED 3 MAY 2021", "Case 4:19-cv-00123 Document 57 Filed 08/01/20 Page 3 of 9"])
def test_stamped_scans_are_recognised(stamp, store, cache, recognised):
    (page,), _ = read(store(write([DRAWN + lines([stamp], y=20)], picture=scan(FACTS))), cache)
    assert page.text == "\n".join((*FACTS, stamp))
    assert page.text_kind == "ocr"


def test_pages_with_small_pictures_and_with_text_over_pictures_are_not(store, cache, recognised):
    small = "q 100 0 0 100 300 300 cm /Im Do Q\n" + lines(FACTS[:1])
    full = DRAWN + lines([*FACTS, *FACTS])
    pages, _ = read(store(write([small, full], picture=scan([]))), cache)
    assert {page.text_kind for page in pages} == {"layer"}
    assert recognised == []


def test_layers_of_signs_are_recognised_again(store, cache, recognised):
    signs = lines([". , ; ' - . : ; , . - ' . , ; . - , ; ' . ; , ."] * 3, before="3 Tr")
    (page,), _ = read(store(write([DRAWN + signs], picture=scan(FACTS))), cache)
    assert (page.text, page.text_kind) == ("\n".join(FACTS), "ocr")


@pytest.mark.parametrize("good", [True, False])
def test_poor_layers_are_said(good, store, cache, recognised):
    text = ["The mill was bui1t by the br0ok in I8I2, whcn tbe", "0ld one bumt down, aud was s0ld in l9O4 by its 0wner"]
    texts = [*FACTS, *FACTS] if good else text
    source = store(write([DRAWN + lines(texts, before="3 Tr")], picture=scan(FACTS)))
    (page,), problems = read(source, cache)
    assert page.text_kind == "layer"
    assert len(problems) == (not good)
    (page,), problems = read(source, cache, ocr="always")
    assert (page.text, problems) == ("\n".join(FACTS), [])


def test_equal_pictures_are_recognised_once(store, cache, recognised):
    pages, _ = read(store(write([DRAWN] * 8, picture=scan(FACTS))), cache)
    assert len(recognised) == 1
    assert {page.text for page in pages} == {"\n".join(FACTS)}


@pytest.mark.parametrize("bits", [10, 14])
def test_fewer_bits_in_a_file_of_sixteen(bits):
    levels = (np.asarray(scan(FACTS), dtype=np.uint32) * ((1 << bits) - 1) // 255).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        data = io.BytesIO()
        Image.fromarray(levels).save(data, kind)
        image = np.asarray(ImageBytes(data.getvalue()).load().convert("L"))
        assert abs(image.astype(int) - np.asarray(scan(FACTS), dtype=int)).max() <= 1


@pytest.mark.parametrize("kind", [1, 4])
def test_frames_that_are_no_pages(kind):
    pages = [Image.new("L", (80, 60), level) for level in (10, 20, 30)]
    data = io.BytesIO()
    from PIL.TiffImagePlugin import AppendingTiffWriter

    with AppendingTiffWriter(data, True) as out:
        for i, page in enumerate(pages):
            page.save(out, "TIFF", tiffinfo={254: kind if i == 1 else 0})
            out.newFrame()
    assert count_frames(io.BytesIO(data.getvalue())) == 2
    assert [ImageBytes(data.getvalue(), i).load().getpixel((0, 0))[0] for i in range(2)] == [10, 30]


@pytest.mark.parametrize("sign", ["\u00ad", "\u2010"])
def test_russian_words_over_the_end_of_a_line_are_joined(sign, store, cache):
    """A soft hyphen and the hyphen sign at the end of a line; one inside a line stays."""
    letters = {97 + i: chr(0x430 + i) for i in range(26)}
    font, cmap = mapped_font({32: " ", 45: "-", 126: sign, **letters})
    data = write([lines(["abcd efghi~", "jklmn opqr stuv-wxyz abc"]).replace("/F1", "/L")], fonts={"L": font}, extra=[cmap])
    text = text_of(data, store, cache)
    joined, own = ("".join(map(chr, range(0x430 + a, 0x430 + b))) for a, b in ((4, 14), (18, 22)))
    assert joined in text
    assert f"{own}-" in text
    assert sign not in text


def test_a_hyphen_at_the_end_of_a_line_in_russian(store, cache):
    font, cmap = mapped_font({32: " ", 45: "-", **{97 + i: chr(0x430 + i) for i in range(26)}})
    data = write([lines(["abcdefgh ijklm nopqr-", "stuvw abcd efgh"]).replace("/F1", "/L")], fonts={"L": font}, extra=[cmap])
    text = text_of(data, store, cache)
    assert re.search("ноп[а-я]+туф", text)
    assert "-" not in text


def test_facts_of_a_page(store):
    content = read_content(StoredFile.of(store(write([DRAWN + lines(FACTS, before="3 Tr"), lines(FACTS)], picture=scan(FACTS)))))
    first, second = content.pages
    assert (first.coverage, first.unseen, second.coverage, second.unseen) == (1.0, 1.0, 0.0, 0.0)
    assert first.hidden == second.hidden == 0
