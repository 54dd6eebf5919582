"""The rewards of a `pointwise` checkpoint's sampled replies on questions that it was not trained on: what stage two is to raise.

    python scripts/stage2_reward.py runs/mini/sft runs/mini/grpo --rows runs/mini/all/grpo.jsonl --documents runs/mini/held.txt \
        --out runs/mini/rewards.json

Prompts, temperature, token limit and rewards are those of `configs/mini/grpo.toml`: four pages of a question, one of them
relevant, and the k-th replies to all four make one order. Of every checkpoint the mean of each reward over all replies; of every
one after the first, the gain in their sum over the first, with its 95 % interval over documents.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mmr5 import Reranker
from mmr5.corpora import load_corpus
from mmr5.data.conversations import Conversations
from mmr5.data.rows import ListRow, PageRow, read_rows
from mmr5.engines.protocol import Request, Sampling
from mmr5.evaluation.statistics import RESAMPLES
from mmr5.rewards import verdict_format_reward
from mmr5.training.config import TrainingConfig, load_config
from mmr5.training.grpo_pointwise import page_prompts, shared_gains

CONFIG = Path("src/mmr5/configs/mini/grpo.toml")
QUESTIONS_A_PASS = 4


def measure(model: str, prompts: list[PageRow], config: TrainingConfig, draws: int) -> dict[str, Any]:
    """Mean rewards, and both rewards of every question."""
    reranker = Reranker.from_pretrained(
        model, method="pointwise", view="text", page_tokens=config.recipe.page_tokens, question_weight=0.0
    )
    engine, pages = reranker.engine, config.groups.pages
    talk = Conversations(
        load_corpus(config.data.corpus),
        count=engine.count_tokens,
        page_tokens=config.recipe.page_tokens,
        reserved=engine.reserved,
    )
    sampling = Sampling(config.grpo.max_new_tokens, config.grpo.temperature, config.grpo.top_p, seed=config.optim.seed)
    ranking: dict[str, list[float]] = defaultdict(list)
    form: dict[str, list[float]] = defaultdict(list)
    for start in range(0, len(prompts), QUESTIONS_A_PASS * pages):
        numbers = [i for i in range(start, min(len(prompts), start + QUESTIONS_A_PASS * pages)) for _ in range(draws)]
        replies = engine.generate([Request(talk.prompt(prompts[i])) for i in numbers], replace(sampling, seed=start))
        said = [reply.text for reply in replies]
        gains = shared_gains(numbers, [i // pages for i in numbers], [prompts[i].relevant for i in numbers], said)
        for i, gain, reply in zip(numbers, gains, replies, strict=True):
            name = f"{prompts[i].doc_name}\t{prompts[i].qid}"
            ranking[name].append(gain)
            form[name].append(verdict_format_reward(reply.text, ended=reply.finish == "stop"))
    questions = {name: [mean(ranking[name]), mean(form[name])] for name in ranking}
    return {
        "model": model,
        "replies": sum(map(len, form.values())),
        "ranking_reward": mean([r for r, _ in questions.values()]),
        "format_reward": mean([f for _, f in questions.values()]),
        "by_question": questions,
    }


def gain(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Mean gain in the sum of both rewards, and its interval over documents."""
    documents: dict[str, list[float]] = defaultdict(list)
    for name, values in after["by_question"].items():
        documents[name.partition("\t")[0]].append(sum(values) - sum(before["by_question"][name]))
    own = [documents[name] for name in sorted(documents)]
    drawn = np.random.default_rng(0).multinomial(len(own), [1 / len(own)] * len(own), size=RESAMPLES)
    means = (drawn @ [sum(x) for x in own]) / (drawn @ [len(x) for x in own])
    return {"gain": mean([v for x in own for v in x]), "interval": np.quantile(means, [0.025, 0.975]).tolist()}


def mean(values: list[float]) -> float:
    """Their mean; 0 of none."""
    return sum(values) / max(1, len(values))


def main() -> None:
    """Sample, reward, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="checkpoints; the first is what the others are compared with")
    parser.add_argument("--rows", type=Path, required=True, help="rows of kind grpo")
    parser.add_argument("--documents", type=Path, required=True, help="file of document names, one a line")
    parser.add_argument("--questions", type=int, default=48)
    parser.add_argument("--draws", type=int, default=2, help="replies to every prompt")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    config = load_config(CONFIG)
    names = set(given.documents.read_text(encoding="utf-8").split())
    rows = [row for row in read_rows(given.rows) if isinstance(row, ListRow) and row.doc_name in names]
    prompts = page_prompts(rows, config.groups.pages, config.optim.seed)[: given.questions * config.groups.pages]
    found: list[dict[str, Any]] = []
    for model in given.models:
        found.append(measure(model, prompts, config, given.draws))
        if len(found) > 1:
            found[-1] |= gain(found[0], found[-1])
        print(json.dumps({k: v for k, v in found[-1].items() if k != "by_question"}))
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
