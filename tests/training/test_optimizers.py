"""LARS against numbers by hand and a slow reference; all optimisers, their groups and the schedule."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, strategies as st
from pydantic import ValidationError
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.training.config import OptimizerConfig
from monosemy.training.loop import LARS, make_optimizer, set_lr, warmup_cosine

NAMES = ("lars", "sgd", "adamw")


def one_weight(weight: list[float], gradient: list[float]) -> nn.Parameter:
    parameter = nn.Parameter(torch.tensor([weight], dtype=torch.float64))
    parameter.grad = torch.tensor([gradient], dtype=torch.float64)
    return parameter


def test_lars_by_hand() -> None:
    # |w| = 5, |g| = 10, r = 0.02 * 5 / (10 + 0.1 * 5) = 1 / 105, step = 0.5 r (g + 0.1 w) = (6.3, 8.4) / 210.
    w = one_weight([3.0, 4.0], [6.0, 8.0])
    optimizer = LARS([w], lr=0.5, momentum=0.9, weight_decay=0.1, eta=0.02, clip=False)
    optimizer.step()
    torch.testing.assert_close(w.detach(), torch.tensor([[2.97, 3.96]], dtype=torch.float64), rtol=1e-8, atol=0)
    # Next |w| = 4.95, |g| = 10, r = 0.099 / 10.495; v = 0.9 (0.06, 0.08) + r (6.297, 8.396) along (3, 4) / 5.
    optimizer.step()
    v = 0.9 * 0.1 + 0.099 / 10.495 * 10.495
    wanted = torch.tensor([[0.6, 0.8]], dtype=torch.float64) * (4.95 - 0.5 * v)
    torch.testing.assert_close(w.detach(), wanted, rtol=1e-8, atol=0)


@pytest.mark.parametrize(("lr", "ratio"), [(0.5, 0.2), (0.05, 1.0)])
def test_lars_clips_at_the_step_of_sgd(lr: float, ratio: float) -> None:
    # eta |w| / |g| = 0.02 * 5 / 1 = 0.1; divided by lr: 0.2, or 2 and clipped.
    w = one_weight([3.0, 4.0], [0.6, 0.8])
    LARS([w], lr, momentum=0.0, eta=0.02, clip=True).step()
    length = 5 - lr * ratio
    torch.testing.assert_close(w.detach(), torch.tensor([[0.6, 0.8]]).double() * length, rtol=1e-7, atol=0)


def slow_lars(weights: list[Tensor], gradients: list[list[Tensor]], lrs: list[float], clip: bool) -> list[Tensor]:
    """One number at a time; weights with one dimension take plain SGD."""
    m, b, eta = 0.9, 1e-2, 0.02
    done = []
    for place, start in enumerate(weights):
        w, v = start.flatten().tolist(), [0.0] * start.numel()
        for lr, step in zip(lrs, gradients, strict=True):
            g = step[place].flatten().tolist()
            w_norm, g_norm = math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in g))
            ratio, decay = 1.0, 0.0
            if start.ndim > 1 and w_norm > 0 and g_norm > 0:
                decay = b
                ratio = eta * w_norm / (g_norm + b * w_norm + 1e-8)
                if clip:
                    ratio = min(ratio / lr, 1.0)
            for i in range(len(w)):
                v[i] = m * v[i] + ratio * (g[i] + decay * w[i])
                w[i] -= lr * v[i]
        done.append(torch.tensor(w, dtype=start.dtype).view_as(start))
    return done


@given(seed=st.integers(0, 999), clip=st.booleans(), scale=st.sampled_from([1e-3, 1.0, 30.0]))
def test_lars_equals_the_slow_one_over_several_steps(seed: int, clip: bool, scale: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Linear(4, 3), nn.Linear(3, 2)).double()
    nn.init.zeros_(net[2].weight)
    weights = [p.detach().clone() for p in net.parameters()]
    gradients = [[scale * torch.randn(p.shape, generator=rng, dtype=p.dtype) for p in weights] for _ in range(4)]
    for step in gradients:
        step[-2].zero_()  # nothing arrives at the last matrix, so nothing may happen to it, decay included
    lrs = [0.1, 0.4, 0.2, 0.05]
    config = OptimizerConfig(name="lars", lr=1.0, weight_decay=1e-2, clip_lars=clip)
    optimizer = make_optimizer(net, config, 64)
    for lr, step in zip(lrs, gradients, strict=True):
        set_lr(optimizer, lr)
        for p, g in zip(net.parameters(), step, strict=True):
            p.grad = g.clone()
        optimizer.step()
    for p, wanted in zip(net.parameters(), slow_lars(weights, gradients, lrs, clip), strict=True):
        torch.testing.assert_close(p.detach(), wanted, rtol=1e-9, atol=1e-12)
    assert torch.equal(net[3].weight, weights[-2])


def quadratic() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    return net.to(memory_format=torch.channels_last), torch.randn(32, 3, 4, 4), torch.randn(32, 2)


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, n: int) -> list[float]:
    losses = []
    for _ in range(n):
        loss = (net(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", NAMES)
def test_each_lowers_the_loss(name: str) -> None:
    net, x, y = quadratic()
    losses = steps(net, make_optimizer(net, OptimizerConfig(name=name), 256), x, y, 60)
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_state_goes_on_to_the_same_bits(name: str) -> None:
    net, x, y = quadratic()
    config = OptimizerConfig(name=name, warmup=0.5)
    optimizer = make_optimizer(net, config, 256)
    set_lr(optimizer, 0.3)
    steps(net, optimizer, x, y, 3)
    twin = copy.deepcopy(net)
    again = make_optimizer(twin, config, 256)
    kept = copy.deepcopy(optimizer.state_dict())
    for state in kept["state"].values():  # as files keep them: without the weights' layout
        state |= {k: v.contiguous() for k, v in state.items() if isinstance(v, Tensor)}
    again.load_state_dict(kept)
    for one, module in ((optimizer, net), (again, twin)):
        set_lr(one, 0.7)
        steps(module, one, x, y, 3)
        assert one.param_groups[0]["lr"] == pytest.approx(0.7 * config.lr)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


@pytest.mark.parametrize(("name", "spared"), [("lars", True), ("adamw", True), ("sgd", False)])
def test_weight_decay_of_biases_and_normalisations(name: str, spared: bool) -> None:
    net, _, _ = quadratic()
    optimizer = make_optimizer(net, OptimizerConfig(name=name, weight_decay=0.1), 256)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay.keys() == {id(p) for p in net.parameters()}
    for parameter in net.parameters():
        assert decay[id(parameter)] == (0.0 if spared and parameter.ndim == 1 else 0.1)


def test_only_what_is_trainable_is_trained() -> None:
    net, x, y = quadratic()
    net[0].requires_grad_(False)
    frozen, free = net[0].weight.clone(), net[3].weight.clone()
    optimizer = make_optimizer(net, OptimizerConfig(), 256)
    steps(net, optimizer, x, y, 2)
    assert torch.equal(net[0].weight, frozen)
    assert not torch.equal(net[3].weight, free)
    with pytest.raises(InputError, match="no trainable parameters; unfreeze"):
        make_optimizer(net.requires_grad_(False), OptimizerConfig(), 256)


@pytest.mark.parametrize("name", NAMES)
def test_lr_is_scaled_by_the_batch_where_wanted(name: str) -> None:
    net, _, _ = quadratic()
    plain = make_optimizer(net, OptimizerConfig(name=name, lr=0.4), 64)
    scaled = make_optimizer(net, OptimizerConfig(name=name, lr=0.4, lr_scaling=True), 64)
    assert {group["lr"] for group in plain.param_groups} == {0.4}
    assert {group["lr"] for group in scaled.param_groups} == {0.1}


def test_settings_left_open_follow_the_name() -> None:
    assert OptimizerConfig() == OptimizerConfig(name="lars", lr=0.4, weight_decay=1e-4)
    assert OptimizerConfig(name="sgd") == OptimizerConfig(name="sgd", lr=0.1, weight_decay=5e-4)
    assert OptimizerConfig(name="adamw", lr=0.02) == OptimizerConfig(name="adamw", lr=0.02, weight_decay=0.05)
    for name in NAMES:
        config = OptimizerConfig(name=name, lr=0.3)
        assert OptimizerConfig(**config.model_dump()) == config


@pytest.mark.parametrize(
    "bad", [{"name": "adam"}, {"lr": 0}, {"warmup": 1}, {"momentum": 1}, {"eta": 0}, {"grad_clip": 0}, {"beta": 1}]
)
def test_settings_that_cannot_be_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        OptimizerConfig(**bad)


def test_schedule_by_hand() -> None:
    got = [warmup_cosine(step, 8, 2) for step in range(8)]
    cosines = [0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6)]
    assert got == pytest.approx([0.5, 1.0, *cosines])
    assert got[2] == 1.0
    assert cosines[3] == pytest.approx(0.5)
    assert warmup_cosine(0, 4, 0) == 1.0
    assert [warmup_cosine(step, 2, 2) for step in range(2)] == [0.5, 1.0]


@given(n=st.integers(1, 200), share=st.floats(0, 0.99))
def test_schedule_rises_once_falls_once_and_never_ends_early(n: int, share: float) -> None:
    warm = round(share * n)
    values = [warmup_cosine(step, n, warm) for step in range(n)]
    assert all(0 < value <= 1 for value in values)
    assert max(values) == 1.0
    assert all(a < b for a, b in pairwise(values[:warm]))
    assert all(a > b for a, b in pairwise(values[warm:]))
    assert values[-1] == pytest.approx(1.0 if n - warm <= 1 else 0.5 * (1 - math.cos(math.pi / (n - warm))))


def test_set_lr_never_loses_the_first_rate() -> None:
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.ones(1))], "lr": 3.0}], lr=1.0)
    for multiplier in (0.5, 0.0, 1.0):
        set_lr(optimizer, multiplier)
        assert optimizer.param_groups[0]["lr"] == 3.0 * multiplier
        assert optimizer.param_groups[0]["base_lr"] == 3.0


def test_a_closure_gives_the_loss() -> None:
    w = nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([w], lr=0.1)

    def closure() -> float:
        loss = w.square().sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == 4.0
    assert float(w.detach().abs().max()) < 1
