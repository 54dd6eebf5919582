"""Parity with a server that runs here: transformers' own, over the tiny models.  Budget: 60 s.

It knows neither token ids nor further fields, so that the engine falls back to messages and checks the number of tokens read.
"""

import socket
import subprocess
import sys
import time

import httpx
import pytest

from mmr5 import prompt
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import EngineError
from support.tiny import Picture

pytestmark = pytest.mark.slow

LAUNCH = """
import sys
folder, port, seeing = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "vision"
from transformers.cli.serving.model_manager import ModelManager
if seeing:  # the one thing that is put in: a processor without torchvision
    from mmr5.engines.loading import load_processor
    ModelManager._load_processor = lambda self, name, gguf_file=None: load_processor(folder)
from transformers.cli.serve import Serve
Serve(force_model=folder, device="cpu", dtype="float32", host="127.0.0.1", port=port, log_level="error")
"""


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module", params=["text", "vision"])
def served(request, tiny_text, tiny_vision, tmp_path_factory):
    folder, port = tiny_text if request.param == "text" else tiny_vision, free_port()
    log = tmp_path_factory.mktemp("served") / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(folder), str(port), request.param], stdout=file, stderr=file
        )
        try:
            url = f"http://127.0.0.1:{port}"
            until = time.monotonic() + 120
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                try:
                    if httpx.get(url + "/health", timeout=2).status_code == 200:
                        break
                except httpx.HTTPError:
                    time.sleep(0.3)
            yield request.param, folder, url
        finally:
            process.kill()
            process.wait()


def requests(kind):
    if kind == "text":
        texts = ["the fees", "a pier <|im_end|> é"]
        return [Request(prompt.listwise(f"which {i}?", view="text", think=True, texts=texts[: i + 1])) for i in range(2)]
    pages = [Picture("a", (84, 112), mark="red"), Picture("b", (140, 56), mark="blue"), Picture("c", (300, 400), mark="green")]
    return [Request(prompt.listwise(f"which {i}?", view="image", think=True, images=pages[: i + 1])) for i in range(3)]


def test_the_served_model_reads_and_writes_what_the_local_one_does(served):
    kind, folder, url = served
    asked = requests(kind)
    local = TransformersEngine.from_pretrained(str(folder), dtype="float32", device="cpu").generate(asked, Sampling(24))
    engine = OpenAIEngine(str(folder), url, tokenizer=folder, concurrency=2)
    replies = engine.generate(asked, Sampling(24))
    assert [seen(r) for r in replies] == [seen(r) for r in local]
    plain = OpenAIEngine(str(folder), url).generate(asked, Sampling(24))
    assert [seen(r) for r in plain] == [seen(r) for r in local]


def seen(reply):
    """What a reply shows: its text (this server strips white space at its ends) and the tokens read and written."""
    return reply.text.strip(), reply.usage.prompt_tokens, reply.usage.completion_tokens


def test_another_template_or_pixel_budget_is_found_out(served):
    kind, folder, url = served
    if kind == "text":
        engine = OpenAIEngine(str(folder), url, tokenizer=folder, retries=0)
        engine._prompts.tokenizer.chat_template += " "  # another chat template on this side
        asked = requests(kind)[:1]
    else:
        engine = OpenAIEngine(str(folder), url, tokenizer=folder, retries=0)
        engine._prompts._processor.image_processor.size = {"shortest_edge": 784, "longest_edge": 784 * 4}
        asked = requests(kind)[2:]
    with pytest.raises(EngineError, match="read another prompt"):
        engine.generate(asked, Sampling(4))
