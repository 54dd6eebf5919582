"""An adapter on a small base is merged once and kept."""

import json

import pytest
import torch

from mmr5.engines import open_engine
from mmr5.engines.opening import _merged
from mmr5.models.resolve import Checkpoint
from mmr5.storage.cache import Cache

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def adapter(tiny_text, tmp_path):
    """A LoRA adapter for the tiny checkpoint, with weights that are not 0."""
    import peft
    import transformers

    base = transformers.AutoModelForCausalLM.from_pretrained(tiny_text)
    torch.manual_seed(0)
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    for name, weight in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def test_a_merged_checkpoint_is_kept_and_gives_the_same(tiny_text, adapter, tmp_path):
    cache = Cache(tmp_path / "cache")
    before, _ = open_engine(str(adapter), device="cpu", dtype="float32", cache=cache)
    checkpoint = Checkpoint("tuned", str(tiny_text), adapter=str(adapter))
    kept = _merged(checkpoint, "cpu", "float32", cache)
    assert (kept.adapter, kept.name) == (None, "tuned")
    folder = tmp_path / "cache" / "models"
    (stored,) = folder.iterdir()
    assert str(stored) == kept.path
    stamp = (stored / "config.json").stat().st_mtime_ns
    assert _merged(checkpoint, "cpu", "float32", cache) == kept
    assert (stored / "config.json").stat().st_mtime_ns == stamp
    assert _merged(checkpoint, "cpu", "bfloat16", cache).path != kept.path
    after, _ = open_engine(kept.path, device="cpu", dtype="float32", cache=cache)
    plain, _ = open_engine(str(tiny_text), device="cpu", dtype="float32", cache=cache)
    tokens = torch.tensor([[5, 9, 12, 7, 3]])
    logits = [engine._model(tokens).logits for engine in (before, after, plain)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.allclose(logits[0], logits[2])


def test_another_adapter_is_merged_anew(tiny_text, adapter, tmp_path):
    cache = Cache(tmp_path / "cache")
    checkpoint = Checkpoint("tuned", str(tiny_text), adapter=str(adapter))
    first = _merged(checkpoint, "cpu", "float32", cache)
    said = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**said, "lora_alpha": 64}))
    assert _merged(checkpoint, "cpu", "float32", cache).path != first.path


def test_large_bases_and_hub_names_are_merged_when_they_are_loaded(tiny_text, adapter, tmp_path, monkeypatch):
    cache = Cache(tmp_path / "cache")
    monkeypatch.setattr("mmr5.engines.opening.MAX_MERGED_BYTES", 10)
    for path in (str(tiny_text), "some/base"):
        checkpoint = Checkpoint("tuned", path, adapter=str(adapter))
        assert _merged(checkpoint, "cpu", "float32", cache) is checkpoint
