"""What the Dockerfile's target `client` does, without a container engine: the same files, the same install, the same command.

Budget: 120 s, most of it downloads.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import venv
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from docs.blocks import ROOT
from docs.test_containers import free_port, instructions, wait_for

pytestmark = pytest.mark.slow


class Backend(BaseHTTPRequestHandler):
    """Stands for vLLM: it says the second page is the better one."""

    def do_GET(self):
        self.answer({"data": [{"id": "i2vec/MM-R5", "max_model_len": 32768}]})

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        text = "<think>Image 1: no. Image 2: yes.</think><answer>[2, 1]</answer>"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        self.answer({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    def answer(self, body):
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A folder with what the image copies, and an environment with what it installs."""
    place = tmp_path_factory.mktemp("image")
    for word, rest in instructions():
        if word == "COPY":
            *sources, target = rest.split()
            for name in sources:
                source = ROOT / name
                if source.is_dir():
                    shutil.copytree(source, place / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(source, place / target)
    venv.create(place / "env", with_pip=True)
    install = next(rest for word, rest in instructions() if word == "RUN" and "[openai,server]" in rest)
    words = install.replace('"', "").split()
    subprocess.run([place / "env" / "bin" / "python", "-m", *words, "--quiet"], cwd=place, check=True)
    return place


def test_the_clients_image_serves_a_model_that_runs_elsewhere(image, tmp_path):
    backend = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=backend.serve_forever, daemon=True).start()
    port = free_port()
    command = next(json.loads(rest) for word, rest in instructions() if word == "CMD" and "openai" in rest)
    command = [re.sub(r"http://vllm:\d+", f"http://127.0.0.1:{backend.server_port}", word) for word in command]
    env = {**os.environ, "MMR5_API_KEYS": "a-long-secret", "MMR5_CACHE": str(tmp_path)}
    process = subprocess.Popen([image / "env" / "bin" / "mmr5", *command, "--port", str(port)], cwd=tmp_path, env=env)
    try:
        assert wait_for(f"http://127.0.0.1:{port}/ready", process).status_code == 200
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/rerank",
            json={"query": "fees", "documents": ["cargo", "fees"]},
            headers={"Authorization": "Bearer a-long-secret"},
        )
        assert [r["index"] for r in answer.json()["results"]] == [1, 0]
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    finally:
        process.kill()
        backend.shutdown()
    assert not list((image / "env" / "lib").glob("python*/site-packages/torch")), "this image needs no torch"
