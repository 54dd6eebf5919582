"""Reinforcement learning of pages judged one by one: the rewards of paper section 3.3.2 for method ``pointwise``.

A rollout judges one page. The k-th rollouts of all pages of a question make one order between them: pages called relevant first,
then the others, each in first-stage order. Every one of these rollouts earns the ranking reward of that order, and the format
reward of its own reply.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from mmr5.answer import parse_verdict
from mmr5.data.rows import ListRow, PageRow
from mmr5.errors import ConfigError
from mmr5.rewards import discounted_gain, verdict_format_reward
from mmr5.training import row_dataset
from mmr5.training.config import TrainingConfig
from mmr5.training.grpo_rewards import RewardFunction, Rollout, Watch, as_rewards, text_of


def page_prompts(rows: Sequence[ListRow], pages: int, seed: int) -> list[PageRow]:
    """``pages`` rows for every list that has as many candidates: a relevant page and others, by first-stage place.

    Args:
        rows: lists of kind ``grpo``.
        pages: pages of a question that are judged together, at least 2.
        seed: of the order of the questions and of the draws.

    Raises:
        ConfigError: no list is long enough.
    """
    made: list[PageRow] = []
    order = list(rows)
    random.Random(seed).shuffle(order)  # noqa: S311 - a seeded order
    for row in order:
        draw = random.Random(f"{seed}:{row.doc_name}:{row.qid}")  # noqa: S311 - seeded draws
        good = draw.choice(row.relevant)
        others = [i for i in range(len(row.candidates)) if i not in row.relevant]
        if len(others) < pages - 1:
            continue
        for place in sorted([good, *draw.sample(others, pages - 1)]):
            made.append(_page(row, place, relevant=place == good))
    if not made:
        raise ConfigError(f"no list has {pages} candidates of which one alone is relevant: lower groups.pages")
    return made


def _page(row: ListRow, place: int, *, relevant: bool) -> PageRow:
    score = row.scores[place]
    page_id = row.candidates[place]
    return PageRow(row.qid, row.doc_name, row.question, page_id, relevant, place, score, row.view, "", "", row.split, row.source)


def dataset(prompts: Sequence[PageRow], speech: row_dataset.Speech, pages: int) -> Any:
    """A ``datasets.Dataset``: ``prompt``, ``row`` (its number), ``question`` (number of its question), ``relevant``."""
    import datasets

    return datasets.Dataset.from_list(
        [
            {
                "prompt": [row_dataset.said("user", speech.prompt(row)[0])],
                "row": number,
                "question": number // pages,
                "relevant": row.relevant,
            }
            for number, row in enumerate(prompts)
        ]
    )


def shared_gains(rows: Sequence[int], questions: Sequence[int], relevant: Sequence[bool], replies: Sequence[str]) -> list[float]:
    """The ranking reward of every rollout, in [0, 1], shared by the rollouts of a question that have the same number.

    Args:
        rows: which page prompt each rollout answers; the k-th appearance of a prompt is its k-th rollout.
        questions: which question the prompt belongs to.
        relevant: the page's label.
        replies: what was written.
    """
    seen: dict[int, int] = {}
    orders: dict[tuple[int, int], list[int]] = {}
    for i, row in enumerate(rows):
        number = seen[row] = seen.get(row, -1) + 1
        orders.setdefault((questions[i], number), []).append(i)
    gains = [0.0] * len(rows)
    for members in orders.values():
        in_place = sorted(members, key=lambda i: rows[i])
        verdicts = {i: parse_verdict(replies[i])[0] for i in in_place}
        order = sorted(range(len(in_place)), key=lambda k: (not verdicts[in_place[k]], k))
        wanted = [k for k, i in enumerate(in_place) if relevant[i]]
        gain = discounted_gain(order, wanted) if wanted else 0.0
        for i in in_place:
            gains[i] = gain
    return gains


def reward_functions(
    watch: Watch, *, end_ids: Sequence[int], gather: Callable[[list[Rollout]], list[Rollout]]
) -> list[RewardFunction]:
    """The two rewards as TRL calls them; see :func:`mmr5.training.grpo_rewards.reward_functions`."""
    ends = set(end_ids)

    def rollouts(columns: dict[str, Any]) -> list[Rollout]:
        replies = [text_of(said) for said in columns["completions"]]
        ended = [bool(ids) and ids[-1] in ends for ids in columns["completion_ids"]]
        gains = shared_gains(columns["row"], columns["question"], columns["relevant"], replies)
        kept = [verdict_format_reward(reply, ended=end) for reply, end in zip(replies, ended, strict=True)]
        return [
            Rollout(row, reply, gain, form, form == 1.0, end)
            for row, reply, gain, form, end in zip(columns["row"], replies, gains, kept, ended, strict=True)
        ]

    return as_rewards(watch, rollouts, gather)


def check(config: TrainingConfig, processes: int) -> None:
    """Refuse settings under which a question would be torn apart.

    Raises:
        ConfigError: they do not go together.
    """
    pages, rollouts = config.groups.pages, config.optim.batch_size * config.optim.accumulation
    if config.recipe.view != "text" or pages < 2:
        raise ConfigError(
            f"GRPO of method 'pointwise' with view {config.recipe.view!r}, groups.pages {pages}: use view 'text' and at least 2"
        )
    if config.grpo.difficulty_samples or config.grpo.compat != "paper":
        raise ConfigError(
            f"GRPO of method 'pointwise' with grpo.difficulty_samples {config.grpo.difficulty_samples} and grpo.compat "
            f"{config.grpo.compat!r}: both are for lists; set 0 and 'paper'"
        )
    if processes > 1:
        raise ConfigError(f"GRPO of method 'pointwise' in {processes} processes: a question's pages must stay together; use one")
    if rollouts % (pages * config.grpo.group_size):
        raise ConfigError(
            f"a step has {rollouts} rollouts, which groups.pages {pages} x grpo.group_size {config.grpo.group_size} does not "
            "divide: a question must be whole"
        )
