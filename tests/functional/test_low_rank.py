"""Low-rank updates with s+: by hand, and the lean backward pass against autograd."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from monosemy.functional.lora import PLACEMENTS, add_update, hidden_units, low_rank_update, up_projection
from monosemy.functional.losses import NON_NEGATIVE

MAPS = ["relu", "rep_relu"]
ACTIVE = ["output", "hidden", "both"]


def test_update_by_hand() -> None:
    x = torch.tensor([1.0, 2.0])
    down = torch.tensor([[1.0, -1.0], [1.0, 1.0]])  # A x = (-1, 3)
    up = torch.tensor([[1.0, 1.0], [2.0, -1.0]])
    wanted = {
        "output": [2.0, 0.0],  # B A x = (2, -5)
        "hidden": [3.0, -3.0],  # B (0, 3)
        "both": [3.0, 0.0],
        "weights": [1.0 + 3.0, 2.0],  # ((1, 0), (1, 1)) x = (1, 3); ((1, 1), (2, 0)) of it
    }
    for placement in PLACEMENTS:
        for name in MAPS:
            assert low_rank_update(x, down, up, placement, name).tolist() == wanted[placement], placement


@pytest.fixture
def parts() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, 4, generator=rng, dtype=torch.float64)
    hidden[0, 0] = 0  # where s+ has its corner
    return {
        "result": torch.randn(3, 5, 6, generator=rng, dtype=torch.float64),
        "hidden": hidden,
        "up": torch.randn(6, 4, generator=rng, dtype=torch.float64),
        "gradient": torch.randn(3, 5, 6, generator=rng, dtype=torch.float64),
    }


def slow(result, hidden, up, scaling, placement, name):
    return result + scaling * up_projection(hidden_units(hidden, placement, name), up, placement, name)


@pytest.mark.parametrize("up_is_zero", [False, True])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("placement", ACTIVE)
def test_the_lean_pass_is_the_plain_one(parts, placement: str, name: str, up_is_zero: bool) -> None:
    given = {key: parts[key] * (0 if up_is_zero and key == "up" else 1) for key in ("result", "hidden", "up")}
    outs, slopes = [], []
    for function in (slow, add_update):
        leaves = [value.clone().requires_grad_() for value in given.values()]
        outs.append(function(*leaves, 0.5, placement, name))
        slopes.append(torch.autograd.grad(outs[-1], leaves, parts["gradient"]))
    torch.testing.assert_close(outs[1], outs[0])
    for ours, plain in zip(slopes[1], slopes[0], strict=True):
        torch.testing.assert_close(ours, plain)
    assert slopes[1][2].abs().max() > 0, "B moves, also from zero"


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("placement", ACTIVE)
def test_nothing_is_kept_but_what_lora_keeps(parts, placement: str, name: str) -> None:
    leaves = [parts[key].clone().requires_grad_() for key in ("result", "hidden", "up")]
    kept: list[torch.Tensor] = []
    with saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        add_update(*leaves, 0.5, placement, name)
    assert {t.data_ptr() for t in kept} == {leaves[1].data_ptr(), leaves[2].data_ptr()}


def test_result_is_not_written_to_and_the_wider_type_wins(parts) -> None:
    result, hidden, up = (parts[key].float() for key in ("result", "hidden", "up"))
    half = result.bfloat16().requires_grad_()
    before = half.detach().clone()
    out = add_update(half, hidden, up, 0.5, "both", "relu")
    assert out.dtype == torch.float32
    assert torch.equal(half.detach(), before)
    torch.testing.assert_close(out, slow(half.float(), hidden, up, 0.5, "both", "relu"))
    out.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_hidden_units_are_those_that_are_projected() -> None:
    hidden = torch.tensor([-1.0, 2.0])
    assert hidden_units(hidden, "output", "relu").tolist() == [-1.0, 2.0]
    assert hidden_units(hidden, "both", "relu").tolist() == [0.0, 2.0]
    assert NON_NEGATIVE["relu"](hidden).tolist() == [0.0, 2.0]
