import json
from importlib import resources
from pathlib import Path

import pytest

from mmr5.errors import ConfigError
from mmr5.training.config import load_config
from mmr5.training.memory_estimate import GIB, empty_model, estimate

SHIPPED = Path(str(resources.files("mmr5"))) / "configs"


def paper(stage, *overrides):
    return load_config(SHIPPED / "paper-7b" / f"{stage}.toml", overrides)


def test_the_papers_model_has_its_published_size_and_weighs_nothing():
    model = empty_model(paper("sft"))
    base = sum(p.numel() for n, p in model.named_parameters() if "lora" not in n)
    assert base == 8_292_166_656  # as published for Qwen2.5-VL-7B-Instruct
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert not any(p.requires_grad for n, p in model.named_parameters() if "visual" in n)


def test_the_papers_stages_fit_a_card_of_80_gib_and_not_one_of_16():
    for stage in ("sft", "grpo"):
        found = estimate(paper(stage), stage)
        assert found.fits(80) and not found.fits(16)
        assert found.total > 2 * 8_292_166_656
        assert (found.gradients, found.optimizer) == (4 * found.trained, 8 * found.trained)


def test_every_setting_moves_its_part():
    usual = estimate(paper("sft"), "sft")
    assert estimate(paper("sft", "model.gradient_checkpointing=false"), "sft").activations > 3 * usual.activations
    assert estimate(paper("sft", "data.max_pixels=250880"), "sft").activations < usual.activations
    assert estimate(paper("sft", "lora.rank=64"), "sft").trained == 8 * usual.trained
    whole = estimate(paper("grpo", "lora.enabled=false"), "grpo")
    assert whole.reference == 4 * whole.parameters and not whole.fits(80)
    four, one = (estimate(paper("grpo", f"optim.batch_size={n}"), "grpo") for n in (4, 1))
    assert four.generation == 4 * one.generation > 0


def test_a_folder_tells_its_own_shape(tiny_vision, tiny_text):
    for base, view in ((tiny_vision, "image"), (tiny_text, "text")):
        config = paper("sft", f"model.base={base}", f"recipe.view={view}", "recipe.page_tokens=64")
        kept = json.loads((Path(base) / "config.json").read_text())
        model = empty_model(config)
        assert model.config.model_type == kept["model_type"]
        assert estimate(config, "sft").parameters == sum(p.numel() for p in model.parameters())
    with pytest.raises(ConfigError, match="give a folder with"):
        estimate(paper("sft", "model.base=some/model"), "sft")


def test_the_command_says_whether_it_fits():
    from typer.testing import CliRunner

    from mmr5.cli.train import app

    fits = CliRunner().invoke(app, ["sft", "paper-7b/sft", "--check"])
    assert fits.exit_code == 0 and "fits a card of 80 GiB" in fits.output
    short = CliRunner().invoke(app, ["grpo", "paper-7b/grpo", "--check", "--memory", "16", "--json"])
    told = json.loads(short.stdout)
    assert short.exit_code == 1 and told["fits"] is False and told["total"] > 16 * GIB
