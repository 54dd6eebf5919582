"""The policy over orders: right values, and an optimum that is known."""

import math
from itertools import permutations

import pytest
import torch

from mmr5.rewards import discounted_gain
from mmr5.training.plackett_luce import (
    advantages,
    divergence,
    draw_orders,
    log_probability,
    order_loss,
    ranking_rewards,
    verdict_loss,
)

SCORES = torch.tensor([0.7, -0.4, 1.3])


def probability(scores, order):
    left, product = list(order), 1.0
    for place in order:
        product *= math.exp(scores[place]) / sum(math.exp(scores[i]) for i in left)
        left.remove(place)
    return product


def test_log_probability_is_that_of_drawing_pages_one_after_another():
    orders = torch.tensor(list(permutations(range(3))))
    found = log_probability(SCORES, orders)
    assert found.exp().sum() == pytest.approx(1.0, abs=1e-6)
    for order, value in zip(orders.tolist(), found.tolist(), strict=True):
        assert value == pytest.approx(math.log(probability(SCORES.tolist(), order)), abs=1e-5)


def test_orders_are_drawn_with_their_probability():
    drawn = draw_orders(SCORES, 40_000, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.sort(1).values, torch.arange(3).expand(40_000, 3))
    for order in permutations(range(3)):
        share = float((drawn == torch.tensor(order)).all(1).float().mean())
        assert share == pytest.approx(probability(SCORES.tolist(), order), abs=0.01), order


def test_divergence_is_that_of_the_two_distributions_of_orders():
    other = torch.tensor([0.1, 0.9, 0.2])
    exact = sum(
        (p := probability(SCORES.tolist(), o)) * math.log(p / probability(other.tolist(), o)) for o in permutations(range(3))
    )
    orders = draw_orders(SCORES, 40_000, torch.Generator().manual_seed(1))
    assert float(divergence(SCORES, other, orders)) == pytest.approx(exact, abs=0.01)
    assert float(divergence(SCORES, SCORES + 5, orders[:4])) == pytest.approx(0.0, abs=1e-6)  # a shift changes no order


def test_rewards_are_the_papers():
    orders = torch.tensor(list(permutations(range(4))))
    for relevant in ([0], [2, 3], [0, 1, 3]):
        mask = torch.tensor([i in relevant for i in range(4)])
        wanted = [discounted_gain(order, relevant) for order in orders.tolist()]
        assert ranking_rewards(orders, mask).tolist() == pytest.approx(wanted, abs=1e-6)
    with pytest.raises(ValueError, match="no page is relevant"):
        ranking_rewards(orders, torch.zeros(4, dtype=torch.bool))


def test_advantages_are_relative_to_the_group_and_0_where_all_agree():
    assert advantages(torch.tensor([1.0, 0.0, 0.0, 1.0])).tolist() == [1.0, -1.0, -1.0, 1.0]
    assert advantages(torch.tensor([0.125, 0.125])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("n", [3, 9])
def test_the_gradient_raises_the_expected_reward_to_its_optimum(n):
    """One relevant page that stage one puts last: the best policy puts it first, always, and the expected reward is 1."""
    scores = torch.linspace(0, -2, n).requires_grad_(True)
    relevant = torch.arange(n) == n - 1
    generator, optimizer = torch.Generator().manual_seed(3), torch.optim.Adam([scores], lr=0.1)
    earned = []
    for _ in range(150):
        loss, reward = order_loss(scores, scores.detach(), relevant, count=32, kl_weight=0.0, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        earned.append(reward)
    assert sum(earned[:5]) / 5 < 0.35
    assert sum(earned[-5:]) / 5 > 0.98
    assert int(scores.argmax()) == n - 1


def test_the_divergence_holds_the_policy_near_its_reference():
    """With one place at stake the optimum is known: p of the relevant page solves the balance of reward and divergence."""
    reference, relevant = torch.tensor([1.0, 0.0]), torch.tensor([False, True])
    far = []
    for weight in (0.05, 1.0, 20.0):
        scores = reference.clone().requires_grad_(True)
        generator, optimizer = torch.Generator().manual_seed(5), torch.optim.Adam([scores], lr=0.05)
        for _ in range(400):
            loss, _ = order_loss(scores, reference, relevant, count=16, kl_weight=weight, generator=generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        far.append(float((scores[1] - scores[0]).detach() - (reference[1] - reference[0])))
    assert far[0] > far[1] > far[2] > -0.1, far
    assert far[2] < 0.35


def test_verdicts_earn_by_another_order_and_large_scores_stay_finite():
    """Pages that get "Yes" come first, in the order in which they were given; a "Yes" for the first one costs the relevant third."""
    scores = torch.tensor([60.0, -80.0, 2.0]).requires_grad_(True)
    reference, relevant = torch.tensor([-90.0, 70.0, 0.0]), torch.tensor([False, False, True])

    def drawn(weight):
        return verdict_loss(scores, reference, relevant, count=64, kl_weight=weight, generator=torch.Generator().manual_seed(0))

    (alone, reward), (held, _) = drawn(0.0), drawn(0.1)
    held.backward()
    assert torch.isfinite(scores.grad).all()
    assert 0.1 < reward <= 0.125  # "Yes, No, Yes": second; "Yes, No, No": third
    verdicts = [torch.distributions.Bernoulli(logits=torch.tensor(v)) for v in (2.0, 0.0)]
    apart = 90 + 70 + float(torch.distributions.kl_divergence(*verdicts))
    assert float((held - alone).detach()) == pytest.approx(0.1 * apart, rel=1e-3)
