"""Documents of any form become pages; a picture that is none is refused by its place, and never read as text."""

import asyncio
import base64
import io
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmr5 import Page, Reranker, Searcher
from mmr5.documents import below, checked_picture, draft, is_picture, open_picture, pdf_page, replace_surrogates, to_pages
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import InputError, MissingExtraError, PageError, SourceNotFoundError, missing_extra
from mmr5.pages import ImageObject
from mmr5.pages.ocr import Recognition

REPORT = Path(__file__).parents[1] / "examples" / "harbour-report.pdf"


def forms(data, path):
    encoded = base64.b64encode(data).decode()
    return {
        "bytes": data,
        "bytearray": bytearray(data),
        "path": path,
        "path as string": str(path),
        "file address": path.as_uri(),
        "base64": encoded,
        "base64 in lines": "\n".join(encoded[i : i + 76] for i in range(0, len(encoded), 76)),
        "base64 for addresses": encoded.replace("+", "-").replace("/", "_"),
        "data URI": f"data:image/png;base64,{encoded}",
        "Pillow image": Image.open(io.BytesIO(data)),
    }


@pytest.mark.parametrize("form", ["bytes", "bytearray", "path", "path as string", "file address", "base64",
                         "base64 in lines", "base64 for addresses", "data URI", "Pillow image"])  # fmt: skip
def test_every_form_of_a_picture_is_the_same_picture(form, picture, tmp_path):
    data = picture()
    path = tmp_path / "a page.png"
    path.write_bytes(data)
    found = open_picture(forms(data, path)[form])
    assert found.load().tobytes() == Image.open(io.BytesIO(data)).convert("RGB").tobytes()
    assert found.load(1000).width * found.load(1000).height <= 1000
    assert len(found.key) == 64


