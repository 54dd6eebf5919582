"""Documents of any form become pages; a picture that is none is refused by its place, and never read as text."""

import asyncio
import base64
import io

import pytest
from PIL import Image

from integrations.conftest import QUESTION, REPORT, TEXTS, pictures_seen
from mmr5 import Page, Reranker
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError, InputError, PageError, SourceNotFoundError
from mmr5.integrations.adapter import Adapter, notes_of, score_of
from mmr5.integrations.documents import Draft, ImageObject, below, draft, is_encoded, open_picture, pdf_page
from mmr5.types import RankedPage


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
        (42, PageError, "this is a int"),
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
    assert is_encoded(encoded)
    assert not is_encoded("iVBORw0KGgo is how a PNG begins in base64, and this sentence says so at some length.")
    both = draft({"text": "t", "image": encoded})
    assert both.text == "t"
    assert both.picture() == encoded
    page = Page("a.pdf", 7, text="seven")
    assert (draft(page).source, draft(page).number, draft(page).text) == ("a.pdf", 7, "seven")
    assert draft(tmp_path).picture() == tmp_path
    for bad in (None, {}, {"text": 3}):
        with pytest.raises(InputError):
            draft(bad)


# --- the adapter ------------------------------------------------------------------------------------------------------


def test_nothing_is_lost_and_the_score_falls_along_the_order(reader):
    result = Adapter(reader).rank(QUESTION, [draft(t) for t in (*TEXTS, TEXTS[0], "")])
    assert sorted(result.order) == [0, 1, 2, 3, 4]
    assert result.order[0] == 1
    scores = [score_of(page) for page in result]
    assert scores == sorted(scores, reverse=True)


def test_a_seeing_model_is_shown_pictures_where_all_have_one(reasoner, picture):
    seer = reasoner([1, 0], view="image")
    result = Adapter(seer).rank("q", [draft(picture("a")), draft({"text": "b", "image": picture("b")})])
    assert result.order == (1, 0)
    assert pictures_seen(seer) == 2
    assert result[0].reason == "note on 1"


def test_where_one_has_none_all_are_read_as_text_and_pictures_by_ocr(picture):
    engine = ScriptedEngine()
    adapter = Adapter(Reranker(engine, view="image", method="likelihood"))
    result = adapter.rank("seals", [draft("cargo"), draft(picture("seals"))])
    assert result.settings["view"] == "text"
    assert not any(part["type"] == "image" for r in engine.requests for m in r.messages for part in m["content"])
    assert result.order == (1, 0)
    assert "seals" in result[0].evidence.lower()


def test_a_picture_that_nobody_needs_is_not_opened(reader):
    def never():
        raise AssertionError("opened")

    assert Adapter(reader).rank("cargo", [Draft("a", text="cargo", picture=never)]).order == (0,)


def test_a_bad_picture_is_named_by_its_place(reasoner, picture):
    with pytest.raises(PageError, match=r"document 1 \(second\)"):
        Adapter(reasoner([0, 1], view="image")).rank("q", [draft(picture()), draft(b"junk", "second")])


def test_a_foreign_image_source_cannot_be_recognised_and_says_so(reader):
    class Own:
        key = "0" * 64

        def load(self, max_pixels=None):
            return Image.new("RGB", (9, 9))

    with pytest.raises(InputError, match="OCR cannot read"):
        Adapter(reader).rank("q", [draft({"image": Own()})])


def test_many_questions_async_and_results_told(reader):
    seen = []
    adapter = Adapter(reader, on_result=seen.append)
    first, second = adapter.rank_many(
        [("berthing fees", [draft(t) for t in TEXTS]), ("cargo terminal", [draft(t) for t in TEXTS])]
    )
    assert (first.order[0], second.order[0]) == (1, 2)
    assert seen == [first, second]
    assert asyncio.run(adapter.arank("cargo terminal", [draft(t) for t in TEXTS])).order == second.order
    assert len(adapter.rank("q", [])) == 0
    with pytest.raises(ConfigError, match="top_n is 0"):
        adapter.rank("q", [draft("a")], 0)
    with pytest.raises(InputError, match="question is empty"):
        adapter.rank(" ", [draft("a")])


def test_a_page_without_a_score_gets_one_by_its_rank():
    assert notes_of(RankedPage(4, 0, "a", 1)) == {
        "relevance_score": 0.25,
        "score_kind": "reciprocal_rank",
        "rank": 4,
        "reason": None,
        "evidence": None,
    }
