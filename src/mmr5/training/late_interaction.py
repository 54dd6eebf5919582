"""Stage one of a late-interaction reranker: supervised training of its head beside the first stage.

The score of a page is what the default sorts by: the first stage's log-odds, times a weight that is learnt, plus the head's. Of
the pages of a list, which are the first stage's best, the relevant ones are to be likeliest (softmax cross-entropy, spread evenly
over them: ListNet's top-one loss, Cao et al. 2007). Where the corpus has quotes, the passages that hold them are to fit best
among all passages of the list. The encoder stays as it is, so that its states are made once (:mod:`mmr5.training.late_data`);
a pass over a thousand questions takes about a minute of two cores.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmr5 import __version__
from mmr5.engines.late_interaction import MAPS, WEIGHTS, write_head
from mmr5.engines.loading import import_torch
from mmr5.engines.runtime.late_head import LateHead, Scores
from mmr5.errors import ConfigError
from mmr5.models.late import FILE as CONFIG
from mmr5.models.late import LateConfig
from mmr5.models.recipes import FILE as RECIPE
from mmr5.models.recipes import Recipe
from mmr5.provenance import FILE as PROVENANCE
from mmr5.provenance import environment
from mmr5.storage.atomic import make_folder, write_text
from mmr5.storage.jsonl import write_json
from mmr5.training.curves import draw
from mmr5.training.late_config import LateTrainingConfig
from mmr5.training.late_data import Example, States, fingerprint, prepare, tokens_of
from mmr5.training.loop_state import read_state, write_state
from mmr5.training.run_dir import CARD, CURVES, HISTORY, check_folder
from mmr5.types import Progress

STAGE = "late"
STATE = "state.pt"
SAMPLE = 100_000
"""Tokens whose principal components are what the maps begin with, about."""
CENTRED = 200
"""Questions over whose lists :func:`centre` takes the mean."""
LAST_RATE = 0.02
"""Share of the peak rates that is left at the end."""
_FREE = ("run", "data.states")
"""Settings that may change when a run is gone on with."""


def train_late(config: LateTrainingConfig, *, resume: bool = False, progress: Progress | None = None) -> dict[str, object]:
    """Train, and write the model into the run's folder.

    Args:
        config: the run.
        resume: go on with the run that is there.
        progress: told of documents and steps.

    Returns:
        Facts of the run.

    Raises:
        ConfigError: there is a run and ``resume`` is False, it was made with other settings, or nothing can be learnt from.
    """
    torch = import_torch()
    out = Path(config.run.out)
    check_folder(config.to_dict(), out, WEIGHTS, free=_FREE, resume=resume)
    names = prepare(config, progress)
    states = States(config.states)
    taught = [name for name in names if name not in config.data.leave_out]
    examples = [e for name in taught for e in states.examples(name) if useful(e, config.optim.binary_weight)]
    if not any(e.relevant for e in examples):
        raise ConfigError("no question of the corpora has a relevant page among its candidates: nothing can be learnt")
    make_folder(out)
    write_json(out / PROVENANCE, _provenance(config, fingerprint(config, taught)))
    torch.manual_seed(config.optim.seed)
    head = LateHead.untrained(sample_states(states, examples), config.model.dimension)
    order = training_order(examples, config.optim.passes, config.optim.seed)
    total = max(1, len(order) // config.optim.batch)
    run = _Run(head, config, total)
    history: list[dict[str, Any]] = run.load(out / STATE) if resume and (out / STATE).is_file() else []
    held: list[tuple[float, float]] = []
    for step in range(run.step, total):
        batch = [examples[i] for i in order[step * config.optim.batch : (step + 1) * config.optim.batch]]
        held += run.learn(batch, states)
        if (step + 1) % config.run.log_steps == 0 or step + 1 == total:
            loss, hits = (sum(column) / len(held) for column in zip(*held, strict=True))
            history.append({"step": step + 1, "loss": round(loss, 4), "first_is_relevant": round(hits, 4)})
            held = []
            if progress is not None:
                progress(f"training, loss {loss:.3f}", step + 1, total)
        if (step + 1) % config.run.save_steps == 0 and step + 1 < total:
            run.save(out / STATE, history)
    centre(head, states, examples)
    facts: dict[str, object] = {
        "questions": len(examples), "documents": len({e.doc_name for e in examples}), "steps": total,
        "loss": history[-1]["loss"] if history else None,
        "first_stage_weight": round(float(head.weights["first_stage"].detach()), 4),
    }  # fmt: skip
    save(head, config.model, out)
    write_json(out / HISTORY, {"facts": facts, "history": history})
    draw(history, out / CURVES, title=f"{STAGE} · {out.name}")
    write_text(out / CARD, _card(config, facts))
    (out / STATE).unlink(missing_ok=True)
    return facts


def centre(head: LateHead, states: States, examples: Sequence[Example]) -> None:
    """Set the bias so that the head's log-odds of pages that do not answer, among the first stage's best, have the mean 0.

    The softmax of a list leaves it open; it makes scores of different models and trainings alike.
    """
    torch = import_torch()
    drawn = sorted(range(len(examples)), key=lambda i: examples[i].qid)
    random.Random(0).shuffle(drawn)  # noqa: S311 - no secret
    found = []
    with torch.no_grad():
        for i in drawn[:CENTRED]:
            _, scores = score(head, states, examples[i])
            others = [page not in examples[i].relevant for page in examples[i].pages]
            found.append(scores.pages[torch.tensor(others)])
        head.weights["bias"] -= torch.cat(found).mean()


def useful(example: Example, binary_weight: float) -> bool:
    """Whether a question teaches anything: a relevant page is in its list, or that none is there counts."""
    found = any(page in example.relevant for page in example.pages)
    return bool(example.pages) and ((found and len(example.pages) > 1) or (not example.relevant and binary_weight > 0))


def training_order(examples: Sequence[object], passes: int, seed: int) -> list[int]:
    """Places of the questions in the order in which they are learnt from."""
    order: list[int] = []
    for number in range(passes):
        own = list(range(len(examples)))
        random.Random(f"{seed}:{number}").shuffle(own)  # noqa: S311 - no secret
        order += own
    return order


def score(head: LateHead, states: States, example: Example, pages: Sequence[int] | None = None) -> tuple[Any, Scores]:
    """The sum by which the default sorts, for a question's list or the first of its pages, and the head's own scores."""
    torch = import_torch()
    chosen = example.pages if pages is None else pages
    n = len(chosen)
    given = torch.tensor(example.features[:n])
    scores = head.score(head.question(states.question(example)), tokens_of(head, states, example, chosen), given)
    return head.weights["first_stage"] * torch.tensor(example.first[:n]) + scores.pages, scores


def save(head: LateHead, model: LateConfig, out: Path) -> None:
    """Write weights, configuration and recipe; what scores mean is fitted afterwards."""
    write_head(head, out)
    write_text(out / CONFIG, model.to_json())
    fusion = round(1 / max(float(head.weights["first_stage"].detach()), 1e-3), 4)
    write_text(out / RECIPE, Recipe(method="late-interaction", view="text", fusion=fusion, notes=0).to_json())


def parameter_groups(head: LateHead, learning_rate: float, scale_rate: float) -> list[dict[str, Any]]:
    """A head's weights for an optimizer: the maps, and the single numbers, with their peak rates."""
    numbers = [value for name, value in head.weights.items() if name not in MAPS]
    return [{"params": [head.weights[name] for name in MAPS], "lr": learning_rate}, {"params": numbers, "lr": scale_rate}]


