"""The dtype is chosen by what a short probe measures."""

import pytest
import torch

from mmr5.engines import loading
from mmr5.engines.loading import PROBE_GAIN, cpu_matmul_seconds, pick_dtype
from mmr5.errors import ConfigError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("gain", "expected"), [(5.0, torch.bfloat16), (1.01 * PROBE_GAIN, torch.bfloat16), (1.0, torch.float32), (0.3, torch.float32)]
)
def test_a_cpu_computes_in_bfloat16_where_that_is_measured_to_be_faster(monkeypatch, gain, expected):
    monkeypatch.setattr(loading, "cpu_matmul_seconds", lambda dtype: {"float32": gain, "bfloat16": 1.0}[dtype])
    assert pick_dtype("auto", CPU) is expected


def test_a_dtype_that_is_asked_for_is_not_measured(monkeypatch):
    monkeypatch.setattr(loading, "cpu_matmul_seconds", lambda dtype: pytest.fail("measured"))
    assert pick_dtype("float32", CPU) is torch.float32
    assert pick_dtype("auto", torch.device("mps")) is torch.float32
    with pytest.raises(ConfigError, match="dtype 'int3' is unknown"):
        pick_dtype("int3", CPU)


def test_the_probe_times_a_product_once_a_process():
    cpu_matmul_seconds.cache_clear()
    small, large = (cpu_matmul_seconds("float32", rows, 512) for rows in (16, 2048))
    assert 0 < small < large < 60
    assert cpu_matmul_seconds("float32", 16, 512) == small
    assert cpu_matmul_seconds.cache_info().hits == 1
    cpu_matmul_seconds.cache_clear()
