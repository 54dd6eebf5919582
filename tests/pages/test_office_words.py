"""What office documents hold beside plain paragraphs, read without LibreOffice, and what is made ready for it."""

import io
import re
import time
import zipfile

import openpyxl
import pytest

from mmr5.pages import office, read_pages
from mmr5.pages.files import known_kind
from mmr5.pages.office_text import pages_of
from mmr5.pages.references import without_references
from mmr5.pages.sheets import prepare, with_widths

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
MORE = (
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
)


def p(text):
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


BODY = (
    '<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>Pumps</w:t></w:r></w:p>'
    "<w:p><w:r><w:t>Plain </w:t></w:r><w:smartTag><w:r><w:t>tagged</w:t></w:r></w:smartTag>"
    '<w:ins w:id="1"><w:r><w:t> inserted</w:t></w:r></w:ins><w:del w:id="2"><w:r><w:delText>deleted</w:delText></w:r></w:del>'
    '<w:moveFrom w:id="3"><w:r><w:t>moved away</w:t></w:r></w:moveFrom>'
    "<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r>"
    '<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t> shown</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r></w:p>'
    f"<w:sdt><w:sdtContent>{p('In a control.')}</w:sdtContent></w:sdt>"
    "<w:p><w:r><mc:AlternateContent><mc:Choice><w:drawing><w:txbxContent>"
    f"{p('In a box.')}</w:txbxContent></w:drawing></mc:Choice><mc:Fallback><w:pict><w:txbxContent>{p('In a box.')}</w:txbxContent></w:pict>"
    "</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    f"<w:tbl><w:tr><w:tc>{p('outer')}<w:tbl><w:tr><w:tc>{p('inner')}</w:tc></w:tr></w:tbl>{p('')}</w:tc><w:tc>{p('beside')}</w:tc></w:tr></w:tbl>"
    "<w:p><m:oMath><m:r><m:t>E=mc</m:t></m:r></m:oMath></w:p>"
)
"""A body with what python-docx's ``paragraph.text`` leaves out."""


def word_file(path, main="word/document.xml"):
    """A Word document by hand; python-docx writes the rest."""
    import docx

    out = io.BytesIO()
    made = docx.Document()
    made.sections[0].header.paragraphs[0].text = "Kelmar station"
    made.sections[0].footer.paragraphs[0].text = "Confidential"
    made.save(out)
    with zipfile.ZipFile(out) as archive, zipfile.ZipFile(path, "w") as target:
        for part in archive.infolist():
            data = archive.read(part)
            if part.filename == "word/document.xml":
                sections = re.search(rb"<w:sectPr.*</w:sectPr>", data, re.DOTALL)[0].decode()
                data = f"<w:document {W} {MORE}><w:body>{BODY}{sections}</w:body></w:document>".encode()
            if part.filename in ("[Content_Types].xml", "_rels/.rels"):
                data = data.replace(b"word/document.xml", main.encode())
            name = main if part.filename == "word/document.xml" else part.filename
            target.writestr(name.replace("_rels/document.xml", f"_rels/{main.rsplit('/', 1)[1]}"), data)
        target.writestr(
            "word/footnotes.xml", f'<w:footnotes {W}><w:footnote w:id="2">{p("From the foot.")}</w:footnote></w:footnotes>'
        )
    return path


@pytest.mark.parametrize("main", ["word/document.xml", "word/document2.xml"])
def test_a_word_document_is_read_whole(main, tmp_path):
    path = word_file(tmp_path / "a.docx", main)
    assert known_kind(path) == "docx"
    (page,), notes = pages_of(path, "docx")
    assert page.split("\n\n") == [
        "Kelmar station",
        "# Pumps",
        "Plain tagged inserted shown",
        "From the foot.",
        "In a control.",
        "In a box.",
        "| outer / inner / /---/ | beside |\n|---|---|",
        "E=mc",
        "Confidential",
    ]
    assert notes == []


def test_what_was_deleted_is_taken_out_before_word_files_are_printed(tmp_path):
    data = without_references(word_file(tmp_path / "a.docx").read_bytes(), "docx")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        text = archive.read("word/document.xml").decode()
    assert [word in text for word in ("deleted", "moved away", "inserted", "outer")] == [False, False, True, True]


ODF = " ".join(
    f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{long}:1.0"'
    for name, long in (("office", "office"), ("text", "text"), ("table", "table"), ("style", "style"), ("draw", "drawing"))
)


