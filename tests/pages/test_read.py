from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mmr5.errors import ConfigError, DocumentError, EngineError, MissingExtraError, MMR5Warning, PageError, SourceNotFoundError
from mmr5.pages import ImageFile, PdfPageImage, ocr, read_pages
from mmr5.types import Page, Problem

LINES = ["Annual report on reservoirs", "Repairs cost 4,250 euros", "The dam was closed in May"]


@pytest.fixture
def fake_ocr(monkeypatch):
    """Stands for the engine: every picture that is not blank reads as the same text."""
    calls = []
    monkeypatch.setattr(
        ocr, "recognise", lambda image: calls.append(image.size) or ocr.Recognition("text as recognised in the picture")
    )
    return calls


@pytest.fixture
def no_ocr(monkeypatch):
    def missing(image):
        raise MissingExtraError("rapidocr is needed, run: pip install 'mmr5[ocr]'")

    monkeypatch.setattr(ocr, "recognise", missing)


@pytest.fixture
def no_rendering(monkeypatch):
    monkeypatch.setattr("mmr5.pages.pdf.render_page", lambda *args: pytest.fail("a page was rendered"))
    monkeypatch.setattr("mmr5.pages.images.decode", lambda *args: pytest.fail("an image was decoded"))


def shown(pages: list[Page]) -> list[tuple[str, int]]:
    return [(page.source, page.number) for page in pages]


def test_text_layers_need_no_rendering(folder, make_pdf, prose, cache, no_rendering):
    path = folder / "report.pdf"
    path.write_bytes(make_pdf([prose, prose.replace(", ", ",\n")]))
    pages = read_pages(str(path), cache=cache)
    assert shown(pages) == [(str(path), 1), (str(path), 2)]
    assert [page.text for page in pages] == [prose, prose.replace(", ", ",\n")]
    assert {page.text_kind for page in pages} == {"layer"}
    assert isinstance(pages[1].image, PdfPageImage)
    assert pages == read_pages([path], cache=cache)


def test_scans_are_recognised(folder, make_picture, cache):
    make_picture(LINES).save(folder / "scan.pdf", resolution=100)
    make_picture(LINES[::-1]).save(folder / "photo.jpg")
    stages = []
    pages = read_pages(folder, cache=cache, progress=lambda *step: stages.append(step))
    assert shown(pages) == [("photo.jpg", 1), ("scan.pdf", 1)]
    assert [page.text.split("\n") for page in pages] == [LINES[::-1], LINES]
    assert {page.text_kind for page in pages} == {"ocr"}
    assert stages == [
        ("reading", 0, 2), ("reading", 1, 2), ("reading", 2, 2), ("ocr", 0, 2), ("ocr", 1, 2), ("ocr", 2, 2),
    ]  # fmt: skip


def test_only_pages_without_a_usable_layer_are_recognised(folder, make_pdf, prose, cache, fake_ocr):
    garbled = "".join(chr(ord(c) + 3) if c.isalpha() else c for c in prose * 2)
    (folder / "a.pdf").write_bytes(make_pdf([prose, "Page 12", "", garbled]))
    pages = read_pages(folder / "a.pdf", cache=cache)
    read = "text as recognised in the picture"
    assert [(page.text, page.text_kind) for page in pages] == [
        (prose, "layer"), (read, "ocr"), ("", "ocr"), (read, "ocr"),
    ]  # fmt: skip
    assert len(fake_ocr) == 2


def test_a_short_layer_is_kept_when_recognition_says_no_more(folder, make_pdf, cache, fake_ocr, monkeypatch):
    (folder / "a.pdf").write_bytes(make_pdf(["Chapter 3: outlets"]))
    monkeypatch.setattr(ocr, "recognise", lambda image: ocr.Recognition("Chapter 3 outlets"))
    (page,) = read_pages(folder / "a.pdf", cache=cache)
    assert (page.text, page.text_kind) == ("Chapter 3: outlets", "layer")


def test_ocr_never_renders_no_page_and_still_finds_a_damaged_image(folder, make_pdf, make_picture, prose, cache, monkeypatch):
    monkeypatch.setattr("mmr5.pages.pdf.render_page", lambda *args: pytest.fail("a page was rendered"))
    problems = []
    (folder / "a.pdf").write_bytes(make_pdf([prose, "12"]))
    make_picture(LINES).save(folder / "b.png")
    (folder / "c.png").write_bytes((folder / "b.png").read_bytes()[:200])
    pages = read_pages(folder, ocr="never", cache=cache, on_problem=problems.append)
    assert [(page.text, page.text_kind) for page in pages] == [(prose, "layer"), ("12", "layer"), (None, None)]
    assert [(problem.source, problem.page) for problem in problems] == [("c.png", 1)]
    with pytest.raises(PageError):
        read_pages(folder, ocr="never", cache=cache, strict=True)


