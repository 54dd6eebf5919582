import dataclasses
import json
import typing
from importlib import resources
from pathlib import Path

import pytest

from mmr5.errors import ConfigError, SourceNotFoundError
from mmr5.models.recipes import Recipe, load_recipe
from mmr5.prompt import fingerprint
from mmr5.training.config import TrainingConfig, load_config
from mmr5.training.grpo import check
from mmr5.training.late_config import load_late_config
from mmr5.training.order_config import load_order_config

SHIPPED = Path(str(resources.files("mmr5"))) / "configs"
SMALL = '[model]\nbase = "b"\n[data]\nrows = "r.jsonl"\ncorpus = "c"\n[run]\nout = "o"\n'


def load(tmp_path, text=SMALL, overrides=()):
    file = tmp_path / "c.toml"
    file.write_text(text)
    return load_config(file, overrides)


PROOF = Path(__file__).parents[2] / "examples" / "vision_proof"
TRAINING = sorted([*PROOF.glob("*.toml"), *(p for p in SHIPPED.glob("*/*.toml") if p.parent.name != "eval")])


@pytest.mark.parametrize("file", TRAINING, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_shipped_configuration_loads(file):
    if file.stem == "late":
        assert load_late_config(file).data.retriever == "hybrid"
        return
    if file.stem == "order":
        assert load_order_config(file).optim.policy == "orders"
        return
    config = load_config(file)
    if "grpo" in file.stem and file.parent.name != "paper-7b":
        check(config)


def test_the_papers_values():
    sft, grpo = load_config(SHIPPED / "paper-7b/sft.toml"), load_config(SHIPPED / "paper-7b/grpo.toml")
    assert (sft.optim.learning_rate, sft.optim.batch_size, sft.optim.accumulation, sft.optim.epochs) == (1e-4, 1, 4, 1.0)
    assert (sft.lora.rank, sft.lora.alpha) == (8, 32)
    assert (grpo.optim.learning_rate, grpo.optim.batch_size, grpo.optim.accumulation, grpo.optim.epochs) == (1e-5, 1, 2, 1.0)
    assert (grpo.lora.rank, grpo.lora.alpha, grpo.lora.dropout) == (64, 128, 0.0)
    assert (grpo.grpo.group_size, grpo.grpo.iterations, grpo.grpo.beta, grpo.grpo.epsilon) == (4, 2, 0.04, 0.2)
    assert (grpo.grpo.loss_type, grpo.grpo.max_new_tokens, grpo.grpo.temperature) == ("grpo", 2048, 1.0)
    assert sft.model.base == grpo.model.base == "Qwen/Qwen2.5-VL-7B-Instruct"
    assert grpo.model.adapter == sft.run.out


def test_the_papers_group_is_whole_on_its_four_gpus(monkeypatch):
    grpo = load_config(SHIPPED / "paper-7b/grpo.toml")
    monkeypatch.setenv("WORLD_SIZE", "4")
    check(grpo)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with pytest.raises(ConfigError, match="a group must be whole"):
        check(grpo)


def test_every_value_of_a_paper_configuration_names_its_source():
    for name in ("sft", "grpo"):
        for line in (SHIPPED / "paper-7b" / f"{name}.toml").read_text().splitlines():
            key = line.partition(" ")[0]
            if "=" in line and key not in ("method", "view", "out", "log_steps", "corpus"):
                assert any(mark in line for mark in ("[P", "[U]", "[O]", "multiple")), line


@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed"])
def test_accelerate_reads_the_shipped_launch_files(name):
    from accelerate.commands.config.config_args import load_config_from_file

    found = load_config_from_file(str(SHIPPED / "accelerate" / f"{name}.yaml"))
    assert found.num_processes == 4
    assert found.distributed_type.value == {"ddp": "MULTI_GPU", "fsdp": "FSDP", "deepspeed": "DEEPSPEED"}[name]


def test_values_are_set_from_the_command_line(tmp_path):
    config = load(tmp_path, overrides=["optim.learning_rate=2e-5", "run.out=some/where", "lora.enabled=false", "optim.epochs=3"])
    assert (config.optim.learning_rate, config.run.out, config.lora.enabled, config.optim.epochs) == (
        2e-5,
        "some/where",
        False,
        3.0,
    )


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lr=1", "key lr is unknown: known are learning_rate"),
        ("optimizer.lr=1", "table optimizer is unknown"),
        ("lr=1", "write table.key=value"),
        ("optim.batch_size=many", "batch_size is 'many': it is of kind int"),
        ("optim.batch_size=true", "it is of kind int"),
        ("optim.batch_size=0", "optim.batch_size is 0: it is at least 1"),
        ("optim.learning_rate=0.0", "it is above 0"),
        ("grpo.temperature=0.0", "rollouts without chance are all alike"),
        ("grpo.loss_type=ppo", "use one of grpo, bnpo"),
        ("grpo.group_size=1", "grpo.group_size is 1: it is at least 2"),
        ("recipe.method=guess", "method is 'guess': use one of reason"),
        ("data.max_pixels=10", "it is at least 784"),
    ],
)
def test_impossible_values_are_refused(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        load(tmp_path, overrides=[override])


def test_what_is_missing_or_broken_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"\[data\]: corpus is missing"):
        load(tmp_path, SMALL.replace('corpus = "c"\n', ""))
    with pytest.raises(ConfigError, match="cannot be read as TOML"):
        load(tmp_path, "[model")
    with pytest.raises(ConfigError, match="it is a table"):
        load(tmp_path, "model = 3\n")
    with pytest.raises(SourceNotFoundError, match="no file at"):
        load_config(tmp_path / "none.toml")


