"""Stage one: supervised fine-tuning on reasoning chains (paper section 3.2), on TRL's ``SFTTrainer``."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from mmr5.engines.loading import import_torch
from mmr5.errors import EngineError, missing_extra
from mmr5.models.recipes import FILE as RECIPE
from mmr5.storage.atomic import write_text
from mmr5.storage.jsonl import write_json
from mmr5.training import groupwise, loading, sources
from mmr5.training.config import TrainingConfig
from mmr5.training.folder import claim, finish
from mmr5.types import Progress


def train_sft(config: TrainingConfig, *, resume: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Train on the rows' targets and leave a checkpoint in the run's folder.

    Only the target's tokens are learnt from; nothing is cut. An interrupted run goes on from its last checkpoint.

    Args:
        config: the run.
        resume: go on with the run in its folder.
        progress: told of optimizer steps.

    Returns:
        Facts of the run: steps, rows, losses, seconds.

    Raises:
        ConfigError: settings that do not go together, or a folder that holds another run.
        CorpusError: rows that break their format.
        MissingExtraError: the extra ``train`` is not installed.
    """
    trl = import_trl()
    checkpoint = claim(config, "sft", resume=resume)
    rows = sources.read_training_rows(config, taught=True)
    model, processor, base = loading.load_for_training(config)
    talk = sources.conversations(config, processor)
    if config.groups.pages:
        watchers = [reporter(progress, "sft", config, processor)]
        compared = groupwise.trainer(config, rows, model, processor, talk, watchers)
        return run(compared, config, "sft", checkpoint, processor, base, {"rows": len(rows)})
    data = sources.dataset(rows, talk, processor, config, taught=True, context=loading.context_of(model))
    adapter, own_optimizer = loading.lora(config.lora), None
    if adapter is not None and config.lora.plus_ratio:
        model, adapter = loading.wrap(model, adapter), None
        own_optimizer = loraplus(config, model)
    arguments = trl.SFTConfig(
        **common(config, gradient_checkpointing=config.model.gradient_checkpointing),
        max_length=None,
        packing=False,
        completion_only_loss=True,
        train_sampling_strategy="random" if config.data.order == "random" else "sequential",
        loss_type="nll",
    )
    trainer = trl.SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=data,
        processing_class=processor,
        peft_config=adapter,
        optimizers=(own_optimizer, None),
        callbacks=[reporter(progress, "sft", config, processor)],
    )
    return run(trainer, config, "sft", checkpoint, processor, base, {"rows": len(rows)})


def import_trl() -> Any:
    """The ``trl`` module.

    Raises:
        MissingExtraError: it is not installed.
    """
    import_torch()
    try:
        import trl
    except ImportError as error:
        raise missing_extra("trl", "train", "train a model") from error
    return trl


def common(config: TrainingConfig, *, gradient_checkpointing: bool) -> dict[str, Any]:
    """The arguments that both of TRL's trainers take."""
    from mmr5.engines.loading import pick_device

    optim, run_ = config.optim, config.run
    out = Path(run_.out)
    return {
        "output_dir": str(out),
        "learning_rate": optim.learning_rate,
        "num_train_epochs": optim.epochs,
        "max_steps": optim.max_steps or -1,
        "per_device_train_batch_size": optim.batch_size,
        "gradient_accumulation_steps": optim.accumulation,
        "lr_scheduler_type": optim.scheduler,
        "warmup_steps": optim.warmup_ratio,
        "weight_decay": optim.weight_decay,
        "adam_beta2": optim.beta2,
        "max_grad_norm": optim.max_grad_norm,
        "seed": optim.seed,
        "data_seed": optim.seed,
        "bf16": loading.autocasts(config),
        "use_cpu": pick_device(config.model.device).type == "cpu",
        "activation_checkpointing": gradient_checkpointing,
        "logging_steps": run_.log_steps,
        "logging_first_step": True,
        "save_strategy": "steps",
        "save_steps": run_.save_steps,
        "save_total_limit": run_.keep,
        "report_to": ["tensorboard"],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": config.data.workers,
        "dataloader_pin_memory": False,
    }


def loraplus(config: TrainingConfig, model: Any) -> Any:
    """LoRA+ (arXiv 2402.12354): the B matrices learn ``plus_ratio`` times faster."""
    from peft.optimizers import create_loraplus_optimizer

    torch = import_torch()
    return create_loraplus_optimizer(
        model=model,
        optimizer_cls=torch.optim.AdamW,
        lr=config.optim.learning_rate,
        loraplus_lr_ratio=config.lora.plus_ratio,
        betas=(0.9, config.optim.beta2),
        weight_decay=config.optim.weight_decay,
    )


def reporter(progress: Progress | None, stage: str, config: TrainingConfig, processor: Any) -> Any:
    """A callback: progress, a stop when the loss is no number, and checkpoints that load by themselves."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if progress is not None and state.is_world_process_zero:
                progress(stage, state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is not None and not math.isfinite(loss):
                raise EngineError(
                    f"the loss is {loss} at step {state.global_step}: lower optim.learning_rate, or set model.autocast to float32"
                )

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.is_world_process_zero:
                saved = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                loading.save_processor(processor, saved)
                write_text(saved / RECIPE, config.recipe.recipe(config.data.max_pixels).to_json())

    return Reporter()


def run(
    trainer: Any, config: TrainingConfig, stage: str, checkpoint: Path | None, processor: Any, base: str, facts: dict[str, Any]
) -> dict[str, Any]:
    """Train, save, and write what belongs beside the weights (in the main process)."""
    drop_default_outputs(trainer)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    seconds = time.perf_counter() - started
    out = Path(config.run.out)
    trainer.save_model(str(out))
    history = trainer.state.log_history
    losses = [h["loss"] for h in history if "loss" in h]
    done = {
        **facts,
        "steps": trainer.state.global_step,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "trainable_parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "seconds": round(seconds, 1),
        "resumed_from": None if checkpoint is None else checkpoint.name,
    }
    if trainer.is_world_process_zero():
        loading.save_processor(processor, out)
        name_base(out, base)
        finish(config, stage, history, done, base)
    trainer.accelerator.wait_for_everyone()
    return done


def name_base(out: Path, base: str) -> None:
    """Let an adapter name its base as it was given, so that the run folder loads by itself."""
    import json

    file = out / "adapter_config.json"
    if file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8"))
        write_json(file, {**settings, "base_model_name_or_path": base})


def drop_default_outputs(trainer: Any) -> None:
    """The run has its own progress and model card: TRL's printing and its card are turned off."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.create_model_card = lambda *given, **named: None
