"""Rows gathered from two real processes, and the gradient that goes back."""

import pytest
import torch
from processes import in_processes
from torch import Tensor

from monosemy.core.distributed import all_gather, row_offset

B = 6  # rows of all processes


def views() -> tuple[Tensor, Tensor, Tensor]:
    """Two views of B samples, and the weights of a linear encoder."""
    rng = torch.Generator().manual_seed(0)
    first, second, weights = (torch.randn(*shape, generator=rng) for shape in ((B, 5), (B, 5), (5, 4)))
    return first.double(), second.double(), weights.double()


def whole_loss(first: Tensor, second: Tensor) -> Tensor:
    """Something in which every pair of rows has a part."""
    return (first @ second.T).logsumexp(dim=(0, 1))


def share_of_loss(first: Tensor, second: Tensor, rows: slice) -> Tensor:
    """The mean cross-entropy of some anchors against all rows: their mean over the processes is a whole loss."""
    logits = first[rows] @ second.T
    return torch.nn.functional.cross_entropy(logits, torch.arange(len(first))[rows])


def gather_and_learn() -> dict[str, Tensor]:
    first, second, weights = views()
    n = B // torch.distributed.get_world_size()
    rows = slice(row_offset(n), row_offset(n) + n)
    found = {"start": torch.tensor(row_offset(n)), "rows": all_gather(first[rows])}
    for name in ("whole", "share"):
        w = weights.clone().requires_grad_()
        mine = (first[rows] @ w).requires_grad_()
        mine.retain_grad()
        everyone = all_gather(mine), all_gather(second[rows] @ w)
        loss = whole_loss(*everyone) if name == "whole" else share_of_loss(*everyone, rows)
        loss.backward()
        found |= {f"{name} loss": loss.detach(), f"{name} slope": mine.grad, f"{name} weights": w.grad}
    transposed = torch.randn(3, n).T.requires_grad_()
    (all_gather(transposed) ** 2).sum().backward()
    found["strided"] = transposed.grad - 2 * 2 * transposed.detach()
    half = all_gather(torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True))
    half.sum().backward()
    return found | {"half": half.detach(), "labels": all_gather(row_offset(n) + torch.arange(n))}


def test_two_processes_equal_one() -> None:
    found = in_processes(gather_and_learn)
    first, second, weights = views()
    n = B // 2
    for rank, mine in enumerate(found):
        assert mine["start"] == rank * n
        assert torch.equal(mine["rows"], first)
        assert mine["strided"].abs().max() < 1e-6
        assert mine["half"].dtype == torch.bfloat16
        assert mine["half"].shape == (4, 3)
        assert mine["labels"].tolist() == list(range(B))
    # Half of the rows may be added up in another order than all of them. Logits go up to 31: in float64 they are off by
    # 4e-15, their exponentials by as much of themselves, and slopes, up to 21, by some 1e-13.
    tolerance = {"rtol": 1e-12, "atol": 1e-12}
    for name in ("whole", "share"):
        w = weights.clone().requires_grad_()
        z = first @ w
        z.retain_grad()
        everyone = z, second @ w
        loss = whole_loss(*everyone) if name == "whole" else share_of_loss(*everyone, slice(None))
        loss.backward()
        torch.testing.assert_close(sum(mine[f"{name} loss"] for mine in found) / 2, loss.detach(), **tolerance)
        slopes = torch.cat([mine[f"{name} slope"] for mine in found]) / 2
        torch.testing.assert_close(slopes, z.grad, **tolerance)
        reduced = sum(mine[f"{name} weights"] for mine in found) / 2
        torch.testing.assert_close(reduced, w.grad, **tolerance)
    assert not torch.allclose(found[0]["share weights"], found[1]["share weights"], atol=1e-3), "no rank sees all"


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 4)])
def test_one_process_keeps_its_rows(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    assert all_gather(x) is x
    assert row_offset(7) == 0