def open_file(path):
    content = (
        f'<office:document-content {ODF}><office:automatic-styles><style:style style:name="T1"><style:text-properties '
        'text:display="none"/></style:style></office:automatic-styles><office:body><office:text>'
        "<text:tracked-changes><text:changed-region><text:deletion><text:p>deleted</text:p></text:deletion></text:changed-region>"
        '</text:tracked-changes><text:h text:outline-level="2">Pumps</text:h>'
        '<text:p>one<text:s/>two<text:tab/>three<text:change text:change-id="c"/><text:span text:style-name="T1">hidden</text:span>'
        "<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>From the foot.</text:p></text:note-body></text:note>"
        " four<office:annotation><text:p>a comment</text:p></office:annotation></text:p>"
        "<text:p>boxed<draw:frame><draw:text-box><text:p>In a box.</text:p></draw:text-box></draw:frame></text:p>"
        "<table:table><table:table-row><table:table-cell><text:p>a</text:p><text:p>b</text:p></table:table-cell>"
        "<table:table-cell><text:p>c</text:p></table:table-cell></table:table-row></table:table>"
        "</office:text></office:body></office:document-content>"
    )
    styles = (
        f"<office:document-styles {ODF}><office:master-styles><style:master-page><style:header><text:p>Kelmar station</text:p>"
        "</style:header><style:footer><text:p>Confidential</text:p></style:footer></style:master-page></office:master-styles>"
        "</office:document-styles>"
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text", zipfile.ZIP_STORED)
        archive.writestr("content.xml", content)
        archive.writestr("styles.xml", styles)
    return path


def test_an_open_document_is_read_whole(tmp_path):
    path = open_file(tmp_path / "a.odt")
    (page,), _ = pages_of(path, "odt")
    assert page == (
        "Kelmar station\n\n## Pumps\n\none two\tthree four\n\nFrom the foot.\n\nboxed\n\nIn a box.\n\n| a b | c |\n|---|---|\n\nConfidential"
    )
    with zipfile.ZipFile(io.BytesIO(without_references(path.read_bytes(), "odt"))) as archive:
        content = archive.read("content.xml").decode()
    assert [word in content for word in ("deleted", "text:change ", "one")] == [False, False, True]


def test_web_pages_without_what_is_not_shown():
    page = (
        "<html><frameset><noframes><p>seen</p></noframes></frameset><p hidden>a<p>seen, too</p>"
        "<div style='color:red; display : none'>x<div>y</div>z</div><p style='visibility:hidden'>w</p>"
        "<!-- remark --><![if !lists]>o<![endif]><p style='display:block'>end</p></html>"
    )
    text = re.sub(r"<[^>]*>", "", without_references(page.encode(), "html").decode())
    assert text.endswith("oend")
    assert text.count("seen") == 2
    assert not set("axyzw") & set(text.replace("seen, too", "").replace("seen", ""))
    assert "remark" not in text


def test_slides_without_hidden_ones_and_with_charts(tmp_path, cache, monkeypatch):
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    made = Presentation()
    for title in ("First", "Second", "Third"):
        made.slides.add_slide(made.slide_layouts[5]).shapes.title.text = title
    data = CategoryChartData()
    data.categories = ["Kelmar", "Lund"]
    data.add_series("litres", (312, 87))
    made.slides[0].shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, Inches(1), Inches(2), Inches(5), Inches(3), data)
    made.slides[1].element.set("show", "0")
    made.slides[2].notes_slide.notes_text_frame.text = "Say thanks."
    made.save(tmp_path / "a.pptx")
    pages, _ = pages_of(tmp_path / "a.pptx", "pptx")
    assert [page.split("\n")[0] for page in pages] == ["# First", "# Third"]
    assert all(word in pages[0] for word in ("Kelmar", "Lund", "litres", "312"))
    assert pages[1].endswith("Notes: Say thanks.")


def workbook(path):
    made = openpyxl.Workbook()
    sheet = made.active
    sheet.title = "Pumps"
    for row in (["station", "litres", "remark"], ["Kelmar north basin", 1400000000, "runs"], ["x" * 200, 1.5, None]):
        sheet.append(row)
    sheet.column_dimensions["A"].width = 3
    sheet.column_dimensions["B"].hidden = True
    hidden = made.create_sheet("Secret")
    hidden.append(["hidden words"])
    hidden.sheet_state = "hidden"
    made.save(path)
    return path


