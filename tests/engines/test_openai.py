import asyncio
import base64
import io
import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
from PIL import Image

from mmr5 import Page, Reranker, prompt
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.openai.wire import retry_after
from mmr5.engines.protocol import Reply, Request, Sampling
from mmr5.errors import CapabilityError, ConfigError, ContextLengthError, EngineError, PageError
from mmr5.types import Candidates
from support.tiny import Picture

SAMPLING = Sampling(64, stop=("</answer>",))


def completion(text, finish="stop", **message):
    return {
        "choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 7},
    }


@contextmanager
def server(answer):
    """A server whose ``answer(body, seen)`` gives (status, JSON or bytes, headers)."""
    seen, active, lock = [], [0, 0], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            with lock:
                seen.append({"path": self.path, "body": body, "auth": self.headers.get("authorization")})
                active[0] += 1
                active[1] = max(active)
            status, content, headers = answer(body, len(seen))
            with lock:
                active[0] -= 1
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass

        def log_message(self, *args):
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", seen, active
    finally:
        running.shutdown()
        running.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("mmr5.engines.openai.engine.BACKOFF_SECONDS", 0.01)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("MMR5_API_KEY", raising=False)


def ask(text="q"):
    return Request([{"role": "user", "content": [{"type": "text", "text": text}]}])


def echo(body, _):
    return 200, completion("re: " + body["messages"][-1]["content"]), {}


def test_replies_come_back_in_order_with_usage():
    with server(echo) as (url, seen, _):
        replies = OpenAIEngine("m", url).generate([ask(str(i)) for i in range(20)], SAMPLING)
    assert [r.text for r in replies] == [f"re: {i}" for i in range(20)]
    assert (replies[0].usage.prompt_tokens, replies[0].usage.completion_tokens) == (11, 7)
    body = seen[0]["body"]
    assert seen[0]["path"] == "/v1/chat/completions"
    assert (body["model"], body["max_tokens"], body["temperature"], body["seed"], body["stop"]) == (
        "m",
        64,
        0.0,
        0,
        ["</answer>"],
    )
    assert seen[0]["auth"] is None


def test_pictures_travel_unchanged_in_page_order():
    pictures = [Picture("a", (30, 40), mark="red"), Picture("b", (50, 20), mark="blue")]
    with server(lambda body, _: (200, completion("<answer>[1]"), {})) as (url, seen, _):
        OpenAIEngine("m", url + "/v1/").generate(
            [Request(prompt.listwise("q", view="image", think=True, images=pictures))], SAMPLING
        )
    content = seen[0]["body"]["messages"][1]["content"]
    sent = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    decoded = [Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))) for uri in sent]
    assert [d.tobytes() for d in decoded] == [p.load().tobytes() for p in pictures]
    assert [part["type"] for part in content] == ["text", "image_url"] * 2  # texts in a row are one: llama.cpp would part them
    assert content[0]["text"].endswith("mapping:\n\nImage 1: ")
    assert content[2] == {"type": "text", "text": "\nImage 2: "}


def test_the_stop_string_that_a_server_drops_is_put_back():
    texts = ["<think>a</think><answer>[2, 1]", "<think>a</think><answer>[2, 1]</answer>", "no answer"]
    with server(lambda body, n: (200, completion(texts[int(body["messages"][0]["content"])]), {})) as (url, _, _):
        replies = OpenAIEngine("m", url).generate([ask(str(i)) for i in range(3)], SAMPLING)
    assert [r.text for r in replies] == [texts[1], texts[1], "no answer"]


def test_a_reply_at_the_token_limit_is_marked_and_left_open():
    with server(lambda body, n: (200, completion("<answer>[2,", "length"), {})) as (url, _, _):
        reply = OpenAIEngine("m", url).generate([ask()], SAMPLING)[0]
    assert (reply.text, reply.finish) == ("<answer>[2,", "length")


def test_reasoning_that_a_server_split_off_is_put_back():
    with server(lambda body, n: (200, completion("\n<answer>[1]", reasoning_content="hm "), {})) as (url, _, _):
        reply = OpenAIEngine("m", url).generate([ask()], SAMPLING)[0]
    assert reply.text == "<think>\nhm\n</think><answer>[1]</answer>"


def test_retry_after_is_honoured_on_429():
    def answer(body, n):
        return (429, {"error": {"message": "slow down"}}, {"retry-after": "0.3"}) if n == 1 else echo(body, n)

    with server(answer) as (url, seen, _):
        start = time.perf_counter()
        assert OpenAIEngine("m", url).generate([ask("x")], SAMPLING)[0].text == "re: x"
    assert time.perf_counter() - start >= 0.3
    assert len(seen) == 2


