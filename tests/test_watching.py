"""Progress of the library where a person watches."""

import io
import sys
import types

import pytest

from mmr5 import Reranker, Searcher, watching
from mmr5.engines.scripted import ScriptedEngine
from mmr5.watching import watched


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(watching, "sys", types.SimpleNamespace(stderr=stream, modules=sys.modules))
    monkeypatch.setattr(watching, "_silent", False)
    return stream


def test_a_long_stage_is_shown_and_taken_away(terminal, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(watching.time, "monotonic", lambda: clock[0])
    progress = watched(None)
    progress("ocr", 0, 3)
    assert terminal.getvalue() == ""
    clock[0] = 2.0
    progress("ocr", 1, 3)
    assert terminal.getvalue().endswith("\rocr 1/3")
    progress("ocr", 2, 3)
    assert "2/3" not in terminal.getvalue()
    progress("ocr", 3, 3)
    assert terminal.getvalue().endswith("\r" + " " * 79 + "\r")


def test_a_callers_own_progress_is_used(terminal):
    def own(stage, done, total):
        pass

    assert watched(own) is own
    assert Searcher(Reranker(ScriptedEngine(), method="pointwise", view="text"), "bm25", progress=own)._progress is own


def test_nothing_is_shown_where_nobody_watches(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(watching, "_silent", False)
    assert watched(None) is None


def test_commands_and_servers_have_their_own(terminal):
    from mmr5.cli.main import main

    assert watched(None) is not None
    with pytest.raises(SystemExit):
        main(["--version"])
    assert watched(None) is None


def test_a_notebook_is_watched(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    monkeypatch.setattr(watching, "_silent", False)
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    assert watched(None) is not None
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: types.SimpleNamespace()))
    assert watched(None) is None
