import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mmr5.errors import EngineError, MissingExtraError
from mmr5.models.recipes import load_recipe
from mmr5.training import trainer
from mmr5.training.config import from_tables
from support.tiny import TEMPLATE

MAIN, OTHER = (SimpleNamespace(global_step=7, max_steps=20, is_world_process_zero=main) for main in (True, False))


@pytest.fixture
def run(tmp_path, tiny_text):
    """A run of stage one over text, and what its progress was told."""
    from transformers import AutoTokenizer

    told = []
    config = from_tables(
        {
            "model": {"base": "b", "device": "cpu", "autocast": "float32"}, "data": {"rows": "r", "corpus": "c"},
            "run": {"out": str(tmp_path), "save_steps": 7}, "lora": {"plus_ratio": 16.0},
            "optim": {"learning_rate": 1e-3, "beta2": 0.95, "weight_decay": 0.1, "max_steps": 20, "warmup_ratio": 0.05},
            "recipe": {"method": "direct", "view": "text", "page_tokens": 50},
        },
        "test",
    )  # fmt: skip
    words = AutoTokenizer.from_pretrained(tiny_text)
    return trainer.Run(config, "sft", None, [], None, words, TEMPLATE, "b", None, lambda *step: told.append(step)), told


def test_progress_is_told_of_steps_by_the_first_process_alone(run):
    made, told = run
    (reporter,) = trainer.callbacks(made)
    reporter.on_step_end(None, MAIN, None)
    reporter.on_step_end(None, OTHER, None)
    assert told == [("sft", 7, 20)]


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_run(run, loss):
    (reporter,) = trainer.callbacks(run[0])
    reporter.on_log(None, MAIN, None, logs={"loss": 2.5})
    reporter.on_log(None, MAIN, None, logs={"train_runtime": 1.0})
    with pytest.raises(EngineError, match=r"at step 7: lower optim\.learning_rate"):
        reporter.on_log(None, MAIN, None, logs={"loss": loss})


def test_a_checkpoint_holds_its_tokenizer_and_recipe(run, tmp_path):
    from transformers import AutoTokenizer

    (reporter,) = trainer.callbacks(run[0])
    saved = tmp_path / "checkpoint-7"
    saved.mkdir()
    reporter.on_save(SimpleNamespace(output_dir=str(tmp_path)), OTHER, None)
    assert list(saved.iterdir()) == []
    reporter.on_save(SimpleNamespace(output_dir=str(tmp_path)), MAIN, None)
    assert load_recipe(saved) == run[0].config.checkpoint_recipe("sft")
    assert AutoTokenizer.from_pretrained(saved).chat_template == run[0].tokenizer.chat_template


def test_settings_reach_the_trainer(run):
    found = trainer.arguments(run[0].config)
    wanted = {
        "learning_rate": 1e-3, "adam_beta2": 0.95, "weight_decay": 0.1, "max_steps": 20, "warmup_steps": 0.05, "save_steps": 7,
        "use_cpu": True, "bf16": False, "activation_checkpointing": True,
    }  # fmt: skip
    assert {name: found[name] for name in wanted} == wanted
    endless = from_tables({"model": {"base": "b"}, "data": {"rows": "r", "corpus": "c"}, "run": {"out": "o"}}, "test")
    assert trainer.arguments(endless)["max_steps"] == -1


def test_loraplus_lets_b_learn_faster(run, tiny_text):
    import peft
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_text)
    model = peft.get_peft_model(model, peft.LoraConfig(target_modules=r".*q_proj"))
    optimizer = trainer.loraplus(run[0].config, model)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    named = [(name, rates[id(p)]) for name, p in model.named_parameters() if p.requires_grad]
    assert {rate for name, rate in named if "lora_A" in name} == {1e-3}
    assert {rate for name, rate in named if "lora_B" in name} == {16 * 1e-3}
    assert all(group["betas"] == (0.9, 0.95) for group in optimizer.param_groups)


def test_a_missing_trl_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "trl", None)
    with pytest.raises(MissingExtraError, match=r"mmr5\[train\]"):
        trainer.import_trl()


def test_loraplus_trains_and_the_adapter_names_its_base(settings, tiny_vision):
    from mmr5.training.sft import train_sft

    config = settings("sft", "optim.max_steps=1", "lora.plus_ratio=16.0", "data.limit=4")
    assert train_sft(config)["steps"] == 1
    written = json.loads((Path(config.run.out) / "adapter_config.json").read_text())
    assert written["base_model_name_or_path"] == str(tiny_vision)
