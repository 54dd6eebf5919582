import json
import shutil

import pytest

from mmr5.errors import ModelNotFoundError
from mmr5.training.config import from_tables
from mmr5.training.merge import merge


def run_of(out, **model):
    tables = {"model": {"base": "b", "device": "cpu", **model}, "data": {"rows": "r", "corpus": "c"}, "run": {"out": str(out)}}
    return from_tables(tables, "test")


def load(folder, adapter=None):
    import torch
    import transformers

    kind = "AutoModelForImageTextToText" if (folder / "preprocessor_config.json").is_file() else "AutoModelForCausalLM"
    model = getattr(transformers, kind).from_pretrained(folder, dtype=torch.float32)
    if adapter is not None:
        import peft

        model = peft.PeftModel.from_pretrained(model, adapter)
    return model.eval()


def logits(model):
    import torch

    with torch.no_grad():
        return model(input_ids=torch.arange(40).reshape(2, 20) + 30).logits


@pytest.fixture
def trained(tmp_path):
    """``trained(base)`` is a run folder with an adapter whose weights are drawn, its recipe and its provenance."""

    def make(base):
        import peft
        import torch

        torch.manual_seed(3)
        config = peft.LoraConfig(
            r=4, lora_alpha=16, target_modules=r".*language_model.*q_proj|.*layers.*down_proj", init_lora_weights=False
        )
        out = tmp_path / "run"
        peft.get_peft_model(load(base), config).save_pretrained(out)
        (out / "recipe.json").write_text(
            json.dumps({"method": "pointwise", "view": "text", "page_tokens": 200, "question_weight": 0.25})
        )
        (out / "provenance.json").write_text(json.dumps({"stage": "sft"}))
        return out

    return make


@pytest.mark.parametrize("kind", ["tiny_text", "tiny_vision"])
def test_a_merged_checkpoint_answers_as_base_and_adapter_do(kind, trained, request):
    import torch

    base = request.getfixturevalue(kind)
    out = trained(base)
    target = merge(run_of(out))
    assert target == out / "merged"
    plain, stacked, merged = logits(load(base)), logits(load(base, out)), logits(load(target))
    torch.testing.assert_close(merged, stacked, rtol=1e-4, atol=1e-4)
    assert float((merged - plain).abs().max()) > 0.1, "the adapter changes something"
    assert not (target / "adapter_config.json").exists()
    for name in ("recipe.json", "provenance.json"):
        assert (target / name).read_bytes() == (out / name).read_bytes()


def test_a_merged_checkpoint_reranks_by_its_recipe(trained, tiny_text):
    from mmr5 import Reranker

    target = merge(run_of(trained(tiny_text)))
    reranker = Reranker.from_pretrained(str(target), device="cpu", dtype="float32")
    assert (reranker.recipe.method, reranker.recipe.page_tokens, reranker.recipe.question_weight) == ("pointwise", 200, 0.25)


@pytest.mark.parametrize(
    ("base_dtype", "asked", "kept"),
    [
        ("float32", "auto", "float32"), ("bfloat16", "auto", "bfloat16"), ("float32", "bfloat16", "bfloat16"),
        ("bfloat16", "float32", "float32"),
    ],
)  # fmt: skip
def test_merged_weights_have_the_dtype_of_the_base_or_the_one_asked_for(trained, tiny_text, tmp_path, base_dtype, asked, kept):
    import torch
    from safetensors.torch import load_file

    base = tmp_path / "base"
    shutil.copytree(tiny_text, base)
    load(tiny_text).to(getattr(torch, base_dtype)).save_pretrained(base)
    target = merge(run_of(trained(base), dtype=asked))
    assert {w.dtype for w in load_file(target / "model.safetensors").values()} == {getattr(torch, kept)}
    assert json.loads((target / "config.json").read_text())["dtype"] == kept


def test_a_run_without_an_adapter_is_not_merged(tmp_path):
    with pytest.raises(ModelNotFoundError, match="holds no adapter"):
        merge(run_of(tmp_path))


def test_the_command_prints_the_folder(trained, tiny_text, tmp_path):
    from typer.testing import CliRunner

    from mmr5.cli.train import app

    out = trained(tiny_text)
    file = tmp_path / "run.toml"
    file.write_text(f'[model]\nbase = "b"\ndevice = "cpu"\n[data]\nrows = "r"\ncorpus = "c"\n[run]\nout = "{out}"\n')
    done = CliRunner().invoke(app, ["merge", str(file)])
    assert done.exit_code == 0 and done.stdout.strip() == str(out / "merged")
