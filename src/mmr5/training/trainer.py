"""What both stages share: the beginning of a run, its trainer's arguments and callbacks, and what is left beside the weights."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmr5.data.conversations import Conversations
from mmr5.data.rows import Row
from mmr5.engines.chat_template import check_template, last_token, turn_end
from mmr5.engines.loading import import_torch, pick_device
from mmr5.errors import EngineError, missing_extra
from mmr5.models.recipes import FILE as RECIPE
from mmr5.storage.atomic import write_text
from mmr5.storage.jsonl import write_json
from mmr5.training import base_model, passthrough, patches, row_dataset, run_dir
from mmr5.training.config import Stage, TrainingConfig
from mmr5.training.row_dataset import Speech
from mmr5.types import Progress


@dataclass(frozen=True, slots=True)
class Run:
    """A run whose folder is claimed and whose model is loaded.

    Attributes:
        config: its settings.
        stage: which of the two.
        checkpoint: what it goes on from, or None.
        rows: what it learns from.
        model: the weights that learning starts from.
        processor: its tokenizer, or processor for a model that sees; its chat template is :data:`passthrough.TEMPLATE`.
        template: the checkpoint's own chat template.
        base: folder or hub name of these weights.
        talk: makes the rows' messages.
        progress: told of rows and optimizer steps.
    """

    config: TrainingConfig
    stage: Stage
    checkpoint: Path | None
    rows: list[Row]
    model: Any
    processor: Any
    template: str
    base: str
    talk: Conversations
    progress: Progress | None

    @property
    def tokenizer(self) -> Any:
        """That of the processor, or the processor itself where it is one."""
        return base_model.tokenizer_of(self.processor)

    @property
    def speech(self) -> Speech:
        """How the run's rows become words."""
        return Speech(self.talk, self.processor, self.template)


def begin(config: TrainingConfig, stage: Stage, *, resume: bool, progress: Progress | None) -> Run:
    """Read the rows of a run, load its model, and only then claim its folder: a failed start leaves nothing.

    Args:
        config: the run.
        stage: SFT reads rows with a target, GRPO lists for rollouts.
        resume: go on with the run in its folder.
        progress: told of rows and optimizer steps.

    Raises:
        ConfigError: a folder that holds another run, or rows made for another recipe.
        CorpusError: rows that break their format.
        MissingExtraError: the extra ``train`` is not installed.
        ModelNotFoundError: there is no such model or adapter.
    """
    import_trl()
    checkpoint = run_dir.find_checkpoint(config, stage, resume=resume)
    rows = row_dataset.read_training_rows(config, taught=stage == "sft")
    model, processor, base = base_model.load_for_training(config)
    check_template(processor, images=hasattr(processor, "image_processor"))
    talks = row_dataset.conversations(config, processor)
    template = passthrough.take(processor)
    seeing = hasattr(processor, "image_processor")
    end_turns(model, base_model.tokenizer_of(processor), turn_end(processor, images=seeing, template=template))
    if checkpoint is None:
        run_dir.claim(config, stage)
    return Run(config, stage, checkpoint, rows, model, processor, template, base, talks, progress)


def end_turns(model: Any, tokenizer: Any, written: str) -> None:
    """Let the token that ends a turn be the end for TRL, which writes rollouts up to the tokenizer's end of sequence."""
    token = last_token(tokenizer, written)
    if token is None or token == tokenizer.eos_token_id:
        return
    held = model.generation_config.eos_token_id
    known = held if isinstance(held, list) else [held]
    model.generation_config.eos_token_id = list(
        dict.fromkeys(i for i in [token, *known, tokenizer.eos_token_id] if i is not None)
    )
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(token)


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


def arguments(config: TrainingConfig) -> dict[str, Any]:
    """The arguments that every trainer here takes."""
    optim, run = config.optim, config.run
    return {
        "output_dir": run.out,
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
        "bf16": base_model.autocasts(config),
        "use_cpu": pick_device(config.model.device).type == "cpu",
        "activation_checkpointing": config.model.gradient_checkpointing,
        "logging_steps": run.log_steps,
        "logging_first_step": True,
        "save_strategy": "steps",
        "save_steps": run.save_steps,
        "save_total_limit": run.keep,
        "report_to": ["tensorboard"],
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_num_workers": config.data.workers,
        "dataloader_pin_memory": False,
    }


def loraplus(config: TrainingConfig, model: Any) -> Any:
    """The optimizer of LoRA+ (Hayou et al. 2024, arXiv 2402.12354): the B matrices learn ``plus_ratio`` times faster."""
    from peft.optimizers import create_loraplus_optimizer

    return create_loraplus_optimizer(
        model=model,
        optimizer_cls=import_torch().optim.AdamW,
        lr=config.optim.learning_rate,
        loraplus_lr_ratio=config.lora.plus_ratio,
        betas=(0.9, config.optim.beta2),
        weight_decay=config.optim.weight_decay,
    )


def callbacks(run: Run) -> list[Any]:
    """One callback: progress, a stop when the loss is no number, and checkpoints that load by themselves."""
    from transformers import TrainerCallback

    class Reporter(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if run.progress is not None and state.is_world_process_zero:
                run.progress(run.stage, state.global_step, state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
            loss = (logs or {}).get("loss")
            if loss is not None and not math.isfinite(loss):
                raise EngineError(
                    f"the loss is {loss} at step {state.global_step}: lower optim.learning_rate, or set model.autocast to float32"
                )

        def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
            if state.is_world_process_zero:
                saved = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                base_model.save_processor(run.processor, saved, run.template)
                write_text(saved / RECIPE, run.config.checkpoint_recipe(run.stage).to_json())

    return [Reporter()]


def train(run: Run, trainer: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Train, save, and write what belongs beside the weights (in the main process).

    Args:
        run: what the trainer was made of.
        trainer: one of Hugging Face's.
        facts: what the stage knows before it trains; they come first.

    Returns:
        Facts of the run.
    """
    _drop_default_outputs(trainer)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=None if run.checkpoint is None else str(run.checkpoint))
    seconds = time.perf_counter() - started
    out = Path(run.config.run.out)
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
        "resumed_from": None if run.checkpoint is None else run.checkpoint.name,
    }
    if trainer.is_world_process_zero():
        base_model.save_processor(run.processor, out, run.template)
        _name_base(out, run.base)
        run_dir.finish(run.config, run.stage, history, done, run.base)
    trainer.accelerator.wait_for_everyone()
    return done


def _name_base(out: Path, base: str) -> None:
    """Let an adapter name its base as it was given, so that the run folder loads by itself."""
    file = out / "adapter_config.json"
    if file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8"))
        write_json(file, {**settings, "base_model_name_or_path": base})


def _drop_default_outputs(trainer: Any) -> None:
    """The run has its own progress and model card: the libraries' are turned off."""
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    patches.write_no_model_card(trainer)