def test_ocr_always_recognises_every_page(folder, make_pdf, prose, cache, fake_ocr):
    (folder / "a.pdf").write_bytes(make_pdf([prose, ""]))
    pages = read_pages(folder / "a.pdf", ocr="always", cache=cache)
    assert [page.text for page in pages] == ["text as recognised in the picture", ""]
    assert len(fake_ocr) == 1


def test_second_reading_comes_from_the_cache(folder, make_picture, cache, fake_ocr, request):
    make_picture(LINES).save(folder / "scan.pdf")
    first = read_pages(folder, cache=cache)
    request.getfixturevalue("no_rendering")
    assert read_pages(folder, cache=cache) == first
    assert len(fake_ocr) == 1


def test_missing_extra_keeps_the_pages(folder, make_picture, make_pdf, prose, cache, no_ocr):
    make_picture(LINES).save(folder / "a.png")
    make_picture(LINES).save(folder / "b.pdf", save_all=True, append_images=[make_picture(LINES[:1])])
    (folder / "c.pdf").write_bytes(make_pdf([prose]))
    problems: list[Problem] = []
    pages = read_pages(folder, cache=cache, on_problem=problems.append)
    assert [page.text for page in pages] == ["", "", "", prose]
    assert [(p.source, p.page, p.message[:13]) for p in problems] == [
        ("a.png", None, "1 page stays "), ("b.pdf", None, "2 pages stay "),
    ]  # fmt: skip
    assert all("mmr5[ocr]" in problem.message for problem in problems)
    for options in ({"strict": True}, {"ocr": "always"}):
        with pytest.raises(MissingExtraError, match=r"mmr5\[ocr\]"):
            read_pages(folder, cache=cache, **options)


def test_failing_recognition_keeps_the_page(folder, make_picture, cache, monkeypatch):
    def fail(image):
        raise EngineError("text recognition failed (out of memory)")

    monkeypatch.setattr(ocr, "recognise", fail)
    make_picture(LINES).save(folder / "a.png")
    with pytest.warns(MMR5Warning, match=r"a\.png, page 1: text recognition failed"):
        (page,) = read_pages(folder, cache=cache)
    assert page.text == ""


def test_multi_frame_tiff(folder, make_picture, cache):
    make_picture(LINES).save(folder / "fax.tif", save_all=True, append_images=[Image.new("RGB", (60, 40), "red")])
    pages = read_pages(folder / "fax.tif", ocr="never", cache=cache)
    assert [page.number for page in pages] == [1, 2]
    assert isinstance(pages[1].image, ImageFile)
    assert pages[1].image.load().size == (60, 40)
    assert pages[0].image.key != pages[1].image.key


