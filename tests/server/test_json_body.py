import json

import pytest

from mmr5.server.http_errors import WireError
from mmr5.server.json_body import MAX_ESCAPES, MAX_PARTS, MAX_SIGNS, check_lists, loads
from mmr5.settings import ServerSettings


@pytest.mark.parametrize(
    "value",
    [
        {"query": 'a "quoted" \\ [1,2,3] {":,}', "documents": ["\\", '\\"', "a,b", "", "\n\t", "ж", "\ud800"]},
        {"a": [1, -2.5, 1e300, True, None, [], {}], "b": "x" * 1000},
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_what_is_counted_is_what_is_parsed(value, ascii_only):
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass" if ascii_only else "replace")
    assert loads(body) == json.loads(body)


@pytest.mark.parametrize("signs", ["[{:,]}" * 50_000, '"' * 300_000, '\\"\\\\' * 50_000, ",\\\\"])
def test_signs_within_strings_are_not_counted(signs):
    assert loads(json.dumps({"query": signs}).encode()) == {"query": signs}


@pytest.mark.parametrize("number", [MAX_SIGNS, MAX_SIGNS + 1])
def test_signs_are_counted_exactly(number):
    body = ("[" + ",".join("1" * (number - 1)) + "]").encode()  # two brackets, and a comma less than there are values
    if number <= MAX_SIGNS:
        assert len(loads(body)) == number - 1
    else:
        with pytest.raises(WireError, match="more than 100,000 brackets") as found:
            loads(body)
        assert found.value.status == 413


def test_escapes_and_numbers_are_bounded():
    with pytest.raises(WireError, match="escapes") as found:
        loads(b'"' + b"\\n" * (MAX_ESCAPES + 1) + b'"')
    assert found.value.status == 413
    assert loads(b"[" + b"1" * 1000 + b"]") == [int("1" * 1000)]
    with pytest.raises(WireError, match="a number of more than 1,000 characters"):
        loads(b"[" + b"1" * 1001 + b"]")


@pytest.mark.parametrize("body", [b"", b"{", b'{"a"', b"[" * 50_000, b"\xff", b'"\\'])
def test_what_is_no_json_is_a_400_that_repeats_nothing(body):
    with pytest.raises(WireError, match="not JSON") as found:
        loads(body)
    assert found.value.status == 400


def refused(data, **limits):
    with pytest.raises(WireError) as found:
        check_lists(data, ServerSettings(**limits))
    return found.value.status, found.value.message


def test_the_first_wrong_place_is_named():
    assert refused([]) == (422, "the body is a list: send an object with query and documents")
    assert refused({"documents": ["a", 1, None]}) == (
        422,
        "documents[1]: it is a number, and a string or an object was expected",
    )
    assert refused({"texts": ["a", {"text": "b"}]}) == (422, "texts[1]: it is an object, and a string was expected")
    assert refused({"documents": ["a", {"content": [{}, True]}]}) == (
        422,
        "documents[1].content[1]: it is a boolean, and an object was expected",
    )


def test_numbers_and_lengths_are_bounded():
    assert refused({"texts": ["a"] * 4}, max_documents=3)[0] == 413
    assert refused({"documents": []}) == (422, "documents is empty: send at least one")
    part = {"type": "text", "text": "a"}
    assert refused({"documents": [{"content": [part] * 600}] * 2})[1].startswith("documents[1]: with it there are 1,200 parts")
    assert MAX_PARTS == 1000
    long = "x" * 1501
    limits = {"max_document_chars": 10, "max_fetch_bytes": 1000}
    for document in (long, {"text": long}, {"image_url": {"url": long}}, {"content": [{"text": long}]}):
        status, message = refused({"documents": ["a", document]}, **limits)
        assert status == 413 and message == "documents[1]: a string has 1,501 characters, and at most 1,500 are taken"
    check_lists({"documents": ["x" * 1500], "other": [1] * 10}, ServerSettings(**limits))
