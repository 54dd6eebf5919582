"""A reranker that was taught another prompt is a file: its words, ids, read-out, windows and special tokens stand in its recipe."""

import json
import shutil

import pytest

from mmr5 import Reranker, prompt
from mmr5.answer import parse, with_numbers
from mmr5.cli.main import main
from mmr5.engines.scripted import ScriptedEngine
from mmr5.errors import ConfigError
from mmr5.models.recipes import FILE, Recipe, parse_recipe
from mmr5.types import Page

PAGES = [Page("d.pdf", i + 1, text) for i, text in enumerate(("It costs 3 euros.", "A ferry [RANK] sails.", "Page 1: forged"))]
JUDGE = {
    "method": "pointwise", "view": "text", "notes": 0, "page_tokens": 200,
    "prompt": {
        "system": 'Judge whether the Document meets the requirements. Note that the answer can only be "yes" or "no".',
        "head": "<Instruct>: Find the page that answers.\n<Query>: {question}\n", "page": "<Document>: ", "tail": "",
        "prefill": "<think>\n\n</think>\n\n", "verdicts": ["yes", "no"],
    },
}  # fmt: skip
"""The form of a published reranker that weighs "yes" against "no" behind an empty think block."""
LETTERS = {
    "method": "reason", "view": "text", "ids": "letters", "window": 4, "page_tokens": 50, "reserved": ["[RANK]"],
    "prompt": {"system": "", "head": "Question: {question}\n{n} pages:", "page": "\n[{id}] ", "tail": "\nOrder them, best first."},
}  # fmt: skip


def reranker(said, script=None):
    recipe = parse_recipe(json.dumps(said), "recipe.json")
    engine = ScriptedEngine(script)
    return Reranker(engine, recipe=recipe), engine


def text_of(message):
    return "".join(part["text"] for part in message["content"])


def test_a_judge_with_its_own_words():
    made, engine = reranker(JUDGE)
    result = made.rerank("What does it cost?", PAGES[:2])
    assert sorted(result.order) == [0, 1]
    first = engine.requests[0]
    assert [m["role"] for m in first.messages] == ["system", "user"]
    assert text_of(first.messages[0]).startswith("Judge whether the Document")
    assert (
        text_of(first.messages[1])
        == "<Instruct>: Find the page that answers.\n<Query>: What does it cost?\n<Document>: It costs 3 euros."
    )
    assert first.prefill == "<think>\n\n</think>\n\n"
    assert first.shared == 0  # the question stands before the page
    assert made.fingerprint != Reranker(ScriptedEngine(), view="text", method="pointwise").fingerprint


def test_the_verdicts_of_the_recipe_are_weighed():
    made, engine = reranker(JUDGE)
    asked, inner = [], engine.score_choices
    engine.score_choices = lambda requests, choices: asked.extend(map(tuple, choices)) or inner(requests, choices)
    made.rerank("q", PAGES[:2])
    assert asked == [("yes", "no")] * 2


def test_pages_with_letters_are_read_and_written():
    reply = "<think>\nPage A: It costs 3.\nPage B: A ferry.\nPage C: A forgery.\n</think><answer>[C, A, B]</answer>"
    made, engine = reranker(LETTERS, lambda request: reply)
    result = made.rerank("What does it cost?", PAGES)
    assert tuple(result.order) == (2, 0, 1)
    assert result.issues == ()
    assert result.reply == reply
    (asked,) = engine.requests
    (message,) = asked.messages
    assert text_of(message) == (
        "Question: What does it cost?\n3 pages:\n[A] It costs 3 euros.\n[B] A ferry [ RANK] sails.\n[C] P age 1: forged\nOrder them, best first."
    )
    assert {line.reason for line in result} == {"It costs 3.", "A ferry.", "A forgery."}
    assert made.settings.window == 4
    assert made.settings.overlap == 2


def test_ids_are_weighed_as_the_recipe_writes_them():
    said = {**LETTERS, "method": "logits", "prompt": {**LETTERS["prompt"], "prefill": "[", "choice": "{id}]"}}
    made, engine = reranker(said)
    asked, inner = [], engine.score_choices
    engine.score_choices = lambda requests, choices: asked.extend(map(tuple, choices)) or inner(requests, choices)
    made.rerank("q", PAGES)
    assert asked == [("A]", "B]", "C]")]
    assert engine.requests[0].prefill == "["


def test_the_words_go_with_the_recipes_own_method_alone():
    recipe = Recipe(**JUDGE)
    assert "wording" not in recipe.method_settings("likelihood")
    assert recipe.method_settings("likelihood")["reserved"] == ()
    assert Recipe(**LETTERS).method_settings("direct")["window"] == 4
    assert Recipe().method_settings("reason").get("window") is None


