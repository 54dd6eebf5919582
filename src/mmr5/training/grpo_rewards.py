"""Rewards for TRL, and what is watched while it generates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmr5.answer import parse
from mmr5.errors import EngineError
from mmr5.rewards import Compat, format_reward, ranking_reward

RewardFunction = Callable[..., list[float]]


@dataclass(frozen=True, slots=True)
class Rollout:
    """One reply to one prompt.

    Attributes:
        prompt: which prompt it answers; rollouts with the same value are a group.
        reply: all that the model wrote.
        ranking: its ranking reward.
        format: its format reward.
        clean: it needed no repair.
        ended: the model ended it; False when it was cut off at the token limit.
    """

    prompt: Hashable
    reply: str
    ranking: float
    format: float
    clean: bool
    ended: bool


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """Shares over rollouts and groups, each in [0, 1]."""

    clean_share: float
    truncated_share: float
    agreeing_groups: float
    diverse_groups: float


def score(
    prompt: Hashable, reply: str, relevant: Sequence[int], n: int, *, think: bool, ended: bool, compat: Compat = "paper"
) -> Rollout:
    """Score one reply by both rewards (paper section 3.3.2)."""
    return Rollout(
        prompt,
        reply,
        ranking_reward(reply, relevant, n, compat=compat),
        format_reward(reply, n, think=think, compat=compat),
        not parse(reply, n, think=think, truncated=not ended).issues,
        ended,
    )


def groups(rollouts: Sequence[Rollout]) -> list[list[Rollout]]:
    """Rollouts by prompt, in order of first appearance."""
    found: dict[Hashable, list[Rollout]] = {}
    for rollout in rollouts:
        found.setdefault(rollout.prompt, []).append(rollout)
    return list(found.values())


def agrees(group: Sequence[Rollout], weights: tuple[float, float] = (1.0, 1.0)) -> bool:
    """Whether all rollouts of a group earn the same, so that nothing can be learnt from it."""
    totals = {round(weights[0] * r.ranking + weights[1] * r.format, 9) for r in group}
    return len(totals) == 1


def facts(rollouts: Sequence[Rollout], weights: tuple[float, float] = (1.0, 1.0)) -> GroupFacts:
    """What a generation looked like.

    Raises:
        ValueError: no rollouts.
    """
    if not rollouts:
        raise ValueError("no rollouts: there is nothing to describe")
    made = groups(rollouts)
    return GroupFacts(
        clean_share=sum(r.clean for r in rollouts) / len(rollouts),
        truncated_share=sum(not r.ended for r in rollouts) / len(rollouts),
        agreeing_groups=sum(agrees(g, weights) for g in made) / len(made),
        diverse_groups=sum(len({r.reply for r in g}) > 1 for g in made) / len(made),
    )


def assert_diverse(rollouts: Sequence[Rollout]) -> None:
    """Refuse a generation in which every group says one thing.

    Raises:
        EngineError: sampling does not sample, as with a checkpoint whose generation config makes it greedy.
    """
    made = [g for g in groups(rollouts) if len(g) > 1]
    if made and all(len({r.reply for r in g}) == 1 for g in made):
        example = made[0][0].reply[:120]
        raise EngineError(
            f"all {len(made)} groups of the first generation hold one and the same reply each (e.g. {example!r}), so there is "
            "nothing to compare: raise grpo.temperature, or clean temperature, top_k and repetition_penalty out of the "
            "checkpoint's generation_config.json"
        )


@dataclass(slots=True)
class Watch:
    """Counts over a whole run.

    Attributes:
        weights: of the ranking and the format reward.
        counts: rollouts, truncated, groups, agreeing.
        started: the first generation has been seen.
    """

    weights: tuple[float, float]
    counts: Counter[str] = field(default_factory=Counter)
    started: bool = False

    def see(self, rollouts: Sequence[Rollout]) -> GroupFacts:
        """Count a generation; the first must be diverse.

        Raises:
            EngineError: as :func:`assert_diverse`.
        """
        if not self.started:
            assert_diverse(rollouts)
            self.started = True
        found = facts(rollouts, self.weights)
        made = groups(rollouts)
        self.counts.update(
            rollouts=len(rollouts),
            truncated_rollouts=sum(not r.ended for r in rollouts),
            groups=len(made),
            agreeing_groups=sum(agrees(g, self.weights) for g in made),
        )
        return found


def reward_functions(
    watch: Watch, *, end_ids: Sequence[int], compat: Compat, gather: Callable[[list[Rollout]], list[Rollout]]
) -> list[RewardFunction]:
    """The two rewards as TRL calls them: ``f(completions=…, completion_ids=…, **columns, log_metric=…)``.

    A reply is scored with what the chat template wrote of it (column ``opening``).

    Args:
        watch: told of every generation.
        end_ids: token ids that end a reply.
        compat: which values the rewards give.
        gather: collects the rollouts of all processes.
    """
    ends = set(end_ids)

    def rollouts(columns: dict[str, Any]) -> list[Rollout]:
        keys = ("row", "opening", "completions", "completion_ids", "relevant", "n", "think")
        return [
            score(
                row, opening + text_of(said), list(relevant), n, think=think, ended=bool(ids) and ids[-1] in ends, compat=compat
            )
            for row, opening, said, ids, relevant, n, think in zip(*(columns[k] for k in keys), strict=True)
        ]

    return as_rewards(watch, rollouts, gather)


def as_rewards(
    watch: Watch, rollouts: Callable[[dict[str, Any]], list[Rollout]], gather: Callable[[list[Rollout]], list[Rollout]]
) -> list[RewardFunction]:
    """The ranking and the format reward of scored rollouts, as TRL calls and names them; the watch sees each generation once."""

    def ranking(**columns: Any) -> list[float]:
        made = rollouts(columns)
        found = watch.see(gather(made))
        for name in GroupFacts.__slots__:
            columns["log_metric"](name, getattr(found, name))
        return [r.ranking for r in made]

    def format_(**columns: Any) -> list[float]:
        return [r.format for r in rollouts(columns)]

    ranking.__name__, format_.__name__ = "ranking_reward", "format_reward"
    return [ranking, format_]


def text_of(completion: Any) -> str:
    """The reply in what TRL hands to a reward: a text, or a list of one message."""
    content = completion if isinstance(completion, str) else completion[0]["content"]
    return content if isinstance(content, str) else "".join(p.get("text") or "" for p in content)
