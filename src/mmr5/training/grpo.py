"""Stage two: reinforcement learning with a ranking and a format reward (paper section 3.3), on TRL's ``GRPOTrainer``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmr5.data.rows import ListRow, Row
from mmr5.errors import ConfigError, EngineError
from mmr5.training import loading, sources, verdicts
from mmr5.training.config import TrainingConfig
from mmr5.training.difficulty import keep_instructive
from mmr5.training.folder import claim
from mmr5.training.rollouts import Rollout, Watch, reward_functions
from mmr5.training.sft import common, import_trl, reporter, run
from mmr5.types import Progress


def train_grpo(config: TrainingConfig, *, resume: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Train by rewards from where SFT ended, and leave a checkpoint in the run's folder.

    The rewards are those of :mod:`mmr5.rewards`; the reference of the KL term is the model at the start. An interrupted run goes
    on from its last checkpoint, which lies at a generation boundary.

    Args:
        config: the run; ``model.adapter`` (or a run folder as ``model.base``) is the SFT adapter.
        resume: go on with the run in its folder.
        progress: told of optimizer steps.

    Returns:
        Facts of the run: steps, rows, rollouts, truncated rollouts, groups, agreeing groups, seconds.

    Raises:
        ConfigError: settings that do not go together, or a folder that holds another run.
        CorpusError: rows that break their format.
        EngineError: the first generation's rollouts are all alike.
        MissingExtraError: the extra ``train`` is not installed.
    """
    check(config)
    trl = import_trl()
    checkpoint = claim(config, "grpo", resume=resume)
    rows = sources.read_training_rows(config, taught=False)
    model, processor, base = loading.load_for_training(config)
    talk = sources.conversations(config, processor)
    clean_generation(model)
    score_completions_only()
    words = getattr(processor, "tokenizer", processor)
    words.padding_side = "left"  # TRL pads the prompts so, and leaves the kinds of their tokens to the processor
    weights = (config.grpo.ranking_weight, config.grpo.format_weight)
    watch = Watch(weights, started=checkpoint is not None)
    ends = [words.eos_token_id]
    kept: Sequence[Row]
    if config.recipe.method == "pointwise":
        lists = [row for row in rows if isinstance(row, ListRow)]
        kept = prompts = verdicts.page_prompts(lists, config.groups.pages, config.optim.seed)
        data = verdicts.dataset(prompts, talk, config.groups.pages)
        rewards = verdicts.reward_functions(watch, end_ids=ends, gather=gather)
    else:
        kept = _instructive(config, rows, talk, model, processor, progress)
        data = sources.dataset(kept, talk, processor, config, taught=False, context=loading.context_of(model))
        rewards = reward_functions(watch, end_ids=ends, compat=config.grpo.compat, gather=gather)
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=rewards,
        args=trl.GRPOConfig(**common(config, gradient_checkpointing=config.model.gradient_checkpointing), **_own(config)),
        train_dataset=data,
        processing_class=processor,
        peft_config=loading.lora(config.lora),
        callbacks=[reporter(progress, "grpo", config, processor)],
    )
    done = run(trainer, config, "grpo", checkpoint, processor, base, {"rows": len(rows), "rows_kept": len(kept)})
    return {**done, **watch.counts}


def check(config: TrainingConfig) -> None:
    """Refuse settings that do not go together, before anything is loaded.

    Raises:
        ConfigError: they do not.
    """
    grpo, optim = config.grpo, config.optim
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    rollouts = optim.batch_size * optim.accumulation * processes
    if rollouts % grpo.group_size:
        raise ConfigError(
            f"a step has {rollouts} rollouts (optim.batch_size {optim.batch_size} x optim.accumulation {optim.accumulation} x "
            f"{processes} processes), which {grpo.group_size} (grpo.group_size) does not divide: a group must be whole"
        )
    if config.run.save_steps % config.boundary:
        raise ConfigError(
            f"run.save_steps is {config.run.save_steps} with grpo.iterations {grpo.iterations}: make it a multiple, so that a "
            "run can go on from where rollouts are generated"
        )
    if grpo.rollouts == "vllm-colocate" and config.recipe.view != "text":
        raise ConfigError(
            "grpo.rollouts is 'vllm-colocate' with pictures: TRL hands vLLM prompts whose image slots are expanded already "
            "together with the images, so that from the second image on they land inside the first one's slot "
            "(huggingface/trl issues 6294 and 6401). Use 'transformers', or 'vllm-server'"
        )
    if config.recipe.method == "pointwise":
        verdicts.check(config, processes)
    if config.lora.plus_ratio:
        raise ConfigError(
            f"lora.plus_ratio is {config.lora.plus_ratio} for GRPO: the paper and its trainer use plain LoRA; set 0"
        )


def _own(config: TrainingConfig) -> dict[str, Any]:
    """The arguments that only GRPO has."""
    grpo = config.grpo
    served = {} if grpo.rollouts == "transformers" else {"vllm_mode": grpo.rollouts.removeprefix("vllm-")}
    return {
        "num_generations": grpo.group_size,
        "num_iterations": grpo.iterations,
        "beta": grpo.beta,
        "epsilon": grpo.epsilon,
        "epsilon_high": grpo.epsilon_high or None,
        "temperature": grpo.temperature,
        "top_p": grpo.top_p,
        "top_k": grpo.top_k,
        "max_completion_length": grpo.max_new_tokens,
        "reward_weights": [grpo.ranking_weight, grpo.format_weight],
        "loss_type": grpo.loss_type,
        "scale_rewards": grpo.scale_rewards,
        "mask_truncated_completions": grpo.mask_truncated,
        "shuffle_dataset": config.data.order == "random" and config.recipe.method != "pointwise",
        "use_vllm": bool(served),
        **served,
    }


def _instructive(
    config: TrainingConfig, rows: Sequence[Row], talk: Any, model: Any, processor: Any, progress: Progress | None
) -> Sequence[Row]:
    """The rows, without those that the model as it is always answers equally well."""
    if not config.grpo.difficulty_samples:
        return rows
    return keep_instructive(config, rows, talk, model, processor, progress=progress)


def clean_generation(model: Any) -> None:
    """Take sampling settings out of the checkpoint's generation config, which else win over the trainer's (trl issue 5783)."""
    from transformers import GenerationConfig

    old = model.generation_config
    model.generation_config = GenerationConfig(eos_token_id=old.eos_token_id, pad_token_id=old.pad_token_id)


def score_completions_only() -> None:
    """Let TRL put only the positions of a reply through the vocabulary, as it does on GPUs.

    Elsewhere TRL 1.16 takes every position, those of the prompt too, and masks them afterwards: on a CPU, with 400 tokens of
    prompt and 49,152 words, a third of a step. What it asks is whether the device runs Triton; in that one place the answer is
    now yes (the kernel itself asks under its own name).

    Raises:
        EngineError: another version of TRL, which does not ask so.
    """
    from trl.trainer import utils

    if not hasattr(utils, "_use_triton"):
        raise EngineError("this version of trl has no trl.trainer.utils._use_triton: install the version in constraints.txt")
    utils._use_triton = lambda device: True


def gather(rollouts: list[Rollout]) -> list[Rollout]:
    """The rollouts of all processes, in their order."""
    from accelerate.utils import gather_object

    collected: list[Rollout] = gather_object(rollouts)
    return collected
