import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmr5.answer import VERDICTS, Answering, answer_start, fold, format_reply, format_verdict, parse, parse_verdict, well_formed
from mmr5.errors import ReplyError
from mmr5.types import Issue


def ids(reply, n, **options):
    return parse(reply, n, **options).order


def issues(reply, n, **options):
    return [i.value for i in parse(reply, n, **options).issues]


CLEAN = "<think>\nImage 1: a pier.\nImage 2: the fees.\nImage 3: seals.\n</think><answer>[2, 1, 3]</answer>"


def test_a_clean_reply():
    parsed = parse(CLEAN, 3)
    assert parsed.order == (1, 0, 2)
    assert parsed.predicted == (1, 0, 2)
    assert parsed.raw_ids == (2, 1, 3)
    assert parsed.issues == ()
    assert parsed.notes == ("a pier.", "the fees.", "seals.")
    assert parsed.reasoning == "Image 1: a pier.\nImage 2: the fees.\nImage 3: seals."
    assert parsed.well_formed


@pytest.mark.parametrize(
    ("answer", "n", "order", "found"),
    [
        ("[2, 1]", 2, (1, 0), []),
        ("[ 2 ,1 ]", 2, (1, 0), []),
        ("[2,\n 1,\n 3]", 3, (1, 0, 2), []),
        ("2, 1", 2, (1, 0), []),
        ("[2 1]", 2, (1, 0), []),
        ("3", 3, (2, 0, 1), ["MISSING"]),
        ("[3]", 3, (2, 0, 1), ["MISSING"]),
        ("[1]", 1, (0,), []),
        ("[1-5]", 5, (0, 1, 2, 3, 4), ["NOT_A_NUMBER"]),
        ("[4-2, 1]", 4, (3, 2, 1, 0), ["NOT_A_NUMBER"]),
        ("[2–4]", 4, (1, 2, 3, 0), ["MISSING", "NOT_A_NUMBER"]),
        ("[2-9]", 3, (1, 2, 0), ["OUT_OF_RANGE", "MISSING", "NOT_A_NUMBER"]),
        ("[1-99999999999999999999]", 2, (0, 1), ["OUT_OF_RANGE", "NOT_A_NUMBER"]),
        ("[2.0, 1.0]", 2, (1, 0), ["NOT_A_NUMBER"]),
        ("[1.5, 2]", 2, (1, 0), ["MISSING", "NOT_A_NUMBER"]),
        ("[٢, １]", 2, (1, 0), []),
        ("[Image 2, Image 1]", 2, (1, 0), []),
        ("[3, 3, 3, 3, 3]", 5, (2, 0, 1, 3, 4), ["DUPLICATE", "MISSING"]),
        ("[2, 7, 1]", 2, (1, 0), ["OUT_OF_RANGE"]),
        ("[0, 1, 2]", 2, (0, 1), ["OUT_OF_RANGE"]),
        ("[-1, 2]", 2, (1, 0), ["OUT_OF_RANGE", "MISSING"]),
        ("[" + "9" * 5000 + ", 1]", 1, (0,), ["OUT_OF_RANGE"]),
        ("[" + "0" * 5000 + "2, 1]", 2, (1, 0), []),
        ("[" + "٣" * 5000 + ", 1]", 1, (0,), ["OUT_OF_RANGE"]),
        ("[1-2.]", 2, (0, 1), ["NOT_A_NUMBER"]),
        ("[" + " " * 2000 + "2, 1]", 2, (1, 0), []),
        ("[id_most_relevant, 2]", 2, (1, 0), ["MISSING", "NOT_A_NUMBER"]),
        ("", 2, (0, 1), ["NO_ANSWER"]),
        ("none of them", 2, (0, 1), ["MISSING", "NOT_A_NUMBER"]),
    ],
)
def test_answers(answer, n, order, found):
    reply = f"<think>because</think><answer>{answer}</answer>"
    assert ids(reply, n) == order
    assert issues(reply, n) == found