def test_a_server_that_recovers_loses_nothing():
    def answer(body, n):
        return (500, b"boom", {}) if n <= 3 else echo(body, n)

    with server(answer) as (url, _, _):
        replies = OpenAIEngine("m", url, concurrency=2).generate([ask(str(i)) for i in range(5)], SAMPLING)
    assert [r.text for r in replies] == [f"re: {i}" for i in range(5)]


def test_tries_are_bounded_and_the_error_says_so():
    with server(lambda body, n: (503, {"error": {"message": "loading"}}, {})) as (url, seen, _):
        with pytest.raises(EngineError, match=r"503 \(try 3\): loading") as caught:
            OpenAIEngine("m", url, retries=2).generate([ask()], SAMPLING)
    assert len(seen) == 3
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "body", "said", "kind"),
    [
        (401, {"error": {"message": "bad key"}}, "bad key — set MMR5_API_KEY", EngineError),
        (404, {"detail": "no model m"}, "no model m — is 'm' the name", EngineError),
        (400, {"error": {"message": "maximum context length is 4096"}}, "too long", ContextLengthError),
        (422, b"what?", "what", EngineError),
    ],
)
def test_other_refusals_are_final(status, body, said, kind):
    with server(lambda b, n: (status, body, {})) as (url, seen, _), pytest.raises(kind, match=said):
        OpenAIEngine("m", url).generate([ask()], SAMPLING)
    assert len(seen) == 1


def test_what_is_no_completion_is_an_error():
    for content in (b"<html>", {"choices": []}, [1], {"choices": [{"message": None}]}):
        with server(lambda b, n, c=content: (200, c, {})) as (url, _, _), pytest.raises(EngineError, match="no chat completion"):
            OpenAIEngine("m", url).generate([ask()], SAMPLING)


def test_a_200_with_garbage_is_asked_again():
    garbage = [
        b"<html>busy</html>",
        {"choices": []},
        {"choices": [{"message": {}, "finish_reason": "stop"}]},
        {"choices": [{"message": {"content": "half"}, "finish_reason": "error"}]},
        b'{"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": Infinity}}',
    ]

    def answer(body, n):
        return (200, garbage[n - 1], {}) if n <= len(garbage) else echo(body, n)

    with server(answer) as (url, seen, _):
        assert OpenAIEngine("m", url, retries=5).generate([ask("a")], SAMPLING)[0].text == "re: a"
        assert len(seen) == 6
    with (
        server(lambda b, n: (200, b"nothing", {})) as (url, seen, _),
        pytest.raises(EngineError, match="no chat completion") as caught,
    ):
        OpenAIEngine("m", url, retries=2).generate([ask()], SAMPLING)
    assert len(seen) == 3
    assert caught.value.retryable


def test_a_failing_question_takes_no_other_with_it():
    """Twenty lists on one server, nine of which it refuses: eleven rankings, nine errors, each in its place."""

    def answer(body, n):
        said = body["messages"][-1]["content"]
        time.sleep(0.02)
        refused = any(f"question {i}?" in said for i in range(0, 18, 2))
        return (400, {"error": "bad page"}, {}) if refused else (200, completion("<think>x</think><answer>[2, 1]</answer>"), {})

    lists = [Candidates(f"question {i}?", [Page("d", 1, "a"), Page("d", 2, "b")]) for i in range(20)]
    with server(answer) as (url, seen, active):
        reranker = Reranker(OpenAIEngine("m", url, concurrency=4), view="text", method="reason")
        found = reranker.rank_each(lists)
        assert [isinstance(f, EngineError) for f in found] == [i < 18 and i % 2 == 0 for i in range(20)]
        assert all(f.order == (1, 0) for f in found if not isinstance(f, EngineError))
        assert len(seen) == 20
        assert 1 < active[1] <= 4
        with pytest.raises(EngineError, match="9 of 20 requests failed"):
            reranker.rank_many(lists)


def test_an_empty_reply_is_told_apart_from_none():
    with server(lambda b, n: (200, completion(""), {})) as (url, _, _):
        reranker = Reranker(OpenAIEngine("m", url), view="text", method="direct")
        result = reranker.rerank("q", [Page("d", 1, "a"), Page("d", 2, "b")])
    assert result.reply == ""
    assert result.to_dict()["reply"] == ""
    assert "NO_ANSWER" in result.issues


@pytest.mark.parametrize(
    "token",
    [
        "<|im_end|>",
        "<end_of_utterance>",
        "<IMG_CONTEXT>",
        "[/SYSTEM_PROMPT]",
        "<｜User｜>",
        "<<SYS>>",
        "<row_2_col_3>",
        "</s>",
        "[INST]",
        "<start_of_turn>",
    ],
)
def test_special_tokens_of_every_family_are_broken_where_the_model_is_not_known(token):
    with server(lambda b, n: (200, completion("<answer>[1]</answer>"), {})) as (url, seen, _):
        Reranker(OpenAIEngine("m", url), view="text", method="direct").rerank(f"q {token}", [Page("d", 1, f"a {token} b")])
    said = json.dumps(seen[0]["body"]["messages"], ensure_ascii=False)
    assert token not in said
    assert f"a {token[0]}" in said


