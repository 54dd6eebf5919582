import json
from pathlib import Path

import pytest

from mmr5.errors import ConfigError, ContextLengthError, CorpusError, EngineError
from mmr5.training.grpo import train_grpo
from mmr5.training.run_dir import last_checkpoint
from mmr5.training.sft import train_sft


def weights(folder):
    from safetensors.torch import load_file

    name = "adapter_model.safetensors" if (Path(folder) / "adapter_model.safetensors").is_file() else "model.safetensors"
    return load_file(Path(folder) / name)


def largest_difference(a, b):
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).abs().max()) for k in a)


def test_sft_leaves_a_checkpoint_that_reranks(settings):
    from mmr5 import Reranker, read_pages

    config = settings("sft", "optim.max_steps=2")
    done = train_sft(config)
    out = Path(config.run.out)
    assert (done["steps"], done["rows"]) == (2, 60)
    assert {"adapter_model.safetensors", "recipe.json", "provenance.json", "README.md", "curves.png", "history.json"} <= {
        p.name for p in out.iterdir()
    }
    assert list(out.glob("**/events.out.tfevents*"))
    assert not any("visual" in name for name in weights(out))
    told = json.loads((out / "provenance.json").read_text())
    assert told["config"]["optim"]["max_steps"] == 2 and len(told["inputs"]["rows_sha256"]) == 64
    recipe = json.loads((out / "recipe.json").read_text())
    assert (recipe["method"], recipe["view"], recipe["max_pixels"]) == ("reason", "image", 7056)
    reranker = Reranker.from_pretrained(str(out), device="cpu", dtype="float32", max_new_tokens=4)
    pages = read_pages(Path(config.data.corpus) / "pdf" / "test-shape-000.pdf", ocr="never")
    assert sorted(reranker.rerank("Which page shows a red circle?", pages).order) == [0, 1, 2, 3, 4]


def test_only_the_target_is_learnt_from(settings):
    from mmr5.training import base_model, passthrough, row_dataset

    config = settings("sft")
    model, processor, _ = base_model.load_for_training(config)
    rows = row_dataset.read_training_rows(config, taught=True)
    speech = row_dataset.Speech(row_dataset.conversations(config, processor), processor, passthrough.take(processor))
    data = row_dataset.dataset(rows, speech, config, taught=True, context=None)
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    batch = DataCollatorForVisionLanguageModeling(processor, max_length=None, completion_only_loss=True)([data[0], data[54]])
    for row, labels, ids in zip((rows[0], rows[54]), batch["labels"], batch["input_ids"], strict=True):
        assert processor.tokenizer.decode(labels[labels != -100]) == f"{row.target}<|im_end|>"
        assert int((ids == model.config.image_token_id).sum()) == 9 * len(row.page_ids)
    assert len(batch["image_grid_thw"]) == len(rows[0].page_ids) + len(rows[54].page_ids)


def test_a_row_that_is_too_long_is_never_cut(settings):
    with pytest.raises(ContextLengthError, match="nothing is cut"):
        train_sft(settings("sft", "optim.max_steps=1", "data.max_tokens=300"))


@pytest.mark.slow  # 60 s
def test_an_interrupted_sft_run_goes_on_as_if_nothing_had_happened(settings, pages_corpus):
    whole = settings("sft", "optim.max_steps=4", f"run.out={pages_corpus / 'whole'}")
    train_sft(whole)
    torn = settings("sft", "optim.max_steps=4", f"run.out={pages_corpus / 'torn'}")
    with pytest.raises(KeyboardInterrupt):
        train_sft(torn, progress=_interrupt_at(3))
    (pages_corpus / "torn" / "checkpoint-9").mkdir()
    with pytest.warns(UserWarning, match="cut off while it was written"):
        done = train_sft(torn, resume=True)
    assert (done["steps"], done["resumed_from"]) == (4, "checkpoint-2")
    assert largest_difference(weights(whole.run.out), weights(torn.run.out)) < 1e-6


def test_a_folder_with_another_run_is_not_overwritten(settings):
    train_sft(settings("sft", "optim.max_steps=1"))
    with pytest.raises(ConfigError, match="add --resume"):
        train_sft(settings("sft", "optim.max_steps=1"))
    with pytest.raises(ConfigError, match=r"optim\.learning_rate"):
        train_sft(settings("sft", "optim.max_steps=1", "optim.learning_rate=1e-5"), resume=True)


def test_rows_must_agree_with_the_recipe(settings, pages_corpus):
    with pytest.raises(ConfigError, match="make the two agree"):
        train_sft(settings("sft", "recipe.method=direct"))
    with pytest.raises(CorpusError, match="holds no rows of kind listwise"):
        train_sft(settings("sft", f"data.rows={pages_corpus / 'grpo.jsonl'}", "run.out=" + str(pages_corpus / "none")))


