import io
import json
import sys

import pytest

from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import InputError
from mmr5.server.document_worker import REFUSED, main
from mmr5.server.store import Store
from mmr5.server.uploads import shown_name

from .conftest import png, reverser


def pdf(*texts: str) -> bytes:
    """A PDF with a text layer, a page a text."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", "", "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"]
    kids = []
    for text in texts:
        stream = f"BT /F1 12 Tf 40 700 Td ({text}) Tj ET"
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 500 800] /Resources << /Font << /F1 3 0 R >> >> /Contents {len(objects)} 0 R >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    body, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF"
    return body + trailer.encode()


REPORT = pdf(
    "Nothing of interest stands on this page of the yearly report at all.",
    "The harbour was dredged in the spring of 1931 by the dredger Ardent.",
    "A list of the ships that called at the port during that long summer.",
)


def search(client, *files, query="When was the harbour dredged?", **fields):
    return client.post("/v1/search", data={"query": query, **fields}, files=[("files", f) for f in files])


def test_pages_in_order_with_thumbnails(client):
    answer = search(client, ("report.pdf", REPORT, "application/pdf"), top_n=2)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["n_pages"] == 3 and body["retriever"] == "bm25"
    assert [line["rank"] for line in body["ranking"]] == [1, 2]
    best = body["ranking"][0]
    assert (best["source"], best["page"], best["index"]) == ("report.pdf", 2, 1)
    assert "1931" in best["evidence"]
    picture = client.get(best["thumbnail"])
    assert picture.headers["content-type"] == "image/jpeg" and picture.content[:2] == b"\xff\xd8"


def test_the_same_upload_is_read_once(client):
    search(client, ("a.pdf", REPORT))
    service = client.app.state
    folder = next(service.store.root.iterdir())
    written = (folder / "pages.json").stat().st_mtime_ns
    assert search(client, ("b.pdf", REPORT)).json()["ranking"][0]["source"] == "b.pdf"
    assert [p.name for p in service.store.root.iterdir()] == [folder.name]
    assert (folder / "pages.json").stat().st_mtime_ns == written


def test_a_model_for_pictures_gets_the_pictures_of_the_pages(make_client):
    engine = ScriptedEngine(reverser)
    client = make_client(engine, method="reason", view="image")
    body = search(client, ("report.pdf", REPORT)).json()
    assert body["ranking"][0]["reason"] == "page 3 is good."
    assert sum(p["type"] == "image" for m in engine.requests[0].messages for p in m["content"]) == 3


def test_files_of_one_name_stay_apart(client):
    other = pdf("The harbour was dredged again, which the second report says clearly.")
    body = search(client, ("x/report.pdf", REPORT), ("report.pdf", other)).json()
    assert {line["source"] for line in body["ranking"]} == {"report.pdf", "report.pdf (2)"}
    assert len({line["thumbnail"].split("/")[3] for line in body["ranking"]}) == 2


@pytest.mark.parametrize("content", [b"", b"hello", REPORT[:200], b"%PDF-1.7\n" + b"\0" * 5000, png()[:-30]])
def test_a_damaged_upload_is_refused_by_name(client, content):
    answer = search(client, ("report.pdf", content))
    assert answer.status_code == 422 and answer.json()["message"].startswith("report.pdf: ")
    assert str(client.app.state.store.root) not in answer.text


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 422),
        ("import time; time.sleep(60)", 422),
        ("x = ' ' * 10**12", 422),
    ],
)
def test_a_parsing_process_that_dies_does_no_harm(make_client, monkeypatch, code, status):
    monkeypatch.setattr("mmr5.server.app.Parser", lambda settings, view: _parser(settings, view, code))
    client = make_client(parse_timeout_s=1.0)
    assert search(client, ("report.pdf", REPORT)).status_code == status
    assert client.get("/ready").status_code == 200
    assert client.post("/rerank", json={"query": "q", "documents": ["a"]}).status_code == 200


def _parser(settings, view, code):
    from mmr5.server.document_reader import Parser

    return Parser(settings, view, (sys.executable, "-c", code))


def test_uploads_are_bounded(make_client):
    client = make_client(max_upload_bytes=len(REPORT) * 3, max_upload_files=2, max_upload_pages=4)
    assert search(client, ("r.pdf", REPORT)).status_code == 200
    assert search(client, *[(f"{i}.pdf", b"x") for i in range(3)]).status_code == 413
    assert search(client, ("r.pdf", b"x" * len(REPORT) * 4)).status_code == 413
    answer = search(client, ("r.pdf", pdf(*["one page of the many that this long document of the harbour office holds"] * 5)))
    assert answer.status_code == 422 and "at most 4" in answer.json()["message"]
    other = pdf(*["A page of the other file, which is not the report on the harbour at all."] * 2)
    assert search(client, ("r.pdf", REPORT), ("s.pdf", other)).status_code == 413


@pytest.mark.parametrize("fields", [{"query": " "}, {"top_n": "-1"}, {"top_n": "x"}])
def test_bad_fields(client, fields):
    assert search(client, ("r.pdf", REPORT), **fields).status_code == 422
    assert client.post("/v1/search", data={"query": "q"}).status_code == 422


@pytest.mark.parametrize(
    "path",
    [
        "0" * 64 + "/pages/1",
        "../../etc/pages/1",
        "0" * 64 + "/pages/0",
        "0" * 64 + "/pages/-1",
        "..%2F..%2Fetc/pages/1",
        "0" * 64 + "/pages/99999999999999999999",
    ],
)
def test_thumbnails_come_out_of_the_store_only(client, path):
    assert client.get(f"/v1/files/{path}/thumbnail").status_code in (404, 422)


def test_names_are_made_harmless():
    assert shown_name("../../a\\b\x00\n.pdf", set()) == "b.pdf"
    assert shown_name(None, set()) == "upload"
    assert shown_name("a.pdf", {"a.pdf", "a.pdf (2)"}) == "a.pdf (3)"
    assert len(shown_name("x" * 500 + ".pdf", set())) == 120


def test_the_store_is_named_by_content_and_forgets_the_oldest(tmp_path):
    store = Store(tmp_path / "store", 250)
    first = store.add(io.BytesIO(b"a" * 100))
    assert store.add(io.BytesIO(b"a" * 100)) == first
    second, third = store.add(io.BytesIO(b"b" * 100)), store.add(io.BytesIO(b"c" * 100))
    with store.using(first):
        pass
    store.trim()
    assert store.folder(first) is not None and store.folder(third) is not None and store.folder(second) is None
    with pytest.raises(InputError):
        store.add(io.BytesIO(b"d" * 251))
    assert not list((tmp_path / "store").glob("incoming-*"))


def test_what_is_in_use_is_not_deleted(tmp_path):
    store = Store(tmp_path / "store", 150)
    first = store.add(io.BytesIO(b"a" * 100))
    with store.using(first) as folder:
        second = store.add(io.BytesIO(b"b" * 100))
        with store.using(second):
            store.trim()
            assert (folder / "original").exists()
    store.trim()
    assert store.folder(first) is None or store.folder(second) is None


def test_a_temporary_store_is_deleted_at_the_end():
    store = Store(None, 1000)
    store.add(io.BytesIO(b"a"))
    store.close()
    assert not store.root.exists()


def test_the_worker_says_why_it_refuses(tmp_path, capsys):
    file = tmp_path / "original"
    file.write_bytes(REPORT)
    options = {
        "max_pages": 2,
        "page_pixels": 0,
        "ocr": "never",
        "memory_bytes": 2**30,
        "seconds": 9,
        "page_seconds": 9,
        "parent": 0,
    }
    assert main([str(file), str(tmp_path), json.dumps(options)], confined=False) == REFUSED
    assert "3 pages" in capsys.readouterr().err
    assert main([str(file), str(tmp_path), json.dumps({**options, "max_pages": 3})], confined=False) == 0
    report = json.loads((tmp_path / "pages.json").read_text())
    assert len(report["pages"]) == 3 and "1931" in report["pages"][1]["text"]
    assert (tmp_path / "thumb-1.jpg").exists() and not (tmp_path / "page-1.jpg").exists()


def test_words_in_pictures_come_back_from_the_worker(tmp_path):
    from PIL import Image, ImageDraw, ImageFont

    from mmr5.server.document_reader import _load
    from pages.documents import FACTS, lines, write

    picture = Image.new("RGB", (900, 300), "white")
    ImageDraw.Draw(picture).text((50, 100), "Harbour fee 431 crowns", fill="black", font=ImageFont.load_default(48))
    file = tmp_path / "original"
    file.write_bytes(write(["q 400 0 0 133 100 490 cm /Im Do Q\n" + lines(FACTS)], picture=picture))
    options = {
        "max_pages": 3,
        "page_pixels": 0,
        "ocr": "auto",
        "memory_bytes": 2**32,
        "seconds": 60,
        "page_seconds": 60,
        "parent": 0,
    }
    assert main([str(file), str(tmp_path), json.dumps(options)], confined=False) == 0
    (page,), problems = _load(json.loads((tmp_path / "pages.json").read_text()), tmp_path, "a.pdf")
    assert [page.text[start:end] for start, end in page.ocr_spans] == ["Harbour fee 431 crowns"]
    assert problems == []
