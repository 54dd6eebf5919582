"""What is mended in other libraries: within the versions it is for, and nothing outside them."""

from types import SimpleNamespace

import pytest

from mmr5.training import patches


def installed(monkeypatch, number):
    monkeypatch.setattr(patches, "version", lambda library: number)


@pytest.fixture
def scoring(monkeypatch):
    """``trl.trainer.utils`` with a ``_use_triton`` that says no, as on a CPU; put back afterwards."""
    from trl.trainer import utils

    monkeypatch.setattr(utils, "_use_triton", lambda device: False)
    return utils


def test_a_version_is_within_its_bounds(monkeypatch):
    for number, within in (("1.15.9", False), ("1.16.0", True), ("1.16.3.dev0", True), ("1.17.0", False), ("2.0", False)):
        installed(monkeypatch, number)
        assert patches.applies("trl", ">=1.16,<1.17") is within, number


def test_a_library_that_is_not_there_has_no_version():
    assert not patches.applies("mmr5-no-such-library", ">=0")


def test_the_constraints_are_versions_that_the_patches_are_for():
    """The gate runs with the patches in place."""
    assert patches.applies("trl", patches.TRL_SCORING) and patches.applies("transformers", patches.QWEN_VISION)


@pytest.mark.parametrize("number", ["1.15.0", "1.17.0"])
def test_another_trl_scores_as_it_likes(monkeypatch, scoring, number):
    plain = scoring._use_triton
    installed(monkeypatch, number)
    assert patches.score_replies_only() is False
    assert scoring._use_triton is plain


def test_a_trl_that_does_not_ask_goes_its_own_way(monkeypatch, scoring):
    monkeypatch.delattr(scoring, "_use_triton")
    assert patches.score_replies_only() is False
    assert not hasattr(scoring, "_use_triton")


def test_only_a_cpu_gets_another_answer(monkeypatch, scoring):
    monkeypatch.setattr(scoring, "_use_triton", lambda device: device.type == "cuda")
    assert patches.score_replies_only()
    answers = {kind: scoring._use_triton(SimpleNamespace(type=kind)) for kind in ("cpu", "cuda", "neuron")}
    assert answers == {"cpu": True, "cuda": True, "neuron": False}


def test_replies_alone_go_through_the_vocabulary_and_give_the_same(tiny_text, monkeypatch):
    import torch
    import transformers
    from trl.trainer import utils

    from mmr5.training.patches import score_replies_only

    inner, positions = utils._ChunkedLogProbFunction, []

    class Counted:
        @staticmethod
        def apply(hidden, *rest):
            positions.append(len(hidden))
            return inner.apply(hidden, *rest)

    monkeypatch.setattr(utils, "_ChunkedLogProbFunction", Counted)
    monkeypatch.setattr(utils, "_use_triton", lambda device: False)  # as on a CPU; put back after this test
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_text)
    utils.add_fused_lm_head(model, 0.7, outputs=("log_probs", "entropy"))
    ids = torch.arange(2 * 12).reshape(2, 12) % 50
    labels = ids.clone()
    labels[:, :-4] = -100  # eight tokens of prompt, four of a reply
    labels[1, -1] = -100  # which is padded in the second row

    def scored():
        model.zero_grad()
        out = model(input_ids=ids, attention_mask=torch.ones_like(ids), labels=labels, fused_lm_head=True)
        (out.log_probs.sum() + out.entropy.sum()).backward()
        return out.log_probs.detach(), out.entropy.detach(), next(model.parameters()).grad.clone()

    before = scored()
    assert score_replies_only()
    after = scored()
    assert positions == [2 * 11, 4 + 3]
    for a, b in zip(before, after, strict=True):
        assert a.abs().sum() > 0
        torch.testing.assert_close(a, b)


def test_another_transformers_keeps_its_own_tower(monkeypatch, tiny_vision):
    import transformers

    model = transformers.AutoModelForImageTextToText.from_pretrained(tiny_vision)
    installed(monkeypatch, "5.25.0")
    assert patches.quicken_vision(model) == 0
    assert not any("forward" in vars(module) for module in model.modules())


@pytest.mark.parametrize("name", ["apply_rotary_pos_emb_vision", "Qwen2_5_VisionPatchEmbed"])
def test_a_tower_without_a_private_name_is_left_alone(monkeypatch, tiny_vision, name):
    import transformers
    from transformers.models.qwen2_5_vl import modeling_qwen2_5_vl as qwen

    model = transformers.AutoModelForImageTextToText.from_pretrained(tiny_vision)
    monkeypatch.delattr(qwen, name)
    assert patches.quicken_vision(model) == 0


def test_a_checkpoint_does_not_decide_how_rollouts_are_sampled():
    from transformers import GenerationConfig

    model = SimpleNamespace(
        generation_config=GenerationConfig(do_sample=True, top_k=1, temperature=0.1, eos_token_id=7, pad_token_id=3)
    )
    patches.sample_as_asked(model)
    kept = model.generation_config
    assert (kept.eos_token_id, kept.pad_token_id) == (7, 3)
    assert (kept.top_k, kept.temperature) == (GenerationConfig().top_k, GenerationConfig().temperature)


def test_prompts_end_together():
    tokenizer = SimpleNamespace(padding_side="right")
    patches.pad_prompts_left(tokenizer)
    assert tokenizer.padding_side == "left"


def test_trl_writes_no_card_of_its_own():
    written = []
    with_card, without = SimpleNamespace(create_model_card=written.append), SimpleNamespace()
    patches.write_no_model_card(with_card)
    patches.write_no_model_card(without)
    with_card.create_model_card("name")
    assert written == [] and not hasattr(without, "create_model_card")
