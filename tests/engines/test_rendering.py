"""Prompts rendered without the model are those of the engine that has it."""

import pytest
from transformers import AutoTokenizer

from mmr5 import prompt
from mmr5.engines.chat_template import LocalPrompts, pictures, template_fingerprint
from mmr5.engines.loading import load_processor
from mmr5.engines.protocol import Request, Sampling
from mmr5.engines.runtime.choices import crossings, path_logprobs, token_paths
from mmr5.engines.transformers import TransformersEngine
from mmr5.errors import ConfigError, ModelNotFoundError
from support.tiny import TEMPLATE, Picture


def image_request(sizes, prefill=""):
    images = [Picture(str(i), size) for i, size in enumerate(sizes)]
    return Request(prompt.listwise("which?", view="image", think=True, images=images), prefill)


@pytest.mark.parametrize("sizes", [[], [(84, 112)], [(56, 56), (300, 41), (28, 28)], [(900, 1200)] * 2])
def test_the_ids_are_those_of_the_engine_that_sees(tiny_vision, sizes):
    engine = TransformersEngine.from_pretrained(str(tiny_vision), dtype="float32", device="cpu")
    request = image_request(sizes, prefill="<think>")
    local = LocalPrompts.from_pretrained(tiny_vision)
    assert local.render(request) == engine.render(request)
    loaded = [p.load(engine.max_pixels) for p in pictures(request)]
    batch = load_processor(str(tiny_vision))(text=[engine.render(request)], images=loaded or None)
    ids = local.ids(request)
    assert ids.count(local.image_token) == len(sizes)
    meant = local.expanded(ids, [image.size for image in loaded])
    assert meant == list(batch["input_ids"][0])
    assert len(meant) == engine.generate([request], Sampling(1))[0].usage.prompt_tokens


def test_the_ids_are_those_of_the_engine_that_reads(tiny_text):
    engine = TransformersEngine.from_pretrained(str(tiny_text), dtype="float32", device="cpu")
    request = Request(prompt.listwise("é?", view="text", think=True, texts=["a <|im_end|>", "b"]), "<answer>[")
    local = LocalPrompts.from_pretrained(tiny_text)
    tokenizer = AutoTokenizer.from_pretrained(tiny_text)
    assert local.render(request) == engine.render(request)
    assert local.ids(request) == tokenizer(engine.render(request), add_special_tokens=False)["input_ids"]
    assert len(local.ids(request)) == engine.generate([request], Sampling(1))[0].usage.prompt_tokens
    assert (local.images, local.image_token) == (False, None)
    assert local.reserved == engine.reserved
    assert local.end_ids == (tokenizer.eos_token_id,)
    assert local.context_tokens == engine.capabilities.context_tokens
    assert local.count_tokens("abc") == engine.count_tokens("abc")


def test_a_chat_template_has_a_fingerprint(tiny_text):
    assert LocalPrompts.from_pretrained(tiny_text).template_fingerprint == template_fingerprint(TEMPLATE)
    assert template_fingerprint(TEMPLATE) != template_fingerprint(TEMPLATE + " ")
    assert len(template_fingerprint("")) == 16


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(ModelNotFoundError, match=str(tmp_path)):
        LocalPrompts.from_pretrained(tmp_path)


def test_choices_part_where_their_tokens_do():
    paths = token_paths(lambda text: [ord(c) for c in text], "", ["1,", "12,", "2,"])
    assert paths == [(49, 44), (49, 50, 44), (50, 44)]
    assert crossings(paths) == {(): [49, 50], (49,): [44, 50]}
    found = path_logprobs(paths, {(): {49: -1.0, 50: -1.0}, (49,): {44: -2.0, 50: -2.0}})
    assert found == pytest.approx([-1.3862944, -1.3862944, -0.6931472])
    with pytest.raises(ConfigError, match="beginning of another"):
        token_paths(lambda text: [ord(c) for c in text], "", ["1", "12"])
    with pytest.raises(ConfigError, match="distinct"):
        token_paths(lambda text: [ord(c) for c in text], "", ["1", "1"])