@pytest.mark.slow  # 60 s
def test_grpo_goes_on_from_the_sft_adapter_and_resumes(settings, pages_corpus):
    import torch

    from mmr5.engines.loading import load_model

    first = settings("sft", "optim.max_steps=1")
    train_sft(first)
    own = (f"model.adapter={first.run.out}", "optim.max_steps=4", "run.keep=4", "grpo.beta=0.01")
    whole = settings("grpo", *own, f"run.out={pages_corpus / 'whole'}")
    done = train_grpo(whole)
    assert done["steps"] == 4
    assert done["rollouts"] == 8 and done["groups"] == 4 and done["truncated_rollouts"] <= 8
    history = json.loads((pages_corpus / "whole" / "history.json").read_text())["history"]
    assert {"kl", "reward_std", "clean_share", "agreeing_groups", "rewards/ranking_reward/mean"} <= set(history[0])
    assert (pages_corpus / "whole" / "curves.png").stat().st_size > 10_000

    torn = settings("grpo", *own, f"run.out={pages_corpus / 'torn'}")
    with pytest.raises(KeyboardInterrupt):
        train_grpo(torn, progress=_interrupt_at(3))
    assert last_checkpoint(pages_corpus / "torn").name == "checkpoint-2"
    train_grpo(torn, resume=True)
    assert largest_difference(weights(whole.run.out), weights(torn.run.out)) < 1e-6

    cpu, f32 = torch.device("cpu"), torch.float32
    merged, processor = load_model(str(pages_corpus / "whole" / "base"), device=cpu, dtype=f32, attention="sdpa")
    stacked, _ = load_model(first.run.out, device=cpu, dtype=f32, attention="sdpa")
    ids = processor.tokenizer("which page?", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert torch.allclose(merged(input_ids=ids).logits, stacked(input_ids=ids).logits, atol=1e-5)


def test_the_policy_that_is_trained_is_the_one_that_wrote(settings, monkeypatch):
    """Prompts of different lengths: positions of pictures are counted alike while writing and while training."""
    import trl

    seen = []
    plain = trl.GRPOTrainer._get_per_token_logps_and_entropies

    def watched(self, model, input_ids, attention_mask, logits_to_keep, *rest, **named):
        pictures = input_ids == self._image_pad_token_id
        seen.append((attention_mask[:, : -logits_to_keep or None].sum(1), pictures, named["mm_token_type_ids"] == 1))
        return plain(self, model, input_ids, attention_mask, logits_to_keep, *rest, **named)

    monkeypatch.setattr(trl.GRPOTrainer, "_get_per_token_logps_and_entropies", watched)
    train_grpo(settings("grpo", "optim.max_steps=2", "optim.batch_size=8"))
    assert any(len(set(lengths.tolist())) > 1 for lengths, _, _ in seen), "all prompts were equally long"
    assert all((pictures == marked).all() for _, pictures, marked in seen)


def test_grpo_trains_and_counts(settings):
    config = settings("grpo", "optim.max_steps=2", "grpo.beta=0.01")
    done = train_grpo(config)
    assert (done["steps"], done["rollouts"], done["groups"]) == (2, 4, 2)
    history = json.loads((Path(config.run.out) / "history.json").read_text())["history"]
    assert {"kl", "reward_std", "clean_share", "rewards/format_reward/mean"} <= set(history[0])
    checkpoint = Path(config.run.out) / "checkpoint-2"
    assert (checkpoint / "recipe.json").is_file() and (checkpoint / "preprocessor_config.json").is_file()


def test_rollouts_that_do_not_differ_stop_the_run(settings, monkeypatch):
    from mmr5.training import grpo_rewards

    monkeypatch.setattr(grpo_rewards, "text_of", lambda completion: "the same")
    with pytest.raises(EngineError, match="one and the same reply"):
        train_grpo(settings("grpo", "optim.max_steps=2"))


@pytest.mark.slow  # 60 s
def test_prompts_that_teach_nothing_are_dropped_beforehand(settings):
    config = settings("grpo", "optim.max_steps=2", "grpo.difficulty_samples=2", "data.limit=3")
    with pytest.raises(ConfigError, match="earn the same reward with every reply"):
        train_grpo(config)
    measured = json.loads((Path(config.run.out) / "difficulty.json").read_text())
    assert [row["agrees"] for row in measured["rows"]] == [True, True, True]


@pytest.mark.slow  # 60 s
def test_merging_gives_one_whole_checkpoint(settings):
    from mmr5.training.merge import merge

    config = settings("sft", "optim.max_steps=1")
    train_sft(config)
    target = merge(config)
    assert (target / "model.safetensors").is_file() and (target / "recipe.json").is_file()


def _interrupt_at(step):
    def progress(stage, done, total):
        if done == step:
            raise KeyboardInterrupt

    return progress