def test_a_pillow_image_is_kept_as_it_was(picture):
    image = Image.open(io.BytesIO(picture())).convert("RGBA")
    found = ImageObject.of(image)
    image.paste("black", (0, 0, 240, 100))
    assert found.load().getpixel((0, 0)) == (255, 255, 255)
    assert found.key == ImageObject.of(Image.open(io.BytesIO(picture()))).key
    assert found.key != ImageObject.of(image).key


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (b"no picture", PageError, "no known kind"),
        (b"%PDF-1.7 ...", PageError, "read_pages"),
        ("nowhere.png", SourceNotFoundError, "nowhere.png: no such file"),
        (str(REPORT), PageError, "pdf_page"),
        ("https://example.org/1.png", PageError, "not fetched"),
        ("data:text/plain,hello", PageError, "data:image/png;base64"),
        ("data:image/png;base64,####", PageError, "not valid base64"),
        ("data:image/png;base64,aGVsbG8=", PageError, "no known kind"),
        (42, PageError, "this is of type int"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_way_out(value, error, said):
    with pytest.raises(error, match=said):
        open_picture(value)


def test_a_damaged_picture_is_found_when_it_arrives(picture, tmp_path):
    cut = picture()[:-60]
    (tmp_path / "cut.png").write_bytes(cut)
    for value in (cut, tmp_path / "cut.png", base64.b64encode(cut).decode(), Image.open(io.BytesIO(cut))):
        with pytest.raises(PageError, match="decoded"):
            open_picture(value)


def test_paths_can_be_held_below_a_folder(picture, tmp_path):
    root = tmp_path / "pages"
    root.mkdir()
    (root / "1.png").write_bytes(picture())
    (tmp_path / "secret.png").write_bytes(picture())
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    assert open_picture("1.png", root).load().size == (240, 100)
    for outside in ("../secret.png", str(tmp_path / "secret.png"), "link.png"):
        with pytest.raises(PageError, match="lies outside"):
            open_picture(outside, root)
    assert below("x.png", None).name == "x.png"


def test_a_pages_picture_comes_from_its_pdf():
    assert pdf_page(REPORT, 3).load(10_000).width > 50
    with pytest.raises(PageError, match="count from 1"):
        pdf_page(REPORT, 0)
    with pytest.raises(PageError, match="no known kind"):
        pdf_page(__file__, 1)


def test_bare_values_are_told_apart(picture, tmp_path):
    encoded = base64.b64encode(picture()).decode()
    assert draft("words").text == "words"
    assert draft(encoded).text is None
    assert is_picture(encoded)
    assert not is_picture("iVBORw0KGgo is how a PNG begins in base64, and this sentence says so at some length.")
    both = draft({"text": "t", "image": encoded})
    assert both.text == "t"
    assert both.picture == encoded
    page = Page("a.pdf", 7, text="seven")
    assert (draft(page).source, draft(page).number, draft(page).text) == ("a.pdf", 7, "seven")
    assert draft(tmp_path).picture == tmp_path
    for bad in (None, {}, {"text": 3}):
        with pytest.raises(InputError):
            draft(bad)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_pictures_of_every_kind_are_taken_whole(kind, picture):
    found = checked_picture(picture(kind=kind), 240 * 100)
    assert found.load().size == (240, 100)
    with pytest.raises(PageError, match="240 x 100 pixels"):
        checked_picture(picture(kind=kind), 240 * 100 - 1)
    with pytest.raises(PageError, match="decoded"):
        checked_picture(picture(kind=kind)[:60], 240 * 100)


# --- what is handed to the library -------------------------------------------------------------------------------------

TEXTS = ["Contents: fees, cargo, seals.", "The berthing fees for yachts rise to 31 euros."]
QUESTION = "What are the berthing fees for yachts?"


def pictures_seen(engine):
    return sum(part["type"] == "image" for r in engine.requests for m in r.messages for part in m["content"])


def test_a_reranker_takes_strings():
    reader = Reranker(ScriptedEngine(), view="text", method="likelihood")
    expected = reader.rerank(QUESTION, [Page(f"documents[{i}]", 1, text=text, text_kind="given") for i, text in enumerate(TEXTS)])
    for values in (TEXTS, tuple(TEXTS), (text for text in TEXTS), [{"text": text} for text in TEXTS]):
        result = reader.rerank(QUESTION, values)
        assert result.ranking == expected.ranking
    assert result.order == (1, 0)
    assert asyncio.run(reader.arerank(QUESTION, TEXTS)).ranking == expected.ranking
    assert reader.rerank_many([(QUESTION, TEXTS)])[0].ranking == expected.ranking
    assert Searcher(reader, "bm25").search(QUESTION, iter(TEXTS)).order == (1, 0)


def test_a_reranker_takes_pictures_of_every_form(picture, tmp_path):
    (tmp_path / "p.png").write_bytes(picture())
    values = [
        Image.open(io.BytesIO(picture("a"))), tmp_path / "p.png", picture("b"), base64.b64encode(picture("c")).decode(),
        {"text": "d", "image": picture("d")}, ImageObject.of(Image.new("RGB", (9, 9))), Page("a.pdf", 3, image=pdf_page(REPORT, 3)),
    ]  # fmt: skip
    engine = ScriptedEngine()
    result = Reranker(engine, view="image", method="likelihood").rerank("q", values)
    assert sorted(result.order) == list(range(7))
    assert pictures_seen(engine) == 7
    by_index = {line.index: (line.source, line.page) for line in result}
    assert by_index[6] == ("a.pdf", 3)
    assert by_index[1] == ("documents[1]", 1)


def test_a_seeing_model_reads_all_as_text_where_one_has_no_picture(picture, monkeypatch):
    monkeypatch.setattr("mmr5.pages.ocr.recognise", lambda image: Recognition("the berthing fees for yachts"))
    engine = ScriptedEngine()
    seer = Reranker(engine, view="image", method="likelihood")
    mixed, seen = seer.rerank_many([(QUESTION, ["cargo", picture()]), (QUESTION, [picture("a"), picture("b")])])
    assert (mixed.settings["view"], seen.settings["view"]) == ("text", "image")
    assert mixed.order == (1, 0)
    assert pictures_seen(engine) == 2
    assert seer.view == "image"
    for retriever in ("none", "bm25"):
        found = Searcher(seer, retriever).search(QUESTION, ["cargo", picture()])
        assert (found.order, found.settings["view"]) == ((1, 0), "text")


def test_a_first_stage_reads_the_pictures_that_a_seeing_model_looks_at(picture, monkeypatch):
    monkeypatch.setattr("mmr5.pages.ocr.recognise", lambda image: Recognition(f"page {image.getpixel((0, 0))[0]}"))
    images = [Image.new("RGB", (60, 60), (value, 0, 0)) for value in (10, 20, 30)]
    for image in images:
        image.paste("white", (20, 20, 40, 40))
    engine = ScriptedEngine()
    result = Searcher(Reranker(engine, view="image", method="likelihood"), "bm25", candidates=1).search("page 20", images)
    assert (result.order, pictures_seen(engine)) == ((1,), 1)


def test_reasoning_about_lists_of_two_views_is_heard_by_their_place(picture):
    heard = {}
    seer = Reranker(ScriptedEngine(), view="image", method="reason")
    items = [("q", [picture("a"), picture("b")]), ("q", ["a", "b"]), ("q", [picture("c")])]
    results = seer.rerank_many(items, on_text=lambda i, text, page=None: heard.update({i: heard.get(i, "") + text}))
    assert [heard[i] for i in range(3)] == [result.reply for result in results]
    pointwise = Reranker(ScriptedEngine(), view="image", method="pointwise")
    notes = {}
    pointwise.rerank_many(items, on_text=lambda i, text, page: notes.update({(i, page): notes.get((i, page), "") + text}))
    assert set(notes) <= {(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)} and {i for i, _ in notes} == {0, 1, 2}


def test_a_page_is_taken_as_it_is(monkeypatch):
    def never(*_):
        raise AssertionError("recognised")

    image = ImageObject.of(Image.new("RGB", (9, 9)))
    pages = [Page("a", 1, text="", image=image), Page("b", 2, text="cargo", image=image)]
    unread = [Page("c", 3, image=image)]
    monkeypatch.setattr("mmr5.pages.ocr.read_picture", never)
    for view in ("image", "text", "both"):
        assert to_pages(pages, view) == (tuple(pages), view)
    for view in ("image", "both"):
        assert to_pages(unread, view) == (tuple(unread), view)
    monkeypatch.setattr("mmr5.pages.ocr.read_picture", lambda image, cache: "read")
    assert to_pages(unread, "text")[0][0] == Page("c", 3, text="read", image=image, text_kind="ocr")


def test_without_ocr_a_model_that_sees_goes_on_and_one_that_reads_does_not(picture, monkeypatch):
    def missing(*_):
        raise missing_extra("rapidocr", "ocr", "read pages")

    monkeypatch.setattr("mmr5.pages.ocr.read_picture", missing)
    assert to_pages([picture()], "both")[0][0].text == ""
    with pytest.raises(MissingExtraError, match="ocr"):
        to_pages([picture()], "text")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("words", r"documents is of type str, and a list"),
        (b"GIF89a", r"documents is of type bytes"),
        (None, r"documents is None"),
        (7, r"documents is of type int"),
        ({"text": "a"}, r"documents is of type dict"),
        (Path("a.png"), r"documents is of type \w*Path"),
        (Page("a"), r"documents is of type Page"),
        (Image.new("RGB", (2, 2)), r"documents is of type Image"),
        (["a", None], r"documents\[1\] is None"),
        (["a", 3], r"documents\[1\] is of type int"),
        ([("a", "b")], r"documents\[0\] is of type tuple"),
        (["a", "b", {}], r"documents\[2\]: a mapping with the keys \[\]"),
        ([{"txt": "a"}], r"documents\[0\]: a mapping with the keys \['txt'\]"),
        ([{"text": 3}], r"documents\[0\]: its text is of type int"),
        (["a", {"image": 3}], r"document 1 \(documents\[1\]\): .* type int"),
        (["a", b"junk"], r"document 1 \(documents\[1\]\): .* no known kind"),
    ],
)
def test_what_is_no_document_is_named_by_its_position_and_type(values, said):
    reader = Reranker(ScriptedEngine(), view="text", method="likelihood")
    with pytest.raises(InputError, match=said):
        reader.rerank("q", values)
    with pytest.raises(InputError, match=said):
        Searcher(reader, "bm25").search("q", values)
    assert reader.engine.requests == []


