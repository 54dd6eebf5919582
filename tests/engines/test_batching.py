import pytest
import torch

from mmr5.engines.runtime.token_batches import (
    BATCH_PIXELS,
    BATCH_TOKENS,
    Budget,
    batches,
    budget,
    free_memory,
    halving,
    out_of_memory,
    token_bytes,
)


def test_batches_keep_within_the_budget_and_lose_nothing():
    lengths = [5, 100, 7, 50, 50, 3]
    found = batches(lengths, [0] * 6, 10, Budget(130, 1))
    assert sorted(i for part in found for i in part) == list(range(6))
    assert all(len(part) == 1 or (max(lengths[i] for i in part) + 10) * len(part) <= 130 for part in found)
    assert [lengths[i] for part in found for i in part] == sorted(lengths, reverse=True)
    assert batches([], [], 1, Budget(10, 10)) == []


def test_pixels_bound_a_batch_too():
    assert batches([5, 5, 5], [40, 40, 40], 0, Budget(1000, 100)) == [[0, 1], [2]]
    assert batches([5, 5], [400, 400], 0, Budget(1000, 100)) == [[0], [1]]


def test_the_budget_follows_free_memory_and_has_a_ceiling():
    assert budget("cpu", None, 1000) == Budget(BATCH_TOKENS["cpu"], BATCH_PIXELS["cpu"])
    assert budget("cuda", 10**13, 1000) == Budget(BATCH_TOKENS["cuda"], BATCH_PIXELS["cuda"])
    assert budget("cpu", 6_400_000, 1000) == Budget(3200, 50_000)
    assert budget("cpu", 0, 1000) == Budget(1, 1)


def test_free_memory_is_known_here():
    free = free_memory(torch.device("cpu"))
    assert free is None or 10**6 < free < 10**14


def test_a_tokens_memory_counts_its_states(tiny_text):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_text, dtype=torch.float32)
    assert token_bytes(model) == 4 * (2 * 2 * 2 * 8 + 8 * 32 + 3 * 64)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("x"), MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_halving_runs_every_row_once(error):
    freed, sizes = [], []

    def run(rows):
        sizes.append(len(rows))
        if len(rows) > 2:
            raise error
        return [i * 10 for i in rows]

    found = [
        pair
        for part, results in halving([4, 2, 7, 1, 0], run, lambda: freed.append(1))
        for pair in zip(part, results, strict=True)
    ]
    assert found == [(4, 40), (2, 20), (7, 70), (1, 10), (0, 0)]
    assert sizes == [5, 2, 3, 1, 2]
    assert len(freed) == 2
    assert out_of_memory(error)


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    def run(rows):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        list(halving([1, 2], run, lambda: None))
    assert not out_of_memory(RuntimeError("shapes differ"))
