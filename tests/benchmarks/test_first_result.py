import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HARBOUR = ROOT / "examples" / "harbour-report.pdf"
FLAGS = ["--engine", "scripted", "--method", "pointwise", "--view", "text", "--retriever", "bm25"]


@pytest.fixture(scope="module")
def first_result(load_benchmark):
    return load_benchmark("first_result")


def test_the_cache_holds_the_weights_and_nothing_of_a_document(first_result, tmp_path, monkeypatch):
    for part in ("models", "objects"):
        (tmp_path / part).mkdir()
    monkeypatch.setenv("MMR5_CACHE", str(tmp_path))
    with first_result.fresh_cache() as environment:
        made = Path(environment["MMR5_CACHE"])
        assert [p.name for p in made.iterdir()] == ["models"]
        assert (made / "models").resolve() == tmp_path / "models"
        assert environment["PATH"] == os.environ["PATH"]
    assert not made.exists()


@pytest.mark.slow
def test_the_command_and_the_server_are_timed(first_result, capsys):
    first_result.main([str(HARBOUR), "What is shown?", "--runs", "1", "--flags", *FLAGS])
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split("|")[1].strip() for line in lines] == ["cold", "resident, new", "resident, again"]
    assert all(float(line.split("|")[2]) > 0 for line in lines)
    assert all("retrieve" in line and "model" in line for line in lines)
