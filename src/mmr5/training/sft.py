"""Stage one: supervised fine-tuning on reasoning chains (paper section 3.2), on TRL's ``SFTTrainer``."""

from __future__ import annotations

from typing import Any

from mmr5.training import base_model, preflight, row_dataset, sft_pointwise, trainer
from mmr5.training.config import TrainingConfig
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
        ModelNotFoundError: there is no such model or adapter.
    """
    run = trainer.begin(config, "sft", resume=resume, progress=progress)
    made = sft_pointwise.make_trainer(run) if config.groups.pages else make_trainer(run)
    return trainer.train(run, made, {"rows": len(run.rows)})


def make_trainer(run: trainer.Run) -> Any:
    """TRL's trainer over the run's rows, one by one.

    Raises:
        ConfigError: ``lora.target`` names no module.
        ContextLengthError: a text row is too long.
    """
    trl, config, model = trainer.import_trl(), run.config, run.model
    context = base_model.context_of(model)
    data = row_dataset.dataset(run.rows, run.speech, config, taught=True, context=context)
    adapter, own_optimizer = base_model.lora(config.lora, model), None
    if adapter is not None and config.lora.plus_ratio:
        model, adapter = base_model.wrap(model, adapter), None
        own_optimizer = trainer.loraplus(config, model)
    made = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(
            **trainer.arguments(config),
            max_length=None,
            packing=False,
            completion_only_loss=True,
            train_sampling_strategy="random" if config.data.order == "random" else "sequential",
            loss_type="nll",
        ),
        train_dataset=data,
        processing_class=run.processor,
        peft_config=adapter,
        optimizers=(own_optimizer, None),
        callbacks=trainer.callbacks(run),
    )
    preflight.check_sft(run, made)
    return made
