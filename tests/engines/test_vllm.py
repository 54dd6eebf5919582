"""The engine ``vllm`` against a stand-in for the package, whose names are pinned from reading the real one.

vLLM brings a torch of its own and does not join this environment. ``vllm_signatures.json`` lists the names that the engine uses; the
last test holds them against the real package wherever it is installed.
"""

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import GenerationConfig

from mmr5 import prompt
from mmr5.engines.loading import load_model
from mmr5.engines.protocol import Engine, Request, Sampling
from mmr5.engines.transformers import TransformersEngine
from mmr5.engines.vllm import VLLMEngine
from mmr5.errors import ConfigError, ContextLengthError, EngineError, MissingExtraError
from support.tiny import Picture

PINNED = json.loads((Path(__file__).parent / "vllm_signatures.json").read_text())


def only(name, given):
    unknown = set(given) - set(PINNED[name])
    assert not unknown, f"{name} has no {unknown}"
    return given


class SamplingParams(SimpleNamespace):
    def __init__(self, **given):
        super().__init__(**only("SamplingParams", given))


class LLM:
    """vLLM's outside over a model of transformers: ids in, ids and log-probabilities out."""

    def __init__(self, **given):
        only("LLM", given)
        self.model_config = SimpleNamespace(max_model_len=given.get("max_model_len", 4096))
        self.model, self.processor = load_model(given["model"], device=torch.device("cpu"), dtype=torch.float32, attention="sdpa")
        self.tokenizer = getattr(self.processor, "tokenizer", self.processor)
        self.shift = 0

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
        return [self.one(only("TokensPrompt", p), s) for p, s in zip(prompts, sampling_params, strict=True)]

    @torch.inference_mode()
    def one(self, given, settings):
        images = given.get("multi_modal_data", {}).get("image", [])
        batch = self.inputs(given["prompt_token_ids"], images)
        self.forget()
        logits = self.model(**batch).logits[0].float().log_softmax(-1)
        ids = batch["input_ids"][0].tolist()
        seen = None
        if hasattr(settings, "prompt_logprobs"):
            seen = [None] + [{t: SimpleNamespace(logprob=logits[i, t].item())} for i, t in enumerate(ids[1:])]
        wanted = getattr(settings, "logprob_token_ids", None)
        first = {t: SimpleNamespace(logprob=logits[-1, t].item()) for t in wanted} if wanted else None
        self.forget()
        end = self.tokenizer.eos_token_id
        config = GenerationConfig(max_new_tokens=settings.max_tokens, do_sample=False, eos_token_id=end, pad_token_id=end)
        written = self.model.generate(**batch, generation_config=config)[0, len(ids) :].tolist()
        for n in range(1, len(written) + 1):
            if any(stop in self.tokenizer.decode(written[:n]) for stop in getattr(settings, "stop", ())):
                written = written[:n]
                break
        output = SimpleNamespace(token_ids=written, logprobs=[first] if first else None)
        ids = ids + [0] * self.shift
        return SimpleNamespace(prompt_token_ids=ids, prompt_logprobs=seen, outputs=[output])

    def inputs(self, ids, images):
        if not images:
            tensor = torch.tensor([ids])
            return {"input_ids": tensor, "attention_mask": torch.ones_like(tensor)}
        return dict(self.processor(text=[self.tokenizer.decode(ids)], images=images, return_tensors="pt"))

    def forget(self):
        for part in self.model.modules():
            if hasattr(part, "rope_deltas"):
                part.rope_deltas = None


@pytest.fixture
def module(monkeypatch):
    fake = SimpleNamespace(LLM=LLM, SamplingParams=SamplingParams)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    return fake


def requests(view):
    if view == "text":
        return [Request(prompt.listwise(f"q{i}?", view="text", think=True, texts=["page", "b" * i]), "<think>") for i in range(3)]
    pages = [Picture("a", (84, 112)), Picture("b", (140, 56), mark="red")]
    return [Request(prompt.listwise(f"q{i}?", view="image", think=True, images=pages[: i + 1])) for i in range(2)]


