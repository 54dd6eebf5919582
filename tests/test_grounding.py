import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.grounding import SUPPORT, grounded, support

PAGE = "2 Fees\nThe small plan costs 12 euros a month, the large plan 30 euros. Bring a library card."


@pytest.mark.parametrize(
    ("note", "share"),
    [
        ("Gives the fees of the small plan, 12 euros a month.", 1.0),
        ("Shows what large plans cost.", 1.0),
        ("The small plan costs 15 euros.", 0.0),  # a number that is not on the page
        ("Explains how gearboxes are mounted.", 0.0),
        ("Nothing on it answers the question.", 0.0),  # says nothing of the page
        ("Names plans and gearboxes.", 0.5),
        ("", 0.0),
    ],
)
def test_support_is_the_share_of_content_words_on_the_page(note, share):
    assert support(note, PAGE) == pytest.approx(share)


@pytest.mark.parametrize(
    ("note", "page", "share"),
    [
        ("说明小计划每月十二元。", "小计划每月十二元，大计划三十元。", 0.6),
        ("水泵由工程师更换。", "小计划每月十二元，大计划三十元。", 0.0),
        ("Nennt die Gebühren der Häuser.", "Die Gebühr für ein Haus beträgt 12 Euro, und sie ist nicht hoch.", 2 / 3),
        ("Стоимость ремонта насосов 12 рублей.", "Ремонт насоса: стоимость 12 рублей.", 1.0),
        ("Стоимость ремонта насосов 15 рублей.", "Ремонт насоса: стоимость 12 рублей.", 0.0),
        ("펌프의 수리비는 12 원", "펌프 수리비 12 원", 0.5),
        (
            "Names the Gebühr of 12 euro.",
            "Die Gebühren für ein Haus sind nicht hoch: 12 Euro.",
            1.0,
        ),  # a note in another language
    ],
)
def test_support_in_other_languages(note, page, share):
    assert support(note, page) == pytest.approx(share, abs=0.2 if 0 < share < 1 else 0.01)


def test_only_supported_and_unrepeated_notes_are_kept():
    good, other = "The small plan costs 12 euros.", "Explains how gearboxes are mounted."
    assert grounded([good, other, None], [PAGE, PAGE, PAGE]) == [good, None, None]
    assert grounded([good, "The small plan costs 12 euros"], [PAGE, PAGE]) == [None, None]
    assert grounded([good], [None]) == [None]
    assert grounded([good], [""]) == [None]


@given(st.text(), st.text())
def test_any_text_has_a_share(note, text):
    assert 0.0 <= support(note, text) <= 1.0


@given(st.text())
def test_what_a_page_says_itself_is_supported(text):
    share = support(text, text)
    assert share in (0.0, 1.0)
    assert grounded([text], [text]) == ([text] if share >= SUPPORT else [None])
