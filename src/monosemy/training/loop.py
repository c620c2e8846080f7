"""The training loop of encoders, its optimizers (LARS, SGD, AdamW) and learning-rate schedule."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from monosemy.core import console, distributed
from monosemy.errors import InputError
from monosemy.seeding import derive_seed
from monosemy.training import batches, checkpoint
from monosemy.training.config import OptimizerConfig, TrainingConfig, steps_in_epoch

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

    def _step_group(self, group: dict[str, Any], weights: list[torch.Tensor]) -> None:
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

    def _velocity(self, weight: torch.Tensor) -> torch.Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        velocity: torch.Tensor = state["momentum_buffer"]
        return velocity


def _trust(weights: list[torch.Tensor], gradients: list[torch.Tensor], group: dict[str, Any]) -> tuple[Any, Any]:
    """Return r and r b of each weight."""
    w, g = torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(gradients))
    decay = group["weight_decay"]
    ratio = group["eta"] * w / (g + decay * w + _EPS)
    if group["clip"]:
        ratio = (ratio / group["lr"]).clamp(max=1)
    both = (w > 0) & (g > 0)
    return torch.where(both, ratio, 1.0).unbind(), torch.where(both, ratio * decay, 0.0).unbind()


def make_optimizer(module: torch.nn.Module, config: OptimizerConfig, batch_size: int) -> Optimizer:
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


LossOfBatch = Callable[[torch.nn.Module, torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]
"""(network, images on the device, their rows, generator of the step) -> scalar loss."""
OnEpoch = Callable[[], dict[str, float]]
"""Called after each epoch in the main process; returns further columns of the log."""
_READ_EVERY = 20
"""Steps between reads of the losses on a GPU: each read waits for the GPU."""


@dataclass(frozen=True)
class TrainingJob:
    """A network, its loss, its images and its settings: the input of :func:`train`."""

    network: torch.nn.Module
    loss_of: LossOfBatch
    images: batches.ImageRows
    config: TrainingConfig
    name: str
    """Name in messages, such as `ncl`."""
    processes: distributed.Processes = distributed.SINGLE_PROCESS
    folder: checkpoint.RunFolder | None = None
    """Folder of checkpoints and the log; None writes nothing."""
    on_step: console.OnLoss | None = None
    on_epoch: OnEpoch | None = None
    minutes: float = math.inf
    """Time after which training stops at a checkpoint; the next call resumes there."""


def train(job: TrainingJob) -> bool:
    """Train the network in place; return False if the time ran out before the last step.

    Global random state is as before afterwards. With a folder training goes on from the last checkpoint, to the same
    weights bit for bit on the same CPU.

    Raises:
        InputError: the loss or a weight became infinite or NaN (the last good checkpoint stays), the batch cannot be
            divided among the processes, or several processes train a network with BatchNorm on CPU.
    """
    config, processes = job.config, job.processes
    _check_batch(job)
    if processes.world_size > 1 and any(isinstance(module, _BatchNorm) for module in job.network.modules()):
        if processes.device.type != "cuda":  # torch's SyncBatchNorm has no kernels for the CPU
            raise InputError(
                f"{processes.world_size} processes cannot train a network with BatchNorm on CPU, because its moments "
                f"cannot be synchronised there; use one process, or one GPU a process."
            )
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(job.network)
    devices = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        network = job.network.to(processes.device).train()
        optimizer = make_optimizer(network, config.optimizer, config.batch_size)
        start = job.folder.restore(network, optimizer) if job.folder is not None else 0
        if processes.any(start != 0) and not processes.all_equal(start):
            raise InputError(
                f"The processes found checkpoints of different steps (here {start}); put --out on a shared disk."
            )
        return _Loop(job, network, optimizer).run(start)


def _check_batch(job: TrainingJob) -> None:
    batch, n = min(job.config.batch_size, len(job.images)), job.processes.world_size
    if batch % n or batch // n < 2:
        raise InputError(
            f"A batch of {batch} images cannot be divided among {n} process{'es' if n > 1 else ''} with two or more "
            f"each; choose a --batch-size that is a multiple of {n}, and at least {2 * n} images."
        )


class _Loop:
    """The state of one call of :func:`train`."""

    def __init__(self, job: TrainingJob, network: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.job, self.network, self.optimizer = job, network, optimizer
        self.device = job.processes.device
        self.rng = torch.Generator(self.device)
        self.n_steps = job.config.n_steps(len(job.images))
        self.per_epoch = steps_in_epoch(len(job.images), job.config.batch_size)
        self.unread: list[torch.Tensor] = []
        """Losses that are still on the device."""
        self.epoch_losses: list[float] = []
        self.epoch_seconds = 0.0

    def run(self, start: int) -> bool:
        """Do the steps after ``start``; return False if the time ran out before the last one."""
        job, config, processes = self.job, self.job.config, self.job.processes
        forward = self._forward()
        order = batches.row_batches(
            len(job.images), config.batch_size, config.seed, range(start, self.n_steps), processes
        )
        deadline = time.monotonic() + 60 * job.minutes
        began = time.monotonic()
        for step, (rows, images) in enumerate(job.images.batches(order), start=start + 1):
            self._step(forward, images, rows, step)
            epoch_ends = step % self.per_epoch == 0 or step == self.n_steps
            if not (epoch_ends or self.device.type == "cpu" or step % _READ_EVERY == 0):
                continue
            self._read_losses(step)
            self.epoch_seconds += time.monotonic() - began
            if epoch_ends:
                self._end_epoch(step)
            over = step < self.n_steps and processes.any(time.monotonic() > deadline)
            if job.folder is not None and processes.is_main and (job.folder.due() or over):
                self._save(step)
            if over:
                return False
            began = time.monotonic()
        if job.folder is not None and processes.is_main and start < self.n_steps:
            self._save(self.n_steps)
        return True

    def _forward(self) -> torch.nn.Module:
        """Return the network as the loss calls it: distributed over the processes, and compiled if asked for."""
        forward: torch.nn.Module = self.network
        if self.job.processes.world_size > 1:
            forward = DistributedDataParallel(forward, [self.device.index] if self.device.type == "cuda" else None)
        return cast(torch.nn.Module, torch.compile(forward)) if self.job.config.compile else forward

    def _step(self, forward: torch.nn.Module, images: torch.Tensor, rows: torch.Tensor, step: int) -> None:
        config = self.job.config
        rank = self.job.processes.rank
        self.rng.manual_seed(derive_seed("step", config.seed, step, rank))
        torch.manual_seed(derive_seed("dropout", config.seed, step, rank))  # dropout takes the global generator
        warm_up = round(config.optimizer.warmup * self.n_steps)
        set_lr(self.optimizer, warmup_cosine(step - 1, self.n_steps, warm_up))
        loss = self.job.loss_of(forward, images, rows, self.rng)
        self.optimizer.zero_grad()
        loss.backward()
        if config.optimizer.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.grad_clip)
        self.optimizer.step()
        self.unread.append(loss.detach())

    def _read_losses(self, step: int) -> None:
        """Wait for the losses up to ``step``; raise at the first one that is not finite."""
        values = torch.stack(self.unread).tolist()
        bad = next((place for place, value in enumerate(values) if not math.isfinite(value)), None)
        if bad is not None:
            self._stop(f"loss became {values[bad]}", step - len(values) + 1 + bad)
        self.unread = []
        self.epoch_losses += values
        if self.job.on_step is not None:
            self.job.on_step(step, self.n_steps, values[-1])

    def _stop(self, what: str, step: int) -> None:
        folder, lr = self.job.folder, self.job.config.optimizer.lr
        kept = "" if folder is None else f"; {folder.describe_checkpoint()}"
        raise InputError(f"The {self.job.name} {what} at step {step}{kept}; lower lr ({lr:g}).")

    def _end_epoch(self, step: int) -> None:
        job = self.job
        done = len(self.epoch_losses) * min(job.config.batch_size, len(job.images))
        row = {
            "step": step,
            "epoch": -(-step // self.per_epoch),
            "loss": sum(self.epoch_losses) / len(self.epoch_losses),
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": done / self.epoch_seconds,
        }
        self.epoch_losses, self.epoch_seconds = [], 0.0
        if job.processes.is_main and job.on_epoch is not None:
            self.network.eval()
            row |= job.on_epoch()
            self.network.train()
        if job.processes.is_main and job.folder is not None:
            job.folder.log(row)

    def _save(self, step: int) -> None:
        for name, parameter in self.network.named_parameters():
            if not torch.isfinite(parameter).all():
                self._stop(f"weight {name} became infinite or NaN", step)
        assert self.job.folder is not None
        self.job.folder.save(step, self.network, self.optimizer)
