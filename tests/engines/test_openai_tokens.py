"""Prompts as token ids: what the engine sends is what real servers took, and what a server read is checked.

``recorded/vllm-0.32.0.json`` holds requests and answers of a vLLM 0.32.0 server on a CPU, with a tiny Qwen2.5-VL, and beside them
the replies that the engine ``transformers`` gave for the same prompts; ``recorded/llama.cpp-0c1e570.json`` those of a llama-server
built from that commit, which takes no ids where it has an ``--mmproj``.
"""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from engines.test_openai import completion, server
from mmr5 import prompt
from mmr5.engines.chat_template import LocalPrompts
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ContextLengthError, EngineError
from support.tiny import Picture


def recorded(name):
    """Case → what was sent, what was answered, what the local engine wrote."""
    found = json.loads((Path(__file__).parent / "recorded" / name).read_text())
    return {case["name"]: case for case in found["cases"]}


CASES = recorded("vllm-0.32.0.json")
LLAMA_CPP = recorded("llama.cpp-0c1e570.json")


def text(words, prefill=""):
    return Request([{"role": "user", "content": [{"type": "text", "text": "fees?" + " page" * words}]}], prefill)


def shown(n, prefill="", side=56, height=84):
    parts = [{"type": "image", "image": Picture(str(i), (side + 28 * i, height))} for i in range(n)]
    return Request([{"role": "user", "content": [{"type": "text", "text": "fees?"}, *parts]}], prefill)


LISTED = [Picture(str(i), (84 + 28 * i, 112)) for i in range(2)]


def replay(case):
    """A server that gives the recorded answers, in order."""
    calls = iter(case["calls"])

    def answer(body, n):
        call = next(calls)
        return call["status"], call["response"], {}

    return server(answer)


@pytest.mark.parametrize(
    ("name", "request_", "sampling"),
    [
        ("text", text(3), Sampling(8)),
        ("prefill", text(2, "<think>"), Sampling(8)),
        ("stop", text(3), Sampling(24, stop=("t",))),
        ("pictures", shown(2), Sampling(8)),
        ("pictures and prefill", shown(1, "<think>"), Sampling(8)),
    ],
)
def test_a_recorded_vllm_took_these_bytes_and_wrote_what_the_local_engine_writes(tiny_vision, name, request_, sampling):
    case = CASES[name]
    with replay(case) as (url, seen, _):
        reply = OpenAIEngine("tiny", url, tokenizer=tiny_vision, retries=0).generate([request_], sampling)[0]
    assert [(s["path"], s["body"]) for s in seen] == [(c["path"], c["request"]) for c in case["calls"]]
    local = case["local"]
    assert (reply.text, reply.finish) == (local["text"], local["finish"])
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (local["prompt_tokens"], local["completion_tokens"])


@pytest.mark.parametrize(
    ("name", "request_", "sampling"),
    [
        ("text", text(3), Sampling(8)),
        ("prefill", text(2, "<think>"), Sampling(8)),
        ("stop", text(3), Sampling(24, stop=("t",))),
        ("pictures", shown(2, side=84, height=112), Sampling(8)),
        ("list", Request(prompt.listwise("which?", view="image", think=True, images=LISTED)), Sampling(8)),
        ("pictures and prefill", shown(1, "<think>", side=84, height=112), Sampling(8)),
    ],
)
def test_a_recorded_llama_cpp_took_these_bytes_and_wrote_what_the_local_engine_writes(tiny_vision, name, request_, sampling):
    """Texts are compared up to the half character at their end, which this server leaves out."""
    case = LLAMA_CPP[name]
    with replay(case) as (url, seen, _):
        reply = OpenAIEngine("tiny", url, tokenizer=tiny_vision, retries=0).generate([request_], sampling)[0]
    assert [(s["path"], s["body"]) for s in seen] == [(c["path"], c["request"]) for c in case["calls"]]
    local = case["local"]
    assert len(local["text"]) > 4
    assert (reply.text.rstrip("\ufffd"), reply.finish) == (local["text"].rstrip("\ufffd"), local["finish"])
    assert reply.usage.prompt_tokens == local["prompt_tokens"]