def test_a_time_out_is_retried_and_named():
    def slow(body, n):
        time.sleep(0.5)
        return echo(body, n)

    with server(slow) as (url, seen, _), pytest.raises(EngineError, match=r"within 0\.1 s \(try 2\)"):
        OpenAIEngine("m", url, timeout_s=0.1, retries=1).generate([ask()], SAMPLING)
    assert len(seen) == 2


def test_a_server_that_is_not_there():
    with pytest.raises(EngineError, match="cannot be reached") as caught:
        OpenAIEngine("m", "http://127.0.0.1:9", retries=1).generate([ask()], SAMPLING)
    assert caught.value.retryable


def test_concurrency_is_bounded_and_used():
    def slow(body, n):
        time.sleep(0.05)
        return echo(body, n)

    with server(slow) as (url, _, active):
        OpenAIEngine("m", url, concurrency=3).generate([ask(str(i)) for i in range(12)], SAMPLING)
    assert active[1] == 3


def test_one_failure_does_not_lose_the_other_replies():
    def answer(body, n):
        return (400, {"error": "bad page"}, {}) if body["messages"][0]["content"] == "1" else echo(body, n)

    with server(answer) as (url, _, _):
        engine = OpenAIEngine("m", url)
        found = engine.generate_each([ask(str(i)) for i in range(3)], SAMPLING)
        assert [isinstance(f, Reply) for f in found] == [True, False, True]
        with pytest.raises(EngineError, match="bad page"):
            engine.generate([ask(str(i)) for i in range(3)], SAMPLING)


def test_the_key_is_sent_and_never_told(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with server(lambda b, n: (500, {"error": {"message": "no"}}, {})) as (url, seen, _), pytest.raises(EngineError) as caught:
        OpenAIEngine("m", url, retries=0).generate([ask()], SAMPLING)
    assert seen[0]["auth"] == "Bearer sk-secret"
    assert "sk-secret" not in str(caught.value) + repr(vars(caught.value))


def test_prefill_only_where_the_server_can():
    request = Request(ask().messages, "<answer>[")
    with server(lambda b, n: (200, completion("1]"), {})) as (url, seen, _):
        with pytest.raises(CapabilityError, match="prefill"):
            OpenAIEngine("m", url).generate([request], SAMPLING)
        OpenAIEngine("m", url, prefill=True).generate([request], SAMPLING)
    assert seen[0]["body"]["messages"][-1] == {"role": "assistant", "content": "<answer>["}
    assert seen[0]["body"]["continue_final_message"] is True


def test_a_rerank_over_a_server():
    reply = "<think>\nImage 1: a pier.\nImage 2: the fees.\n</think><answer>[2, 1]"
    pages = [Page("a.png", 1, image=Picture("a")), Page("b.png", 1, image=Picture("b"))]
    with server(lambda b, n: (200, completion(reply), {})) as (url, _, _):
        reranker = Reranker.from_pretrained("i2vec/MM-R5", engine="openai", base_url=url)
        result = reranker.rerank("fees?", pages)
    assert (reranker.method, reranker.view) == ("reason", "image")
    assert result.order == (1, 0)
    assert result[0].reason == "the fees."
    assert result.issues == ()


@pytest.mark.parametrize("bad", [{"base_url": "localhost:8000"}, {"concurrency": 0}, {"retries": -1}, {"timeout_s": 0}])
def test_impossible_settings_are_refused(bad):
    with pytest.raises(ConfigError):
        OpenAIEngine("m", **{"base_url": "http://x", **bad})


def test_scores_are_refused_with_the_engines_that_have_them():
    engine = OpenAIEngine("m", "http://x")
    with pytest.raises(CapabilityError, match="transformers"):
        engine.score_choices([], [])
    with pytest.raises(CapabilityError, match="transformers"):
        engine.score_text([], [])
    assert engine.count_tokens("a" * 35) == 10


def test_an_answer_that_opened_in_the_prefill_is_closed():
    request = Request(ask().messages, "<think>ok</think><answer>[")
    with server(lambda b, n: (200, completion("2, 1]"), {})) as (url, _, _):
        assert OpenAIEngine("m", url, prefill=True).generate([request], SAMPLING)[0].text == "2, 1]</answer>"


def test_an_answer_quoted_and_closed_before_does_not_hide_the_open_one():
    said = "<answer>[1]</answer> no, <answer>[2, 1]"
    with server(lambda b, n: (200, completion(said), {})) as (url, _, _):
        assert OpenAIEngine("m", url).generate([ask()], SAMPLING)[0].text == said + "</answer>"


def test_content_as_a_list_of_parts_is_read():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    with server(lambda b, n: (200, completion(parts), {})) as (url, _, _):
        assert OpenAIEngine("m", url).generate([ask()], SAMPLING)[0].text == "ab"


def test_a_retry_after_date_is_honoured_and_bounded():
    def wait(value):
        return retry_after(httpx.Response(429, headers={"retry-after": value}), 7.0)

    assert wait("2") == 2
    assert wait("900") == 30
    assert wait("soon") == 7
    assert wait(format_datetime(datetime.now(UTC) + timedelta(hours=1))) == 30
    assert 3 < wait(format_datetime(datetime.now(UTC) + timedelta(seconds=5))) <= 5
    assert wait(format_datetime(datetime.now(UTC) - timedelta(hours=1))) == 0
    assert retry_after(httpx.Response(429), 7.0) == 7


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("http://x", "http://x/v1/chat/completions"),
        ("http://x/v1/", "http://x/v1/chat/completions"),
        ("http://x/llm", "http://x/llm/v1/chat/completions"),
        ("http://x/v1beta/openai", "http://x/v1beta/openai/chat/completions"),
        ("http://me:secret@x/v1", "http://x/v1/chat/completions"),
    ],
)
def test_addresses(base, path):
    assert OpenAIEngine("m", base).url == path