def share_of_rate(step: int, warmup: int, total: int) -> float:
    """The share of the peak rate in a step: it rises in ``warmup`` steps, then falls to :data:`LAST_RATE`, linearly."""
    return min((step + 1) / max(1, warmup), max(LAST_RATE, (total - step) / total))


class _Run:
    """Weights that learn, and where the run stands."""

    def __init__(self, head: LateHead, config: LateTrainingConfig, total: int) -> None:
        torch = import_torch()
        self.head, self._config, self._total, self.step = head, config, total, 0
        for value in head.weights.values():
            value.requires_grad_(True)
        optim = config.optim
        self._optimizer = torch.optim.Adam(parameter_groups(head, optim.learning_rate, optim.scale_rate))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, lambda step: share_of_rate(step, optim.warmup, total))

    def learn(self, batch: Sequence[Example], states: States) -> list[tuple[float, float]]:
        """One step; for each question with a relevant page, its loss and whether such a page came first."""
        told, whole = [], 0.0
        for example in batch:
            loss, ranked, hit = self._losses(example, states)
            whole = whole + loss / len(batch)
            if ranked is not None:
                told.append((ranked, float(hit)))
        self._optimizer.zero_grad()
        whole.backward()  # type: ignore[attr-defined]
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        return told

    def _losses(self, example: Example, states: States) -> tuple[Any, float | None, bool]:
        torch = import_torch()
        optim = self._config.optim
        odds, scores = score(self.head, states, example)
        labels = torch.tensor([float(page in example.relevant) for page in example.pages])
        loss = torch.zeros(())
        if optim.binary_weight:
            loss = loss + optim.binary_weight * torch.nn.functional.binary_cross_entropy_with_logits(odds, labels)
        if not labels.any():
            return loss, None, False
        ranked = -(odds.log_softmax(0) * labels).sum() / labels.sum()
        loss = loss + ranked
        target = self._passage_target(example, scores)
        if optim.passage_weight and target is not None:
            loss = loss - optim.passage_weight * (scores.passages.log_softmax(0) * target).sum()
        return loss, float(ranked.detach()), bool(labels[odds.argmax()])

    def _passage_target(self, example: Example, scores: Scores) -> Any:
        torch = import_torch()
        target = torch.zeros(len(scores.owners))
        for i, (page, places) in enumerate(zip(example.pages, example.wanted, strict=True)):
            if places and page in example.relevant:
                target[(scores.owners == i).nonzero()[list(places), 0]] = 1.0
        return target / target.sum() if target.any() else None

    def save(self, path: Path, history: Sequence[dict[str, Any]]) -> None:
        """Keep all that the next step needs."""
        write_state(path, self.head.weights, self._optimizer, self._schedule, step=self.step, history=history)

    def load(self, path: Path) -> list[dict[str, Any]]:
        """Go on from a file of :meth:`save`; returns the history."""
        self.step, history, _ = read_state(path, self.head.weights, self._optimizer, self._schedule)
        return history


