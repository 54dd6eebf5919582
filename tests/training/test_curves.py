import sys

import pytest

from mmr5.errors import MissingExtraError
from mmr5.training.curves import draw, smooth

HISTORY = [
    {"step": 1, "loss": 2.0, "learning_rate": 1e-4, "grad_norm": 3.0},
    {"step": 2, "loss": 1.0, "learning_rate": 5e-5, "rewards/ranking_reward/mean": 0.4, "rewards/format_reward/mean": 0.9},
    {"step": 2, "train_runtime": 12.0},
]


def test_every_curve_that_the_history_holds_is_drawn(tmp_path):
    from PIL import Image

    assert draw(HISTORY, tmp_path / "c.png", title="sft") == 4  # loss, rewards, rate, norm
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000 and len(picture.getcolors(1 << 20)) > 100


@pytest.mark.parametrize("history", [[], [{"step": 1, "train_runtime": 1.0}], [{"loss": 1.0}], [{"step": 1, "loss": "none"}]])
def test_nothing_to_draw_writes_nothing(tmp_path, history):
    assert draw(history, tmp_path / "c.png", title="sft") == 0
    assert not (tmp_path / "c.png").exists()


def test_a_short_curve_is_left_as_it_is_and_a_long_one_is_averaged():
    assert smooth([1.0, 5.0, 2.0]) == [1.0, 5.0, 2.0]
    wave = smooth([float(i % 2) for i in range(40)])  # two points on each side
    assert wave[0] == pytest.approx(1 / 3) and wave[20] == pytest.approx(2 / 5) and wave[21] == pytest.approx(3 / 5)


def test_a_missing_matplotlib_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"mmr5\[train\]"):
        draw(HISTORY, tmp_path / "c.png", title="sft")
