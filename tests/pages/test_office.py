"""Office, web and text files: read as texts everywhere, and as LibreOffice prints them where it is installed (slow)."""

import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mmr5.errors import DocumentError, MissingExtraError
from mmr5.pages import office, read_pages
from mmr5.pages.files import known_kind
from mmr5.pages.prose import count_words, decoded, pages_of
from mmr5.pages.references import without_references

FACTS = ("The north pump of Kelmar station was replaced on 14 May 1987.", "The engineer in charge was Ottilie Brandt of Lund.")


def make(folder, kind):
    """A small document of a kind that holds the facts, a heading and a table."""
    path = folder / f"report.{kind}"
    if kind == "docx":
        import docx

        made = docx.Document()
        made.add_heading("Pumps", 1)
        made.add_paragraph(FACTS[0])
        table = made.add_table(2, 2)
        for (r, c), text in {(0, 0): "pump", (0, 1): "litres", (1, 0): "north", (1, 1): "312"}.items():
            table.cell(r, c).text = text
        made.add_paragraph(FACTS[1])
        made.save(path)
    elif kind == "pptx":
        from pptx import Presentation

        made = Presentation()
        for title, body in (("Pumps", FACTS[0]), ("People", FACTS[1])):
            slide = made.slides.add_slide(made.slide_layouts[1])
            slide.shapes.title.text, slide.placeholders[1].text = title, body
        made.slides[0].notes_slide.notes_text_frame.text = "pump litres north 312"
        made.save(path)
    elif kind == "xlsx":
        import openpyxl

        made = openpyxl.Workbook()
        made.active.title = "Pumps"
        for row in (["pump", "litres"], ["north", 312], [FACTS[0], ""], [FACTS[1], ""]):
            made.active.append(row)
        made.save(path)
    elif kind == "html":
        path.write_text(
            f"<!doctype html><html><head><style>.x{{}}</style><script>var hidden=1</script></head><body><h1>Pumps</h1><p>{FACTS[0]}</p>"
            f"<table><tr><td>pump</td><td>litres</td></tr><tr><td>north</td><td>312</td></tr></table><p>{FACTS[1]}</p></body></html>"
        )
    elif kind == "odt":
        text = 'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
        table = 'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"'
        office_ns = 'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"'
        cells = [f"<table:table-cell><text:p>{c}</text:p></table:table-cell>" for c in ("pump", "litres", "north", "312")]
        rows = f"<table:table-row>{cells[0]}{cells[1]}</table:table-row><table:table-row>{cells[2]}{cells[3]}</table:table-row>"
        content = (
            f'<office:document-content {office_ns} {text} {table} office:version="1.2"><office:body><office:text><text:h text:outline-level="1">Pumps</text:h>'
            f"<text:p>{FACTS[0]}</text:p><table:table><table:table-column table:number-columns-repeated='2'/>{rows}</table:table><text:p>{FACTS[1]}</text:p></office:text></office:body></office:document-content>"
        )
        manifest = (
            '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><manifest:file-entry manifest:full-path="/" '
            'manifest:media-type="application/vnd.oasis.opendocument.text"/><manifest:file-entry manifest:full-path="content.xml" '
            'manifest:media-type="text/xml"/></manifest:manifest>'
        )
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mimetype", "application/vnd.oasis.opendocument.text", zipfile.ZIP_STORED)
            archive.writestr("content.xml", content)
            archive.writestr("META-INF/manifest.xml", manifest)
    return path


def read(path, cache, **options):
    problems = []
    pages = read_pages(path, cache=cache, on_problem=lambda p: problems.append(str(p)), **options)
    return pages, problems


@pytest.fixture
def bare(monkeypatch):
    monkeypatch.setattr(office, "program", lambda: None)


@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "odt", "html"])
def test_without_libreoffice_the_text_is_read_and_that_is_said(kind, tmp_path, cache, bare):
    path = make(tmp_path, kind)
    assert known_kind(path) == kind
    pages, problems = read(path, cache)
    text = "\n".join(page.text for page in pages)
    for words in (*FACTS, "Pumps", "litres", "312"):
        assert words in text
    assert "hidden" not in text
    assert all(page.image is None and page.text_kind == "layer" for page in pages)
    assert len(pages) == (2 if kind == "pptx" else 1)
    assert problems == [
        f"{path}: was read as text, without pictures of its pages: LibreOffice is not installed (apt-get install libreoffice-nogui, "
        "or https://www.libreoffice.org)"
    ]


def test_a_missing_library_is_named(tmp_path, cache, bare, monkeypatch):
    path = make(tmp_path, "docx")
    monkeypatch.setattr(office, "_run", lambda arguments, work: "missing docx")
    with pytest.raises(MissingExtraError, match=r"mmr5\[office\]"):
        read(path, cache)


@pytest.mark.parametrize(("head", "kind"), [(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "ole"), (b"{\\rtf1 x}", "rtf")])
def test_kinds_that_libreoffice_alone_reads(head, kind, tmp_path, cache, bare):
    (tmp_path / "a.doc").write_bytes(head)
    assert known_kind(tmp_path / "a.doc") == kind
    with pytest.raises(DocumentError, match="LibreOffice alone"):
        read(tmp_path / "a.doc", cache)


