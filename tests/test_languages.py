import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.languages import forms, language, marked, query_terms, scripts, terms, words
from mmr5.stopwords import SIGNS, STOP_WORDS

SPOKEN = {
    "en": "The engineer in charge of the work was from Lund, and the pump is painted green.",
    "de": "Die Pumpe wurde am 14. Mai ausgetauscht, und der Ingenieur war für die Arbeit verantwortlich.",
    "fr": "La pompe a été remplacée le 14 mai et l’ingénieur est responsable des travaux.",
    "es": "La bomba fue sustituida el 14 de mayo y el ingeniero es responsable de los trabajos.",
    "it": "La pompa è stata sostituita il 14 maggio e l'ingegnere è responsabile dei lavori.",
    "pt": "A bomba foi substituída em 14 de maio e o engenheiro não é responsável pelos trabalhos.",
    "nl": "De pomp werd op 14 mei vervangen en de ingenieur is verantwoordelijk voor het werk.",
    "pl": "Pompa została wymieniona 14 maja, a inżynier jest odpowiedzialny za prace, które były w toku.",
    "cs": "Čerpadlo bylo vyměněno 14. května a inženýr je odpovědný za práce, které byly provedeny.",
    "sv": "Pumpen byttes ut den 14 maj och ingenjören är ansvarig för arbetet som inte är klart.",
    "da": "Pumpen blev udskiftet den 14. maj, og ingeniøren er ansvarlig for arbejdet, hvor der ikke er noget nyt.",
    "fi": "Pumppu vaihdettiin 14. toukokuuta, ja insinööri on vastuussa työstä, joka ei ole valmis.",
    "hu": "A szivattyút május 14-én cserélték ki, és a mérnök felelős a munkáért, amely még nem kész.",
    "ro": "Pompa a fost înlocuită pe 14 mai și inginerul este responsabil de lucrările care sunt în curs.",
    "tr": "Pompa 14 Mayıs'ta değiştirildi ve mühendis bu iş için sorumlu olarak çalışıyor.",
    "vi": "Máy bơm được thay vào ngày 14 tháng 5 và kỹ sư là người chịu trách nhiệm cho công việc này.",
    "ru": "Насос был заменён 14 мая, и инженер отвечает за работу.",
    "uk": "Насос було замінено 14 травня, і інженер відповідає за роботу.",
    "bg": "Помпата беше сменена на 14 май и инженерът е този, който отговаря за работата.",
    "el": "Η αντλία αντικαταστάθηκε στις 14 Μαΐου και ο μηχανικός είναι υπεύθυνος.",
    "ar": "تم استبدال المضخة في الرابع عشر من مايو، والمهندس مسؤول عن العمل.",
    "fa": "پمپ در چهاردهم ماه مه تعویض شد و مهندس مسئول این کار است.",
    "he": "המשאבה הוחלפה בארבעה עשר במאי, והמהנדס אחראי על העבודה.",
    "hi": "पंप को चौदह मई को बदला गया और इंजीनियर काम के लिए जिम्मेदार है।",
    "th": "ปั๊มถูกเปลี่ยนเมื่อวันที่ 14 พฤษภาคม",
    "lo": "ປ້ຳຖືກປ່ຽນໃນວັນທີ 14 ພຶດສະພາ",
    "km": "ម៉ាស៊ីនបូមទឹកត្រូវបានប្តូរ",
    "ko": "펌프는 5월 14일에 교체되었다.",
    "ja": "ポンプは五月十四日に交換された。",
    "zh": "水泵于五月十四日更换。",
    "ka": "ტუმბო შეიცვალა 14 მაისს.",
}


@pytest.mark.parametrize(("spoken", "text"), SPOKEN.items(), ids=SPOKEN)
def test_a_sentence_tells_its_language(spoken, text):
    assert language(text) == spoken
    assert language(unicodedata.normalize("NFD", text)) == spoken


@pytest.mark.parametrize("text", ["", "  \n", "12 — 14", "Kelmar", "harbour fees", "data.frame(x = 1)"])
def test_a_text_that_says_too_little_has_no_language(text):
    assert language(text) is None


def test_a_chinese_page_of_program_text_is_chinese():
    assert language("安装宏包并更新数据库：tlmgr install ctex") == "zh"
    assert language("See 東京 (Tokyo) for the tables of what is there and who was in charge of it all") == "en"


def test_scripts_are_shares_of_the_letters():
    assert scripts("Насос pump 水泵, 14!") == pytest.approx({"Cyrillic": 5 / 11, "Latin": 4 / 11, "Han": 2 / 11})
    assert list(scripts("ポンプを交換")) == ["Katakana", "Han", "Hiragana"]
    assert scripts("12 – 14") == {}
    assert set(scripts("ａｂﬁ")) == {"Latin"}


