"""A policy over orders: Plackett-Luce over the scores that a list is sorted by (Plackett 1975, Luce 1959).

The first page of an order is drawn with the softmax of the scores, the next one with the softmax over those that are left, and
so on. Sorting the scores after independent Gumbel noise draws such an order (Yellott 1977), so nothing is decoded. The likeliest
order is the sorted one: what is taught is what is served.
"""

from __future__ import annotations

from typing import Any

from mmr5.engines.loading import import_torch

LEAST_DEVIATION = 1e-4
"""Rewards of a group that differ by less teach nothing."""


def draw_orders(scores: Any, count: int, generator: Any) -> Any:
    """Independent orders.

    Args:
        scores: one a page, (N,), any real numbers.
        count: how many orders.
        generator: ``torch.Generator``.

    Returns:
        Positions, best first, (count, N).
    """
    torch = import_torch()
    noise = -torch.empty(count, len(scores)).exponential_(generator=generator).log()
    return (scores.detach() + noise).argsort(dim=1, descending=True)


def log_probability(scores: Any, orders: Any) -> Any:
    """Natural log-probability of each order, (count,); ``orders`` as of :func:`draw_orders`."""
    placed = scores[orders]
    return (placed - _left(placed)).sum(1)


def divergence(scores: Any, reference: Any, orders: Any) -> Any:
    """Kullback-Leibler divergence of the policy from a reference, in nats, at least 0.

    By the chain rule it is the sum, over places, of the divergence of the choice at that place; the choices at each place are
    compared exactly, and the orders, drawn from the policy, only say which pages are left (Rao-Blackwell).

    Args:
        scores: of the policy, (N,).
        reference: of the reference, (N,).
        orders: of :func:`draw_orders` for the policy.
    """
    torch = import_torch()
    own, other = scores[orders], reference[orders]
    n = orders.shape[1]
    gone = torch.ones(n, n, dtype=torch.bool).tril(-1)  # at place i, the pages of the places before it
    chosen = own.unsqueeze(1).masked_fill(gone, -torch.inf).log_softmax(2)
    before = other.unsqueeze(1).masked_fill(gone, -torch.inf).log_softmax(2)
    return (chosen.exp() * (chosen - before).masked_fill(gone, 0.0)).sum((1, 2)).mean()


def ranking_rewards(orders: Any, relevant: Any) -> Any:
    """The ranking reward of each order (paper section 3.3.2), (count,), in [0, 1]: :func:`mmr5.rewards.discounted_gain`.

    Args:
        orders: (count, N).
        relevant: of each page, True where it is relevant, (N,); at least one is.

    Raises:
        ValueError: no page is relevant.
    """
    if not relevant.any():
        raise ValueError("no page is relevant: the ranking reward needs at least one")
    torch = import_torch()
    gains = 1.0 / torch.arange(1, orders.shape[1] + 1) ** 3
    return (relevant[orders].float() * gains).sum(1) / gains[: int(relevant.sum())].sum()


def advantages(rewards: Any) -> Any:
    """Rewards of a group, less their mean, over their standard deviation (GRPO, Shao et al. 2024); 0 where they agree."""
    deviation = rewards.std(correction=0)
    return (rewards - rewards.mean()) / deviation if deviation >= LEAST_DEVIATION else rewards * 0.0


def order_loss(scores: Any, reference: Any, relevant: Any, *, count: int, kl_weight: float, generator: Any) -> tuple[Any, float]:
    """What is minimised for one list, and the mean reward of the orders that were drawn.

    The gradient is that of the expected reward, group-relative (REINFORCE with the group's mean as baseline), and of
    ``kl_weight`` times the divergence from the reference.

    Args:
        scores: of the policy, (N,), with a gradient.
        reference: of stage one, (N,).
        relevant: (N,), at least one True.
        count: orders drawn, at least 2.
        kl_weight: at least 0.
        generator: of the random numbers.
    """
    orders = draw_orders(scores, count, generator)
    rewards = ranking_rewards(orders, relevant)
    loss = -(advantages(rewards) * log_probability(scores, orders)).mean()
    if kl_weight:
        loss = loss + kl_weight * divergence(scores, reference, orders)
    return loss, float(rewards.mean())


def verdict_loss(
    scores: Any, reference: Any, relevant: Any, *, count: int, kl_weight: float, generator: Any
) -> tuple[Any, float]:
    """The same for a policy that says "Yes" or "No" of each page by itself, as GRPO over replies about one page does.

    The order of a draw has the pages that got "Yes" first, in the order in which they were given. It is kept to be compared with:
    what it rewards is not what is sorted at inference. Arguments and values as of :func:`order_loss`, where a page's score is the
    log-odds of "Yes".
    """
    torch = import_torch()
    functional = torch.nn.functional
    yes = torch.rand(count, len(scores), generator=generator) < scores.detach().sigmoid()
    orders = (~yes).to(torch.int8).argsort(dim=1, stable=True)
    rewards = ranking_rewards(orders, relevant)
    log_yes, log_no = functional.logsigmoid(scores), functional.logsigmoid(-scores)
    said = torch.where(yes, log_yes, log_no).sum(1)
    loss = -(advantages(rewards) * said).mean()
    if kl_weight:
        apart = log_yes.exp() * (log_yes - functional.logsigmoid(reference))
        apart = apart + log_no.exp() * (log_no - functional.logsigmoid(-reference))
        loss = loss + kl_weight * apart.sum()
    return loss, float(rewards.mean())


def _left(placed: Any) -> Any:
    """For each place, the log-sum-exp of the scores from there on; (count, N)."""
    return placed.flip(1).logcumsumexp(1).flip(1)
