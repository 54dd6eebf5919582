"""Texts in the encodings that files are met in."""

import pytest

from mmr5.pages.encodings import decoded, wide_encoding
from mmr5.pages.files import known_kind
from mmr5.pages.prose import pages_of
from mmr5.pages.references import without_references

TEXTS = {
    "cp1252": "Le pont a été réparé en février; la pièce coûte trois cents euros, très chère pour l'élève – „Zitat“, 5 €.",
    "cp1250": "Příliš žluťoučký kůň úpěl ďábelské ódy na břehu řeky v roce, kdy byla opravena severní pumpa.",
    "cp1251": "Годовой отчёт о работе плотины и уровне воды в реке.",
    "koi8_r": "Годовой отчёт о работе плотины и уровне воды в реке.",
    "cp1253": "Ετήσια έκθεση λειτουργίας του φράγματος",
    "cp1254": "Şehirdeki köprü geçen yıl onarıldı; ücreti üç yüz lira oldu.",
    "cp1255": "המשאבה הצפונית של התחנה הוחלפה",
    "cp1256": "في الرابع عشر من مايو سنة 1987 تم استبدال المضخة",
    "gb18030": "水库的年度运行报告包括流量水位和发电量的数据",
    "big5": "水庫的年度運行報告包括流量",
    "cp932": "ダムの年間運転報告書には、流量と水位が含まれます。",
    "euc_jp": "ダムの年間運転報告書には、流量と水位が含まれます。",
    "cp949": "댐의 연간 운영 보고서",
}


@pytest.mark.parametrize("encoding", TEXTS)
def test_old_encodings_are_told_by_what_they_say(encoding):
    text = TEXTS[encoding]
    assert decoded(text.encode(encoding)) == text
    assert decoded((text + "\n").encode(encoding) * 30) == (text + "\n") * 30


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_with_and_without_marks(encoding, tmp_path):
    text = "Plain words, naïve ones and 漢字 too.\n" * 3
    data = text.encode(encoding)
    assert decoded(data) == text
    (tmp_path / "a.txt").write_bytes(data)
    assert known_kind(tmp_path / "a.txt") == "text"
    page = f"<html><body><p>{text}</p></body></html>".encode(encoding)
    (tmp_path / "a.html").write_bytes(page)
    assert known_kind(tmp_path / "a.html") == "html"
    assert "漢字".encode() in without_references(page, "html")


def test_a_few_broken_bytes_do_not_make_another_encoding():
    text = "Größe und Straße über Flüsse. " * 20
    data = bytearray(text.encode())
    data[5:6] = b"\xff"
    assert decoded(bytes(data)).count("Straße") == 20
    assert decoded("水库的年度报告".encode() * 9 + b"\xe6\xb0").startswith("水库的年度报告" * 9)
    assert wide_encoding(b"plain ASCII") is None


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("cp1251", '<meta charset="windows-1251">'),
        ("koi8_r", '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">'),
        ("gb18030", "<meta charset=gb2312>"),
        ("cp932", '<?xml version="1.0" encoding="Shift_JIS"?>'),
        ("cp1252", '<meta charset="iso-8859-1">'),
    ],
)
def test_a_web_page_says_its_encoding(encoding, said):
    data = f"{said}<p>{TEXTS[encoding]}</p>".encode(encoding)
    assert TEXTS[encoding] in without_references(data, "html").decode()
    wrong = f'<meta charset="utf-8"><p>{TEXTS[encoding]}</p>'.encode(encoding)
    assert TEXTS[encoding] in without_references(wrong, "html").decode()
    assert TEXTS[encoding] in decoded(data.replace(said.encode(), b'<meta charset="no-such">'), declared=True)


def test_fences_of_one_kind_end_with_their_own():
    text = "~~~\n```\n# no heading\n\nx\n```\n~~~\n\n# heading\n\ny"
    assert pages_of(text) == [text]
    assert pages_of("\n\n".join([text, "w " * 400]))[0].startswith("~~~\n```\n# no heading\n\nx\n```\n~~~")
