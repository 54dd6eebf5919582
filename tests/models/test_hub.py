"""Names on the hub, asked about on this machine only."""

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from huggingface_hub import constants

from mmr5.errors import ModelNotFoundError
from mmr5.models.hub import check_hub


@pytest.fixture
def hub(monkeypatch):
    """A hub on this machine that knows nothing, and what it was asked."""
    asked = []

    class Nothing(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Nothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield asked
    server.shutdown()
    server.server_close()


def test_a_name_that_cannot_be_had_is_refused_at_once(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    start = time.perf_counter()
    with pytest.raises(ModelNotFoundError, match=r"'some/model' is not in the hub's cache, and http://127\.0\.0\.1:9 cannot be"):
        check_hub("some/model")
    assert time.perf_counter() - start < 2


def test_a_hub_that_is_reached_is_left_to_the_library(hub):
    check_hub("some/model")
    assert hub == ["/some/model/resolve/main/config.json"]


def test_folders_cached_names_and_a_hub_that_is_switched_off_are_not_asked_about(tmp_path, hub, monkeypatch):
    check_hub(str(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr("huggingface_hub.try_to_load_from_cache", lambda name, file: str(tmp_path / file))
        check_hub("some/model")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    check_hub("some/model")
    assert hub == []
