"""One contract over vision-language families: a prompt alone = in a ragged batch = transformers' own, for every method.

The references are independent of our readers: ids by ``apply_chat_template``, replies by ``generate``, scores by one forward
pass over the whole of prompt and continuation. All in float32, with random weights wide enough that replies differ.
"""

from types import SimpleNamespace

import pytest
import torch

from mmr5 import prompt
from mmr5.engines.chat_template import LocalPrompts
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.runtime.plain_runner import PlainRunner
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ContextLengthError, MMR5Warning
from mmr5.methods import method
from mmr5.methods.inputs import Candidates, MethodSettings
from mmr5.types import Page
from support.families import FAMILIES, build
from support.tiny import Picture

SIZES = [[(84, 112)], [(56, 56), (140, 84), (60, 60)], [(112, 112), (84, 56)], []]
"""Pictures of each prompt: unequal numbers, unequal shapes, and none."""
METHODS = ("reason", "direct", "logits", "pointwise", "likelihood")


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    folder = build(request.param, tmp_path_factory.mktemp(request.param))
    engine = TransformersEngine.from_pretrained(str(folder), dtype="float32", device="cpu")
    plain = TransformersEngine.from_pretrained(str(folder), dtype="float32", device="cpu", caches=False)
    if request.param == "smolvlm":  # its apply_chat_template asks the video processor, which needs torchvision
        engine._processor.video_processor = SimpleNamespace(num_frames=1, fps=1, video_sampling={"max_frames": 1, "fps": 1})
    return folder, engine, plain


def shown(i, sizes):
    return [Picture(f"{i}.{k}", size, mark=("red", "blue", "green")[k]) for k, size in enumerate(sizes)]


def requests(prefill=""):
    return [
        Request(prompt.listwise("q" * (3 * i + 1), view="image", think=True, images=shown(i, sizes)), prefill)
        if sizes
        else Request(prompt.listwise("who?", view="text", think=True, texts=["a", "b"]), prefill)
        for i, sizes in enumerate(SIZES)
    ]