def test_the_last_of_several_answers_counts():
    assert ids("<think>x</think><answer>[1, 2]</answer> or rather <answer>[2, 1]</answer>", 2) == (1, 0)


def test_an_answer_quoted_while_thinking_never_counts():
    assert ids("<think>they want <answer>[1, 2]</answer> here</think><answer>[2, 1]</answer>", 2) == (1, 0)
    assert ids("<think>they want <answer>[2, 1]</answer> here", 2) == (0, 1)
    assert issues("<think>they want <answer>[2, 1]</answer> here", 2) == ["NO_ANSWER", "TRUNCATED"]


def test_a_reply_cut_off_inside_its_answer():
    assert ids("<think>x</think><answer>[3, 1", 3) == (2, 0, 1)
    assert issues("<think>x</think><answer>[3, 1", 3) == ["MISSING", "TRUNCATED"]
    assert issues(CLEAN, 3, truncated=True) == ["TRUNCATED"]


def test_a_bare_list_at_the_end_is_read_but_is_no_answer():
    assert ids("The order is [2, 1]", 2) == (1, 0)
    assert issues("The order is [2, 1]", 2) == ["NO_ANSWER", "NO_THINK"]


READ = [
    ("1. 3\n2. 1", "3 1"),
    ("1) 3", "3"),
    ("1) 3\r\n2) 1\r\n", "3 1"),
    ("1. Image 3\n2. Image 1", "3 1"),
    ("1. [3]\n2. [1]", "3 1"),
    ("1. 3 2. 1", "3 1"),
    ("1. Image 3, 2. Image 1", "3 1"),
    ("1. **Image 3**: the 12 fees of 2024\n\n2. Page 1 - a pier", "3 1"),
    ("In order:\n1. 3\n2. 1\nThat is all.", "3 1"),
    ("```json\n[3, 1, 2]\n```", "3 1 2"),
    ("```\n[3,\n1]\n```", "3 1"),
    ('```json {"ranking": [3, 1]} ```', "3 1"),
    ('{"reason": "Image 2 is a pier", "ranking": [3, 1]}', "3 1"),
    ('{"keywords": ["fees"], "ranking": ["Image 3", "Page 1"]}', "3 1"),
    ("Image 3 > Image 1", "3 1"),
    ("[3] > [1] > [2]", "3 1 2"),
    ("3 > 1", "3 1"),
]


@pytest.mark.parametrize(("text", "named"), READ)
def test_lists_of_other_forms_are_read_in_tags_and_without(text, named):
    wanted = tuple(int(i) for i in named.split())
    inside, bare = parse(f"<answer>{text}</answer>", 3, think=False), parse(text, 3, think=False)
    assert inside.raw_ids == bare.raw_ids == wanted
    assert inside.issues == ((Issue.MISSING,) if len(wanted) < 3 else ())
    assert bare.issues == (Issue.NO_ANSWER,)
    assert not inside.well_formed


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("The order is [3, 1, 2].", (2, 0, 1)),
        ("The order is Image 3 > Image 1.", (2, 0, 1)),
        ("[3, 1, 2]</answer>", (2, 0, 1)),
        ("[3, 1]\n\nReasons:\n1. Image 1: a pier\n2. Image 3: the fees", (2, 0, 1)),
        ("Seen:\n1. Image 1: a pier\n2. Image 2: fees\n\nOrder:\n1. Image 2\n2. Image 1", (1, 0, 2)),
        ("Here it is:\n```json\n[3, 1]\n```\nImage 2 is a pier.", (2, 0, 1)),
    ],
)
def test_an_order_in_prose_without_tags_is_read(text, order):
    assert ids(text, 3) == order
    assert issues(text, 3, think=False) == ["NO_ANSWER"]