def test_settings_of_grpo_that_do_not_go_together(tmp_path):
    good = load(tmp_path, overrides=["optim.batch_size=4", "run.save_steps=4"])
    check(good)
    for overrides, message in [
        (["optim.batch_size=3", "optim.accumulation=1"], "a group must be whole"),
        (["optim.batch_size=4", "run.save_steps=3"], "make it a multiple"),
        (["optim.batch_size=4", "run.save_steps=4", "grpo.rollouts=vllm-colocate"], "issues 6294 and 6401"),
        (["optim.batch_size=4", "run.save_steps=4", "lora.plus_ratio=16"], "plain LoRA"),
    ]:
        with pytest.raises(ConfigError, match=message):
            check(load(tmp_path, overrides=overrides))
    check(load(tmp_path, overrides=["optim.batch_size=4", "run.save_steps=4", "grpo.rollouts=vllm-colocate", "recipe.view=text"]))


def test_a_configuration_is_plain_json(tmp_path):
    assert json.loads(json.dumps(load(tmp_path).to_dict()))["lora"]["rank"] == 8


FILLED_IN = {"max_pixels": 50_000, "prompt_fingerprint": fingerprint("pointwise", "both")}
GIVEN = {"method": "pointwise", "view": "both", "page_tokens": 120, "fusion": 0.7, "question_weight": 0.3, "notes": 1,
         "languages": ("en", "de"), "other_fusion": 0.2, "window": 8, "overlap": 3, "max_new_tokens": 300, "reserved": ("<x>",)}  # fmt: skip
UNTAUGHT = {"prompt": None, "ids": "numbers", "calibrations": ()}
"""Training teaches this project's own prompt, and what scores mean is found out afterwards."""


def test_the_table_recipe_is_the_recipe_itself():
    """No second declaration that could drift."""
    assert typing.get_type_hints(TrainingConfig)["recipe"] is Recipe
    assert {field.name for field in dataclasses.fields(Recipe)} == GIVEN.keys() | FILLED_IN.keys() | UNTAUGHT.keys()


def test_a_list_of_a_recipe_holds_texts(tmp_path):
    for value, said in (('"en"', "it is a list"), ("[1]", "languages is 1: it is of kind str")):
        with pytest.raises(ConfigError, match=said):
            load(tmp_path, overrides=[f"recipe.languages={value}"])


def test_every_field_of_a_recipe_reaches_the_checkpoint(tmp_path):
    sets = [f"recipe.{name}={json.dumps(value)}" for name, value in GIVEN.items()]
    config = load(tmp_path, overrides=[*sets, "data.max_pixels=50_000"])
    (tmp_path / "recipe.json").write_text(config.checkpoint_recipe("sft").to_json())
    written = load_recipe(tmp_path)
    assert dataclasses.asdict(written) == GIVEN | FILLED_IN | UNTAUGHT
    assert all(getattr(written, f.name) != f.default for f in dataclasses.fields(Recipe) if f.name not in {"method", *UNTAUGHT})
    assert not written.stale


def test_a_prompt_that_training_does_not_teach_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="teaches this project's own prompt"):
        load(tmp_path, overrides=['recipe.ids="letters"'])


def test_what_is_not_given_is_none_or_the_default(tmp_path):
    recipe = load(tmp_path, overrides=["recipe.view=text"]).checkpoint_recipe("sft")
    assert recipe == dataclasses.replace(Recipe(view="text"), prompt_fingerprint=fingerprint("reason", "text"))


def test_the_share_that_was_trained_is_the_weight_that_is_used(tmp_path):
    grouped = ["groups.pages=4", "groups.question_share=0.25", "recipe.method=pointwise", "recipe.view=text"]
    assert load(tmp_path, overrides=grouped).checkpoint_recipe("sft").question_weight == 0.25
    assert load(tmp_path, overrides=[*grouped, "recipe.question_weight=0.4"]).checkpoint_recipe("sft").question_weight == 0.4
    assert load(tmp_path, overrides=[*grouped, "groups.pages=0"]).checkpoint_recipe("sft").question_weight == 0.0


@pytest.mark.parametrize("place", ["adapter", "base"])
def test_grpo_keeps_the_weight_of_the_checkpoint_that_it_starts_from(tmp_path, place):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "recipe.json").write_text(Recipe(method="pointwise", view="text", question_weight=0.25).to_json())
    start = [f"model.{place}={tmp_path / 'sft'}", "recipe.method=pointwise", "recipe.view=text"]
    assert load(tmp_path, overrides=start).checkpoint_recipe("grpo").question_weight == 0.25
    assert load(tmp_path, overrides=start).checkpoint_recipe("sft").question_weight == 0.0, "SFT teaches its own"
    assert load(tmp_path, overrides=[*start, "recipe.question_weight=0.1"]).checkpoint_recipe("grpo").question_weight == 0.1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["recipe.prompt_fingerprint=abc"], "recipe.prompt_fingerprint is given: training fills it in"),
        (["recipe.max_pixels=5000"], "a pixel budget is data.max_pixels"),
        (["recipe.page_tokens=many"], "page_tokens is 'many': it is of kind int"),
        (["recipe.page_tokens=0"], "page_tokens is 0: give at least 1"),
        (["recipe.question_weight=-0.5"], "question_weight is -0.5: give at least 0"),
        (["recipe.notes=-1"], "notes is -1: give at least 0"),
        (["groups.pages=4", "groups.first_stage_share=0.5"], "recipe.fusion is not given"),
    ],
)
def test_recipes_that_would_mislead_are_refused(tmp_path, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, overrides=overrides)


def test_a_share_of_the_first_stage_goes_with_fusion(tmp_path):
    config = load(tmp_path, overrides=["groups.pages=4", "groups.first_stage_share=0.5", "recipe.fusion=1"])
    assert config.checkpoint_recipe("sft").fusion == 1.0
