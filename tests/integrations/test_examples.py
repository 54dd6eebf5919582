"""The examples are short, and run: without a model here, with mini among the slow tests."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = [
    "langchain_rerank",
    "llama_index_rerank",
    "haystack_rerank",
    "rerankers_style",
    "sentence_transformers_style",
    "qdrant_rerank",
]


def output(name, capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def test_every_example_of_a_framework_is_tested_and_short():
    assert {path.stem for path in EXAMPLES.glob("*_*.py")} - {"make_harbour_report"} == set(NAMES)
    for name in NAMES:
        assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) <= 40


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """One cache for all examples and blocks of this run, so that the scanned page is recognised once."""
    return tmp_path_factory.getbasetemp() / "warm"


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_without_a_model(name, capsys, monkeypatch, warm):
    monkeypatch.setenv("MMR5_CACHE", str(warm))
    out = output(name, capsys, monkeypatch, "scripted")
    assert len(re.findall(r"^p\. \d+ ", out, re.MULTILINE)) == 3


@pytest.mark.slow  # 170 s in all: the weights of mini are 98 MB, and each example reads up to 12 pages
@pytest.mark.parametrize("name", NAMES)
def test_an_example_finds_the_page_with_mini(name, capsys, monkeypatch, real_cache):
    out = output(name, capsys, monkeypatch)
    assert out.startswith("p. 8 "), out
