"""What the process that opens strangers' files gives up."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmr5 import sandbox
from mmr5.errors import MMR5Error
from mmr5.server.document_reader import Parser
from mmr5.server.fair_slots import FairSlots
from mmr5.server.http_errors import WireError
from mmr5.settings import ServerSettings

from .test_attacks import attacks
from .test_search import REPORT, search


def run(code, *arguments, **named):
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=30, **named)


def test_the_environment_is_empty_but_for_what_is_needed(tmp_path):
    given = {
        "MMR5_API_KEYS": "secret",
        "HOME": "/h",
        "PATH": "/p",
        "AWS_SECRET_ACCESS_KEY": "s",
        "MMR5_CACHE": "/c",
        "TMPDIR": "/t",
    }
    assert sandbox.environment(given, tmp_path) == {"HOME": "/h", "PATH": "/p", "MMR5_CACHE": "/c", "TMPDIR": str(tmp_path)}


def test_a_process_sees_no_key_and_writes_its_temporary_files_into_its_own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MMR5_API_KEYS", "secret")
    code = "import os, sys, json, tempfile; json.dump([dict(os.environ), tempfile.mkdtemp()], open(sys.argv[2] + '/seen', 'w'))"
    folder = tmp_path / "f"
    folder.mkdir()
    parser = Parser(ServerSettings(), "text", (sys.executable, "-c", code))
    with pytest.raises(WireError, match="left nothing"):
        asyncio.run(parser.pages(folder, "a.pdf", "client"))
    environment, temporary = json.loads((folder / "seen").read_text())
    assert "secret" not in json.dumps(environment) and "MMR5_API_KEYS" not in environment
    assert Path(temporary).parent.parent == tmp_path and not Path(temporary).exists()


def test_it_has_no_network():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        code = (
            "import socket, sys, os; from mmr5 import sandbox\n"
            "print(sandbox.enter(os.getppid(), 2**32, 9))\n"
            "try: socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2); print('connected')\n"
            "except OSError as error: print(type(error).__name__)"
        )
        isolated, outcome = run(code, str(listening.getsockname()[1])).stdout.split()
    assert (isolated == "True") == (outcome != "connected"), (isolated, outcome)


def test_a_network_that_stays_is_logged_once(caplog):
    parser = Parser(ServerSettings(), "text")
    for line in ({"isolated": True}, {"isolated": False}, {"isolated": False}, "x", 3):
        parser._report(line, None)
    assert [record.getMessage() for record in caplog.records] == ["reading_process_has_network"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux'")
def test_it_ends_with_its_server():
    inner = "import os, sys, time; from mmr5 import sandbox; sandbox.enter(os.getppid(), 2**32, 99); print(os.getpid(), flush=True); time.sleep(60)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    server = subprocess.Popen([sys.executable, "-c", outer], stdout=subprocess.PIPE, text=True)
    child = int(server.stdout.readline())
    server.kill()
    server.wait()
    until = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
        assert time.monotonic() < until, "it lives on"
        time.sleep(0.02)
    server.stdout.close()


def test_it_does_not_begin_without_its_server():
    assert run("from mmr5 import sandbox; sandbox.enter(1, 2**32, 9)").returncode == 1 or os.getppid() == 1


def test_a_page_has_its_own_processor_time():
    code = (
        "import time; from mmr5 import sandbox\n"
        "def work(seconds):\n"
        "    end = time.process_time() + seconds\n"
        "    while time.process_time() < end: pass\n"
        "for _ in range(3): sandbox.allow_cpu(1.0); work(0.5)\n"
        "print('three pages', flush=True); sandbox.allow_cpu(0.3); work(5)"
    )
    done = run(code)
    assert done.stdout == "three pages\n" and done.returncode == -signal.SIGPROF


def test_a_document_that_never_ends_is_refused_by_its_processor_time(make_client):
    client = make_client(parse_page_s=1.0)
    answer = search(client, ("endless.pdf", attacks.nested_pdf()))
    assert answer.status_code == 422
    assert answer.json()["message"].startswith("endless.pdf: a page takes more than 1 s of processor time")
    assert search(client, ("report.pdf", REPORT)).status_code == 200


def test_memory_that_is_not_given_is_named(tmp_path, monkeypatch, capsys):
    from mmr5.server import document_worker

    def parse(*arguments, **named):
        raise MemoryError

    monkeypatch.setattr(document_worker, "parse", parse)
    options = {"page_seconds": 1, "parent": 0, "memory_bytes": 1, "seconds": 1}
    assert document_worker.main([str(tmp_path), str(tmp_path), json.dumps(options)], confined=False) == document_worker.REFUSED
    assert "more memory" in capsys.readouterr().err
    assert issubclass(MMR5Error, Exception)


def test_slots_go_round_between_clients():
    async def scenario():
        slots, order = FairSlots(2, 1), []

        async def work(client, number):
            async with slots.slot(client):
                order.append(f"{client}{number}")
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(work("a", n)) for n in range(3)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(work("b", n)) for n in range(2)]
        tasks.append(asyncio.create_task(work("c", 0)))
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scenario()) == ["a0", "b0", "c0", "a1", "b1", "a2"]


def test_a_client_that_stops_waiting_loses_no_slot():
    async def scenario():
        slots = FairSlots(1, 1)
        async with slots.slot("a"):
            waiting = [asyncio.create_task(slots._acquire(name)) for name in ("b", "c")]
            await asyncio.sleep(0)
            waiting[0].cancel()
        await asyncio.wait_for(waiting[1], 1)
        granted = asyncio.create_task(slots._acquire("d"))
        await asyncio.sleep(0)
        slots._release("c")
        granted.cancel()  # it was given the slot, and did not run yet
        await asyncio.gather(granted, return_exceptions=True)
        await asyncio.wait_for(slots._acquire("e"), 1)

    asyncio.run(scenario())