@pytest.mark.parametrize(
    ("query", "said"), [(None, "question is None"), (3, "type int"), (["q"], "type list"), (b"q", "bytes"), (" ", "empty")]
)
def test_what_is_no_question_is_refused(query, said):
    reader = Reranker(ScriptedEngine(), view="text", method="likelihood")
    with pytest.raises(InputError, match=said):
        reader.rerank(query, ["a"])
    with pytest.raises(InputError, match=said):
        Searcher(reader, "bm25").search(query, ["a"])


@pytest.mark.parametrize("method", ["reason", "direct", "logits", "pointwise", "likelihood"])
def test_a_lone_surrogate_is_replaced_before_a_real_tokenizer_meets_it(method, tiny_text):
    reranker = Reranker.from_pretrained(
        str(tiny_text), dtype="float32", device="cpu", view="text", method=method, max_new_tokens=4, note_tokens=4
    )
    values = ["a \udfff b", {"text": "\ud800"}, Page("a.pdf", 1, text="harbour \udc00 fees")]
    result = reranker.rerank("which \udfff harbour", values)
    assert sorted(result.order) == [0, 1, 2]
    assert result.query == "which \ufffd harbour"
    assert {line.index: line.evidence for line in result}[0] == "a \ufffd b"
    assert Searcher(reranker, "bm25").search("which \udfff harbour", values).query == "which \ufffd harbour"


@given(st.text(st.characters(categories=["Cs", "Lu", "Nd", "So"]), max_size=30))
def test_only_surrogates_are_replaced(text):
    found = replace_surrogates(text)
    found.encode()
    assert [(a, b) for a, b in zip(text, found, strict=True) if a != b] == [
        (c, "\ufffd") for c in text if "\ud800" <= c <= "\udfff"
    ]


@pytest.mark.parametrize(
    "text", ["data:" + ";" * 10**7, "iVBORw0KGgoAAAANSUhEUgAA" + " " * 10**7 + "x", "QUJD" * 10**6, "a" * 10**7]
)
def test_long_strings_are_told_apart_at_once(text):
    start = time.perf_counter()
    assert not is_picture(text, addresses=True)
    assert time.perf_counter() - start < 2
