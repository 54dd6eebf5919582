import shutil
from types import SimpleNamespace

import pytest

from mmr5.errors import ConfigError, ModelNotFoundError
from mmr5.training import base_model
from mmr5.training.config import LoraConfig, from_tables


def run_of(base, out, **model):
    return from_tables(_tables(out, base=str(base), dtype="float32", **model), "test")


@pytest.fixture
def model(tiny_text):
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(tiny_text)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (r".*\.query_key_value", "matches no module of the model"),
        ("q_proj", "matches no module of the model"),  # matched in full
        (r".*\.mlp", r"matches 'model\.layers\.0\.mlp', which takes no adapter"),
        (r".*(q_proj|norm)", "takes no adapter"),
        ("(", "is no regular expression: missing"),
    ],
)
def test_a_target_without_a_match_is_named_with_what_could_be(model, target, message):
    with pytest.raises(ConfigError, match=message) as told:
        base_model.lora(LoraConfig(target=target), model)
    assert repr(target) in str(told.value)
    if target != "(":
        assert "lm_head, model.layers.N.mlp.down_proj, model.layers.N.mlp.gate_proj" in str(told.value)
        assert "layers.1" not in str(told.value)


@pytest.mark.parametrize("target", [r".*\.(q_proj|v_proj)", "all-linear", LoraConfig().target])
def test_a_target_that_matches_makes_an_adapter(model, target):
    made = base_model.wrap(model, base_model.lora(LoraConfig(target=target, rank=2), model))
    assert any("lora_A" in name for name, _ in made.named_parameters())


def test_no_adapter_asks_for_no_target(model):
    assert base_model.lora(LoraConfig(enabled=False, target="nothing"), model) is None


@pytest.mark.parametrize("stage", ["sft", "sft-plus", "grpo"])
def test_both_stages_and_the_preflight_name_the_target(settings, stage):
    from mmr5.training.grpo import train_grpo
    from mmr5.training.memory_estimate import estimate
    from mmr5.training.sft import train_sft

    kind, plus = stage.partition("-")[::2]
    config = settings(kind, "lora.target=nothing", f"lora.plus_ratio={16.0 if plus else 0.0}")
    with pytest.raises(ConfigError, match="matches no module"):
        estimate(config, kind)
    with pytest.raises(ConfigError, match="matches no module"):
        {"sft": train_sft, "grpo": train_grpo}[kind](config)


class Harmful:
    """A pickle of it writes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def pickled(source, folder, *more):
    """A checkpoint whose weights are a pickle, with more than tensors in it."""
    import torch
    from safetensors.torch import load_file

    shutil.copytree(source, folder)
    for name in ("model", "adapter_model"):
        held = folder / f"{name}.safetensors"
        if held.is_file():
            torch.save(
                {**load_file(held), **{f"extra{i}": item for i, item in enumerate(more)}},
                folder / f"{'pytorch_model' if name == 'model' else name}.bin",
            )
            held.unlink()
    return folder


def test_pickled_weights_with_more_than_tensors_are_refused_unread(tiny_text, tmp_path):
    base = pickled(tiny_text, tmp_path / "base", Harmful(tmp_path / "harmed"))
    with pytest.raises(ModelNotFoundError, match=r"pickled.*Take a checkpoint with model.safetensors"):
        base_model.load_for_training(run_of(base, tmp_path / "run"))
    assert not (tmp_path / "harmed").exists()


def test_a_pickled_adapter_is_refused_for_training_and_merging(tiny_text, tmp_path, model):
    import peft

    from mmr5.training.merge import merge

    peft.get_peft_model(model, peft.LoraConfig(target_modules=r".*q_proj")).save_pretrained(tmp_path / "plain")
    adapter = pickled(tmp_path / "plain", tmp_path / "adapter", Harmful(tmp_path / "harmed"))
    with pytest.raises(ModelNotFoundError, match=r"pickled.*Take a checkpoint with model.safetensors"):
        base_model.load_for_training(run_of(tiny_text, tmp_path / "run", adapter=str(adapter)))
    with pytest.raises(ModelNotFoundError, match=r"pickled.*Take a checkpoint with model.safetensors"):
        merge(run_of(tiny_text, adapter))
    assert not (tmp_path / "harmed").exists()


def test_pickled_tensors_alone_are_read(tiny_text, tmp_path):
    model, _, path = base_model.load_for_training(run_of(pickled(tiny_text, tmp_path / "base"), tmp_path / "run"))
    assert path == str(tmp_path / "base") and model.training


def test_a_checkpoint_without_a_chat_template_is_refused(tiny_text, tmp_path):
    base = tmp_path / "base"
    shutil.copytree(tiny_text, base)
    (base / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template"):
        base_model.load_for_training(run_of(base, tmp_path / "run"))


def test_weights_that_are_trained_themselves_stay_whole(tmp_path):
    import torch

    cpu = torch.device("cpu")
    whole = from_tables({**_tables(tmp_path), "lora": {"enabled": False}}, "test")
    assert base_model.weights_dtype(whole, cpu) == torch.float32
    half = from_tables({**_tables(tmp_path, dtype="bfloat16"), "lora": {"enabled": False}}, "test")
    assert base_model.weights_dtype(half, cpu) == torch.bfloat16


def test_products_are_computed_as_asked(tmp_path, monkeypatch):
    for asked, half in (("bfloat16", True), ("float32", False)):
        assert base_model.autocasts(from_tables(_tables(tmp_path, autocast=asked), "test")) is half
    for features, half in ((("amx_bf16",), True), ((), False)):
        monkeypatch.setattr("mmr5.engines.loading.bf16_features", lambda f=features: f)
        assert base_model.autocasts(from_tables(_tables(tmp_path, autocast="auto"), "test")) is half


def _tables(out, **model):
    return {"model": {"base": "b", "device": "cpu"} | model, "data": {"rows": "r", "corpus": "c"}, "run": {"out": str(out)}}


def test_the_context_is_what_the_model_says(model):
    assert base_model.context_of(model) == 4096
    silent = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: SimpleNamespace()))
    assert base_model.context_of(silent) is None


def test_an_adapter_is_merged_once_and_kept_in_the_runs_folder(tiny_text, tmp_path, model):
    import peft
    import torch

    torch.manual_seed(1)
    ids = torch.arange(20).reshape(1, 20) + 40
    stacked = peft.get_peft_model(model, peft.LoraConfig(target_modules=r".*q_proj", init_lora_weights=False)).eval()
    stacked.save_pretrained(tmp_path / "sft")
    config = run_of(tiny_text, tmp_path / "run", adapter=str(tmp_path / "sft"))
    first, _, path = base_model.load_for_training(config)
    assert path == str(tmp_path / "run" / "base") and first.name_or_path == path
    shutil.rmtree(tmp_path / "sft")  # the second time the merged weights are read
    again, _, same = base_model.load_for_training(config)
    assert same == path
    with torch.no_grad():
        expected = stacked(input_ids=ids).logits
        for merged in (first, again):
            torch.testing.assert_close(merged.eval()(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)


def test_a_folder_with_an_adapter_alone_is_a_base_that_is_merged(tiny_text, tmp_path, model):
    import peft

    peft.get_peft_model(model, peft.LoraConfig(target_modules=r".*q_proj")).save_pretrained(tmp_path / "sft")
    for tokens in tiny_text.glob("*token*"):
        shutil.copy(tokens, tmp_path / "sft")
    _, _, path = base_model.load_for_training(run_of(tmp_path / "sft", tmp_path / "run"))
    assert path == str(tmp_path / "run" / "base")
    assert (tmp_path / "run" / "base" / "config.json").is_file()