def test_columns_are_made_wide_enough_for_what_they_hold(tmp_path):
    path = workbook(tmp_path / "a.xlsx")
    prepare(path)
    sheet = openpyxl.load_workbook(path)["Pumps"]
    assert sheet.column_dimensions["A"].width == 60
    assert sheet.column_dimensions["B"].width == pytest.approx(15)
    assert sheet.column_dimensions["B"].hidden
    assert sheet.oddHeader.center.text == "&A"
    assert sheet["B2"].value == 1400000000
    assert openpyxl.load_workbook(path)["Secret"].sheet_state == "hidden"


def test_given_columns_stay():
    given = b'<worksheet><cols><col min="2" max="9" width="30" style="4"/></cols><sheetData/><headerFooter/></worksheet>'
    made = with_widths(given, {1: 12, 3: 40.5})
    assert made == (
        b'<worksheet><cols><col min="1" max="1" width="12.00" customWidth="1"/><col min="2" max="2" width="30.00" style="4" '
        b'customWidth="1"/><col min="3" max="3" width="40.50" style="4" customWidth="1"/><col min="4" max="9" width="30" style="4"/>'
        b"</cols><sheetData/><headerFooter/></worksheet>"
    )
    assert with_widths(b"<worksheet><sheetData/></worksheet>", {}).count(b"<cols") == 0


def test_hidden_sheets_are_not_read(tmp_path):
    pages, _ = pages_of(workbook(tmp_path / "a.xlsx"), "xlsx")
    assert len(pages) == 1
    assert "hidden words" not in pages[0]


@pytest.mark.slow
@pytest.mark.skipif(office.program() is None, reason="LibreOffice is not installed")
def test_printed_documents_hold_what_they_say(tmp_path, cache):
    from pptx import Presentation

    problems = []
    (sheet,) = read_pages(workbook(tmp_path / "a.xlsx"), cache=cache, on_problem=problems.append)
    assert all(word in sheet.text for word in ("Pumps", "Kelmar north basin", "runs"))
    import docx
    from docx.oxml import parse_xml

    written = docx.Document()
    paragraph = written.add_paragraph("Plain words")
    for mark, run in (("ins", '<w:t xml:space="preserve"> inserted</w:t>'), ("del", "<w:delText> deleted</w:delText>")):
        paragraph._p.append(parse_xml(f'<w:{mark} {W} w:id="1" w:author="x"><w:r>{run}</w:r></w:{mark}>'))
    written.save(tmp_path / "b.docx")
    (word,) = read_pages(tmp_path / "b.docx", cache=cache, on_problem=problems.append)
    assert word.text == "Plain words inserted"
    made = Presentation()
    for title in ("First", "Second", "Third"):
        slide = made.slides.add_slide(made.slide_layouts[5])
        slide.shapes.title.text, slide.notes_slide.notes_text_frame.text = title, f"Said with {title}."
    made.slides[1].element.set("show", "0")
    made.save(tmp_path / "a.pptx")
    pages = read_pages(tmp_path / "a.pptx", cache=cache, on_problem=problems.append)
    assert [page.text.split("\n") for page in pages] == [[t, f"Notes: Said with {t}."] for t in ("First", "Third")]
    start = pages[0].text.index("Notes")
    assert pages[0].boxes.of(start, start + 5) == []
    assert len(pages[0].boxes.of(0, 5)) == 1
    assert problems == []


def test_deleted_parts_are_taken_out_in_one_pass():
    from mmr5.pages.references import _without_deleted, _without_outside

    nested = b"<w:p>a<w:del w:id='1'>b<w:del w:id='2'>c</w:del>d</w:del>e<w:del w:id='3'/>f<w:delText>g</w:delText></w:p>"
    assert _without_deleted(nested) == b"<w:p>ae<w:del w:id='3'/>f<w:delText>g</w:delText></w:p>"
    assert _without_deleted(b"a</w:del>b<w:del x>c") == b"a</w:del>b<w:del x>c"
    hostile = b"<w:del " * 300_000 + b"<w:del w:id='1'>" * 100_000 + b"<text:tracked-changes>" * 100_000
    start = time.perf_counter()
    assert _without_deleted(hostile) == hostile
    assert _without_outside(hostile.replace(b"<w:del ", b"<text:change ")) is not None
    assert time.perf_counter() - start < 20