@pytest.mark.parametrize(
    "text",
    [
        "1. The page on fees\n2. The pier",
        "1. 3 ships came in\n2. 2 piers are left",
        "1. Image 3 shows the fees\n2. Image 1 shows a pier",
        "1. Page 3-5\n2. Page 1",
        "1. 3.5\n2. 1.5",
        "1. Image 3\n2. Image 1\n3. the rest",
        "The fee is 340 [3].",
        "Both [2] and [1]",
        "As [3, 1] says, the fee is 340 euros.",
        "It is true because 5 > 3.",
        '{"first": [3], "second": [1]}',
        '{"pages": ["3 ships"]}',
        "{" + '"a":[' * 100_000,
    ],
)
def test_what_may_mean_something_else_is_no_answer(text):
    parsed = parse(text, 3, think=False)
    assert (parsed.raw_ids, parsed.order, parsed.issues) == ((), (0, 1, 2), (Issue.NO_ANSWER,))


@pytest.mark.parametrize("text", ["1. The page on fees\n2. The pier", "1. 3 ships came in\n2. 2 piers are left"])
def test_a_numbered_list_of_prose_is_no_answer_in_tags_either(text):
    parsed = parse(f"<answer>{text}</answer>", 3, think=False)
    assert (parsed.raw_ids, parsed.order, parsed.issues) == ((), (0, 1, 2), (Issue.NO_ANSWER,))


def test_an_answer_that_is_begun_anew_counts_from_its_last_opening():
    assert parse("<answer>[1, 2 <answer>[2, 1]</answer>", 2, think=False).raw_ids == (2, 1)
    assert parse("<answer>[2, 1]</answer> so </answer>", 2, think=False).raw_ids == (2, 1)


def test_a_very_long_answer_is_read_up_to_twice_the_pages_and_ten_thousand_items():
    parsed = parse("<answer>" + "1, " * 10_003 + "2, 3</answer>", 2, think=False)
    assert parsed.raw_ids == (1,) * 10_003 + (2,)
    assert parsed.predicted == (0, 1)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (CLEAN, True),
        ("<answer>2, 1</answer>", True),
        ("<answer>[[2], [1]]</answer>", True),
        ("so <answer>[2, 1]</answer> it is", True),
        ("<answer>[2, 1</answer>", False),
        ("<answer>2, 1]</answer>", False),
        ("<answer>]2, 1[</answer>", False),
        ("<answer>[2, 1]", False),
        ("[2, 1]</answer>", False),
        ("[2, 1]", False),
        ("", False),
    ],
)
def test_enclosed(reply, expected):
    assert parse(reply, 3).enclosed is expected


def test_reasoning_without_its_opening_tag():
    parsed = parse("Image 1: a\nImage 2: b\n</think><answer>[2, 1]</answer>", 2)
    assert parsed.issues == ()
    assert parsed.notes == ("a", "b")
    assert not parsed.well_formed


def test_no_think_is_an_issue_only_where_it_was_asked_for():
    assert issues("<answer>[1, 2]</answer>", 2) == ["NO_THINK"]
    assert issues("<answer>[1, 2]</answer>", 2, think=False) == []
    assert issues("<think> </think><answer>[1, 2]</answer>", 2) == ["NO_THINK"]


def test_strict_raises_with_the_reply_and_the_way_out():
    with pytest.raises(ReplyError, match=r"DUPLICATE, MISSING.*\[1, 1\].*first mention wins"):
        parse("<think>x</think><answer>[1, 1]</answer>", 2, strict=True)
    assert parse(CLEAN, 3, strict=True).order == (1, 0, 2)


def test_notes_the_first_line_on_a_page_wins_and_may_run_on():
    parsed = parse(
        "<think>First, look.\nImage 2: the fees\nand more.\nPage 1: pier\nImage 2: again\nImage 9: ?</think><answer>[2, 1]</answer>",
        2,
    )
    assert parsed.notes == ("pier", "the fees and more.")


