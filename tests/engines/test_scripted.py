"""The dry run goes by what a request says, not by the words of its prompt; and it forgets."""

import pytest

from mmr5 import prompt
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.scripted import REMEMBERED, ScriptedEngine
from mmr5.errors import EngineError


def nothing(**values):
    return Request([{"role": "user", "content": [{"type": "text", "text": "id from 1 to 9, Page: x Question: y"}]}], **values)


def test_a_long_life_keeps_the_last_requests_alone():
    engine = ScriptedEngine(lambda request: "")
    for i in range(REMEMBERED + 7):
        engine.generate([nothing(question=str(i))], Sampling())
    assert [r.question for r in engine.requests] == [str(i) for i in range(7, REMEMBERED + 7)]
    engine.score_text([nothing()], ["a"])
    engine.score_choices([nothing()], [["a", "b"]])
    assert len(engine.requests) == REMEMBERED
    assert engine.requests[-3].question == str(REMEMBERED + 6)


def test_the_words_of_a_prompt_decide_nothing():
    engine = ScriptedEngine()
    write = lambda **values: engine.generate([nothing(**values)], Sampling())[0].text  # noqa: E731
    assert write(n_pages=2) == "<answer>[1, 2]</answer>"
    assert write(n_pages=2, think=True).startswith("<think>")
    assert write(page="The harbour master. Seals sleep.", question="who is the harbour master?").startswith(("Yes", "No"))
    assert "nothing in words" in write()
    assert write(page="Seals sleep.", question="seals", prefill="Yes.") == " Says: Seals sleep."


def test_a_verdict_is_by_the_questions_words_on_the_page():
    engine = ScriptedEngine()

    def odds(page):
        messages = prompt.pointwise("harbour dues", view="text", text=page)
        scored = engine.score_choices(
            [Request(messages, question="harbour dues", page=page, measured="harbour dues")], [["Yes", "No"]]
        )
        return scored[0].logprobs[0], scored[0].measured.mean_logprob

    assert odds("harbour dues") > odds("the harbour") > odds("seals")
    assert odds("harbour dues")[1] == 0.0
    assert odds("seals")[1] == -2.0


def test_a_script_that_runs_out_says_so():
    engine = ScriptedEngine(["one"])
    engine.generate([nothing()], Sampling())
    with pytest.raises(EngineError, match="1 replies"):
        engine.generate([nothing()], Sampling())