def test_a_recorded_vllm_refused_in_words_that_are_understood():
    with replay(CASES["too long"]) as (url, seen, _), pytest.raises(ContextLengthError):
        OpenAIEngine("tiny", url, retries=0).generate([text(900)], Sampling(8))
    assert seen[0]["body"] == CASES["too long"]["calls"][0]["request"]
    with replay(CASES["no such model"]) as (url, _, _), pytest.raises(EngineError, match="the name of the served model"):
        OpenAIEngine("other", url, retries=0).generate([text(1)], Sampling(8))


def test_ids_of_text_are_those_of_the_local_engine(tiny_text):
    local = TransformersEngine.from_pretrained(str(tiny_text), dtype="float32", device="cpu")
    request = Request(prompt.listwise("é?", view="text", think=True, texts=["a <|im_end|>", "b"]), "<answer>[")
    with server(lambda body, n: (200, told(body["prompt"], body["prompt"], [5, 6]), {})) as (url, seen, _):
        engine = OpenAIEngine("m", url, tokenizer=tiny_text)
        reply = engine.generate([request], Sampling(4))[0]
    assert seen[0]["path"] == "/v1/completions"
    tokenizer = AutoTokenizer.from_pretrained(tiny_text)
    assert seen[0]["body"]["prompt"] == tokenizer(local.render(request), add_special_tokens=False)["input_ids"]
    assert len(seen[0]["body"]["prompt"]) == local.generate([request], Sampling(1))[0].usage.prompt_tokens
    assert reply.text == LocalPrompts.from_pretrained(tiny_text).decode([5, 6])
    assert engine.capabilities.prefill
    assert engine.count_tokens("abcd") == 4
    assert engine.reserved == local.reserved


def told(prompt_ids, read, written=None):
    return {
        "choices": [{"text": "server's own", "finish_reason": "length", "prompt_token_ids": read, "token_ids": written}],
        "usage": {"prompt_tokens": len(prompt_ids), "completion_tokens": 2},
    }


def test_a_server_that_read_other_tokens_is_found_out(tiny_vision):
    def other(body, n):
        meant = LocalPrompts.from_pretrained(tiny_vision).ids(text(3))
        return 200, told(meant, [*meant[:4], meant[4] + 1, *meant[5:]]), {}

    with server(other) as (url, _, _), pytest.raises(EngineError, match=r"first difference at token 4 .*serving-backends"):
        OpenAIEngine("m", url, tokenizer=tiny_vision, retries=0).generate([text(3)], Sampling(8))


def test_a_server_with_another_pixel_budget_is_found_out(tiny_vision):
    """A server that tells numbers alone: a page that it shrinks costs fewer tokens than it should."""
    with server(lambda b, n: (200, completion("x"), {})) as (url, _, _), pytest.raises(EngineError, match="11 tokens instead of"):
        OpenAIEngine("m", url, tokenizer=tiny_vision, retries=0).generate([shown(2)], Sampling(8))


def test_a_server_that_tells_nothing_cannot_be_checked(tiny_vision):
    silent = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}
    with server(lambda b, n: (200, silent, {})) as (url, _, _), pytest.raises(EngineError, match="cannot be checked"):
        OpenAIEngine("m", url, tokenizer=tiny_vision, retries=0).generate([shown(1)], Sampling(8))


def test_what_stands_for_a_picture_may_have_another_number(tiny_vision):
    """SGLang puts numbers of its own where a picture is."""
    local = LocalPrompts.from_pretrained(tiny_vision)
    meant = local.expanded(local.ids(shown(1)), [(56, 84)])

    def sglang(body, n):
        read = [999_999 if i == local.image_token else i for i in meant]
        choice = {"message": {"content": "x"}, "finish_reason": "stop", "prompt_token_ids": read, "response_token_ids": [7, 8]}
        return 200, {"choices": [choice], "usage": {"prompt_tokens": len(read), "completion_tokens": 2}}, {}

    with server(sglang) as (url, _, _):
        reply = OpenAIEngine("m", url, tokenizer=tiny_vision, retries=0).generate([shown(1)], Sampling(8))[0]
    assert (reply.text, reply.usage.completion_tokens) == (local.decode([7, 8]), 2)


