"""The settings of a training run: every knob declared once, TOML and ``--set`` derived from it.

A file has the tables of :class:`TrainingConfig`; an unknown table or key is an error. Defaults are those of the paper
(arXiv 2506.12364, section 4.1.3) where it gives a value.
"""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, TypeVar

from mmr5.errors import ConfigError, SourceNotFoundError
from mmr5.models.recipes import Recipe, load_recipe
from mmr5.prompt import fingerprint
from mmr5.rewards import Compat

Stage = Literal["sft", "grpo"]
Config = TypeVar("Config")
Rollouts = Literal["transformers", "vllm-server", "vllm-colocate"]

LANGUAGE_LINEARS = r"(?!.*(visual|vision|merger|lm_head)).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
"""Every linear layer of the language model; the vision tower and its merger stay frozen."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """``[model]``: where the weights come from.

    Attributes:
        base: a folder, ``mini``'s base or a hub name; a run folder with an adapter has it merged first.
        adapter: an adapter to merge into the base before training (GRPO goes on from the SFT adapter), or "".
        dtype: ``auto``, ``float32``, ``bfloat16``: what the frozen weights are kept in; trained weights are float32.
        autocast: ``auto``, ``float32``, ``bfloat16``: what products are computed in; ``auto`` takes bfloat16 where it is faster.
        attention: transformers' name of the attention implementation, or ``auto``.
        device: ``auto``, ``cpu``, ``cuda``.
        gradient_checkpointing: trade time for memory.
    """

    base: str
    adapter: str = ""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    autocast: Literal["auto", "float32", "bfloat16"] = "auto"
    attention: str = "auto"
    device: str = "auto"
    gradient_checkpointing: bool = True


@dataclass(frozen=True, slots=True)
class DataConfig:
    """``[data]``: what is learnt from.

    Attributes:
        rows: file of training rows (``mmr5 data rows``).
        corpus: the corpus that the rows name pages of: a folder, ``opendocs`` or ``mmdocir``; several by comma.
        limit: only the first rows; 0 takes all.
        max_pixels: pixel budget of a page image, at least 784.
        max_tokens: a row whose prompt and target are longer is an error, never cut; 0 allows any length.
        order: ``random``, or ``file`` for a curriculum.
        workers: processes that prepare batches; 0 prepares in the training process.
    """

    rows: str
    corpus: str
    limit: int = 0
    max_pixels: int = 1_003_520
    max_tokens: int = 0
    order: Literal["random", "file"] = "random"
    workers: int = 0


@dataclass(frozen=True, slots=True)
class LoraConfig:
    """``[lora]``: the adapter (paper section 4.1.3).

    Attributes:
        enabled: False trains all weights.
        rank: r.
        alpha: scale, at least 1.
        dropout: 0 keeps the probability ratio of GRPO's first pass at 1.
        target: regular expression over module names, matched in full.
        plus_ratio: LoRA+: how much faster B learns than A; 0 for plain LoRA.
    """

    enabled: bool = True
    rank: int = 8
    alpha: int = 32
    dropout: float = 0.0
    target: str = LANGUAGE_LINEARS
    plus_ratio: float = 0.0


@dataclass(frozen=True, slots=True)
class GroupConfig:
    """``[groups]``: pages of one question compared while they are judged one by one (:mod:`mmr5.training.sft_pointwise`).

    Attributes:
        pages: rows of a question in a group, at least 2; 0 trains rows one by one with the language-model loss alone.
        lce_weight: of the LCE loss over the group's scores.
        verdict_weight: of the binary cross-entropy of each margin.
        note_weight: of the language-model loss of the notes.
        question_share: of the question's log-likelihood in a page's score, beside the margin of the verdict: the recipe's
            ``question_weight`` at inference.
        first_stage_share: of the first stage's score in a page's score, so that the model learns what the first stage misses.
    """

    pages: int = 0
    lce_weight: float = 1.0
    verdict_weight: float = 1.0
    note_weight: float = 0.2
    question_share: float = 0.0
    first_stage_share: float = 0.0


@dataclass(frozen=True, slots=True)
class OptimConfig:
    """``[optim]``: how fast and how long.

    Attributes:
        learning_rate: peak, AdamW.
        epochs: passes over the rows; ignored where ``max_steps`` is given.
        max_steps: optimizer steps, or 0.
        batch_size: rows (SFT) or rollouts (GRPO) of one process in one pass.
        accumulation: passes of one optimizer step.
        scheduler: transformers' name of the schedule.
        warmup_ratio: share of steps that the rate rises in.
        weight_decay: AdamW's.
        beta2: AdamW's second-moment decay.
        max_grad_norm: gradient clipping.
        seed: of weights, order, sampling.
    """

    learning_rate: float = 1e-4
    epochs: float = 1.0
    max_steps: int = 0
    batch_size: int = 1
    accumulation: int = 4
    scheduler: str = "linear"
    warmup_ratio: float = 0.0
    weight_decay: float = 0.0
    beta2: float = 0.999
    max_grad_norm: float = 1.0
    seed: int = 42


@dataclass(frozen=True, slots=True)
class GrpoConfig:
    """``[grpo]``: rewards and the policy's update (paper section 3.3).

    Attributes:
        group_size: rollouts of a prompt, at least 2 (the paper's G).
        iterations: updates on the same rollouts (mu).
        beta: weight of the KL term; 0 keeps no reference.
        epsilon: lower clipping range.
        epsilon_high: upper clipping range; 0 takes ``epsilon``.
        temperature: of sampling.
        top_p: nucleus of sampling.
        top_k: 0 for all tokens.
        max_new_tokens: most tokens of a rollout.
        ranking_weight: of the ranking reward.
        format_weight: of the format reward.
        compat: ``paper`` or ``upstream`` values of the rewards.
        loss_type: ``grpo`` is the mean over a rollout's tokens, then over rollouts; others as in TRL.
        scale_rewards: ``group`` divides by the group's deviation, ``batch``, ``none``.
        mask_truncated: leave rollouts without an end out of the loss.
        difficulty_samples: before training, sample so many replies a prompt and drop prompts whose rewards all agree; 0 is off.
        rollouts: what writes the rollouts.
    """

    group_size: int = 4
    iterations: int = 2
    beta: float = 0.04
    epsilon: float = 0.2
    epsilon_high: float = 0.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 2048
    ranking_weight: float = 1.0
    format_weight: float = 1.0
    compat: Compat = "paper"
    loss_type: Literal["grpo", "bnpo", "dr_grpo", "dapo"] = "grpo"
    scale_rewards: Literal["group", "batch", "none"] = "group"
    mask_truncated: bool = False
    difficulty_samples: int = 0
    rollouts: Rollouts = "transformers"


@dataclass(frozen=True, slots=True)
class RunConfig:
    """``[run]``: where the result goes.

    Attributes:
        out: the run's folder.
        save_steps: optimizer steps between checkpoints, at least 1.
        log_steps: optimizer steps between points of the curves.
        keep: checkpoints that are kept.
    """

    out: str
    save_steps: int = 100
    log_steps: int = 1
    keep: int = 2


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A whole run; see the classes of its tables.

    ``[recipe]`` has the keys of :class:`mmr5.models.recipes.Recipe`: how the checkpoint is to be used. What training knows by
    itself is filled in by :meth:`checkpoint_recipe`.
    """

    model: ModelConfig
    data: DataConfig
    run: RunConfig
    lora: LoraConfig = field(default_factory=LoraConfig)
    groups: GroupConfig = field(default_factory=GroupConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    grpo: GrpoConfig = field(default_factory=GrpoConfig)
    recipe: Recipe = field(default_factory=Recipe)

    def __post_init__(self) -> None:
        _check(self)

    def checkpoint_recipe(self, stage: Stage) -> Recipe:
        """The recipe that is saved beside the weights: ``[recipe]`` and what the run knows.

        Filled in are the pixel budget, the fingerprint of today's prompt, and, where ``[recipe]`` gives none, the weight of the
        question's log-likelihood: the share that SFT trained it with, or in GRPO, which leaves it alone, that of the checkpoint
        it starts from.
        """
        weight = self.recipe.question_weight
        if not weight and stage == "sft":
            weight = self.groups.question_share if self.groups.pages else 0.0
        elif not weight and (start := load_recipe(Path(self.model.adapter or self.model.base))) is not None:
            weight = start.question_weight
        return dataclasses.replace(
            self.recipe,
            question_weight=weight,
            max_pixels=None if self.recipe.view == "text" else self.data.max_pixels,
            prompt_fingerprint=fingerprint(self.recipe.method, self.recipe.view),
        )

    def to_dict(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        return dataclasses.asdict(self)


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a TOML file.

    Args:
        path: the file.
        overrides: ``table.key=value`` each; the value is TOML, a bare word is a text.

    Raises:
        SourceNotFoundError: there is no such file.
        ConfigError: it is no TOML, or holds an unknown table or key or an impossible value.
    """
    return from_tables(read_tables(path, overrides), str(path))


def read_tables(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The tables of a TOML file with overrides, as :func:`load_config` reads them."""
    try:
        tables: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SourceNotFoundError(f"no file at {str(path)!r}: name a TOML file such as those in mmr5/configs") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as TOML: {error}") from error
    for override in overrides:
        _override(tables, override)
    return tables


def from_tables(tables: Mapping[str, Any], where: str, whole: type[Config] = TrainingConfig) -> Config:  # type: ignore[assignment]
    """A configuration of the class ``whole`` from parsed tables.

    Raises:
        ConfigError: an unknown or missing table or key, or a value of another kind.
    """
    kinds = typing.get_type_hints(whole)
    _known(tables, list(kinds), f"{where}: table")
    built = {}
    for name, kind in kinds.items():
        given = tables.get(name, {})
        if not isinstance(given, dict):
            raise ConfigError(f"{where}: {name} is {given!r}: it is a table, [{name}]")
        built[name] = _table(kind, given, f"{where} [{name}]")
    return whole(**built)


def _table(kind: type[Any], given: Mapping[str, Any], where: str) -> Any:
    hints = typing.get_type_hints(kind)
    _known(given, list(hints), f"{where}: key")
    missing = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.name not in given]
    if missing:
        raise ConfigError(f"{where}: {', '.join(missing)} is missing")
    return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in given.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, types.UnionType):  # "X | None": TOML has no null, and a key that stands there holds an X
        kind = next(one for one in typing.get_args(kind) if one is not types.NoneType)
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise ConfigError(f"{where} is {value!r}: use one of {', '.join(map(str, choices))}")
        return value
    if kind is float and type(value) is int:
        return float(value)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is {value!r}: it is a list")
        return tuple(_value(typing.get_args(kind)[0], one, where) for one in value)
    if type(value) is not kind:
        raise ConfigError(f"{where} is {value!r}: it is of kind {getattr(kind, '__name__', kind)}")
    return value


def _known(given: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigError(f"{what} {', '.join(unknown)} is unknown: known are {', '.join(known)}")


def _override(tables: dict[str, Any], override: str) -> None:
    name, equals, text = override.partition("=")
    table, dot, key = name.strip().partition(".")
    if not (equals and dot and table and key):
        raise ConfigError(f"--set {override!r}: write table.key=value, e.g. optim.learning_rate=1e-5")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    tables.setdefault(table, {})[key] = value


_LOWEST = {
    "data.max_pixels": 784,
    "data.limit": 0,
    "data.max_tokens": 0,
    "data.workers": 0,
    "lora.rank": 1,
    "lora.alpha": 1,
    "lora.dropout": 0,
    "groups.pages": 0,
    "groups.lce_weight": 0,
    "groups.verdict_weight": 0,
    "groups.note_weight": 0,
    "groups.question_share": 0,
    "groups.first_stage_share": 0,
    "recipe.question_weight": 0,
    "recipe.notes": 0,
    "optim.batch_size": 1,
    "optim.accumulation": 1,
    "optim.max_steps": 0,
    "grpo.group_size": 2,
    "grpo.iterations": 1,
    "grpo.beta": 0,
    "grpo.epsilon": 0,
    "grpo.max_new_tokens": 1,
    "grpo.difficulty_samples": 0,
    "run.save_steps": 1,
    "run.log_steps": 1,
    "run.keep": 1,
}
"""Least values of settings."""


def _check(config: TrainingConfig) -> None:
    for name, low in _LOWEST.items():
        value = attrgetter(name)(config)
        if value < low:
            raise ConfigError(f"{name} is {value}: it is at least {low}")
    if config.groups.pages == 1:
        raise ConfigError("groups.pages is 1: a group compares at least 2 pages; 0 trains rows one by one")
    if config.optim.learning_rate <= 0:
        raise ConfigError(f"optim.learning_rate is {config.optim.learning_rate}: it is above 0")
    if config.grpo.temperature <= 0:
        raise ConfigError(f"grpo.temperature is {config.grpo.temperature}: rollouts without chance are all alike; use 1.0")
    _check_recipe(config)


def _check_recipe(config: TrainingConfig) -> None:
    recipe = config.recipe
    filled = [name for name in ("max_pixels", "prompt_fingerprint") if getattr(recipe, name) is not None]
    if filled:
        raise ConfigError(f"recipe.{filled[0]} is given: training fills it in (a pixel budget is data.max_pixels); leave it out")
    if recipe.calibrations:
        raise ConfigError(
            "recipe.calibrations is given: what scores mean is found out after the training (mmr5 calibrate); leave it out"
        )
    if recipe.prompt is not None or recipe.ids != "numbers":
        raise ConfigError(
            "recipe.prompt or recipe.ids is given: training teaches this project's own prompt and grammar; leave both out"
        )
    if config.groups.pages and config.groups.first_stage_share and recipe.fusion is None:
        raise ConfigError(
            f"groups.first_stage_share is {config.groups.first_stage_share} and recipe.fusion is not given: the model learns "
            "what the first stage misses, so give the weight that both are joined with, e.g. recipe.fusion=1.0"
        )
    fingerprint(recipe.method, recipe.view)
