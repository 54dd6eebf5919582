"""Stage two on orders: reinforcement learning of the order that is served (a departure from the paper's section 3.3).

The paper's stage two samples written replies. Here the policy is a distribution over orders given by the scores themselves
(:mod:`mmr5.training.plackett_luce`): orders are drawn without decoding and earn the paper's ranking reward; advantages are
relative to the group, and a divergence keeps the policy near stage one. No reply is written, so there is no format reward.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmr5 import __version__
from mmr5.engines.loading import import_torch
from mmr5.errors import ConfigError
from mmr5.provenance import FILE as PROVENANCE
from mmr5.provenance import environment
from mmr5.storage.atomic import make_folder, write_text
from mmr5.storage.cache import digest
from mmr5.storage.jsonl import read_json, write_json
from mmr5.training.curves import draw
from mmr5.training.late_interaction import share_of_rate, training_order
from mmr5.training.loop_state import read_state, write_state
from mmr5.training.order_config import OrderTrainingConfig
from mmr5.training.order_models import QuestionList, ScoringModel, open_model, useful
from mmr5.training.plackett_luce import order_loss, verdict_loss
from mmr5.training.run_dir import CARD, CURVES, HISTORY, check_folder
from mmr5.types import Progress

STAGE = "order"
STATE = "state.pt"
REFERENCE = "reference.json"
"""In a run's folder: the scores of stage one, which the policy is held near to."""
_FREE = ("run", "data.states", "model.device")
"""Settings that may change when a run is gone on with."""


def train_order(config: OrderTrainingConfig, *, resume: bool = False, progress: Progress | None = None) -> dict[str, object]:
    """Train, and write the model into the run's folder.

    Args:
        config: the run.
        resume: go on with the run that is there.
        progress: told of documents, lists and steps.

    Returns:
        Facts of the run.

    Raises:
        ConfigError: there is a run and ``resume`` is False, it was made with other settings, or nothing can be learnt from.
        ModelNotFoundError: there is no such model to start from.
    """
    out = Path(config.run.out)
    check_folder(config.to_dict(), out, CARD, free=_FREE, resume=resume)
    model = open_model(config, progress)
    lists = [one for one in model.lists if useful(one.relevant, one.answerable, unanswerable=config.data.unanswerable)]
    if not any(one.answerable for one in lists):
        raise ConfigError("no question of the corpora has a relevant page among its candidates: nothing can be learnt")
    make_folder(out)
    write_json(out / PROVENANCE, _provenance(config, lists))
    policy = Policy(model, config, _reference(model, lists, out / REFERENCE, progress))
    order = training_order([one.qid for one in lists], config.optim.passes, config.optim.seed)
    policy.total = max(1, len(order) // config.optim.batch)
    history: list[dict[str, Any]] = policy.load(out / STATE) if resume and (out / STATE).is_file() else []
    earned: list[float] = []
    for step in range(policy.step, policy.total):
        earned.append(policy.learn([lists[i] for i in order[step * config.optim.batch : (step + 1) * config.optim.batch]]))
        if (step + 1) % config.run.log_steps == 0 or step + 1 == policy.total:
            history.append({"step": step + 1, "reward": round(statistics.fmean(earned), 4)})
            earned = []
            if progress is not None:
                progress(f"training, reward {history[-1]['reward']:.3f}", step + 1, policy.total)
        if (step + 1) % config.run.save_steps == 0 and step + 1 < policy.total:
            policy.save(out / STATE, history)
    facts: dict[str, object] = {
        "lists": len(lists), "documents": len({one.doc_name for one in lists}), "steps": policy.total,
        "reward": history[-1]["reward"] if history else None,
    }  # fmt: skip
    model.save(out)
    write_json(out / HISTORY, {"facts": facts, "history": history})
    draw(history, out / CURVES, title=f"{STAGE} · {out.name}")
    write_text(out / CARD, _card(config, facts))  # last: it says that the run has ended
    (out / STATE).unlink(missing_ok=True)
    return facts


class Policy:
    """A model that learns by the rewards of the orders that it draws.

    Args:
        model: gives the scores.
        config: the run.
        reference: stage one's scores of each list, by question id.
    """

    def __init__(self, model: ScoringModel, config: OrderTrainingConfig, reference: dict[str, list[float]]) -> None:
        torch = import_torch()
        self._model, self._config, self._reference = model, config, reference
        self.step, self.total = 0, 1
        self._none = torch.tensor(_first_none(model.lists, reference), requires_grad=True)
        self._first_none = float(self._none.detach())
        groups = [*model.groups(), {"params": [self._none], "lr": config.optim.scale_rate}]
        self._trained = [value for group in groups for value in group["params"]]
        self._optimizer = torch.optim.Adam(groups)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: share_of_rate(step, config.optim.warmup, self.total)
        )
        self._generator = torch.Generator().manual_seed(config.optim.seed)

    def learn(self, batch: Sequence[QuestionList]) -> float:
        """One step; the mean reward of what was drawn."""
        torch, optim = import_torch(), self._config.optim
        loss_of = order_loss if optim.policy == "orders" else verdict_loss
        earned = []
        self._optimizer.zero_grad()
        for one in batch:
            scores = self._model.scores(one)
            reference = torch.tensor(self._reference[one.qid])
            relevant = list(one.relevant)
            if self._config.data.unanswerable:
                scores = torch.cat([scores, self._none.reshape(1).to(scores.device)])
                reference = torch.cat([reference, torch.tensor([self._first_none])])
                relevant.append(not one.answerable)
            scores = scores.cpu() / optim.temperature
            loss, reward = loss_of(
                scores, reference / optim.temperature, torch.tensor(relevant),
                count=optim.orders, kl_weight=optim.kl_weight, generator=self._generator,
            )  # fmt: skip
            (loss / len(batch)).backward()
            earned.append(reward)
        if optim.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(self._trained, optim.max_grad_norm)
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        return statistics.fmean(earned)

    def save(self, path: Path, history: Sequence[dict[str, Any]]) -> None:
        """Keep all that the next step needs."""
        further = {"none": self._none.detach(), "draws": self._generator.get_state()}
        weights = self._model.state()
        write_state(path, weights, self._optimizer, self._schedule, step=self.step, history=history, further=further)

    def load(self, path: Path) -> list[dict[str, Any]]:
        """Go on from a file of :meth:`save`; returns the history."""
        self.step, history, further = read_state(path, self._model.state(), self._optimizer, self._schedule)
        with import_torch().no_grad():
            self._none.copy_(further["none"])
        self._generator.set_state(further["draws"])
        return history