def sample_states(states: States, examples: Sequence[Example]) -> Any:
    """States of the first pages of the lists, up to about :data:`SAMPLE` tokens, spread over the documents."""
    torch = import_torch()
    order = list(range(len(examples)))
    random.Random(0).shuffle(order)  # noqa: S311 - no secret
    found, held = [], 0
    for i in order:
        own, _ = states.page(examples[i].doc_name, examples[i].pages[0])
        found.append(own)
        held += len(own)
        if held >= SAMPLE:
            break
    return torch.cat(found)


def _provenance(config: LateTrainingConfig, lists: str) -> dict[str, Any]:
    found = {
        **environment(("torch", "safetensors", "tokenizers"), "cpu"),
        "stage": STAGE,
        "command": "mmr5 train late",
        "config": config.to_dict(),
        "inputs": {"lists": lists},
        "seed": config.optim.seed,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _card(config: LateTrainingConfig, facts: dict[str, object]) -> str:
    rows = [f"| {name} | {value} |" for name, value in facts.items()]
    return "\n".join(
        [
            "---",
            f"base_model: {config.model.base}",
            "library_name: mmr5",
            "tags: [reranking, document-retrieval, late-interaction]",
            "---",
            "",
            f"# {Path(config.run.out).name}",
            "",
            f"A page reranker: late interaction over the states of `{config.model.base}` after layer {config.model.layer}, "
            f"trained by `mmr5 train late` {__version__} on {', '.join(f'`{name}`' for name in config.data.corpora)}.",
            "",
            "```",
            f'mmr5 rerank "question" report.pdf --model {config.run.out}',
            "```",
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
        ]
    )
