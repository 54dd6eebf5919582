from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.pages.text import clean, layer_is_usable, layer_problem

ENGLISH = (
    "Since the valves are inspected twice every year, most failures are found early. The remaining ones follow heavy "
    "rain, when debris blocks the screens and the water level rises faster than the pumps can lower it again."
)


def shifted(text: str, by: int) -> str:
    """The text as a font subset without a Unicode mapping gives it: every letter moved."""
    return "".join(chr((ord(c.lower()) - 97 + by) % 26 + 97) if c.isascii() and c.isalpha() else c for c in text)


@pytest.mark.parametrize(
    "text",
    [
        ENGLISH,
        "Über die Größe der Öffnung entscheidet der Prüfer; er vermerkt die Maße in der Tabelle auf Seite 12.",
        "Chất lượng nước được kiểm tra hằng ngày ở mỗi trạm, và kết quả được ghi lại trong bảng dưới đây.",
        "Качество воды проверяется ежедневно на каждой станции, результаты записаны в таблице ниже.",
        "水質は各観測所で毎日検査され、その結果は下の表に記録されています。異常があればすぐに報告してください。",
        "جودة المياه تفحص يوميا في كل محطة وتسجل النتائج في الجدول أدناه مع ملاحظات المهندس.",
        "0.12 0.45 0.78 1.20 3.40 5.60 7.80 9.10 11.2 13.4 15.6 17.8",
        'for (i = 0; i < n; i++) { printf("%d\\n", html[i]); strncpy(dst, src, len); }',
        "A line with a ligature that old fonts call \x0c and one that they call \x0e, in a text that is otherwise whole.",
        "An end of line hy\ufffephen is how pdf\ufffeium marks a bro\ufffeken word, and that is no garble.",
    ],
)
def test_real_text_is_usable(text):
    assert layer_is_usable(text)


@pytest.mark.parametrize("text", ["", " \r\n\t ", "12", "Chapter 3", "50 Writing Themes\r\n", "x" * 31, " ".join("x" * 31)])
def test_next_to_nothing_is_empty(text):
    assert layer_problem(text) == "empty"
    assert not layer_is_usable(text)


@pytest.mark.parametrize(
    "text",
    [
        "\x01\r\n\x04\x06\x05\x08\x07\n\t\x0c\x0b\x0e\r\x10\x0f\x12\x11\x14\x13\x16\x15\x18\x17\x19\r\x1a\x05\x1c\x1b",
        "\x87\x9b\x10\x90\x92\x8cÒÁ\x10©:\x8d\x9eÐ¤\x0e\x9d\x8f\x8av\x9a\x1d\x90ª\x8a\x80\x9a*\x9d\x9e\x8aÁ\x10\x8cØ",
        "\ufffd" * 10 + "a few letters that were mapped, among many that were not" + "\ufffd" * 10,
        "".join(chr(0xE000 + i % 90) for i in range(200)),
        "ÃPÄÆÅ ÇÉÈËÊ ÄÍÌÏÎÑÐ ÒÓÔÖÕ ÖÕØÎÙÚÛÜ ÝÞßàáâãäåæçèéêëìíîï " * 2,
        shifted(ENGLISH, 3),
        shifted(ENGLISH, 3).upper(),
        shifted(ENGLISH, 16),
    ],
)
def test_text_without_a_unicode_mapping_is_garbled(text):
    assert layer_problem(text) == "garbled"
    assert not layer_is_usable(text)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("one\r\ntwo\rthree \x0b four.\x0cFive\u2028six", "one\ntwo\nthree\n four.\nFive\nsix"),
        ("a\0b\x01c\x7fd\x85e\x9ff\ufeffg\ud800h", "abcd\nefgh"),
        ("co\xadopera\u00adtion", "cooperation"),
        ("exam\ufffeple", "example"),
        ("exam\ufffe\r\nple", "example"),
        ("S\ufffePlus and page 3\ufffe4", "S-Plus and page 3-4"),
        ("well-known\nleft-\nhand", "well-known\nleft-\nhand"),
        ("e\ufb03cient \ufb01le", "efficient file"),
        ("² ½ Ａ ①", "² ½ Ａ ①"),
        ("line  \t\nnext\n\n\n\n\nlast \n", "line\nnext\n\nlast"),
        ("", ""),
    ],
)
def test_clean(raw, expected):
    assert clean(raw) == expected


@given(st.text(st.characters(codec=None), max_size=60))
def test_clean_is_idempotent_and_always_encodes(text):
    once = clean(text)
    once.encode("utf-8")
    assert clean(once) == once
    assert "\0" not in once
    assert "\r" not in once


@given(st.text(st.characters(codec=None), max_size=80))
def test_every_layer_is_judged(text):
    assert layer_is_usable(text) == (layer_problem(text) is None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Tمdqم ه@ه مrsحTy تعTymyl والأعAmل الtعTymyl في الأدب والfن من كTlyl ودمTn إلY حAkيA ‹لافwnytن إلY مrsحAy وغryهA من آ‹CA ه@ا الwnع إنAm تdhف إلY تwجyه الwlsك الrfدي أو الاجAmtعي", "garbled"),
        ("Тhе nоrth рumр wаs rерlаcеd оn 14 Mау bу thе stаtiоn еnginееr whо kеерs thе sраrе раrts in thе cеllаr bеhind thе bоilеr", "garbled"),
        ("تم استبدال المضخة الشمالية للمحطة في الرابع عشر من مايو سنة وقطع الغيار محفوظة في القبو خلف الغلاية الثانية مع دليل PDF و Debian", None),
        ("Die Stärke ΔH und die Entropie ΔS stehen in der Tabelle, und die Länge λmax wird in nm gegeben; alle Werte gelten für DNA und RNA in der Lösung", None),
        ("Пакет Debian содержит программу apt-get, которая устанавливает пакеты из архива, и файл README с описанием настройки системы для новых пользователей", None),
    ],
)  # fmt: skip
def test_words_of_two_scripts_are_a_broken_map(text, problem):
    assert layer_problem(text) == problem
