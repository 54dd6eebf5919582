"""What the store keeps, for whom, and what it does when the disk is full or its server was killed."""

import asyncio
import errno
import io
import subprocess
import sys
import threading

import pytest

from mmr5.server.http_errors import WireError
from mmr5.server.store import Store, sweep
from mmr5.server.uploads import Upload, UploadService

from .test_search import REPORT, search

HOLD = "import sys, io; from mmr5.server.store import Store; s = Store(None, 10**6); s.add(io.BytesIO(b'a')); print(s.root, flush=True); sys.stdin.read()"


def start(tmp_path):
    """A process with a temporary store below a folder, and the store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"TMPDIR": str(tmp_path), **PATHS},
    )
    return process, process.stdout.readline().strip()


PATHS = {name: value for name, value in __import__("os").environ.items() if name in {"PYTHONPATH", "PATH", "HOME"}}


def test_what_a_killed_server_left_is_swept_and_what_a_living_one_holds_is_not(tmp_path):
    dead, left = start(tmp_path)
    dead.kill()
    dead.wait()
    living, held = start(tmp_path)  # sweeps at its start
    try:
        assert [str(path) for path in tmp_path.iterdir()] == [held] and left != held
        assert sweep(tmp_path) == []
        assert len(list(tmp_path.glob("*/*/original"))) == 1
    finally:
        living.kill()
        living.wait()
    assert [str(path) for path in sweep(tmp_path)] == [held]
    assert list(tmp_path.iterdir()) == []


def test_a_link_is_not_swept(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "mmr5-uploads-x").symlink_to(precious)
    assert sweep(tmp_path) == [] and precious.is_dir()


def test_unfinished_files_of_a_named_store_are_deleted_by_the_first_server_only(tmp_path):
    for name in ("incoming-1", "other"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "reading-1").mkdir()
    first = Store(tmp_path, 1000)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    (tmp_path / "incoming-2").write_bytes(b"x")
    second = Store(tmp_path, 1000)
    assert (tmp_path / "incoming-2").exists()
    first.close()
    second.close()
    Store(tmp_path, 1000).close()
    assert not (tmp_path / "incoming-2").exists()


def test_names_do_not_cross_keys(make_client):
    client = make_client(api_keys=("a", "b"))
    by = {key: {"Authorization": f"Bearer {key}"} for key in "ab"}
    sent = client.post("/v1/files", files=[("files", ("secret plan.pdf", REPORT))], headers=by["a"]).json()["files"][0]
    assert client.get(f"/v1/files/{sent['id']}", headers=by["a"]).json()["name"] == "secret plan.pdf"
    other = client.get(f"/v1/files/{sent['id']}", headers=by["b"])
    assert other.status_code == 200 and other.json()["name"] == sent["id"]
    assert "secret plan" not in client.post("/v1/search", data={"query": "harbour", "file_ids": sent["id"]}, headers=by["b"]).text
    client.post("/v1/files", files=[("files", ("report.pdf", REPORT))], headers=by["b"])
    assert client.get(f"/v1/files/{sent['id']}", headers=by["b"]).json()["name"] == "report.pdf"
    assert client.get(f"/v1/files/{sent['id']}", headers=by["a"]).json()["name"] == "secret plan.pdf"


class Full(io.BytesIO):
    def read(self, size=-1):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_named(make_client, monkeypatch, tmp_path):
    with pytest.raises(WireError) as found:
        Store(tmp_path, 1000).add(Full())
    assert found.value.status == 507
    client = make_client()
    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", lambda self, data: Full().read())
    answer = search(client, ("report.pdf", REPORT))
    assert answer.status_code == 507 and "full" in answer.json()["message"] and "retry-after" in answer.headers
    monkeypatch.undo()
    client.app.state.service.pictures.parser.command = (sys.executable, "-c", "import sys; sys.exit(4)")
    answer = search(client, ("report.pdf", REPORT))
    assert answer.status_code == 507 and answer.json()["error"]["type"] == "storage_error"


def test_the_process_says_that_the_disk_is_full(tmp_path, monkeypatch, capsys):
    import json

    from mmr5.server import document_worker

    monkeypatch.setattr(document_worker, "parse", lambda *a, **k: Full().read())
    options = {"page_seconds": 1, "parent": 0, "memory_bytes": 1, "seconds": 1}
    assert document_worker.main([str(tmp_path), str(tmp_path), json.dumps(options)], confined=False) == document_worker.FULL


def test_the_loop_does_not_wait_for_the_store_to_be_trimmed(tmp_path, monkeypatch):
    store = Store(tmp_path, 1000)
    name = store.add(io.BytesIO(b"a"))
    where = []
    monkeypatch.setattr(store, "trim", lambda: where.append(threading.current_thread()))

    async def use():
        async with UploadService(None, store, None).holding([Upload(name, "a")]):
            assert where == []
        return threading.current_thread()

    loop_thread = asyncio.run(use())
    assert len(where) == 1 and where[0] is not loop_thread
