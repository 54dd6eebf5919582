"""One contract over every engine: what each must do, whatever stands behind it."""

import math
import pickle
from dataclasses import replace

import pytest

from engines.test_openai import completion, server
from mmr5 import prompt
from mmr5.answer import parse
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.protocol import CAPABILITY_ENGINES, Capabilities, Engine, Reply, Request, Sampling, require
from mmr5.engines.scripted import ScriptedEngine
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import CapabilityError, EngineError
from support.tiny import Picture


@pytest.fixture(params=["scripted", "transformers-text", "transformers-vision", "openai"])
def engine(request, tiny_text, tiny_vision):
    if request.param == "scripted":
        yield ScriptedEngine()
    elif request.param == "openai":
        with server(lambda body, n: (200, completion(str(body["messages"][-1]["content"])[-20:]), {})) as (url, _, _):
            yield OpenAIEngine("m", url)
    else:
        folder = tiny_text if request.param.endswith("text") else tiny_vision
        yield TransformersEngine.from_pretrained(str(folder), dtype="float32", device="cpu")


def text_requests(n):
    return [Request(prompt.listwise(f"question {i}?", view="text", think=True, texts=[f"page {i}", "other"])) for i in range(n)]


def test_it_meets_the_protocol_and_says_what_it_can(engine):
    assert isinstance(engine, Engine)
    assert isinstance(engine.capabilities, Capabilities)
    assert engine.name in ("scripted", "transformers", "openai")
    assert engine.model
    assert all(isinstance(t, str) and t for t in engine.reserved)


def test_one_reply_a_request_in_order(engine):
    requests = text_requests(3)
    together = engine.generate(requests, Sampling(8))
    assert [type(r) for r in together] == [Reply] * 3
    assert [r.text for r in together] == [engine.generate([r], Sampling(8))[0].text for r in requests]
    assert engine.generate([], Sampling(8)) == []
    assert all(r.finish in ("stop", "length") and r.usage.prompt_tokens >= 0 for r in together)


def test_text_is_heard_while_it_is_written(engine):
    heard = {}
    replies = engine.generate(text_requests(3), Sampling(8), lambda i, text: heard.setdefault(i, []).append(text))
    assert ["".join(heard.get(i, [])) for i in range(3)] == [r.text for r in replies]
    assert [r.text for r in replies] == [r.text for r in engine.generate(text_requests(3), Sampling(8))]
    if engine.name != "openai":
        assert max(len(pieces) for pieces in heard.values()) > 1


def test_greedy_is_repeatable(engine):
    first, second = (engine.generate(text_requests(2), Sampling(8)) for _ in range(2))
    assert first == second


def test_tokens_are_counted(engine):
    assert engine.count_tokens("one two three four five six") >= 6
    assert engine.count_tokens("") <= 1


def test_scores_are_there_or_refused_by_name(engine):
    requests = text_requests(2)
    if engine.capabilities.score_choices:
        found = engine.score_choices([Request(r.messages, "<answer>[") for r in requests], [["1,", "2,"], ["1,", "2,", "10,"]])
        assert [len(f.logprobs) for f in found] == [2, 3]
        assert all(sum(math.exp(v) for v in f.logprobs) == pytest.approx(1, abs=1e-4) for f in found)
    else:
        with pytest.raises(CapabilityError, match="transformers"):
            engine.score_choices(requests, [["1,"], ["1,"]])
    if engine.capabilities.score_text:
        found = engine.score_text(requests, ["is it here?", "and what of a longer one, then?"])
        assert all(f.mean_logprob <= 0 and f.n_tokens >= 1 for f in found)
    else:
        with pytest.raises(CapabilityError, match="transformers"):
            engine.score_text(requests, ["a", "b"])


def test_an_answer_is_constrained_or_that_is_refused_by_name(engine):
    request = replace(text_requests(1)[0], prefill="<answer>[", answer_ids=2)
    if engine.capabilities.constrain:
        reply = engine.generate([request], Sampling(40, stop=("</answer>",)))[0]
        assert parse("<answer>[" + reply.text, 2, think=False).issues == ()
    else:
        with pytest.raises(CapabilityError, match="transformers"):
            engine.generate([replace(request, prefill="")], Sampling(40))


def test_pictures_are_read_or_refused(engine):
    request = Request(prompt.listwise("q", view="image", think=True, images=[Picture("a"), Picture("b")]))
    if engine.capabilities.images:
        assert len(engine.generate([request], Sampling(4))) == 1
    else:
        with pytest.raises((EngineError, CapabilityError)):
            engine.generate([request], Sampling(4))


def test_pictures_are_pruned_or_that_is_refused_by_name(engine):
    messages = prompt.listwise("q", view="image", think=True, images=[Picture("a"), Picture("b")])
    whole, half = (Request(messages, keep=share, question="what is it?") for share in (1.0, 0.5))
    if engine.capabilities.keep:
        read = [engine.generate([r], Sampling(4))[0].usage.prompt_tokens for r in (whole, half)]
        assert read[0] - read[1] == 2 * 6  # two pictures of 12 tokens
    else:
        with pytest.raises(CapabilityError, match="Qwen2"):
            engine.generate([half], Sampling(4))


def test_require_names_the_engines_that_can():
    for capability, able in CAPABILITY_ENGINES.items():
        lacking = ScriptedEngine(capabilities=Capabilities(generate=False))
        with pytest.raises(CapabilityError, match=able[0].split()[0]):
            require(lacking, capability, "a test")


def test_a_script_that_runs_out_says_so():
    with pytest.raises(EngineError, match="one more was asked for"):
        ScriptedEngine(["only one"]).generate(text_requests(2), Sampling(8))


def test_engine_errors_survive_a_process_border():
    error = pickle.loads(pickle.dumps(EngineError("down", retryable=True)))
    assert (str(error), error.retryable) == ("down", True)
