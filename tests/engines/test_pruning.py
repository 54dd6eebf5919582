"""Fewer visual tokens: which are kept, where they stand, and that nothing else changes."""

import math

import pytest
import torch

from mmr5 import prompt
from mmr5.engines.openai.engine import OpenAIEngine
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.runtime.pruning import LAYER, LEAD, Pruner, kept_count, strongest
from mmr5.engines.runtime.vision import positions
from mmr5.engines.scripted import ScriptedEngine
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import CapabilityError, ConfigError
from mmr5.methods import MethodSettings, method
from mmr5.storage.cache import Cache
from mmr5.types import Candidates, Page
from support.tiny import Picture

SIZES = [(84, 112), (140, 84), (28, 28), (112, 140)]


def opened(folder, **options):
    return TransformersEngine.from_pretrained(str(folder), dtype="float32", device="cpu", **options)


@pytest.fixture(scope="module")
def engine(tiny_vision):
    return opened(tiny_vision)


def pictures(n):
    return [Picture(f"p{i}", SIZES[i % 4], mark=("red", "blue", "green")[i % 3]) for i in range(n)]


def asked(keep, n=3, question="where is the red bar?", prefill=""):
    messages = prompt.listwise(question, view="image", think=False, images=pictures(n))
    return Request(messages, prefill, keep=keep, question=question)


def lists(sizes):
    return [
        Candidates("where is it" + "?" * i, tuple(Page("a", k + 1, text="t", image=p) for k, p in enumerate(pictures(n))))
        for i, n in enumerate(sizes)
    ]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("tail", [(), (5, 6, 7)])
def test_kept_tokens_stand_where_they_stood(engine, share, tail):
    reader, image = engine._reader, engine._model.config.image_token_id
    request = asked(share)
    with torch.inference_mode():
        full = reader.encode(engine.render(request), asked(1.0), tail)
        pruned = reader.encode(engine.render(request), request, tail)
    whole, after = positions(full.ids, image, [f.grid for f in full.features])
    counts = [math.ceil(share * len(f)) for f in full.features]
    assert [len(f) for f in pruned.features] == counts
    assert [i for i in pruned.ids if i != image] == [i for i in full.ids if i != image]
    assert pruned.ids.count(image) == sum(counts)
    seats, next_place = pruned.places
    assert next_place == after
    words = [i for i, t in enumerate(pruned.ids) if t != image]
    assert torch.equal(seats[:, words], whole[:, [i for i, t in enumerate(full.ids) if t != image]])
    spots, states = [i for i, t in enumerate(pruned.ids) if t == image], torch.cat([f.states for f in pruned.features])
    at = {tuple(whole[:, i].tolist()): s for i, s in zip([i for i, t in enumerate(full.ids) if t == image],
                                                         torch.cat([f.states for f in full.features]), strict=True)}  # fmt: skip
    assert len(at) == sum(len(f) for f in full.features)
    for spot, state in zip(spots, states, strict=True):
        assert torch.equal(at[tuple(seats[:, spot].tolist())], state)


def test_those_are_kept_that_the_question_looks_at_by_the_models_own_attention(tiny_vision):
    engine = opened(tiny_vision, attention="eager")
    reader, model = engine._reader, engine._model
    with torch.inference_mode():
        features = reader.pages.get(pictures(2))[1]
        lead, question = engine._prompts.encode("<|im_start|>sys"), engine._prompts.encode("red bar?")
        worth = reader.pruner.worth(lead, question, features)
        ids = [*lead, *[model.config.image_token_id] * len(features), *question]
        embeds = model.model.language_model.embed_tokens(torch.tensor([ids]))
        embeds[0, len(lead) : len(lead) + len(features)] = features.states
        places, _ = positions(ids, model.config.image_token_id, [features.grid])
        mask = torch.full((len(ids), len(ids)), -torch.inf).triu(1)[None, None]
        out = model.model.language_model(
            inputs_embeds=embeds, position_ids=places[:, None], attention_mask={"full_attention": mask}, output_attentions=True
        )
    layer = out.attentions[min(LAYER, len(out.attentions) - 1)]
    expected = layer[0, :, -len(question) :, len(lead) : len(lead) + len(features)].sum((0, 1))
    assert worth == pytest.approx(expected, abs=1e-5)
    assert worth.std() > 0
    assert strongest(worth, 3) == tuple(sorted(expected.topk(3).indices.tolist()))


