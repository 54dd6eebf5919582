"""Where on the page the evidence of an upload stands, the first answer of a stream, and the document itself."""

import json

import numpy as np
import PIL.Image
import pytest

from mmr5.errors import PageError
from mmr5.server import document_worker, search_routes
from mmr5.server.document_reader import thumbnail_of

from .test_files import events
from .test_search import REPORT, search


def ink_under(client, line):
    """The boxes of a result's line, and what share of the ink of its page's picture they hold."""
    import io

    picture = PIL.Image.open(io.BytesIO(client.get(line["image"]).content)).convert("L")
    dark = np.asarray(picture) < 128
    held = np.zeros_like(dark)
    boxes = [box for passage in line["evidence_passages"] for box in passage["boxes"]]
    for x0, y0, x1, y1 in boxes:
        held[int(y0 * picture.height) : int(y1 * picture.height) + 1, int(x0 * picture.width) : int(x1 * picture.width) + 1] = (
            True
        )
    return boxes, float((dark & held).sum() / dark.sum())


def test_the_evidence_of_an_upload_has_boxes_on_its_picture(client):
    best = search(client, ("report.pdf", REPORT)).json()["ranking"][0]
    assert best["evidence_passages"][0]["text"] == best["evidence"]
    boxes, share = ink_under(client, best)
    assert len(boxes) == 1
    assert share > 0.9
    x0, y0, x1, y1 = boxes[0]
    assert (x0, y1) == pytest.approx((40 / 500, 1 - 697 / 800), abs=0.01)
    assert y1 - y0 < 0.03 < x1 - x0


def test_places_are_found_once_and_the_answer_stands_without_them(client, monkeypatch):
    search(client, ("report.pdf", REPORT))
    folder = next(client.app.state.store.root.iterdir())
    written = (folder / "words-1.json").stat().st_mtime_ns
    assert json.loads((folder / "words-1.json").read_text())[0][:2] == [0, 3]
    search(client, ("report.pdf", REPORT))
    assert (folder / "words-1.json").stat().st_mtime_ns == written
    (folder / "words-1.json").unlink()
    (folder / "places.pickle").write_bytes(b"no pickle")
    answer = search(client, ("report.pdf", REPORT))
    assert answer.status_code == 200
    best = answer.json()["ranking"][0]
    assert "1931" in best["evidence"]
    assert best["evidence_passages"][0]["boxes"] == []


def test_a_text_has_evidence_without_boxes(client):
    best = search(client, ("notes.md", b"# Harbour\n\nThe harbour was dredged in 1931.")).json()["ranking"][0]
    assert "1931" in best["evidence"]
    assert [passage["boxes"] for passage in best["evidence_passages"]] == [[]]
    assert best["document"] is None


def test_a_stream_gives_a_first_answer_before_the_first_stage(client, monkeypatch):
    monkeypatch.setattr(search_routes, "EARLY", "none")  # as BM25 before a first stage with a model
    told = events(search(client, ("report.pdf", REPORT), stream="true").text)
    first, second = [data for name, data in told if name == "candidates"]
    assert (first["retriever"], [line["page"] for line in first["ranking"]]) == ("none", [1, 2, 3])
    assert second["retriever"] == "bm25"
    best = second["ranking"][0]
    assert best["page"] == 2
    assert "1931" in best["evidence"]
    assert best["evidence_passages"] == [{"text": best["evidence"], "boxes": []}]
    assert not [data for name, data in told[: told.index(("candidates", second))] if name == "page"]


def test_the_pdf_itself_opens_at_the_page(client):
    best = search(client, ("report.pdf", REPORT)).json()["ranking"][0]
    address, _, place = best["document"].partition("#")
    assert place == "page=2"
    sent = client.get(address)
    assert sent.content == REPORT
    assert sent.headers["content-type"] == "application/pdf"
    assert sent.headers["content-disposition"] == 'inline; filename="report.pdf"'
    assert sent.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["0" * 64, "..%2F..", "original"])
def test_what_is_not_held_cannot_be_opened(client, name):
    assert client.get(f"/v1/files/{name}/original").status_code == 404


def test_only_pdfs_are_given_back_as_they_were_sent(client):
    page = b"<html><script>alert(1)</script>The harbour was dredged in 1931.</html>"
    [line] = search(client, ("a.html", page)).json()["ranking"]
    assert line["document"] is None
    assert client.get(f"/v1/files/{line['file_id']}/original").status_code == 404


def test_the_text_is_there_before_the_pictures_which_come_after_it(tmp_path):
    file, folder = tmp_path / "report.pdf", tmp_path / "out"
    file.write_bytes(REPORT)
    folder.mkdir()
    told = []

    def progress(part, done, total):
        there = (folder / "pages.json").exists(), len(list(folder.glob("thumb-*")))
        told.append((part, *there))

    document_worker.parse(file, folder, max_pages=9, page_pixels=0, ocr="auto", progress=progress)
    assert ("text", True, 0) in told
    assert told[-1] == ("pictures", True, 2)
    assert len(list(folder.glob("thumb-*.jpg"))) == 3
    seen = tmp_path / "seen"
    seen.mkdir()
    folder, told = seen, []
    document_worker.parse(file, seen, max_pages=9, page_pixels=90_000, ocr="auto", progress=progress)
    assert told[0] == ("pictures", False, 0)
    assert told[-1] == ("text", True, 3)


def test_a_missing_thumbnail_is_drawn(client):
    best = search(client, ("report.pdf", REPORT)).json()["ranking"][0]
    folder = next(client.app.state.store.root.iterdir())
    first = client.get(best["thumbnail"])
    assert first.headers["content-type"] == "image/jpeg"
    (folder / "thumb-1.jpg").unlink()
    assert client.get(best["thumbnail"]).content == first.content
    assert client.get(best["thumbnail"].replace("pages/2", "pages/4")).status_code == 404


def test_a_page_that_cannot_be_drawn_is_a_card_that_says_so(tmp_path, monkeypatch):
    def broken(source, folder, index, pixels):
        raise PageError("its picture is cut off")

    monkeypatch.setattr(document_worker, "_write_pictures", broken)
    file = tmp_path / "report.pdf"
    file.write_bytes(REPORT)
    assert document_worker.parse(file, tmp_path, max_pages=9, page_pixels=0, ocr="auto") == 3
    assert "This page cannot be shown: its picture is<" in (tmp_path / "thumb-0.svg").read_text()
    assert thumbnail_of(tmp_path, 0) == tmp_path / "thumb-0.svg"
    assert json.loads((tmp_path / "pages.json").read_text())["problems"] == []
