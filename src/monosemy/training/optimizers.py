"""Optimisers and their schedule: SGD, AdamW, and LARS as contrastive pretraining uses it."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from monosemy.errors import InputError
from monosemy.training.config import OptimizerConfig

_EPS = 1e-8


class LARS(Optimizer):
    """SGD with momentum whose step is scaled for each weight by the ratio of its norm to its gradient's.

    With weight w, gradient g, weight decay b and momentum m:
    r = eta |w| / (|g| + b |w| + 1e-8), with `clip` r = min(r / lr, 1);
    v = m v + r (g + b w), from v = 0;  w = w - lr v.
    A weight or gradient that is all zero takes r = 1 and b = 0. A parameter group with ``adapt=False`` (biases and
    normalisations) is plain SGD with momentum: r = 1.

    Source: You et al., "Large Batch Training of Convolutional Networks" (arXiv 1708.03888), algorithm 1, with the
    learning rate outside the momentum and the clipping of LARC, as contrastive learning uses it.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eta: float = 0.02,
        clip: bool = True,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"eta": eta, "clip": clip, "adapt": True})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]  # as torch's
        """Do one step; ``closure`` recomputes the loss first, as for every torch optimiser."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [p for p in group["params"] if p.grad is not None]
            if weights:
                self._step_group(group, weights)
        return loss

    def _step_group(self, group: dict[str, Any], weights: list[Tensor]) -> None:
        gradients = [p.grad for p in weights if p.grad is not None]
        velocities = [self._velocity(p) for p in weights]
        torch._foreach_mul_(velocities, group["momentum"])
        if group["adapt"]:
            ratios, decays = _trust(weights, gradients, group)
            for v, g, w, ratio, decay in zip(velocities, gradients, weights, ratios, decays, strict=True):
                v.addcmul_(g, ratio).addcmul_(w, decay)  # tensors, not numbers: a GPU need not wait for their values
        else:
            torch._foreach_add_(velocities, gradients)
            torch._foreach_add_(velocities, weights, alpha=group["weight_decay"])
        torch._foreach_add_(weights, velocities, alpha=-group["lr"])

    def _velocity(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        velocity: Tensor = state["momentum_buffer"]
        return velocity


def _trust(weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> tuple[Any, Any]:
    """Return r and r b of each weight."""
    w, g = torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(gradients))
    decay = group["weight_decay"]
    ratio = group["eta"] * w / (g + decay * w + _EPS)
    if group["clip"]:
        ratio = (ratio / group["lr"]).clamp(max=1)
    both = (w > 0) & (g > 0)
    return torch.where(both, ratio, 1.0).unbind(), torch.where(both, ratio * decay, 0.0).unbind()


def make_optimizer(module: nn.Module, config: OptimizerConfig, batch_size: int) -> Optimizer:
    """Return the optimiser of a module's trainable parameters, at its peak learning rate.

    Args:
        batch_size: rows of a step over all processes, for ``lr_scaling``.

    Raises:
        InputError: the module has no trainable parameters.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not trainable:
        raise InputError("The network to train has no trainable parameters; unfreeze a part of it.")
    lr = config.lr * batch_size / 256 if config.lr_scaling else config.lr
    # Not torch's fused kernels: they take a momentum that was read from a file for a channels-last weight's layout.
    if config.name == "sgd":
        nesterov = config.momentum > 0
        return torch.optim.SGD(trainable, lr, config.momentum, weight_decay=config.weight_decay, nesterov=nesterov)
    matrices = {"params": [p for p in trainable if p.ndim > 1], "weight_decay": config.weight_decay}
    vectors: dict[str, Any] = {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0}
    if config.name == "adamw":
        return torch.optim.AdamW([matrices, vectors], lr, betas=(config.momentum, 0.999))
    return LARS([matrices, vectors | {"adapt": False}], lr, config.momentum, eta=config.eta, clip=config.clip_lars)


def warmup_cosine(step: int, n_steps: int, warmup_steps: int) -> float:
    """Return the multiplier of the learning rate: linear up to 1, then half a cosine down.

    With W = warmup_steps, N = n_steps: (step + 1) / W for step < W, then (1 + cos(pi (step - W) / (N - W))) / 2. So
    the first step is above 0, steps W - 1 and W have 1, and the last one is just above 0.

    Args:
        step: 0, ..., n_steps - 1.
        warmup_steps: 0, ..., n_steps.

    Source: Loshchilov and Hutter (arXiv 1608.03983), equation 5, with the linear warm-up of Goyal et al. (arXiv
    1706.02677), section 2.2.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / (n_steps - warmup_steps)))


def set_lr(optimizer: Optimizer, multiplier: float) -> None:
    """Set each group's learning rate to the multiplier times its first one, which the group keeps as ``base_lr``."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("base_lr", group["lr"]) * multiplier
