import os
import re
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from typer.testing import CliRunner

from mmr5.cli.main import app
from mmr5.cli.serve import check_exposure, read_keys
from mmr5.errors import ConfigError
from mmr5.settings import ServerSettings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.5", "example.org"])
def test_listening_beyond_this_machine_needs_a_key(host):
    with pytest.raises(ConfigError, match="no API key"):
        check_exposure(host, keys=False, insecure=False)
    check_exposure(host, keys=True, insecure=False)
    check_exposure(host, keys=False, insecure=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.0.0.9"])
def test_this_machine_needs_none(host):
    check_exposure(host, keys=False, insecure=False)


def test_keys_come_from_file_and_environment(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\nfirst\n\nsecond\n")
    assert read_keys(file, " third, first ,") == ("third", "first", "second")
    assert read_keys(None, "") == ()
    file.write_text("# none\n")
    with pytest.raises(ConfigError, match="no API key"):
        read_keys(file, "")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_keys(tmp_path / "absent", "")


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(app, ["serve", "--engine", "scripted"])
    assert "pip install 'mmr5[server]'" in str(result.exception)


def test_settings_refuse_the_impossible():
    for wrong in ({"queue_size": 0}, {"deadline_s": -1}, {"api_keys": ("",)}):
        with pytest.raises(ConfigError):
            ServerSettings(**wrong)
    assert "secret" not in repr(ServerSettings(api_keys=("secret",)))


def test_help_names_the_limits():
    text = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).output
    for flag in (
        "--host",
        "--port",
        "--model",
        "--method",
        "--view",
        "--max-documents",
        "--queue-size",
        "--deadline",
        "--allow-urls",
        "--local-root",
    ):
        assert flag in text


def test_a_port_that_is_taken_is_said_before_the_model_is_loaded():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "mmr5.cli.main", "serve", "--model", "/no/such/folder", "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 1 and "/no/such/folder" not in done.stderr
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr and "--port" in done.stderr


def test_the_command_names_its_port_once_it_serves():
    command = [sys.executable, "-m", "mmr5.cli.main", "serve", "--engine", "scripted", "--port", "0", "--retriever", "bm25"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"})
    try:
        for line in process.stderr:
            if "serves" in line:
                break
        url = re.search(r"http://127\.0\.0\.1:[1-9]\d+", line)[0]
        assert httpx.get(url + "/ready").status_code == 200
    finally:
        process.kill()
        process.communicate()


def test_a_model_that_is_not_there_ends_the_command_with_its_name():
    command = [sys.executable, "-m", "mmr5.cli.main", "serve", "--model", "/no/such/folder", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 1 and "/no/such/folder" in done.stderr and "Traceback" not in done.stderr


def test_the_command_serves_and_stops_on_a_signal():
    command = [sys.executable, "-m", "mmr5.cli.main", "serve", "--engine", "scripted", "--port", "0", "--retriever", "bm25"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command[command.index("--port") + 1] = str(port)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "NO_COLOR": "1"})
    try:
        until = time.monotonic() + 30
        while True:
            assert process.poll() is None and time.monotonic() < until, process.stderr.read()
            try:
                if httpx.get(f"http://127.0.0.1:{port}/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/rerank", json={"query": "q", "documents": ["SECRET a", "b"]})
        assert answer.status_code == 200
        assert httpx.get(f"http://127.0.0.1:{port}/info", headers={"Host": "evil.example"}).status_code == 403
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=15)
    finally:
        process.kill()
    assert '"route": "/v1/rerank"' in errors and "SECRET" not in errors
    assert process.returncode in (0, -signal.SIGTERM)
