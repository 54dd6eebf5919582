"""The arithmetic of the plan, and that the page that shows it shows what it prints."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def plan(load_benchmark):
    return load_benchmark("scale_plan")


def test_the_page_shows_what_the_script_prints(plan, capsys):
    plan.main([])
    printed = capsys.readouterr().out
    page = (ROOT / "docs" / "scale.md").read_text()
    tables = [block for block in printed.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    assert [table for table in tables if table.strip() not in page] == []


@pytest.mark.parametrize("size", [(595, 842), (842, 595), (612, 792), (400, 300), (2000, 180), (50, 50)])
@pytest.mark.parametrize("budget", [784 * 16, 1_003_520])
def test_visual_tokens_are_those_of_the_image_processor(plan, size, budget):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    from mmr5.pages.images import fit_size

    width, height = fit_size(size[0] * 100, size[1] * 100, budget)
    rows, columns = (side // 28 for side in smart_resize(height, width, 28, 1, budget))
    found = plan.visual_tokens(*size, max_pixels=budget)
    assert found == pytest.approx(rows * columns, rel=0.06)
    assert 1 <= found <= budget / 784
    if size == (595, 842) and budget == 1_003_520:
        assert found == rows * columns == 1260


def test_bytes_of_a_page_are_those_of_the_models_tensors(plan):
    """The formulas against tensors of the engine's own classes, in a small shape."""
    import torch

    from mmr5.engines.runtime.decoder import Prefix
    from mmr5.engines.runtime.vision import Features

    shape = plan.Shape("small", layers=3, hidden=32, kv_heads=2, head=8)
    features = Features(torch.zeros(12, 32, dtype=torch.bfloat16), (3, 4))
    assert features.size == plan.feature_bytes(12, shape)
    states = torch.zeros(3, 2, 12, 8, dtype=torch.bfloat16)
    assert Prefix(states, states, 12).size == plan.state_bytes(12, shape)


def test_hours_machines_and_bytes(plan):
    rate = plan.Rate("x", seconds=3.6, pages=10, machine="m", source="s")
    assert plan.machine_hours(1e9, rate) == pytest.approx(100_000)
    assert plan.machines(100_000, 30, 1.0) == 139
    assert plan.machines(100_000, 30, 0.5) == 278
    assert [plan.size(n) for n in (999, 1e3, 9.03e15, 999_600)] == ["999 B", "1 kB", "9.03 PB", "1 MB"]
    assert plan.QWEN.hidden == 3584


def test_a_rate_of_ones_own_is_a_row(plan, capsys):
    plan.main(["--pairs", "1e6", "--days", "1", "--busy", "1", "--rate", "mine = on this box=2.0 s / 10 pages"])
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| mine"))
    assert row == "| mine = on this box (you) | yours | 200 ms | 56 | 3 |"
    for wrong in ("mine", "mine=1", "mine=0 s / 10 pages"):
        with pytest.raises(ValueError, match="is no rate"):
            plan.parse_rate(wrong)
    with pytest.raises(SystemExit):
        plan.main(["--busy", "2"])


def test_the_shape_of_the_large_model_is_the_one_that_is_timed(plan):
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from random_model import SIZES
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
        sys.modules.pop("random_model", None)
    size = SIZES["7b"]
    assert (plan.QWEN.layers, plan.QWEN.hidden, plan.QWEN.kv_heads) == (size.layers, size.hidden, size.kv_heads)
    assert plan.QWEN.head == size.hidden // size.heads