def test_folders_are_read_in_natural_order(folder, make_pdf, prose, cache):
    for name in ("p10.pdf", "p2.pdf", "sub/p1.pdf", ".hidden.pdf", "without-suffix"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(make_pdf([prose]))
    (folder / "notes.txt").write_text("of a kind that holds text")
    (folder / "notes.mobi").write_text("of a kind that is not read")
    (folder / "empty").touch()
    problems: list[Problem] = []
    pages = read_pages(folder, cache=cache, on_problem=problems.append)
    assert [page.source for page in pages] == ["notes.txt", "p2.pdf", "p10.pdf", "sub/p1.pdf", "without-suffix"]
    assert [(problem.source, problem.message.split(":")[0]) for problem in problems] == [
        ("notes.mobi", "files of kind .mobi are not read"), (str(folder), "1 file of other kinds passed over"),
    ]  # fmt: skip


def test_names_tell_files_apart(tmp_path, make_pdf, prose, cache, monkeypatch):
    for name in ("one/x.pdf", "two/x.pdf", "two/y.pdf", "x.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(make_pdf([prose]))
    monkeypatch.chdir(tmp_path)
    pages = read_pages(["x.pdf", "one", Path("two")], cache=cache)
    assert [page.source for page in pages] == ["x.pdf", "one/x.pdf", "two/x.pdf", "y.pdf"]
    assert [page.source for page in read_pages(["one/x.pdf", "one"], cache=cache)] == ["one/x.pdf", "x.pdf"]


def test_one_bad_page_among_good_ones(folder, make_pdf, prose, cache):
    path = folder / "a.pdf"
    path.write_bytes(make_pdf([prose, None, prose]))
    problems: list[Problem] = []
    for _ in range(2):
        assert [page.number for page in read_pages(path, cache=cache, on_problem=problems.append)] == [1, 3]
    assert [str(problem) for problem in problems] == [
        f"{path}, page 2: the page cannot be read: its part of the PDF is damaged"
    ] * 2
    with pytest.warns(MMR5Warning, match="page 2") as caught:
        read_pages(path, cache=cache)
    assert caught[0].filename == __file__
    with pytest.raises(PageError, match=r"a\.pdf, page 2: the page cannot be read"):
        read_pages(path, cache=cache, strict=True)


def test_bad_files_among_good_ones(folder, make_pdf, make_picture, encode, prose, cache, fake_ocr):
    good = encode(make_picture(LINES))
    (folder / "a.pdf").write_bytes(make_pdf([prose]))
    (folder / "b.png").write_text("just text")
    (folder / "c.pdf").write_bytes(make_pdf(["secret"], password="horse"))
    (folder / "d.png").write_bytes(good[: len(good) // 2])
    (folder / "e.pdf").touch()
    problems: list[Problem] = []
    pages = read_pages([folder, folder / "missing.pdf"], cache=cache, on_problem=problems.append)
    assert shown(pages) == [("a.pdf", 1)]
    assert [(Path(p.source).name, p.page) for p in problems] == [
        ("b.png", None), ("c.pdf", None), ("e.pdf", None), ("missing.pdf", None), ("d.png", 1),
    ]  # fmt: skip
    assert [
        word in p.message for word, p in zip(("kind", "password", "0 bytes", "no such", "decoded"), problems, strict=True)
    ] == [True] * 5
    with pytest.raises(DocumentError, match=r"^b\.png: is of no known kind"):
        read_pages(folder, cache=cache, strict=True)


def test_when_nothing_can_be_read_the_first_error_is_raised(folder, make_pdf, cache, tmp_path):
    problems: list[Problem] = []

    def read(*sources):
        return read_pages(sources, cache=cache, on_problem=problems.append)

    with pytest.raises(SourceNotFoundError, match=r"missing\.pdf: no such file or folder"):
        read(tmp_path / "missing.pdf")
    with pytest.raises(DocumentError, match="holds no files; known kinds: PDF"):
        read(folder)
    (folder / "notes.bin").write_bytes(b"\0\1\2")
    with pytest.raises(DocumentError, match="holds 1 files of other kinds"):
        read(folder)
    with pytest.raises(DocumentError, match=r"notes\.bin: is of no known kind by its content; known kinds: PDF, PNG"):
        read(folder / "notes.bin")
    (folder / "all-bad.pdf").write_bytes(make_pdf([None, None]))
    with pytest.raises(PageError, match=r"all-bad\.pdf, page 1: .*\(and 2 more could not be read\)"):
        read(folder / "all-bad.pdf", tmp_path / "missing.pdf")
    with pytest.raises(DocumentError, match="no sources"):
        read()
    assert problems == []


def test_a_broken_single_image_is_an_error(folder, make_picture, encode, cache, fake_ocr):
    good = encode(make_picture(LINES))
    (folder / "a.png").write_bytes(good[: len(good) // 2])
    with pytest.raises(PageError, match=r"a\.png, page 1: the image cannot be decoded"):
        read_pages(folder / "a.png", cache=cache)


def test_unknown_ocr_mode(folder, cache):
    with pytest.raises(ConfigError, match=r"'sometimes'.*auto, never, always"):
        read_pages(folder, ocr="sometimes", cache=cache)


def test_an_unwritable_cache_breaks_nothing(folder, make_pdf, prose, monkeypatch):
    (folder / "a.pdf").write_bytes(make_pdf([prose]))
    monkeypatch.setenv("MMR5_CACHE", str(folder / "a.pdf" / "cache"))
    with pytest.warns(MMR5Warning, match="cache"):
        assert len(read_pages(folder / "a.pdf")) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_long_document_stays_small(folder, make_pdf, prose, tmp_path):
    """400 pages read, and 20 of them rendered, in a process of its own."""
    (folder / "long.pdf").write_bytes(make_pdf([f"{prose} {i}" for i in range(400)]))
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from mmr5.pages import read_pages\n"
        "pages = read_pages(sys.argv[1])\n"
        "for page in pages[::20]: page.image.load(1_003_520)\n"
        "print(len(pages), re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    environment = {**os.environ, "MMR5_CACHE": str(tmp_path / "c"), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "long.pdf")], env=environment, capture_output=True, text=True, check=True
    )
    pages, kibibytes = map(int, done.stdout.split())
    assert pages == 400
    assert kibibytes < 300_000


def test_import_is_light():
    code = "import sys, mmr5.pages\nprint([m for m in ('PIL', 'numpy', 'pypdfium2', 'rapidocr', 'filelock') if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