def test_a_share_of_one_changes_nothing(engine):
    plain = Request(asked(1.0).messages, "<answer>[")
    choices = [["1,", "2,", "3,"]]
    assert engine.score_choices([asked(1.0, prefill="<answer>[")], choices) == engine.score_choices([plain], choices)
    assert engine._reader.encode(engine.render(plain), asked(1.0)).places is None
    nearly = engine.score_choices([asked(0.999, prefill="<answer>[")], choices)[0]  # ceil keeps every token
    assert nearly.logprobs == pytest.approx(engine.score_choices([plain], choices)[0].logprobs, abs=1e-6)
    half = engine.score_choices([asked(0.5, prefill="<answer>[")], choices)[0]
    assert half.usage.prompt_tokens < nearly.usage.prompt_tokens
    assert half.logprobs != pytest.approx(nearly.logprobs, abs=1e-4)


@pytest.mark.parametrize("name", ["logits", "pointwise", "reason", "direct", "likelihood"])
def test_every_method_in_batches_with_a_cache_and_without(engine, tiny_vision, tmp_path, name):
    settings = MethodSettings(view="image", keep=0.4, max_new_tokens=24, notes=2, note_tokens=8)
    batch = lists([4, 2, 3])
    rank = method(name)
    found = rank(engine, batch, settings)
    store = Cache(tmp_path)
    others = [opened(tiny_vision, keep_bytes=0), *(opened(tiny_vision, store=store) for _ in range(2))]
    for other in (engine, *others):
        again = rank(other, batch, settings)
        assert [(r.order, r.reply, r.notes, r.usage) for r in again] == [(r.order, r.reply, r.notes, r.usage) for r in found]
    assert others[2]._reader.pages.seen == 0
    for candidates, ranking in zip(batch, found, strict=True):
        alone = rank(engine, [candidates], settings)[0]
        assert (alone.order, alone.reply, alone.notes) == (ranking.order, ranking.reply, ranking.notes)
        assert alone.scores == pytest.approx(ranking.scores, abs=1e-4)
    whole = rank(engine, batch, MethodSettings(view="image", max_new_tokens=24, notes=2, note_tokens=8))
    assert sum(r.usage.prompt_tokens for r in found) < sum(r.usage.prompt_tokens for r in whole)


def test_states_of_a_page_pruned_for_one_question_are_not_taken_for_another(engine):
    page = pictures(1)

    def scored(question, reader=engine):
        messages = prompt.pointwise(question, view="image", image=page[0])
        request = Request(messages, shared=len(messages[-1]["content"]) - 1, keep=0.4, question=question)
        return reader.score_choices([request], [["Yes", "No"]])[0].logprobs

    questions = ["a red bar?", "zzz", "what is the blue one doing here?"]
    first = [scored(q) for q in questions]
    assert [scored(q) for q in reversed(questions)] == first[::-1]


def test_a_page_is_judged_once_for_a_question(engine, monkeypatch):
    pruner = Pruner(engine._reader._decoder, engine._model.config.image_token_id)
    monkeypatch.setattr(engine._reader, "pruner", pruner)
    calls, inner = [], pruner.worth
    monkeypatch.setattr(pruner, "worth", lambda *given: (calls.append(1), inner(*given))[1])
    for _ in range(2):
        engine.generate([asked(0.5)], Sampling(2))
    assert len(calls) == 3
    engine.generate([asked(0.5, question="another?")], Sampling(2))
    assert len(calls) == 6


def test_how_many_are_kept_and_which():
    assert [kept_count(s, 64) for s in (1.0, 0.5, 0.01, 0.26)] == [64, 32, 1, 17]
    assert strongest(torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0]), 2) == (1, 2)
    assert strongest(torch.tensor([1.0, 3.0, 3.0, 2.0, 3.0]), 4) == (1, 2, 3, 4)
    assert LEAD > 0


def test_what_cannot_be_pruned_is_refused(engine, tiny_vision, tiny_text):
    for bad in (0, -0.1, 1.5):
        with pytest.raises(ConfigError, match="keep is"):
            MethodSettings(keep=bad)
    with pytest.raises(ConfigError, match="view 'text'"):
        method("logits")(engine, lists([2]), MethodSettings(view="text", keep=0.5))
    with pytest.raises(ConfigError, match="no words"):
        engine.generate([asked(0.5, question="")], Sampling(2))
    for other in (ScriptedEngine(), OpenAIEngine("m", "http://localhost:1"), opened(tiny_vision, caches=False)):
        with pytest.raises(CapabilityError, match=r"keep.*Qwen2"):
            other.generate([asked(0.5)], Sampling(2))
        with pytest.raises(CapabilityError, match=r"keep 0\.5 needs"):
            method("reason")(other, lists([2]), MethodSettings(view="image", keep=0.5))
    assert not opened(tiny_text).capabilities.keep