def test_in_a_folder_nothing_is_passed_over(tmp_path, cache, bare):
    (tmp_path / "fees.md").write_text("# Fees\n\nThe ferry costs 12 euros a day.")
    (tmp_path / "note.txt").write_bytes("Caf\xe9 opens at nine.".encode("cp1252"))
    make(tmp_path, "docx")
    (tmp_path / "README").write_text("no suffix, and no kind in a folder")
    pages, problems = read(tmp_path, cache)
    assert [page.source for page in pages] == ["fees.md", "note.txt", "report.docx"]
    assert pages[1].text == "Café opens at nine."
    assert any("1 file of other kinds passed over: README" in p for p in problems)
    assert read(tmp_path / "README", cache)[0][0].text == "no suffix, and no kind in a folder"


def test_a_name_that_claims_another_kind_makes_no_text(tmp_path, cache):
    (tmp_path / "a.png").write_text("just words")
    with pytest.raises(DocumentError, match=r"although it is named \.png"):
        read(tmp_path / "a.png", cache)


# --- texts to pages ---------------------------------------------------------------------------------------------------


def test_a_text_is_cut_at_headings_and_nothing_is_lost():
    sections = [f"# Part {i}\n\n" + "\n\n".join(" ".join(f"w{i}.{j}.{k}" for k in range(60)) for j in range(5)) for i in range(6)]
    pages = pages_of("\n\n".join(sections))
    assert "".join("".join(pages).split()) == "".join("".join(sections).split())
    assert all(count_words(page) <= 500 for page in pages)
    assert [page.split("\n")[0] for page in pages] == [f"# Part {i}" for i in range(6)]


def test_headings_stay_with_what_they_head():
    text = " ".join(["word"] * 190) + "\n\n## Late\n\n" + " ".join(["more"] * 400)
    assert pages_of(text)[1].startswith("## Late\n\nmore")


@pytest.mark.parametrize("text", ["a " * 5000, "漢" * 5000, "x" * 9000, "\n".join(["line of five words here"] * 900)])
def test_long_paragraphs_are_cut(text):
    pages = pages_of(text)
    assert "".join("".join(pages).split()) == "".join(text.split())
    assert all(count_words(page) <= 510 for page in pages)


def test_a_long_tables_head_stands_on_each_page():
    table = "| a | b |\n|---|---|\n" + "\n".join(f"| {i} | value {i} |" for i in range(400))
    pages = pages_of(table)
    assert len(pages) > 2
    assert all(page.startswith("| a | b |\n|---|---|\n") for page in pages)
    assert "| 399 | value 399 |" in pages[-1]


def test_form_feeds_end_pages_and_code_stays_whole():
    assert pages_of("one\ftwo\f\f three ") == ["one", "two", "three"]
    assert pages_of("```\n# no heading\n\nx\n```") == ["```\n# no heading\n\nx\n```"]
    assert pages_of(" \n\n ") == []


def test_encodings():
    for name in ("utf-8", "utf-8-sig", "utf-16"):
        assert decoded("naïve 漢字\r\nx".encode(name)) == "naïve 漢字\nx"
    assert decoded("naïve".encode("cp1252")) == "naïve"
    with pytest.raises(DocumentError, match="control characters"):
        decoded(b"\1\2\3 abc")


# --- hostile files ----------------------------------------------------------------------------------------------------


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, cache, monkeypatch):
    path = make(tmp_path, "docx")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/bomb.xml", b"\0" * 3_000_000)
    monkeypatch.setattr(office, "MAX_UNPACKED", 2_000_000)
    with pytest.raises(DocumentError, match=r"parts unpack to [\d,]+ bytes"):
        read(path, cache)
    monkeypatch.setattr(office, "MAX_UNPACKED", 10**9)
    monkeypatch.setattr(office, "MAX_PARTS", 3)
    with pytest.raises(DocumentError, match="at most 3 parts"):
        read(path, cache)


def test_a_damaged_document_is_named(tmp_path, cache, bare):
    path = make(tmp_path, "docx")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["word/document.xml"] = b"<w:document"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(DocumentError, match="its text cannot be read"):
        read(path, cache)


def test_rows_beyond_the_limit_are_left_out_and_said(tmp_path):
    import openpyxl

    from mmr5.pages import office_text

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Many")
    for i in range(300):
        sheet.append([i, f"value {i}"])
    book.save(tmp_path / "many.xlsx")
    office_text.MAX_ROWS, held = 100, office_text.MAX_ROWS
    try:
        pages, notes = office_text.pages_of(tmp_path / "many.xlsx", "xlsx")
    finally:
        office_text.MAX_ROWS = held
    assert len(pages) == 3
    assert all(page.startswith("# Many\n\n| 0 | value 0 |") for page in pages)
    assert "more than 100 rows" in notes[0]