def test_a_key_that_the_server_repeats_is_not_told_on():
    with server(lambda b, n: (401, {"error": {"message": "Incorrect API key sk-secret"}}, {})) as (url, _, _):
        with pytest.raises(EngineError, match=r"key \*\*\*") as caught:
            OpenAIEngine("m", url, api_key="sk-secret").generate([ask()], SAMPLING)
    assert "sk-secret" not in str(caught.value)


class Damaged:
    key = "d"

    def load(self, max_pixels=None):
        raise PageError("page 3 of a.pdf cannot be decoded")


def test_a_page_that_cannot_be_decoded_fails_alone():
    bad = Request(prompt.listwise("q", view="image", think=True, images=[Damaged()]))
    with server(echo) as (url, _, _):
        found = OpenAIEngine("m", url).generate_each([ask("0"), bad, ask("2")], SAMPLING)
        with pytest.raises(PageError, match="page 3"):
            OpenAIEngine("m", url).generate([ask("0"), bad], SAMPLING)
    assert [getattr(f, "text", type(f)) for f in found] == ["re: 0", PageError, "re: 2"]


def test_several_failures_are_counted_and_passing_ones_may_be_tried_again():
    def answer(body, n):
        return (400 if body["messages"][0]["content"] == "1" else 503, {"error": "no"}, {})

    with server(answer) as (url, _, _), pytest.raises(EngineError, match="3 of 3 requests failed; the first: ") as caught:
        OpenAIEngine("m", url, retries=0).generate([ask("1"), ask("2"), ask("3")], SAMPLING)
    assert caught.value.retryable


def test_a_picture_is_encoded_once_for_several_questions():
    class Counted(Picture):
        loads = 0

        def load(self, max_pixels=None):
            Counted.loads += 1
            return super().load(max_pixels)

    page = Counted("a")
    requests = [Request(prompt.listwise(f"q{i}", view="image", think=True, images=[page])) for i in range(3)]
    with server(lambda b, n: (200, completion("x"), {})) as (url, _, _):
        engine = OpenAIEngine("m", url, concurrency=1)
        engine.generate(requests, SAMPLING)
        engine.generate(requests, SAMPLING)
    assert Counted.loads == 1


def test_it_works_inside_a_running_event_loop():
    async def main(url):
        return OpenAIEngine("m", url).generate([ask("x")], SAMPLING)

    with server(echo) as (url, _, _):
        assert asyncio.run(main(url))[0].text == "re: x"


def test_ctrl_c_drops_what_is_under_way():
    """A process that waits for a slow server ends at once when it is interrupted."""
    program = (
        "import sys\nfrom mmr5.engines.protocol import Request, Sampling\nfrom mmr5.engines.openai.engine import OpenAIEngine\n"
        "ask = Request([{'role': 'user', 'content': [{'type': 'text', 'text': 'q'}]}])\n"
        "try: OpenAIEngine('m', sys.argv[1]).generate([ask] * 3, Sampling())\n"
        "except KeyboardInterrupt: sys.exit(130)\n"
    )
    started, release = threading.Event(), threading.Event()

    def slow(body, n):
        started.set()
        release.wait(20)
        return echo(body, n)

    with server(slow) as (url, _, _):
        process = subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE)
        assert started.wait(20)
        time.sleep(0.1)
        start = time.perf_counter()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert time.perf_counter() - start < 3
        release.set()
        assert process.stderr.read() == b""
        process.stderr.close()
