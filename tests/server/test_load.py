"""The server above its capacity, and killed while it works.  Budget: 90 s."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serve_load.py"
pytestmark = pytest.mark.slow


def test_overload_is_borne_and_a_killed_server_starts_again():
    command = [sys.executable, str(SCRIPT), "--seconds", "20", "--overload", "4", "--queue-wait", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.stdout, done.stderr
    report = json.loads(done.stdout)
    assert all(report["holds"].values()), report
    assert report["overloaded"]["answered"] > 100 and sum(report["overloaded"]["refused"].values()) > 100
    assert done.returncode == 0
