import json
import shutil
from pathlib import Path

import pytest

from mmr5.engines.runtime import pruning
from mmr5.engines.transformers import TransformersEngine
from mmr5.pages import read_pages
from mmr5.types import Candidates, Page
from support.tiny import Picture

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tradeoffs(load_benchmark):
    return load_benchmark("tradeoffs")


@pytest.fixture
def bench(tradeoffs, tiny_vision):
    engine = TransformersEngine.from_pretrained(str(tiny_vision), dtype="float32", device="cpu", max_pixels=12 * 784)
    pages = tuple(Page("a", i + 1, image=Picture(str(i), (112, 84), mark=m)) for i, m in enumerate(("red", "blue", "green")))
    lists = [Candidates(f"which is it{'?' * i}", pages) for i in range(3)]
    return tradeoffs.Bench(engine, lists, [(0,), (1,), (2,)], batch=2, constrain=True, tokens=150)


def test_each_setting_is_measured_by_itself(bench):
    full = bench.measure("logits", "full")
    half = bench.measure("logits", "keep 0.5", keep=0.5)
    assert full.read - half.read == 3 * 6  # three pages of 12 tokens each
    assert full.recall == sum(full.hits) / 3
    assert full.seconds > 0
    assert full.clean == half.clean == 1
    assert bench.measure("logits", "full").hits == full.hits
    short, long = (bench.measure("reason", f"think {n}", think_tokens=n) for n in (2, 12))
    assert short.clean == long.clean == 1
    assert long.written - short.written >= 9


def test_as_many_tokens_at_random_are_others(bench, monkeypatch):
    kept, inner = [], pruning.strongest
    chosen = bench.measure("logits", "keep 0.4", keep=0.4)
    monkeypatch.setattr("random.Random.sample", lambda self, of, n: (kept.append((len(of), n)), list(of)[-n:])[1])
    drawn = bench.at_random("logits", 0.4)
    assert pruning.strongest is inner
    assert set(kept) == {(12, 5)}
    assert drawn.read == chosen.read
    assert bench.measure("logits", "keep 0.4", keep=0.4).hits == chosen.hits


def test_the_table_counts_what_was_won_and_lost(tradeoffs):
    full = tradeoffs.Outcome("reason", "full", (1.0, 1.0, 0.0, 0.0), 0.2, 100, 50, 1.0)
    less = tradeoffs.Outcome("reason", "think 8", (0.0, 1.0, 1.0, 1.0), 0.1, 100, 20, 0.5)
    lines = tradeoffs.table([full, less])
    assert lines[-2].split("|")[3:7] == [" 0.500 ", "  ", " 200 ", " 1.00 "]
    assert lines[-1].split("|")[3:7] == [" 0.750 ", " 2 / 1 ", " 100 ", " 2.00 "]


def test_the_command_asks_a_corpus(tradeoffs, tiny_text, capsys, tmp_path):
    (tmp_path / "pdf").mkdir()
    shutil.copy(ROOT / "examples" / "harbour-report.pdf", tmp_path / "pdf" / "harbour.pdf")
    n = len(read_pages(ROOT / "examples" / "harbour-report.pdf", ocr="never"))
    (tmp_path / "docs.json").write_text(json.dumps([{"doc_name": "harbour", "domain": "Ports", "pages": n}]))
    asked = [{"doc_name": "harbour", "question": f"What is on page {i}?", "page_ids": [i]} for i in range(3)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(a) + "\n" for a in asked))
    tradeoffs.main([str(tmp_path), "--model", str(tiny_text), "--limit", "2", "--methods", "reason", "--think-tokens",
                    "3", "--ocr", "never", "--tokens", "60", "--dtype", "float32", "--json"])  # fmt: skip
    captured = capsys.readouterr()
    found = [json.loads(line) for line in captured.out.splitlines()]
    assert [f["setting"] for f in found] == ["full", "think 3"]
    assert all(0 <= f["recall@1"] <= 1 and f["seconds"] > 0 for f in found)
    assert "| reason | think 3 |" in captured.err
