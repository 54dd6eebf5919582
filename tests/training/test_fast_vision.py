"""The tower of training gives what transformers' own gives, forwards and backwards."""

import copy

import pytest

from mmr5.training.patches import quicken_vision


def seen(tower, pixels, grid):
    import torch

    pixels = pixels.clone().requires_grad_(True)
    out = tower(pixels, grid_thw=grid)
    states = out.pooler_output if hasattr(out, "pooler_output") else out
    (states * torch.linspace(-1, 1, states.numel()).reshape(states.shape)).sum().backward()
    return states.detach(), pixels.grad, {name: p.grad for name, p in tower.named_parameters()}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("grids", [[(6, 6)], [(6, 6), (6, 6)], [(6, 6), (20, 12), (2, 2), (6, 6)]])
def test_a_lightened_tower_sees_the_same(tiny_vision, attention, grids):
    import torch
    import transformers

    model = transformers.AutoModelForImageTextToText.from_pretrained(tiny_vision, attn_implementation=attention)
    plain = model.model.visual
    light = copy.deepcopy(plain)
    blocks = plain.config.depth
    assert quicken_vision(light) == blocks + 1  # attention of every block, and the patches
    grid = torch.tensor([(1, *sides) for sides in grids])
    torch.manual_seed(0)
    pixels = torch.randn(int(grid.prod(1).sum()), 3 * plain.config.temporal_patch_size * plain.config.patch_size**2)
    expected, found = seen(plain, pixels, grid), seen(light, pixels, grid)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    assert found[2].keys() == expected[2].keys()
    for name, gradient in expected[2].items():
        torch.testing.assert_close(found[2][name], gradient, rtol=1e-4, atol=1e-4, msg=lambda said, name=name: f"{name}: {said}")


def test_models_without_such_a_tower_are_left_alone(tiny_text):
    import transformers

    assert quicken_vision(transformers.AutoModelForCausalLM.from_pretrained(tiny_text)) == 0