def test_a_server_that_knows_no_further_fields_is_asked_without_them(tiny_text):
    """transformers' own server: 422 for fields, 400 for ids; then messages, whose number of tokens is checked."""
    count = len(LocalPrompts.from_pretrained(tiny_text).ids(text(2)))

    def answer(body, n):
        if "top_k" in body:
            return 422, {"detail": "Unexpected fields in the request: {'top_k'}"}, {}
        if "prompt" in body:
            return 400, {"detail": "prompt must be a string."}, {}
        found = completion("said")
        found["usage"]["prompt_tokens"] = count
        return 200, found, {}

    with server(answer) as (url, seen, _):
        engine = OpenAIEngine("m", url, tokenizer=tiny_text, retries=0, concurrency=1)
        replies = engine.generate([text(2), text(2)], Sampling(8))
    assert [r.text for r in replies] == ["said", "said"]
    assert len(seen) == 4


def test_connections_are_kept_between_calls():
    from mmr5.engines.openai import client

    opened = []
    original = client.httpx.AsyncClient

    class Counted(original):
        def __init__(self, *args, **kwargs):
            opened.append(1)
            super().__init__(*args, **kwargs)

    client.httpx.AsyncClient = Counted
    try:
        with server(lambda b, n: (200, completion("x"), {})) as (url, seen, _):
            engine = OpenAIEngine("m", url)
            for _ in range(3):
                engine.generate([text(1)], Sampling(8))
            assert (len(opened), len(seen)) == (1, 3)
            engine.close()
            assert engine.generate([text(1)], Sampling(8))[0].text == "x"
            assert len(opened) == 2
            engine.close()
    finally:
        client.httpx.AsyncClient = original


def test_the_bound_on_requests_holds_over_all_callers():
    import time
    from concurrent.futures import ThreadPoolExecutor

    def slow(body, n):
        time.sleep(0.05)
        return 200, completion("x"), {}

    with server(slow) as (url, seen, active), ThreadPoolExecutor(4) as pool:
        engine = OpenAIEngine("m", url, concurrency=3)
        list(pool.map(lambda _: engine.generate([text(1)] * 3, Sampling(8)), range(4)))
    assert (active[1], len(seen)) == (3, 12)


def test_doctor_says_whether_a_server_reads_the_same(tiny_vision, capsys):
    from mmr5.cli.main import main

    local = LocalPrompts.from_pretrained(tiny_vision)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["doctor", "--model", str(tiny_vision), *arguments])
        return ended.value.code, capsys.readouterr()

    code, said = run()
    assert (code, local.template_fingerprint in said.out) == (0, True)

    def answer(pictures_read):
        def honest(body, n):
            if "prompt" in body:
                return 200, told(body["prompt"], body["prompt"], [5]), {}
            found = completion("x")
            found["usage"]["prompt_tokens"] = pictures_read
            return 200, found, {}

        return honest

    shown_twice = Request([{"role": "user", "content": [{"type": "image", "image": Picture("a")}] * 2}])
    words = local.count_tokens("Which page says it?")
    right = len(local.expanded(local.ids(shown_twice), [(612, 792), (880, 1139)])) + words
    for pictures_read, expected in ((1, 1), (right, 0)):
        with server(answer(pictures_read)) as (url, _, _):
            code, said = run("--base-url", url, "--json")
        report = json.loads(said.out)
        assert report["served"]["text"].startswith("the same ")
        assert report["served"]["pictures"].startswith("the same " if expected == 0 else "http"), report
        assert code == expected
