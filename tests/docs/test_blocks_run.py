"""What the README and the guides show is run as it stands: with mini among the slow tests, without a model here."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from docs.blocks import ROOT, blocks

GUIDES = [ROOT / "README.md", ROOT / "docs" / "quickstart.md", *sorted((ROOT / "docs" / "integrations").glob("*.md"))]
NUMBER = re.compile(r"-?\d+\.\d+|\d+(?= %)")
TOLERANCE = 0.15
"""Scores move in the second digit between processors that compute bfloat16 differently."""
POINTS = 3.0
"""Relevance moves with them, by so many per cent."""


def run(block):
    out = io.StringIO()
    with contextlib.chdir(ROOT), contextlib.redirect_stdout(out):
        exec(compile(block.text, block.where, "exec"), {"__name__": "__main__"})
    return out.getvalue()


def without_model(monkeypatch):
    """`from_pretrained` gives the scripted engine; the first stage is BM25."""
    from mmr5 import Reranker
    from mmr5.pipeline import Searcher

    real, start = Reranker.from_pretrained.__func__, Searcher.__init__
    monkeypatch.setattr(
        Reranker,
        "from_pretrained",
        classmethod(
            lambda cls, model="mini", **o: real(cls, model, **{"method": "likelihood", "view": "text", **o, "engine": "scripted"})
        ),
    )
    monkeypatch.setattr(Searcher, "__init__", lambda self, reranker, retriever="bm25", **o: start(self, reranker, "bm25", **o))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """One cache for all examples and blocks of this run, so that the scanned page is recognised once."""
    return tmp_path_factory.getbasetemp() / "warm"


@pytest.mark.parametrize("block", blocks("python", pages=GUIDES), ids=lambda b: b.where)
def test_python_runs_without_a_model(block, monkeypatch, warm):
    monkeypatch.setenv("MMR5_CACHE", str(warm))
    without_model(monkeypatch)
    run(block)


@pytest.mark.slow  # 300 s in all: mini reads up to 12 pages a block
@pytest.mark.parametrize("block", blocks("python", pages=GUIDES), ids=lambda b: b.where)
def test_python_runs_with_mini(block, real_cache):
    if "print(" in block.text:
        assert run(block).strip()
    else:
        run(block)


def shown(text):
    """Words and numbers of an output: layout does not count, for column widths follow the numbers."""
    numbers = [float(n) for n in NUMBER.findall(text)]
    return NUMBER.sub("#", " ".join(text.replace("─", "").split())), numbers


def sessions():
    """Every command of the README's console blocks with the output that is shown below it."""
    for block in blocks("console", pages=[ROOT / "README.md"]):
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield f"{block.where} {command[:40]}", command, output


def test_the_readme_shows_real_output():
    found = list(sessions())
    assert found
    assert all(output.strip() for _, _, output in found)


@pytest.mark.slow  # 150 s in all
@pytest.mark.parametrize(("where", "command", "output"), list(sessions()))
def test_the_readmes_console_shows_what_is_printed(where, command, output, real_cache, tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    words = shlex.split(command)
    assert words[0] == "mmr5"
    program = Path(sys.executable).parent / "mmr5"
    done = subprocess.run(
        [program, *words[1:]], cwd=tmp_path, env={**os.environ, "COLUMNS": "80"}, capture_output=True, text=True, check=True
    )
    (words_now, numbers_now), (words_then, numbers_then) = shown(done.stdout), shown(output)
    assert words_now == words_then
    tolerance = POINTS if "%" in output else TOLERANCE
    assert numbers_now == pytest.approx(numbers_then, abs=tolerance)