def test_words_stay_whole_and_unspaced_scripts_give_characters():
    assert words("A 2.5-inch Data.Frame, e-mail") == ["a", "2.5-inch", "data.frame", "e-mail"]
    assert words("水泵 No. 14") == ["水", "泵", "no", "14"]
    assert words("ﬁle") == ["file"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The fees are rising, and 2.5-inch files", ["fee", "rise", "2.5-inch", "file"]),
        ("the well-known engineer’s pumps v1.2.3 snake_cases", ["well-known", "engin", "pump", "v1.2.3", "snake_cases"]),
        ("don't stop the system's pump", ["don't", "stop", "system", "pump"]),
        ("苹果产量", ["苹", "果", "产", "量", "苹果", "果产", "产量"]),
        ("りんごの箱", ["箱", "りん", "んご", "ごの", "の箱"]),  # a lone Hiragana is an ending, mostly
        ("ポンプ", ["ポ", "ン", "プ", "ポン", "ンプ"]),
        ("維修\n費", ["維", "修", "費", "維修", "修費"]),  # a line of Chinese ends anywhere
        ("ค่าซ่อม", ["ค่", "า", "ซ่", "อ", "ม", "ค่า", "าซ่", "ซ่อ", "อม"]),  # marks stay on their letter
        ("수리비는 천원", ["수리비는", "수리", "리비", "비는", "천원"]),
        ("насосы заменены", ["насос", "замен"]),
        ("ёлка елка", ["елк", "елк"]),
        ("המשאבה", ["המשאבה", "משאבה", "שאבה"]),
        ("الْمَضَخَّةُ المضخة", ["مضخ", "مضخ"]),
        ("١٤ १४ 14", ["14", "14", "14"]),
        ("λιμάνια λιμανιού", ["λιμαν", "λιμαν"]),
    ],
)
def test_terms_by_script(text, found):
    assert terms(text) == found


@pytest.mark.parametrize(
    ("spoken", "same"),
    [
        ("de", ["Häuser", "Haus", "HAUS"]),
        ("de", ["Straße", "Strasse"]),
        ("de", ["Müller", "Mueller"]),
        ("de", ["Donaudampfschiff", "Donaudampfschiffe"]),
        ("fr", ["l’église", "église", "églises"]),
        ("fr", ["réparées", "réparée"]),
        ("it", ["dell'acqua", "acqua"]),
        ("es", ["canción", "canciones"]),
        ("ru", ["насос", "насосами", "насосов"]),
        ("el", ["σταθμός", "σταθμού", "ΣΤΑΘΜΟΊ"]),
        ("ar", ["مهندس", "المهندس", "مهندسون"]),
        ("hi", ["किताब", "किताबों"]),
        ("tr", ["evler", "ev"]),
        ("vi", ["bơm"]),
    ],
)
def test_forms_of_a_word_share_a_term(spoken, same):
    assert len({tuple(terms(word, spoken)) for word in same}) == 1


def test_a_compound_stays_one_term():
    assert len(terms("Donaudampfschifffahrtsgesellschaft", "de")) == 1
    assert terms("Dampfschiff", "de") != terms("Dampf", "de")


def test_accents_are_folded_where_they_only_decorate():
    assert terms("résumé", "en") == terms("resume", "en")
    assert terms("ma", "vi") != terms("má", "vi")
    assert terms("йод", "ru") != terms("иод", "ru")
    assert terms("が", "ja") != terms("か", "ja")


def test_stop_words_are_of_the_language():
    assert terms("die Pumpe", "de") == ["pump"]
    assert terms("die pump", "en") == ["die", "pump"]
    assert terms("only about pumps", "en") == ["onli", "about", "pump"]  # they tell English, and may carry a question


@pytest.mark.parametrize("spoken", STOP_WORDS)
def test_lists_of_stop_words_hold_each_word_once(spoken):
    listed = f"{STOP_WORDS[spoken]} {SIGNS.get(spoken, '')}".split()
    assert len(listed) >= 20
    assert sorted({w for w in listed if listed.count(w) > 1}) == []
    assert all(word == unicodedata.normalize("NFKC", word).lower() for word in listed)


def test_a_question_asks_by_the_stems_of_the_pages_as_well():
    assert query_terms("Which houses are painted?", ["en"]) == ["hous", "paint"]
    assert query_terms("Which houses are painted?", ["en", None]) == ["hous", "paint"]
    asked = query_terms("Pumpen installieren", ["de", "en"])
    assert set(terms("Pumpe", "de")) | set(terms("Pumpen", "en")) <= set(asked)
    assert forms("the of and", ["de"]) == []


@pytest.mark.parametrize(
    ("text", "query", "hit"),
    [
        ("今年苹果产量下降", "苹果产量", ["苹果产量"]),
        ("수리비는 천원", "수리비", ["수리비는"]),
        ("Die Häuser am Hafen.", "Welches Haus ist das?", ["Häuser"]),
        ("Le résumé, l’église", "eglise", ["église"]),
        ("量", "量", ["量"]),
        ("nothing", "what is the", []),
    ],
)
def test_what_a_question_asks_for_is_marked(text, query, hit):
    found = marked(text, query)
    assert [piece for piece, wanted in found if wanted] == hit
    assert "".join(piece for piece, _ in found) == text


@given(st.text(max_size=80), st.text(max_size=20))
def test_marking_loses_nothing(text, query):
    assert "".join(piece for piece, _ in marked(text, query)) == text


@given(st.text(max_size=200))
def test_terms_do_not_depend_on_how_accents_are_written(text):
    composed, split = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert terms(composed) == terms(split)
    assert all(terms(composed))
    assert language(composed) == language(split)


@given(st.lists(st.sampled_from(list(SPOKEN.values())), max_size=3).map("\n".join))
def test_terms_of_mixed_languages_do_not_depend_on_how_accents_are_written(text):
    assert terms(unicodedata.normalize("NFC", text)) == terms(unicodedata.normalize("NFD", text))
    assert sum(scripts(text).values()) == pytest.approx(1.0 if text else 0.0)
