"""The dtype is chosen by what a short probe measures; a checkpoint that cannot be loaded says why, and runs nothing."""

import json
import os
import pickle
import shutil

import pytest
import torch

from mmr5.engines import loading
from mmr5.engines.chat_template import LocalPrompts
from mmr5.engines.encoders import load_encoder
from mmr5.engines.loading import TRUST, load_model, pick_dtype
from mmr5.engines.runtime.model_runner import CachedRunner
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ConfigError, MissingExtraError, ModelNotFoundError
from mmr5.models import resolve

CPU = torch.device("cpu")


CPUINFO = "processor\t: 0\nmodel name\t: any\nflags\t\t: fpu sse {}\nbugs\t\t: amx_bf16\n"


@pytest.mark.parametrize(
    ("flags", "features", "expected"),
    [
        ("avx2 avx512f avx512_bf16", ("avx512_bf16",), torch.bfloat16),
        ("amx_tile amx_bf16 avx512_bf16", ("amx_bf16", "avx512_bf16"), torch.bfloat16),
        ("avx2 avx512f", (), torch.float32),
    ],
)
def test_the_dtype_of_a_cpu_goes_by_its_features(monkeypatch, flags, features, expected):
    monkeypatch.setattr(loading.Path, "read_text", lambda self, **_: CPUINFO.format(flags))
    loading.bf16_features.cache_clear()
    assert loading.bf16_features() == features
    assert pick_dtype("auto", CPU) is expected
    loading.bf16_features.cache_clear()


def test_a_system_that_lists_no_features_computes_in_float32(monkeypatch):
    def missing(self, **_):
        raise FileNotFoundError(self)

    monkeypatch.setattr(loading.Path, "read_text", missing)
    loading.bf16_features.cache_clear()
    assert pick_dtype("auto", CPU) is torch.float32
    loading.bf16_features.cache_clear()


def test_a_dtype_that_is_asked_for_is_taken():
    assert pick_dtype("float32", CPU) is torch.float32
    assert pick_dtype("float16", CPU) is torch.float16
    assert pick_dtype("auto", torch.device("mps")) is torch.float32
    with pytest.raises(ConfigError, match="dtype 'int3' is unknown"):
        pick_dtype("int3", CPU)


def test_mps_is_not_chosen_unless_it_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert loading.pick_device().type == "cpu"
    assert loading.pick_device("mps").type == "mps"


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


def load(folder):
    return load_model(str(folder), device=CPU, dtype=torch.float32, attention="auto")