def test_what_takes_too_long_is_ended(tmp_path, cache, bare, monkeypatch):
    monkeypatch.setattr(office, "SECONDS", 0.05)
    with pytest.raises(DocumentError, match=r"takes more than 0\.05 s"):
        read(make(tmp_path, "docx"), cache)


def test_a_web_page_refers_to_nothing_outside():
    page = (
        b"<html><head><link rel=stylesheet href=http://x/s.css><meta http-equiv=refresh content='0;url=file:///etc/passwd'><base href=http://x/>"
        b"<style>@import 'http://x/a.css'; p {background: url(http://x/b.png)} q {color: red}</style><script src=http://x/c.js>evil()</script></head>"
        b"<body onload='evil()' background='http://x/d.png'><iframe src='file:///etc/passwd'>in</iframe><object data=http://x/e></object>"
        b"<img src='file:///etc/passwd'><img src='data:image/png;base64,AAAA'><p style='background:url(http://x/f)'>Fees &amp; more</p>"
        b"<a href='http://x/page'>a link</a><svg><image xlink:href='http://x/g.png'/></svg></body></html>"
    )
    kept = without_references(page, "html").decode()
    assert "Fees &amp; more" in kept
    assert 'href="http://x/page"' in kept
    assert "data:image/png" in kept
    assert "color: red" in kept
    for gone in ("etc/passwd", "s.css", "a.css", "b.png", "c.js", "d.png", "x/e", "x/f", "g.png", "evil", "refresh"):
        assert gone not in kept


def test_external_parts_of_an_archive_are_taken_out(tmp_path):
    path = make(tmp_path, "docx")
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    kinds = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"
    more = (
        f'<Relationship Id="x1" Type="{kinds}image" Target="http://127.0.0.1:1/a.png" TargetMode="External"/>'
        f'<Relationship Id="x2" Type="{kinds}attachedTemplate" Target="file:///etc/t.dotm" TargetMode="External"></Relationship>'
        f'<Relationship Id="x3" Type="{kinds}hyperlink" Target="http://example.org/" TargetMode="External"/>'
    )
    rels = "word/_rels/document.xml.rels"
    parts[rels] = parts[rels].replace(b"</Relationships>", more.encode() + b"</Relationships>")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with zipfile.ZipFile(io.BytesIO(without_references(data.getvalue(), "docx"))) as archive:
        kept = archive.read(rels)
        assert archive.namelist() == list(parts)
        assert archive.read("word/document.xml") == parts["word/document.xml"]
    assert b"example.org" in kept
    assert b"a.png" not in kept and b"t.dotm" not in kept
    unchanged = path.read_bytes()
    assert without_references(unchanged, "docx") is unchanged


# --- LibreOffice ------------------------------------------------------------------------------------------------------


@pytest.fixture
def web():
    """A web server that counts who comes."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *args):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running.server_port, asked
    running.shutdown()
    running.server_close()


@pytest.mark.slow  # 3 s a document
@pytest.mark.parametrize("kind", ["docx", "pptx", "xlsx", "odt", "html"])
def test_libreoffice_prints_real_pages(kind, tmp_path, cache):
    assert office.program(), "run: make tools"
    path = make(tmp_path, kind)
    pages, problems = read(path, cache)
    text = "\n".join(page.text for page in pages)
    for words in (*FACTS, *(() if kind == "pptx" else ("312", "litres"))):
        assert words in " ".join(text.split())
    assert problems == []
    assert all(page.image is not None and page.image.load(50_000).width > 100 for page in pages)
    assert pages[0].source == str(path)
    assert pages[0].boxes.of(0, 5)
    office_calls = []
    again = read_pages(path, cache=cache, on_problem=office_calls.append)
    assert [page.text for page in again] == [page.text for page in pages]


@pytest.mark.slow
def test_libreoffice_fetches_nothing_and_runs_no_macro(tmp_path, cache, web):
    assert office.program(), "run: make tools"
    port, asked = web
    (tmp_path / "page.html").write_text(
        f"<html><body><img src='http://127.0.0.1:{port}/a.png'><p>Fees are 12 euros.</p><iframe src='http://127.0.0.1:{port}/b'></iframe></body></html>"
    )
    pages, _ = read(tmp_path / "page.html", cache)
    assert "Fees are 12 euros." in pages[0].text
    rtf = r"{\rtf1 Fees are 13 euros. {\field{\*\fldinst INCLUDEPICTURE http://127.0.0.1:PORT/c.png \\d}{\fldrslt x}}}"
    (tmp_path / "a.rtf").write_text(rtf.replace("PORT", str(port)))
    assert "13 euros" in read(tmp_path / "a.rtf", cache)[0][0].text
    assert asked == []


@pytest.mark.slow
def test_what_libreoffice_cannot_open_is_named(tmp_path, cache):
    assert office.program(), "run: make tools"
    (tmp_path / "a.doc").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 3000)
    with pytest.raises(DocumentError, match="LibreOffice made no PDF"):
        read(tmp_path / "a.doc", cache)