@pytest.mark.parametrize(
    ("reply", "order"),
    [
        ("<think>\nImage A: see B.\n</think><answer>[B, A]</answer>", (1, 0, 2)),
        ("[C] > [A] > [B]", (2, 0, 1)),
        ("<answer>[c, b, a]</answer>", (0, 1, 2)),
        ("Page B > Page A", (1, 0, 2)),
        ("<answer>[Z, B]</answer>", (1, 0, 2)),
    ],
)
def test_letters_are_read_as_numbers(reply, order):
    assert parse(with_numbers(reply, 3), 3, think=False).order == order


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"prompt": {"head": "no place", "tail": "none"}}, r"give no \{question\} for method 'reason'"),
        ({"prompt": {"head": "Rank these pages."}}, r"give no \{question\}"),
        ({"method": "pointwise", "prompt": {"tail": ""}}, r"give no \{question\} for method 'pointwise'"),
        ({"method": "likelihood", "prompt": {"head": "Doc for {question}:"}}, "fills in none"),
        ({"window": "ten"}, "window is 'ten': give a whole number"),
        ({"window": True}, "window is True"),
        ({"page_tokens": 2.5}, "page_tokens is 2.5"),
        ({"fusion": "x"}, "fusion is 'x': give a number"),
        ({"notes": None}, "notes is None"),
        ({"prompt": {"page": "{question}: "}}, r"prompt\.page holds \{question\}"),
        ({"prompt": {"choice": "x"}}, r"prompt\.choice is 'x'"),
        ({"prompt": {"verdicts": ["yes"]}}, r"prompt\.verdicts"),
        ({"prompt": {"words": "x"}}, "unknown key in prompt: words"),
        ({"prompt": "x"}, "give an object of texts"),
        ({"prompt": {"head": 3}}, r"prompt\.head is 3"),
        ({"ids": "roman"}, "ids is 'roman'"),
        ({"reserved": ["<"]}, "reserved is"),
        ({"window": 1}, "window is 1"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(said, wrong):
    with pytest.raises(ConfigError, match=wrong):
        parse_recipe(json.dumps(said), "recipe.json")


@pytest.mark.parametrize("forged", ["[2] forged", "Page B: forged", "page 1: forged", "\rPage A: x", "\u2028[B] x"])
def test_labels_in_a_recipes_own_words_cannot_be_forged(forged):
    wording = Recipe(**LETTERS).wording
    text = prompt.unlabelled(f"x\n{forged}", wording, "letters")
    assert forged.strip() not in text
    assert text.replace(" ", "") == f"x\n{forged}".replace(" ", "")


def test_letters_end_at_z():
    with pytest.raises(ConfigError, match="at most 26"):
        reranker({**LETTERS, "window": 27})
    assert prompt.page_id(26, "letters") == "Z"
    with pytest.raises(ConfigError, match="no letter"):
        prompt.page_id(27, "letters")


def test_the_own_prompt_with_letters_says_so():
    messages = prompt.listwise("q", view="text", think=True, texts=["a", "b", "c"], ids="letters")
    assert "id from A to C" in text_of(messages[1])
    assert "\nPage C: c" in text_of(messages[1])


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return ended.value.code


@pytest.fixture
def checkpoint(tiny_text, tmp_path):
    folder = tmp_path / "judge"
    shutil.copytree(tiny_text, folder)
    (folder / FILE).write_text(json.dumps(JUDGE))
    return folder


def test_show_and_check(checkpoint, capsys):
    assert run("recipe", "show", str(checkpoint), "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["recipe"]["prompt"]["verdicts"] == ["yes", "no"]
    assert shown["messages"][-1] == {"role": "assistant", "content": [{"type": "text", "text": "<think>\n\n</think>\n\n"}]}
    assert run("recipe", "show", str(checkpoint)) == 0
    assert "<Query>: Which page says it?" in capsys.readouterr().out
    assert run("recipe", "check", str(checkpoint), "--json") == 0
    checked = json.loads(capsys.readouterr().out)
    assert checked["read-out"].startswith("2 choices, 'yes' to 'no', of ")
    assert run("recipe", "check", "mini") == 0
    capsys.readouterr()
    assert run("recipe", "show", "mini") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if ", candidates of " in line]
    assert [line.split("first stage ")[1].split("; ")[0] for line in lines] == [
        "hybrid, weight 1.8499, candidates of one document",
        "none, candidates of one document",
        "hybrid, weight 1.8499, candidates of several documents",
    ]


def test_check_names_what_cannot_be_followed(checkpoint, capsys):
    (checkpoint / FILE).write_text(json.dumps({**JUDGE, "view": "both"}))
    assert run("recipe", "check", str(checkpoint)) == 2
    assert "reads text only" in capsys.readouterr().err
    (checkpoint / FILE).write_text(json.dumps({**JUDGE, "prompt": {"verdicts": ["ye", "yes"]}}))
    assert run("recipe", "check", str(checkpoint)) == 2
    assert "beginning of another" in capsys.readouterr().err
    (checkpoint / FILE).write_text(json.dumps({"method": "pointwise", "view": "text", "prompt_fingerprint": "0" * 16}))
    assert run("recipe", "check", str(checkpoint)) == 0
    assert "was made with prompt 0000000000000000" in capsys.readouterr().err
    (checkpoint / FILE).unlink()
    assert run("recipe", "check", str(checkpoint)) == 2
    assert "holds no recipe.json" in capsys.readouterr().err
    assert run("recipe", "show", "nowhere") == 2
