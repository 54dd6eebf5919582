from __future__ import annotations

import threading

import pytest

from mmr5.errors import ConfigError, DocumentError, PageError
from mmr5.pages import pdf
from mmr5.pages.files import StoredFile
from mmr5.pages.pdf import PdfContent, PdfPageImage, read_content, render_page, render_scale
from mmr5.types import ImageSource


@pytest.fixture
def store(folder):
    def write(data: bytes, name: str = "a.pdf") -> StoredFile:
        (folder / name).write_bytes(data)
        return StoredFile.of(folder / name)

    return write


def read_layers(stored, cache=None):
    """The texts of a document's layers."""
    return [None if page is None else page.text for page in read_content(stored, cache).pages]


def test_layers_of_all_pages(store, make_pdf):
    layers = read_layers(store(make_pdf(["First (page)", "", "Third\nof three"])))
    assert layers == ["First (page)", "", "Third\nof three"]


def test_a_missing_page_is_none(store, make_pdf):
    assert read_layers(store(make_pdf(["one", None, "three"]))) == ["one", None, "three"]


def test_layers_are_cached_by_content(store, make_pdf, cache, monkeypatch):
    stored = store(make_pdf(["one", None]))
    first = read_content(stored, cache)
    assert read_layers(stored, cache) == ["one", None]
    monkeypatch.setattr(pdf, "_extract", lambda path: pytest.fail("read again"))
    again = read_content(stored, cache)
    assert (again.attachments, again.makes_pages) == (first.attachments, first.makes_pages)
    assert [page and page.text for page in again.pages] == ["one", None]
    assert list(again.pages[0].size) == list(first.pages[0].size) == [612, 792]
    assert read_layers(store(make_pdf(["one", None]), "copy.pdf"), cache) == ["one", None]
    monkeypatch.setattr(pdf, "_extract", lambda path: PdfContent([None], [], False))
    assert read_layers(store(make_pdf(["two"])), cache) == [None]


def test_encrypted_with_a_password(store, make_pdf):
    with pytest.raises(DocumentError, match=r"encrypted and needs a password.*qpdf"):
        read_layers(store(make_pdf(["secret"], password="horse")))


def test_encrypted_without_a_user_password_is_read(store, make_pdf):
    assert read_layers(store(make_pdf(["open to all"], password=""))) == ["open to all"]


def test_truncated_or_not_a_pdf(store, make_pdf):
    for data in (make_pdf(["one", "two"])[:120], b"%PDF-1.4\n", b"%PDF-1.4\n" + bytes(500)):
        with pytest.raises(DocumentError, match="truncated"):
            read_layers(store(data))


@pytest.mark.parametrize("before", [b"%PDF-1.4 damaged", None])
def test_zero_pages(store, make_pdf, before):
    with pytest.raises(DocumentError):
        read_layers(store(before or make_pdf(["secret"], password="horse")))
    with pytest.raises(DocumentError, match="no pages"):
        read_layers(store(make_pdf([])))


def test_render_scale_fills_the_budget_up_to_300_dpi():
    assert render_scale(612, 792, None) == 2.0
    assert render_scale(612, 792, 612 * 792) == pytest.approx(1.0)
    assert render_scale(100, 100, 10_000_000) == pytest.approx(300 / 72)
    assert render_scale(20_000, 20_000, None) == pytest.approx(0.1)


def test_rendering_fits_the_budget(store, make_pdf):
    image = PdfPageImage(store(make_pdf(["Some text"])), 0)
    assert isinstance(image, ImageSource)
    assert image.load().size == (1224, 1584)
    small = image.load(100_000)
    assert small.mode == "RGB"
    assert 0.97 * 100_000 < small.width * small.height <= 100_000
    assert small.width / small.height == pytest.approx(612 / 792, rel=0.02)
    darkest, lightest = small.convert("L").getextrema()
    assert darkest < 128 < lightest
    assert image.load(1).size == (1, 1)


@pytest.mark.parametrize("size", [(14_400, 14_400), (14_400, 3), (3, 14_400)])
def test_odd_page_sizes_stay_in_the_budget(store, make_pdf, size):
    stored = store(make_pdf(["x"], size=size))
    for budget in (None, 1_003_520, 500):
        image = render_page(stored.path, 0, budget)
        assert image.width * image.height <= (budget or 4_000_000)


def test_keys_follow_content_and_page(store, make_pdf):
    one, copy, other = store(make_pdf(["a"])), store(make_pdf(["a"]), "copy.pdf"), store(make_pdf(["b"]), "b.pdf")
    assert PdfPageImage(one, 0).key == PdfPageImage(copy, 0).key
    assert len({PdfPageImage(one, 0).key, PdfPageImage(one, 1).key, PdfPageImage(other, 0).key}) == 3


def test_pages_that_cannot_be_rendered_name_themselves(store, make_pdf):
    stored = store(make_pdf(["one", None]))
    for index in (1, 2, 99):
        with pytest.raises(PageError, match=rf"a\.pdf, page {index + 1}: the page cannot be read"):
            PdfPageImage(stored, index).load()
    with pytest.raises(ConfigError, match="0"):
        PdfPageImage(stored, 0).load(0)
    stored.path.write_bytes(make_pdf(["another"]))
    with pytest.raises(PageError, match=r"a\.pdf, page 1: the file was changed"):
        PdfPageImage(stored, 0).load()


def test_forms_are_drawn_and_broken_ones_passed_over(store, make_pdf):
    catalog = b"/Type /Catalog /Pages 2 0 R"
    for form in (b"/AcroForm << /Fields [] >>", b"/AcroForm 77 0 R"):
        data = make_pdf(["Some text"]).replace(catalog, catalog + b" " + form)
        assert render_page(store(data).path, 0, 10_000).width > 80


def test_many_threads_render_and_read(store, make_pdf):
    stored = store(make_pdf([f"Page {i}" for i in range(8)]))
    expected = [PdfPageImage(stored, i).load(20_000).tobytes() for i in range(8)]
    wrong = []

    def work(i: int) -> None:
        if PdfPageImage(stored, i).load(20_000).tobytes() != expected[i] or read_layers(stored)[i] != f"Page {i}":
            wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
