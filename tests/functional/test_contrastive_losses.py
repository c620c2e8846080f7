"""Contrastive losses against their definitions written as loops, in one process and two."""

import math

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, strategies as st
from processes import in_processes

from monosemy.core.distributed import all_gather, row_offset
from monosemy.functional.losses import nt_xent, supervised_contrastive


def slow_nt_xent(first: torch.Tensor, second: torch.Tensor, temperature: float) -> float:
    z = [row / row.norm() for row in [*first, *second]]
    n = len(first)
    total = 0.0
    for i in range(2 * n):
        pair = i + n if i < n else i - n
        others = [float(z[i] @ z[j]) / temperature for j in range(2 * n) if j != i]
        total += -float(z[i] @ z[pair]) / temperature + math.log(sum(math.exp(s) for s in others))
    return total / (2 * n)


@given(n=st.integers(1, 6), seed=st.integers(0, 99), temperature=st.sampled_from([0.1, 0.5, 2.0]))
def test_equals_the_loop(n: int, seed: int, temperature: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, n, 5, generator=rng, dtype=torch.float64)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(slow_nt_xent(first, second, temperature))


@pytest.mark.parametrize("n", [1, 2, 8])
def test_equal_features_tell_nothing_apart(n: int) -> None:
    same = torch.tensor([[1.0, 2.0, 3.0]]).repeat(n, 1)
    assert float(nt_xent(same, 7 * same, 0.2)) == pytest.approx(math.log(2 * n - 1), abs=1e-5)


def test_orthogonal_pairs_by_hand() -> None:
    # Each row: similarity 1 with its pair, 0 with the other 2B - 2.
    n, temperature = 4, 0.5
    wanted = math.log(math.exp(1 / temperature) + 2 * n - 2) - 1 / temperature
    assert float(nt_xent(torch.eye(n), torch.eye(n), temperature)) == pytest.approx(wanted, abs=1e-6)


def test_gradient_reaches_both_views() -> None:
    first, second = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind()
    slopes = torch.autograd.grad(nt_xent(first, second, 0.3), (first, second))
    assert all(torch.isfinite(slope).all() and slope.abs().sum() > 0 for slope in slopes)


def slow_supervised(first: torch.Tensor, second: torch.Tensor, labels: list[int], temperature: float) -> float:
    z = [row / row.norm() for row in [*first, *second]]
    classes = labels + labels
    total = 0.0
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        positives = [j for j in others if classes[j] == classes[i]]
        log_sum = math.log(sum(math.exp(float(z[i] @ z[j]) / temperature) for j in others))
        total += sum(log_sum - float(z[i] @ z[p]) / temperature for p in positives) / len(positives)
    return total / len(z)


@given(n=st.integers(1, 6), seed=st.integers(0, 99), classes=st.integers(1, 4))
def test_supervised_equals_the_loop(n: int, seed: int, classes: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, n, 5, generator=rng, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=rng)
    wanted = slow_supervised(first, second, labels.tolist(), 0.5)
    assert float(supervised_contrastive(first, second, labels, 0.5)) == pytest.approx(wanted)


def test_supervised_with_distinct_labels_is_nt_xent() -> None:
    first, second = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(6)
    torch.testing.assert_close(
        supervised_contrastive(first, second, labels, 0.2), nt_xent(first, second, 0.2), rtol=1e-5, atol=1e-6
    )


def test_supervised_of_one_class_by_hand() -> None:
    # All equal: each of the 2B - 1 others is a positive with share 1 / (2B - 1).
    same = torch.ones(3, 4)
    loss = supervised_contrastive(same, same, torch.zeros(3, dtype=torch.long), 0.5)
    assert float(loss) == pytest.approx(math.log(5), abs=1e-6)


def test_supervised_gradient_is_finite_and_reaches_both_views() -> None:
    first, second = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).requires_grad_().unbind()
    loss = supervised_contrastive(first, second, torch.tensor([0, 0, 1, 2]), 0.3)
    slopes = torch.autograd.grad(loss, (first, second))
    assert all(torch.isfinite(slope).all() and slope.abs().sum() > 0 for slope in slopes)


def shares_of_the_loss(first: torch.Tensor, second: torch.Tensor, labels: torch.Tensor, supervised: bool):
    """This process's loss and what its share of the batch gets as gradient, averaged as DDP averages parameters."""
    rank, world = dist.get_rank(), dist.get_world_size()
    own = [part.chunk(world)[rank].clone().requires_grad_() for part in (first, second)]
    others = {"gather": all_gather, "offset": row_offset(2 * len(own[0]))}
    if supervised:
        loss = supervised_contrastive(*own, labels.chunk(world)[rank], 0.3, **others)
    else:
        loss = nt_xent(*own, 0.3, **others)
    slopes = torch.autograd.grad(loss, own)
    return loss.detach(), [slope / world for slope in slopes]


@pytest.mark.parametrize("supervised", [False, True])
def test_two_processes_have_the_loss_and_gradient_of_one(supervised: bool) -> None:
    rng = torch.Generator().manual_seed(3)
    first, second = torch.randn(2, 6, 5, generator=rng, dtype=torch.float64)
    labels = torch.tensor([0, 1, 0, 2, 1, 0])
    views = [part.clone().requires_grad_() for part in (first, second)]
    whole = supervised_contrastive(*views, labels, 0.3) if supervised else nt_xent(*views, 0.3)
    slopes = torch.autograd.grad(whole, views)
    found = in_processes(shares_of_the_loss, first, second, labels, supervised)
    torch.testing.assert_close(torch.stack([loss for loss, _ in found]).mean(), whole.detach())
    for view, slope in enumerate(slopes):
        torch.testing.assert_close(torch.cat([shares[view] for _, shares in found]), slope)


def test_a_silent_row_has_a_gradient_of_ordinary_size() -> None:
    first, second = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    first[1] = 0
    first.requires_grad_()
    loss = nt_xent(first, second, 0.2)
    (slope,) = torch.autograd.grad(loss, first)
    assert torch.isfinite(loss)
    assert torch.isfinite(slope).all()
    assert 0 < float(slope[1].norm()) < 10