@pytest.mark.parametrize(
    ("reply", "think", "expected"),
    [
        (CLEAN, True, True),
        ("<answer>[2, 1]</answer>", False, True),
        ("<answer>[2, 1]</answer>", True, False),
        ("<think>a</think>\n<answer>[ 2,1 ]</answer>\n", True, True),
        ("<think>a</think><answer>[2,\n1]</answer>", True, True),
        ("<think>quoting <answer>[1]</answer></think><answer>[2, 1]</answer>", True, True),
        ("so: <think>a</think><answer>[2, 1]</answer>", True, False),
        ("<think>a</think><answer>[2, 1]</answer> bye", True, False),
        ("<think>a</think><answer>[2]</answer><answer>[1]</answer>", True, False),
        ("<think>a</think><answer>[2.5, 1]</answer>", True, False),
        ("<think>a</think><answer>[Image 2]</answer>", True, False),
        ("<think></think><answer>[2, 1]</answer>", True, False),
        ("<think>a</think><answer>[]</answer>", True, False),
        ("<think>a</think><answer>[2, 1]", True, False),
        ("<think>a</think>[2, 1]</answer>", True, False),
        ("<think>a</think><answer>[2, 1</answer>", True, False),
        ("<think>a</think><answer>2, 1]</answer>", True, False),
        ("<think>a</think><answer>[[2, 1]]</answer>", True, False),
        ("<think>a</think><answer>[2,, 1]</answer>", True, False),
        ("<think>a</think><answer>[2 1]</answer>", True, False),
        ("<think>a</think><answer>1. 2\n2. 1</answer>", True, False),
        ("<think>a</think><answer>2, 1,</answer>", True, True),
        ("<THINK>a</Think><ANSWER>[2, 1]</Answer>", True, True),
        ("<think>a</think><answer>[٢, １]</answer>", True, True),
        ("</answer>", False, False),
        ("<answer>", False, False),
        ("", True, False),
    ],
)
def test_well_formed(reply, think, expected):
    assert well_formed(reply, think=think) is expected


@settings(max_examples=400)
@given(st.text(max_size=300), st.integers(0, 12), st.booleans())
@example("<answer>" + "²" + "</answer>", 3, True)
@example("</think></think><answer><think><answer>1</answer>", 2, True)
def test_any_text_yields_a_full_permutation(reply, n, think):
    parsed = parse(reply, n, think=think)
    assert sorted(parsed.order) == list(range(n))
    assert len(parsed.notes) == n
    assert parsed.order[: len(parsed.predicted)] == parsed.predicted


GRAMMAR = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "<answer>",
            "</answer>",
            "[",
            "]",
            ",",
            " ",
            "\n",
            "1",
            "2",
            "10",
            "1-3",
            "2.0",
            "-",
            "٣",
            "Image 1:",
            "x",
            "<|im_end|>",
        ]
    ),
    max_size=25,
).map("".join)


@settings(max_examples=600)
@given(GRAMMAR, st.integers(0, 12), st.booleans())
def test_any_mix_of_the_grammars_own_pieces_yields_a_full_permutation(reply, n, truncated):
    parsed = parse(reply, n, truncated=truncated)
    assert sorted(parsed.order) == list(range(n))
    if not parsed.issues and n:
        assert len(parsed.predicted) == n
    if parsed.well_formed:
        assert Issue.NO_ANSWER not in parsed.issues


SENTENCE = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=60).filter(
    lambda s: fold(s) and "<" not in s and not fold(s).lower().startswith(("image", "page"))
)


@settings(max_examples=200)
@given(st.integers(1, 12).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.lists(SENTENCE, min_size=n, max_size=n))))
def test_what_is_written_is_read_back(case):
    order, notes = case
    for label in ("Image", "Page"):
        parsed = parse(format_reply(order, notes, label=label), len(order), strict=True)
        assert parsed.order == tuple(order)
        assert parsed.notes == tuple(fold(note) for note in notes)
        assert parsed.well_formed
    assert parse(format_reply(order), len(order), think=False, strict=True).order == tuple(order)


def test_the_written_form_is_that_of_the_released_model():
    assert (
        format_reply([1, 0], ["A pier.", "The\nfees."])
        == "<think>\nImage 1: A pier.\nImage 2: The fees.\n</think><answer>[2, 1]</answer>"
    )


