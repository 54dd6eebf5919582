"""Reading with caches against reading all anew, and against transformers' generate."""

import pytest
import torch

from mmr5 import prompt
from mmr5.engines.loading import load_model
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.runtime.decoder import Decoder, supported
from mmr5.engines.runtime.model_runner import CachedRunner
from mmr5.engines.runtime.plain_runner import PlainRunner
from mmr5.engines.transformers import TransformersEngine
from support.tiny import Picture

SIZES = [[(84, 112)], [(56, 56), (140, 84), (28, 28)], [(112, 112), (84, 56)]]
WORDS = ["a short page", "a page on cargo, seals and the harbour master of the eastern quay", "x"]


def opened(folder, **options):
    return TransformersEngine.from_pretrained(str(folder), dtype="float32", device="cpu", **options)


@pytest.fixture(scope="module", params=["text", "vision"])
def pair(request, tiny_text, tiny_vision):
    folder = tiny_text if request.param == "text" else tiny_vision
    cached, plain = opened(folder), opened(folder, caches=False)
    assert isinstance(cached._reader, CachedRunner)
    assert isinstance(plain._reader, PlainRunner)
    return cached, plain


def requests_for(engine, prefill=""):
    if not engine.capabilities.images:
        return [
            Request(prompt.listwise("who?" * (i + 1), view="text", think=True, texts=[w, "other"]), prefill)
            for i, w in enumerate(WORDS)
        ]
    return [
        Request(
            prompt.listwise(
                "q" * (3 * i + 1), view="image", think=True,
                images=[Picture(f"{i}.{k}", size, mark=("red", "blue", "green")[k]) for k, size in enumerate(sizes)],
            ),
            prefill,
        )
        for i, sizes in enumerate(SIZES)
    ]  # fmt: skip


def generated(plain, request, n):
    """What transformers' own greedy ``generate`` writes."""
    reader = plain._reader
    batch = dict(reader.encode(plain.render(request), request).inputs)
    plain._model.model.rope_deltas = None
    out = plain._model.generate(**batch, max_new_tokens=n, do_sample=False)
    return plain._tokenizer.decode(out[0, batch["input_ids"].shape[1] :], skip_special_tokens=True)


def test_a_ragged_batch_is_written_as_transformers_generates_each(pair):
    cached, plain = pair
    requests = requests_for(cached)
    expected = [generated(plain, r, 80) for r in requests]
    for _ in range(2):  # the second time pages and openings come from the cache
        assert [r.text for r in cached.generate(requests, Sampling(80))] == expected
    assert [cached.generate([r], Sampling(80))[0].text for r in requests] == expected
    assert [r.text for r in plain.generate(requests, Sampling(80))] == expected


def test_scores_equal_those_of_the_models_own_pass(pair):
    cached, plain = pair
    requests = requests_for(cached, "<answer>[")
    choices = [[f"{i}," for i in range(1, 13)], ["1,", "2,"], ["3,", "12,", "11,"]]
    texts = ["What is shown?", "A", "Which harbour has the longest pier of all?"]
    for _ in range(2):
        for ours, theirs in zip(cached.score_choices(requests, choices), plain.score_choices(requests, choices), strict=True):
            assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
            assert ours.usage == theirs.usage
        for ours, theirs in zip(cached.score_text(requests, texts), plain.score_text(requests, texts), strict=True):
            assert ours.mean_logprob == pytest.approx(theirs.mean_logprob, abs=1e-4)
            assert ours.usage == theirs.usage


def test_measured_words_are_the_same_both_ways(tiny_text):
    cached, plain = opened(tiny_text), opened(tiny_text, caches=False)
    requests = [
        Request(prompt.pointwise(q, view="text", text=w), measured=q)
        for q, w in zip(["who is it?", "where?", "z"], WORDS, strict=True)
    ]
    for _ in range(2):
        ours, theirs = (e.score_choices(requests, [["Yes", "No"]] * 3) for e in (cached, plain))
        assert [o.measured.mean_logprob for o in ours] == pytest.approx([t.measured.mean_logprob for t in theirs], abs=1e-4)
        assert [o.measured.n_tokens for o in ours] == [t.measured.n_tokens for t in theirs]


@pytest.mark.parametrize("view", ["text", "image"])
def test_a_page_that_is_asked_about_again_is_not_read_again(tiny_vision, view):
    fresh, kept = opened(tiny_vision, keep_bytes=0), opened(tiny_vision)
    pictures = [Picture("a", (84, 112), mark="red"), Picture("b", (140, 84), mark="blue")]

    def likelihood(i):
        shown = {"image": pictures[i]} if view == "image" else {"text": "page " * 30 + str(i)}
        return Request(prompt.likelihood(view=view, **shown), shared=2 if view == "image" else 1)

    def pointwise(i, query):
        shown = {"image": pictures[i]} if view == "image" else {"text": "page " * 30 + str(i)}
        messages = prompt.pointwise(query, view=view, **shown)
        return Request(messages, shared=len(messages[-1]["content"]) - 1)

    asked = [likelihood(i % 2) for i in range(4)]
    texts = ["who?", "what is it then?", "where is the red one?", "n"]
    expected = [s.mean_logprob for s in fresh.score_text(asked, texts)]
    for _ in range(2):
        assert [s.mean_logprob for s in kept.score_text(asked, texts)] == pytest.approx(expected, abs=1e-4)
    assert (len(kept._reader.prefixes), kept._reader.prefixes.misses) == (2, 2)
    judged = [pointwise(i % 2, q) for i, q in enumerate(texts)]
    expected = [s.logprobs[0] for s in fresh.score_choices(judged, [["Yes", "No"]] * 4)]
    for _ in range(2):
        assert [s.logprobs[0] for s in kept.score_choices(judged, [["Yes", "No"]] * 4)] == pytest.approx(expected, abs=1e-4)
    assert len(kept._reader.prefixes) == 4
    assert len(fresh._reader.prefixes) == 0
    assert [r.text for r in kept.generate(judged, Sampling(12))] == [r.text for r in fresh.generate(judged, Sampling(12))]