@pytest.mark.parametrize("view", ["text", "image"])
def test_it_reads_and_writes_what_the_local_engine_does(module, tiny_text, tiny_vision, view):
    folder = str(tiny_text if view == "text" else tiny_vision)
    local = TransformersEngine.from_pretrained(folder, dtype="float32", device="cpu")
    engine = VLLMEngine.from_pretrained(folder, max_model_len=4096)
    assert isinstance(engine, Engine)
    asked = requests(view)
    assert engine.generate(asked, Sampling(12)) == local.generate(asked, Sampling(12))
    first = local.generate(asked, Sampling(12))[0].text
    stopping = Sampling(12, stop=(first[3:4],))
    assert engine.generate(asked, stopping) == local.generate(asked, stopping)
    heard = []
    engine.generate(asked, Sampling(4), lambda i, t: heard.append(i))
    assert heard == list(range(len(asked)))
    choices = [["1,", "2,", "10,"]] * len(asked)
    opened = [Request(r.messages, "<answer>[") for r in asked]
    for a, b in zip(engine.score_choices(opened, choices), local.score_choices(opened, choices), strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        assert sum(map(math.exp, a.logprobs)) == pytest.approx(1, abs=1e-5)
        assert a.usage.prompt_tokens == b.usage.prompt_tokens
    if view == "text":
        asking = [Request(r.messages, "<answer>[", measured="page") for r in asked]
        for a, b in zip(engine.score_choices(asking, choices), local.score_choices(asking, choices), strict=True):
            assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
            assert a.measured.n_tokens == b.measured.n_tokens == 4
            assert a.measured.mean_logprob == pytest.approx(b.measured.mean_logprob, abs=1e-4)
    texts = ["is it?", "x", "and of a longer one?"][: len(asked)]
    for a, b in zip(engine.score_text(asked, texts), local.score_text(asked, texts), strict=True):
        assert (a.n_tokens, a.mean_logprob) == (b.n_tokens, pytest.approx(b.mean_logprob, abs=1e-4))


def test_another_prompt_than_meant_is_an_error(module, tiny_text):
    engine = VLLMEngine.from_pretrained(str(tiny_text))
    engine._llm.shift = 1
    with pytest.raises(EngineError, match="were meant"):
        engine.generate(requests("text")[:1], Sampling(2))


def test_what_it_cannot_do_is_said(module, tiny_text, monkeypatch):
    engine = VLLMEngine.from_pretrained(str(tiny_text), max_model_len=64)
    with pytest.raises(ContextLengthError, match="64"):
        engine.generate(requests("text"), Sampling(2))
    with pytest.raises(EngineError, match="reads text only"):
        engine.generate(requests("image"), Sampling(2))
    with pytest.raises(ConfigError, match="no tokens"):
        engine.score_text(requests("text")[:1], [""])
    with pytest.raises(ConfigError, match="784"):
        VLLMEngine.from_pretrained(str(tiny_text), max_pixels=1)
    assert engine.generate([], Sampling(2)) == []

    def fails(*args, **kwargs):
        raise ValueError("no room")

    monkeypatch.setattr(module, "LLM", fails)
    with pytest.raises(EngineError, match="no room"):
        VLLMEngine.from_pretrained(str(tiny_text))


def test_a_missing_package_is_named(tiny_text, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"mmr5\[vllm\]"):
        VLLMEngine.from_pretrained(str(tiny_text))


def test_the_real_package_has_the_pinned_names():
    """Where vLLM is installed its own signatures are read; elsewhere the list must at least be the one that the engine uses."""
    source = (Path(__file__).parents[2] / "src" / "mmr5" / "engines" / "vllm.py").read_text()
    for name in ("logprob_token_ids", "prompt_logprobs", "include_stop_str_in_output", "stop_token_ids"):
        assert f"{name}=" in source
        assert name in PINNED["SamplingParams"]
    if importlib.util.find_spec("vllm") is None:
        return
    import inspect

    import vllm

    llm = set(inspect.signature(vllm.LLM.__init__).parameters) | set(inspect.signature(vllm.EngineArgs).parameters)
    assert set(PINNED["LLM"]) <= llm
    assert set(PINNED["LLM.generate"]) <= set(inspect.signature(vllm.LLM.generate).parameters)
    assert set(PINNED["SamplingParams"]) <= set(vllm.SamplingParams.__struct_fields__)