def reference_inputs(engine, request):
    """What ``apply_chat_template`` makes of the messages, texts that follow one another as one, as a server is sent them."""
    messages = []
    for m in request.messages:
        parts = []
        for p in m["content"]:
            if p["type"] == "image":
                parts.append({"type": "image", "image": p["image"].load(engine.max_pixels)})
            elif parts and parts[-1]["type"] == "text":
                parts[-1] = {"type": "text", "text": parts[-1]["text"] + p["text"]}
            else:
                parts.append(dict(p))
        messages.append({"role": m["role"], "content": parts})
    made = engine._processor.apply_chat_template(
        [messages], tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    return dict(made)


def continued(inputs, ids):
    """The inputs with further tokens of text."""
    out, width = dict(inputs), inputs["input_ids"].shape
    for name, value in inputs.items():
        if value.shape == width:
            more = {"input_ids": ids, "attention_mask": [1] * len(ids)}.get(name, [0] * len(ids))
            out[name] = torch.cat([value, torch.tensor([more], dtype=value.dtype)], 1)
    return out


def reference_reply(engine, request, n):
    inputs = continued(reference_inputs(engine, request), engine._prompts.encode(request.prefill))
    forget(engine)
    out = engine._model.generate(**inputs, max_new_tokens=n, do_sample=False)
    return engine._tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def reference_logprobs(engine, request, ids):
    """Log-probabilities of each of the ids after the prompt, by one pass without keys and values."""
    before = continued(reference_inputs(engine, request), engine._prompts.encode(request.prefill))
    forget(engine)
    with torch.inference_mode():
        logits = engine._model(**continued(before, ids), use_cache=False).logits[0]
    start = before["input_ids"].shape[1] - 1
    return logits[start : start + len(ids)].float().log_softmax(-1)


def forget(engine):
    """Positions that the last prompt left behind."""
    for module in engine._model.modules():
        if hasattr(module, "rope_deltas"):
            module.rope_deltas = None


def test_ids_are_those_of_the_chat_template(family):
    folder, engine, plain = family
    local = LocalPrompts.from_pretrained(folder)
    for request in requests():
        expected = reference_inputs(engine, request)["input_ids"][0].tolist()
        assert list(engine._reader.encode(engine.render(request), request).ids) == expected
        assert list(plain._reader.encode(plain.render(request), request).ids) == expected
        if not any(p["type"] == "image" for m in request.messages for p in m["content"]):
            assert local.ids(request) == expected


@pytest.mark.parametrize("prefill", ["", "<think>\n"])
def test_replies_alone_and_in_a_ragged_batch_are_those_of_generate(family, prefill):
    _, engine, plain = family
    asked = requests(prefill)
    expected = [reference_reply(engine, r, 24) for r in asked]
    assert len(set(expected)) == len(expected)
    for reader in (engine, plain):
        assert [reader.generate([r], Sampling(24))[0].text for r in asked] == expected
        assert [r.text for r in reader.generate(asked, Sampling(24))] == expected
        assert [r.text for r in reader.generate(asked[::-1], Sampling(24))] == expected[::-1]


def test_choices_and_texts_are_scored_as_one_whole_pass_scores_them(family):
    _, engine, plain = family
    asked = requests("<answer>[")
    choices = [["1,", "12,", "2,"], ["3,", "13,"], ["1,", "2,"], ["21,", "22,", "9,"]]
    texts = ["What is shown?", "A", "Which harbour has the longest pier of all?", "who"]
    expected_choices, expected_texts = [], []
    for request, given, text in zip(asked, choices, texts, strict=True):
        ids = [engine._prompts.encode(c) for c in given]
        raw = torch.stack([torch.tensor(_path(reference_logprobs(engine, request, i), i, ids)) for i in ids])
        expected_choices.append(raw.tolist())
        tokens = engine._prompts.encode(text)
        found = reference_logprobs(engine, request, tokens)
        expected_texts.append(float(found.gather(-1, torch.tensor(tokens).unsqueeze(-1)).mean()))
    for reader in (engine, plain):
        alone = [reader.score_choices([r], [c])[0].logprobs for r, c in zip(asked, choices, strict=True)]
        together = [s.logprobs for s in reader.score_choices(asked, choices)]
        for ours, theirs, expected in zip(alone, together, expected_choices, strict=True):
            assert ours == pytest.approx(expected, abs=1e-3)
            assert theirs == pytest.approx(expected, abs=1e-3)
        alone = [reader.score_text([r], [t])[0].mean_logprob for r, t in zip(asked, texts, strict=True)]
        together = [s.mean_logprob for s in reader.score_text(asked, texts)]
        assert alone == pytest.approx(expected_texts, abs=1e-3)
        assert together == pytest.approx(expected_texts, abs=1e-3)


def _path(logprobs, ids, choices):
    """A choice's log-probability where only the choices may be written: a softmax over the ways on at each crossing."""
    total = 0.0
    for depth, token in enumerate(ids):
        ways = sorted({c[depth] for c in choices if len(c) > depth and c[:depth] == ids[:depth]})
        if len(ways) > 1:
            total += float(logprobs[depth, ways].log_softmax(-1)[ways.index(token)])
    return total


@pytest.mark.parametrize("name", METHODS)
def test_a_list_is_ranked_alike_alone_and_in_company(family, name):
    _, engine, plain = family
    lists = [
        Candidates("q" * (3 * i + 1), [Page("d.pdf", k, image=p) for k, p in enumerate(shown(i, sizes), 1)])
        for i, sizes in enumerate(SIZES)
        if sizes
    ]
    settings = MethodSettings(view="image", max_new_tokens=24)
    for reader in (engine, plain):
        alone = [method(name)(reader, [one], settings)[0] for one in lists]
        together = method(name)(reader, lists, settings)
        assert [(r.order, r.reply) for r in together] == [(r.order, r.reply) for r in alone]
        for ours, theirs in zip(together, alone, strict=True):
            assert (ours.scores is None) == (theirs.scores is None)
            if ours.scores is not None:
                assert ours.scores == pytest.approx(theirs.scores, abs=1e-3)


def test_a_prompt_that_does_not_fit_is_refused_by_its_real_length(family):
    _, _, plain = family
    request = requests()[1]
    length = len(plain._reader.encode(plain.render(request), request).ids)
    held = plain.capabilities
    try:
        plain.capabilities = type(held)(
            **{**{f: getattr(held, f) for f in held.__dataclass_fields__}, "context_tokens": length + 4}
        )
        assert plain.generate([request], Sampling(4))[0].usage.prompt_tokens == length
        with pytest.raises(ContextLengthError, match=f"up to {length} tokens"):
            plain.generate([request], Sampling(5))
    finally:
        plain.capabilities = held


def test_a_family_that_is_not_known_is_read_one_prompt_at_a_time_and_said_so(tmp_path, monkeypatch):
    folder = build("internvl", tmp_path)
    monkeypatch.setattr("mmr5.engines.runtime.plain_runner.RAGGED", frozenset())
    with pytest.warns(MMR5Warning, match=r"'internvl'.*one at a time"):
        engine = TransformersEngine.from_pretrained(str(folder), dtype="float32", device="cpu")
    assert isinstance(engine._reader, PlainRunner)
    assert not engine._reader.ragged
    sizes, inner = [], engine._reader.read
    monkeypatch.setattr(engine._reader, "read", lambda prompts, wanted: (sizes.append(len(prompts)), inner(prompts, wanted))[1])
    asked = requests()
    expected = [reference_reply(engine, r, 24) for r in asked]
    assert [r.text for r in engine.generate(asked, Sampling(24))] == expected
    assert sizes == [1] * len(asked)


def test_scores_and_replies_of_many_threads_do_not_mix(family):
    """The output layer and the kept states are one caller's at a time."""
    from concurrent.futures import ThreadPoolExecutor

    _, engine, _ = family
    asked = requests("<answer>[")
    choices = [["1,", "2,"], ["3,", "4,", "5,"], ["6,", "7,"], ["8,", "9,"]]
    alone = [engine.score_choices([r], [c])[0].logprobs for r, c in zip(asked, choices, strict=True)]
    written = [engine.generate([r], Sampling(6))[0].text for r in asked]
    with ThreadPoolExecutor(4) as pool:
        scored = [pool.submit(engine.score_choices, [r], [c]) for r, c in zip(asked, choices, strict=True)]
        replies = [pool.submit(engine.generate, [r], Sampling(6)) for r in asked]
    assert [f.result()[0].logprobs for f in scored] == alone
    assert [f.result()[0].text for f in replies] == written
    assert "forward" not in engine._model.get_output_embeddings().__dict__


@pytest.mark.parametrize("kind", ["MiniMax", "Jamba", "Mamba"])
def test_architectures_that_are_not_known_go_on_as_one_whole_pass_does(kind, tiny_text):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_text)
    base = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "initializer_range": 0.3,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
    }  # fmt: skip
    attention = {"num_attention_heads": 4, "num_key_value_heads": 2}
    more = {
        "MiniMax": {**attention, "head_dim": 8, "layer_types": ["linear_attention", "full_attention"], "num_local_experts": 2, "num_experts_per_tok": 1},
        "Jamba": {**attention, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 1, "num_experts_per_tok": 1, "use_mamba_kernels": False, "mamba_d_state": 8},
        "Mamba": {"state_size": 8},
    }[kind]  # fmt: skip
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**base, **more)).eval()
    with pytest.warns(MMR5Warning, match="one at a time"):
        engine = TransformersEngine(model, tokenizer, name=kind)
    request = Request(prompt.listwise("which?", view="text", think=True, texts=["abc", "d"]), "<answer>[")
    given = ["12a", "12b", "1c"]
    found = engine.score_choices([request], [given])[0].logprobs
    start, ids = engine._prompts.ids(request), [engine._prompts.encode(c) for c in given]
    for ours, tokens in zip(found, ids, strict=True):
        whole = torch.tensor([[*start, *tokens]])
        with torch.inference_mode():
            logits = model(input_ids=whole, use_cache=False).logits[0].float().log_softmax(-1)
        assert ours == pytest.approx(_path(logits[len(start) - 1 : len(start) - 1 + len(tokens)], tokens, ids), abs=1e-3)


def test_a_rope_that_the_longest_row_would_choose_keeps_rows_apart():
    from transformers import Phi3Config, Phi3ForCausalLM

    from mmr5.engines.runtime.plain_runner import _masked_attention

    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
    long = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4, "rope_theta": 10000.0, "original_max_position_embeddings": 128}  # fmt: skip
    for rope, alike in ((None, True), (long, False)):
        options = (
            {}
            if rope is None
            else {"rope_parameters": rope, "max_position_embeddings": 256, "original_max_position_embeddings": 128}
        )
        model = Phi3ForCausalLM(Phi3Config(**small, **options))
        assert _masked_attention(model, frozenset({"position_ids"})) is alike


def test_a_picture_that_a_model_cannot_take_is_named(family):
    from mmr5.errors import MMR5Error

    folder, engine, plain = family
    if "qwen" not in folder.name:
        return
    request = Request(prompt.listwise("q", view="image", think=True, images=[Picture("thin", (3, 900))]))
    for reader in (engine, plain):
        with pytest.raises(MMR5Error, match="3 x 900"):
            reader.generate([request], Sampling(2))