@pytest.mark.parametrize("note", ["", "  ", "see <answer>[1]</answer>", "</think>"])
def test_a_note_that_would_break_the_grammar_is_refused(note):
    with pytest.raises(ValueError, match="note 1"):
        format_reply([0], [note])


def test_verdicts():
    assert format_verdict(True, "Lists\nfees.") == "Yes. Lists fees."
    assert parse_verdict(format_verdict(False, "A pier.")) == (False, "A pier.")
    assert parse_verdict(" yes - it does") == (True, "it does")
    assert parse_verdict("Yesterday it rained") == (None, "Yesterday it rained")
    assert parse_verdict("No") == (False, None)
    assert VERDICTS == ("Yes", "No")
    with pytest.raises(ValueError, match="empty"):
        format_verdict(True, " ")


PIECES = {
    "blanks": " ", "tabs": "\t", "line breaks": "\n", "CRLF": "\r\n", "hard blanks": "\u00a0",
    "opened answers": "<answer>", "closed answers": "</answer>", "opened thoughts": "<think>", "closed thoughts": "</think>",
    "empty answers": "<answer></answer>", "answers": "<answer>[1]</answer>", "thoughts": "<think></think>", "swapped": "</answer><answer>",
    "all tags": "<think></think><answer></answer>", "near tags": "<answer", "nearer tags": "</answe>", "angles": "<",
    "brackets": "[", "closing brackets": "]", "pairs of brackets": "[]", "begun lists": "[1", "nested lists": "[1,[", "lists in lines": "[1]\n",
    "listed ones": "1,", "ones": "1 ", "digits": "1", "zeros": "0", "Arabic digits": "٣", "commas": ",", "semicolons": "; ",
    "notes": "Image 1: a\n", "notes without a mark": "Image 1 \n", "numbered": "1. 3\n", "numbered pages": "1. Image 3\n2. Image 1\n",
    "numbers on one line": "1. 2 ", "chain": "Image 1 > ", "bare chain": "1 > ", "signs": "-", "ranges": "1-9,", "wide ranges": "1 - 9 ",
    "decimals": "1.5,", "full stops": ".", "words": "a ", "letters": "a", "labels": "image ", "fences": "```", "fenced": "```json\n[1]\n",
    "objects": '{"a":', "members": '{"a":[1],', "underscores": "_", "stars": "*", "quotes": '"', "surrogates": "\ud800", "emoji": "😀",
    "dotted capitals": "İ", "Kelvin": "<thin\u212a>", "NUL": "\0",
}  # fmt: skip
AROUND = {
    "bare": "{}",
    "answer": "<think>x</think><answer>[{}]</answer>",
    "cut off": "<think>x</think><answer>[1{}",
    "thought": "<think>{}</think><answer>[2, 1]</answer>",
    "half a list": "<think>x</think><answer>1. {}1]</answer> [1",
}


def hostile(piece, around, size):
    return AROUND[around].format((piece * (size // len(piece) + 1))[:size])


def seconds(text):
    """Of this process, for everything that reads a reply."""
    start = time.process_time()
    parse(text, 10)
    taken = time.process_time() - start
    answer_start(text), Answering.begin(10).read(text), parse_verdict(text), fold(text)
    return taken, time.process_time() - start - taken


@pytest.mark.parametrize("around", AROUND)
def test_the_time_of_reading_grows_no_faster_than_the_reply(around):
    slow = {name: taken for name, piece in PIECES.items() if max(taken := seconds(hostile(piece, around, 100_000))) > 0.25}
    assert not slow


@pytest.mark.parametrize("piece", [" ", "<answer>", "<think>", "1", "1,", "["])
def test_five_megabytes_are_read_within_a_second(piece):
    for around in ("bare", "answer"):
        assert max(seconds(hostile(piece, around, 5_000_000))) < 1


@pytest.mark.slow
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("name", PIECES)
def test_five_megabytes_of_anything_are_read_within_a_second(name, around):
    assert max(seconds(hostile(PIECES[name], around, 5_000_000))) < 1
