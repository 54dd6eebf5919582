"""Stage two: reinforcement learning with a ranking and a format reward (paper section 3.3), on TRL's ``GRPOTrainer``.

GRPO is Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300): the advantage of a rollout is its reward against
those of the other rollouts of its prompt.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from mmr5.data.rows import ListRow, Row
from mmr5.engines.chat_template import last_token, turn_end
from mmr5.errors import ConfigError
from mmr5.training import base_model, grpo_pointwise, grpo_rewards, patches, preflight, row_dataset, trainer
from mmr5.training.config import TrainingConfig
from mmr5.training.difficulty import keep_instructive
from mmr5.training.grpo_rewards import RewardFunction, Rollout, Watch
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
    run = trainer.begin(config, "grpo", resume=resume, progress=progress)
    patches.sample_as_asked(run.model)
    patches.pad_prompts_left(run.tokenizer)
    patches.score_replies_only()
    watch = Watch((config.grpo.ranking_weight, config.grpo.format_weight), started=run.checkpoint is not None)
    rows, data, rewards = _pages(run, watch) if config.recipe.method == "pointwise" else _lists(run, watch)
    trl = trainer.import_trl()
    made = trl.GRPOTrainer(
        model=run.model,
        reward_funcs=rewards,
        args=trl.GRPOConfig(**trainer.arguments(config), **_own(config)),
        train_dataset=data,
        processing_class=run.processor,
        peft_config=base_model.lora(config.lora, run.model),
        callbacks=trainer.callbacks(run),
    )
    preflight.check_grpo(run, made, rows)
    done = trainer.train(run, made, {"rows": len(run.rows), "rows_kept": len(rows)})
    return {**done, **watch.counts}


def _lists(run: trainer.Run, watch: Watch) -> tuple[Sequence[Row], Any, list[RewardFunction]]:
    """Rows, dataset and rewards of whole lists."""
    config = run.config
    rows = keep_instructive(run) if config.grpo.difficulty_samples else run.rows
    data = row_dataset.dataset(rows, run.speech, config, taught=False, context=base_model.context_of(run.model))
    return rows, data, grpo_rewards.reward_functions(watch, end_ids=_ends(run), compat=config.grpo.compat, gather=gather)


def _pages(run: trainer.Run, watch: Watch) -> tuple[Sequence[Row], Any, list[RewardFunction]]:
    """Rows, dataset and rewards of pages that are judged one by one."""
    pages = run.config.groups.pages
    lists = [row for row in run.rows if isinstance(row, ListRow)]
    rows = grpo_pointwise.page_prompts(lists, pages, run.config.optim.seed)
    rewards = grpo_pointwise.reward_functions(watch, end_ids=_ends(run), gather=gather)
    return rows, grpo_pointwise.dataset(rows, run.speech, pages), rewards


def _ends(run: trainer.Run) -> list[int]:
    """Ids that end a reply: the tokenizer's, and that which the chat template puts after one."""
    tokenizer = run.tokenizer
    written = last_token(tokenizer, turn_end(run.processor, images=run.speech.sees, template=run.template))
    return [i for i in dict.fromkeys([tokenizer.eos_token_id, written]) if i is not None]


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
    if config.run.save_steps % grpo.iterations:
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
        grpo_pointwise.check(config, processes)
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


def gather(rollouts: list[Rollout]) -> list[Rollout]:
    """The rollouts of all processes, in their order."""
    from accelerate.utils import gather_object

    collected: list[Rollout] = gather_object(rollouts)
    return collected
