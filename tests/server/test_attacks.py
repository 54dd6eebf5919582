"""Hostile bodies against ``mmr5 serve`` in a process of its own: refused by their own status, and ``/health`` answers meanwhile."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serve_attacks.py"
SIZE = int(1.9 * 2**20)
STATUSES = {
    "documents: numbers": 413,
    "documents: empty objects": 413,
    "documents: empty lists": 413,
    "texts: numbers": 413,
    "content: numbers": 413,
    "content: empty objects": 413,
    "unknown keys": 413,
    "unknown keys in a document": 413,
    "nested lists": 413,
    "nested objects": 413,
    "a number of many digits": 400,
    "a fraction of many digits": 400,
    "escapes": 400,
    "quotes in a text": 400,
    "base64 with blanks": 422,
    "base64 with line ends": 422,
    "percent signs": 422,
    "an address of many letters": 422,
    "a text of many letters": 400,
}


def load():
    spec = importlib.util.spec_from_file_location("serve_attacks", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["serve_attacks"] = module
    spec.loader.exec_module(module)
    return module


attacks = load()
BODIES = attacks.json_bodies(SIZE)


@pytest.fixture(scope="module")
def server():
    running = attacks.Server()
    yield running
    running.stop()


def test_every_body_has_its_status():
    assert STATUSES.keys() == BODIES.keys()


@pytest.mark.parametrize("name", BODIES)
def test_no_body_freezes_the_server(server, name):
    longest = []
    for _ in range(3):  # a loaded machine may be late once; a frozen loop is late each time
        watch = attacks.Watch(server)
        with watch.running():
            status, body, _ = server.ask("POST", "/v1/rerank", BODIES[name], attacks.JSON_TYPE, seconds=20)
        assert status == STATUSES[name], body[:500]
        assert watch.failed == 0
        longest.append(watch.longest_s)
        if longest[-1] < 0.5:
            return
    pytest.fail(f"/health took {longest} s")


@pytest.mark.slow
def test_two_documents_that_never_end_do_not_keep_an_honest_one_out(server):  # budget: 90 s
    told = attacks.honest_beside_hostile(server)
    assert told.startswith("honest 200") and "422 x2" in told