def _first_none(lists: Sequence[QuestionList], reference: dict[str, list[float]]) -> float:
    """Where "none of these" begins: the median, over lists that no page answers, of stage one's best score; 0 without any."""
    best = [max(reference[one.qid]) for one in lists if not one.answerable and one.qid in reference]
    return statistics.median(best) if best else 0.0


def _reference(
    model: ScoringModel, lists: Sequence[QuestionList], file: Path, progress: Progress | None
) -> dict[str, list[float]]:
    """Stage one's scores of all lists; a run that is gone on with reads them, as its model is no longer stage one."""
    if file.is_file():
        known: dict[str, list[float]] = read_json(file)
        return known
    found = {}
    with import_torch().no_grad():
        for done, one in enumerate(lists):
            if progress is not None and done % 20 == 0:
                progress("scores of stage one", done, len(lists))
            found[one.qid] = [round(float(v), 6) for v in model.scores(one)]
    write_json(file, found)
    return found


def _provenance(config: OrderTrainingConfig, lists: Sequence[QuestionList]) -> dict[str, Any]:
    found = {
        **environment(
            ("torch", "transformers", "sentence-transformers", "peft", "safetensors", "tokenizers"), config.model.device
        ),
        "stage": STAGE,
        "command": "mmr5 train order",
        "config": config.to_dict(),
        "inputs": {"lists": digest(*(f"{one.qid}:{one.relevant}" for one in lists))[:16]},
        "seed": config.optim.seed,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _card(config: OrderTrainingConfig, facts: dict[str, object]) -> str:
    engine = "" if config.model.engine == "transformers" else f" --engine {config.model.engine}"
    return "\n".join(
        [
            "---",
            "library_name: mmr5",
            "tags: [reranking, document-retrieval, reinforcement-learning]",
            "---",
            "",
            f"# {Path(config.run.out).name}",
            "",
            f"A page reranker: `{config.model.start}`, trained on by `mmr5 train order` {__version__} with the ranking reward of "
            f"the orders that its scores make likely, on {', '.join(f'`{name}`' for name in config.data.corpora)}. Compare it "
            "with what it started from on documents that neither has seen before you use it.",
            "",
            "```",
            f'mmr5 rerank "question" report.pdf --model {config.run.out}{engine}',
            "```",
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in facts.items()),
            "",
        ]
    )