def test_states_that_were_shared_are_not_changed_by_those_who_go_on(tiny_text):
    engine = opened(tiny_text)
    requests = [Request(prompt.likelihood(view="text", text="page " * 40), shared=1)] * 2
    engine.score_text(requests, ["a", "longer text"])
    before = {k: v[0].keys.clone() for k, v in engine._reader.prefixes._held.items()}
    engine.generate(requests, Sampling(20))
    assert before
    assert all(torch.equal(engine._reader.prefixes.peek(k).keys, v) for k, v in before.items())


def test_finished_rows_leave_the_batch(tiny_text, monkeypatch):
    engine = opened(tiny_text)
    texts = [engine.generate([r], Sampling(40))[0].text for r in requests_for(engine)]
    stop = texts[0][4:6]
    sizes, inner = [], engine._reader.step
    monkeypatch.setattr(engine._reader, "step", lambda tokens, states: (sizes.append(len(tokens)), inner(tokens, states))[1])
    got = engine.generate(requests_for(engine), Sampling(40, stop=(stop,)))
    assert [r.text for r in got] == [t[: t.index(stop) + len(stop)] if stop in t else t for t in texts]
    assert sizes[0] == 3
    assert sizes[-1] < 3


def test_what_can_go_on_from_kept_states(tiny_text, tiny_vision):
    from transformers import GPT2Config, GPT2LMHeadModel, MistralConfig, MistralForCausalLM

    for folder in (tiny_text, tiny_vision):
        model, _ = load_model(str(folder), device=torch.device("cpu"), dtype=torch.float32, attention="auto")
        assert supported(model)
        decoder = getattr(model.model, "language_model", model.model)
        decoder.rotary_emb.rope_type = "dynamic"
        assert not supported(model)
    assert not supported(GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=32)))
    small = {
        "num_hidden_layers": 1,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    assert supported(MistralForCausalLM(MistralConfig(**small, vocab_size=32, sliding_window=None)))
    assert not supported(MistralForCausalLM(MistralConfig(**small, vocab_size=32, sliding_window=8)))


@pytest.mark.parametrize("family", ["Qwen3", "Gemma", "Cohere"])
def test_other_families_are_read_with_caches_too(tiny_text, tmp_path, family):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_text)
    torch.manual_seed(1)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, initializer_range=0.3, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )  # fmt: skip
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    cached, plain = (TransformersEngine(model, tokenizer, name=family, caches=caches) for caches in (True, False))
    assert isinstance(cached._reader, CachedRunner)
    requests = requests_for(cached)
    expected = [generated(plain, r, 24) for r in requests]
    for _ in range(2):
        assert [r.text for r in cached.generate(requests, Sampling(24))] == expected
    assert len(cached._reader.prefixes) > 0


def test_a_row_does_not_depend_on_its_company_nor_on_where_its_prefix_ends(tiny_text):
    from mmr5.engines.runtime.decoder import Row

    engine = opened(tiny_text)
    decoder = Decoder(engine._model)
    texts = [engine._prompts.encode(words * 3) for words in ("a page. ", "quite another page of words. ", "x")]

    def row(ids, cut):
        places = torch.arange(len(ids)).unsqueeze(0)
        prefix = decoder.prefixes([Row(decoder.embed(ids[:cut]), places[:, :cut], cut, (cut - 1,))])[0] if cut else None
        return Row(decoder.embed(ids[cut:]), places[:, cut:], len(ids), (0, len(ids) - cut - 1), prefix)

    with torch.inference_mode():
        alone = [engine._model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in texts]
        for cuts in ((0, 0, 0), (5, 20, 0), (1, 0, 2), (9, 9, 2)):
            logits, cache = decoder.prefill([row(ids, cut) for ids, cut in zip(texts, cuts, strict=True)])
            for got, want in zip(logits, alone, strict=True):
                assert got[-1] == pytest.approx(want, abs=1e-4)
            after = decoder.step(torch.tensor([[7, 8], [8, 9]]), cache.select([2, 0]))
            for got, (ids, more) in zip(after, ((texts[2], [7, 8]), (texts[0], [8, 9])), strict=True):
                assert got == pytest.approx(engine._model(input_ids=torch.tensor([[*ids, *more]])).logits[0, -1], abs=1e-4)


def test_half_precision_stays_close(tiny_vision):
    half, full = (TransformersEngine.from_pretrained(str(tiny_vision), dtype=d, device="cpu") for d in ("bfloat16", "float32"))
    requests = requests_for(full, "<answer>[")
    choices = [["1,", "2,", "3,"]] * 3
    for ours, theirs in zip(half.score_choices(requests, choices), full.score_choices(requests, choices), strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=0.5)
