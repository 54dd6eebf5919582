import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmr5.errors import ConfigError
from mmr5.retrieval.index.where import MAX_CHARS, choose

DOCUMENTS = {
    "a": {"source": "a.pdf", "kind": "pdf", "pages": 12.0, "year": 2024.0, "team": "harbour", "public": True},
    "b": {"source": "b.docx", "kind": "docx", "pages": 3.0, "year": 2021.0, "team": "Fuß & Söhne"},
    "c": {"source": "sub/c.pdf", "kind": "pdf", "pages": 40.0, "date": "2023-05-01", "fiscal year": "2020"},
}


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("kind = 'pdf'", "ac"),
        ("kind = pdf", "ac"),
        ("kind != pdf", "b"),
        ("kind <> 'pdf'", "b"),
        ("year = 2024", "a"),
        ("2021 < year", "a"),
        ("year >= 2021 and kind = pdf", "a"),
        ("year >= 2021 AND kind = pdf OR pages < 5", "ab"),
        ("not kind = pdf", "b"),
        ("not (kind = pdf or pages = 3)", ""),
        ("year = '2024'", "a"),
        ("public = true", "a"),
        ("public = false", ""),
        ("year is null", "c"),
        ("year is not null", "ab"),
        ("team in ('harbour', 'Fuß & Söhne')", "ab"),
        ("pages between 3 and 12", "ab"),
        ("source like 'sub/%'", "c"),
        ("team ilike 'HARB%'", "a"),
        ("date >= '2023-01-01'", "c"),
        ('"fiscal year" = 2020', "c"),
        ("team > 5", ""),
        ("year > -1", "ab"),
        ("team = 'it''s'", ""),
    ],
)
def test_documents_pass_by_their_fields(text, keys):
    assert choose(text, DOCUMENTS).documents == set(keys)


def test_fields_of_pages_go_to_the_table():
    assert choose("page <= 3", DOCUMENTS).condition() == "page <= 3"
    assert choose("language = 'de'", DOCUMENTS).condition() == "language = 'de'"
    assert choose("page = 1 and kind = docx", DOCUMENTS).condition() == "(page = 1) AND (document IN ('b'))"
    assert choose("not page in (1, 2)", DOCUMENTS).condition() == "NOT (page IN (1, 2))"
    assert (
        choose("page_label = 4 or page_label like 'i%'", DOCUMENTS).condition()
        == "(label = '4') OR (CAST(label AS STRING) LIKE 'i%')"
    )
    assert choose("page_label = 'it''s' or page is null", DOCUMENTS).condition() == "(label = 'it''s') OR (page IS NULL)"
    assert choose("kind = gif", DOCUMENTS).condition() == "false"
    assert choose("kind = pdf", DOCUMENTS).condition() == "document IN ('a', 'c')"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = red", "names 'colour', which no document has: use date, fiscal"),
        ("", "is no condition|cannot be read"),
        ("kind", "is no comparison"),
        ("kind =", "cannot be read"),
        ("kind = pdf; drop table pages", "is no condition"),
        ("kind = pdf limit 3", "is no condition"),
        ("kind = pdf union select 1", "is no condition"),
        ("kind in (select source from pages)", "is no comparison"),
        ("lower(kind) = 'pdf'", "is no field"),
        ("kind = lower('PDF')", "for a value"),
        ("pages + 1 = 4", "is no field"),
        ("x" * (MAX_CHARS + 1), "at most 2,000"),
        ("(" * 900 + "kind = pdf" + ")" * 900, "cannot be read"),
        ("exists (select 1)", "is no comparison"),
        ("page = first", "give a page's number"),
        ("page < 2.5", "give a page's number"),
        ("3 = 3", "is no field"),
    ],
)
def test_what_is_no_filter_is_refused_in_words(text, said):
    with pytest.raises(ConfigError, match=said):
        choose(text, DOCUMENTS)


@given(st.text(max_size=40))
def test_any_text_is_a_filter_or_refused(text):
    try:
        choose(text, DOCUMENTS)
    except ConfigError:
        pass


@given(st.text(max_size=20))
def test_a_quoted_value_is_only_a_value(value):
    quoted = "'" + value.replace("'", "''") + "'"
    documents = {"a": {"team": value}, "b": {"team": value + "x"}}
    if "\\" in value or "\0" in value or not value.isprintable():
        return
    assert choose(f"team = {quoted}", documents).documents == {"a"}
    assert choose(f"page_label = {quoted}", documents).sql == f"label = {quoted}"