@pytest.fixture
def copied(tiny_text, tmp_path):
    """A checkpoint to be spoilt."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_text, folder)
    return folder


def edit(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_pickled_tensors_are_read_and_nothing_else(copied, tmp_path):
    from safetensors.torch import load_file

    tensors = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    torch.save(tensors, copied / "pytorch_model.bin")
    load(copied)
    torch.save({"a": Hostile(tmp_path / "ran")}, copied / "pytorch_model.bin")
    with pytest.raises(ModelNotFoundError, match=r"pickled.*model\.safetensors.*save_pretrained"):
        load(copied)
    (copied / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Hostile(tmp_path / "ran")}, protocol=2))
    with pytest.raises(ModelNotFoundError, match="pickled"):
        load(copied)
    assert not (tmp_path / "ran").exists()


def test_a_pickled_adapter_runs_nothing(tiny_text, tmp_path):
    folder = tmp_path / "adapter"
    folder.mkdir()
    config = {
        "base_model_name_or_path": str(tiny_text),
        "peft_type": "LORA",
        "r": 2,
        "target_modules": ["q_proj"],
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    torch.save({"a": Hostile(tmp_path / "ran")}, folder / "adapter_model.bin")
    with pytest.raises(ModelNotFoundError, match="LoRA adapter of its base: its weights are pickled"):
        load(folder)
    assert not (tmp_path / "ran").exists()
    edit(folder / "adapter_config.json", target_modules=["nothing_like_it"])
    with pytest.raises(ModelNotFoundError, match="nothing_like_it"):
        load(folder)
    (folder / "adapter_config.json").write_text("{")
    for opened in (load, resolve):
        with pytest.raises(ModelNotFoundError, match="adapter"):
            opened(str(folder))


def test_code_of_a_checkpoint_is_not_run_and_nobody_is_asked(copied, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked at the terminal"))
    (copied / "configuration_x.py").write_text("raise RuntimeError('it ran')")
    (copied / "tokenization_x.py").write_text("raise RuntimeError('it ran')")
    edit(copied / "config.json", model_type="mystery", auto_map={"AutoConfig": "configuration_x.XConfig"})
    for opened in (
        load,
        lambda folder: LocalPrompts.from_pretrained(folder),
        lambda folder: load_encoder("CrossEncoder", str(folder)),
    ):
        with pytest.raises(ModelNotFoundError, match=f"code of its own.*{TRUST}=1"):
            opened(copied)
    monkeypatch.setenv(TRUST, "1")
    with pytest.raises(ModelNotFoundError, match="it ran"):
        load(copied)


def test_a_tokenizer_of_its_own_code_is_not_run(copied):
    (copied / "tok_x.py").write_text("raise RuntimeError('it ran')")
    edit(copied / "tokenizer_config.json", tokenizer_class="Mystery", auto_map={"AutoTokenizer": ["tok_x.Tok", None]})
    with pytest.raises(ModelNotFoundError, match="code of its own"):
        load(copied)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:999]),
            "damaged.*fetch them again",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "no file named model.safetensors.*folder with a checkpoint"),
        (lambda f: (f / "config.json").write_text("{"), "not a valid JSON"),
        (lambda f: edit(f / "config.json", model_type="mystery"), "mystery"),
    ],
    ids=["cut", "missing", "not JSON", "unknown"],
)
def test_a_spoilt_checkpoint_says_what_is_wrong(copied, spoil, said):
    spoil(copied)
    with pytest.raises(ModelNotFoundError, match=said):
        load(copied)


def test_few_bits_need_a_gpu_and_the_library(monkeypatch):
    assert loading.quantisation("none", CPU, torch.bfloat16) is None
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        loading.quantisation("4bit", CPU, torch.bfloat16)
    with pytest.raises(ConfigError, match="'2bit': use one of none, 8bit, 4bit"):
        loading.quantisation("2bit", CPU, torch.bfloat16)
    import transformers

    monkeypatch.setattr(transformers.utils, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(MissingExtraError, match=r"mmr5\[quantized\]"):
        loading.quantisation("4bit", torch.device("cuda"), torch.bfloat16)
    monkeypatch.setattr(transformers.utils, "is_bitsandbytes_available", lambda: True)
    found = loading.quantisation("4bit", torch.device("cuda"), torch.float16)
    assert (found.load_in_4bit, found.bnb_4bit_quant_type, found.bnb_4bit_compute_dtype) == (True, "nf4", torch.float16)
    assert loading.quantisation("8bit", torch.device("cuda"), torch.float16).load_in_8bit


def test_weights_in_few_bits_are_put_in_place_as_they_are_read(tiny_text, monkeypatch):
    """The library that packs them runs on GPUs; what it is handed is looked at, and the model is not moved afterwards."""
    import transformers

    monkeypatch.setattr(loading, "quantisation", lambda quantize, device, dtype: "settings" if quantize != "none" else None)
    handed, inner = {}, transformers.AutoModelForCausalLM.from_pretrained

    def plain(path, **options):
        handed.update(options)
        return inner(path, dtype=options["dtype"], device_map=options["device_map"])

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", plain)
    model, _ = load_model(str(tiny_text), device=CPU, dtype=torch.float32, attention="auto", quantize="4bit")
    assert handed["quantization_config"] == "settings"
    assert handed["device_map"] == {"": CPU}
    assert not model.training
    with pytest.raises(ConfigError, match="merge it first"):
        load_model(str(tiny_text), device=CPU, dtype=torch.float32, attention="auto", quantize="4bit", adapter="a")
    engine = TransformersEngine(model, transformers.AutoTokenizer.from_pretrained(tiny_text), name="few bits")
    assert isinstance(engine._reader, CachedRunner)


def test_quantize_goes_with_transformers_alone(tiny_text):
    from mmr5 import Reranker

    with pytest.raises(ConfigError, match="goes with engine 'transformers'"):
        Reranker.from_pretrained("m", engine="openai", base_url="http://127.0.0.1:1", quantize="4bit")
    with pytest.raises(ConfigError, match="needs a CUDA GPU"):
        Reranker.from_pretrained(str(tiny_text), quantize="8bit", device="cpu")
