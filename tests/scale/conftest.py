import json
import re
import shutil
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_N_PAGES = re.compile(r"id from 1 to (\d+)")


def corpus_folder(folder, documents, questions):
    """A corpus of the example report under several names, each asked the same questions; the run is beside it."""
    (folder / "pdf").mkdir(parents=True)
    asked = [q["question"] for q in json.loads((ROOT / "examples" / "questions.json").read_text())]
    lines, trec = [], []
    for d in range(documents):
        shutil.copy(ROOT / "examples" / "harbour-report.pdf", folder / "pdf" / f"d{d}.pdf")
        for k in range(questions):
            lines.append({"doc_name": f"d{d}", "question": f"{asked[k % len(asked)]} ({k})", "page_ids": [k % 12]})
            trec += [f"d{d}#{k} Q0 d{d}:{(k + r) % 12} {r + 1} {10 - r} first" for r in range(4)]
    docs = [{"doc_name": f"d{d}", "domain": "Report", "pages": 12} for d in range(documents)]
    (folder / "docs.json").write_text(json.dumps(docs))
    (folder / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "first.trec").write_text("\n".join(trec) + "\n")
    return folder


@contextmanager
def model_server(seconds=0.0, padding=0):
    """A served model that turns the first-stage order round, after a while; it counts what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            text = json.dumps(body["messages"])
            asked.append(text)
            time.sleep(seconds)
            n = int(_N_PAGES.search(text)[1])
            answer = "x" * padding + f"<answer>{list(range(n, 0, -1))}</answer>"
            data = json.dumps({"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            try:
                self.wfile.write(data)
            except OSError:
                pass

        def log_message(self, *args):
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request, client_address):
            """A killed client resets its connections: that is no news."""

    running = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{running.server_port}", asked
    finally:
        running.shutdown()
        running.server_close()


@pytest.fixture
def folder(tmp_path):
    return corpus_folder(tmp_path / "corpus", documents=2, questions=5)
