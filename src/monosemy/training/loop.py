"""The one training loop: batches in order, a loss of each, steps, checkpoints, a log."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from annotated_types import Ge
from pydantic import BaseModel, ConfigDict
from torch import Generator, Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from monosemy.core.console import OnLoss
from monosemy.core.distributed import SINGLE_PROCESS, Processes
from monosemy.errors import InputError
from monosemy.seeding import derive_seed
from monosemy.training.batches import ImageRows, row_batches, steps_in_epoch
from monosemy.training.checkpoint import RunFolder
from monosemy.training.optimizers import OptimizerConfig, make_optimizer, set_lr, warmup_cosine
from monosemy.training.sync_batch_norm import synchronise_batch_norm

LossOfBatch = Callable[[nn.Module, Tensor, Tensor, Generator], Tensor]
"""(network, images on the device, their rows, generator of the step) -> scalar loss."""
OnEpoch = Callable[[], dict[str, float]]
"""Called after each epoch on the writing process; what it returns goes into the log."""
_LOOK_EVERY = 20
"""Steps between looks at the losses on a GPU, where each look waits for it."""


class TrainingConfig(BaseModel):
    """How long and by what steps a network is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[int, Ge(1)] = 200
    steps: Annotated[int, Ge(1)] | None = None
    """Optimiser steps in all, instead of epochs."""
    batch_size: Annotated[int, Ge(2)] = 256
    """Images a step, over all processes."""
    optimizer: OptimizerConfig = OptimizerConfig()
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of matrix products and convolutions (autocast); losses and weights stay float32."""
    compile: bool = False
    """Compile the network by torch.compile."""
    seed: int = 0
    """Of the initialisation, the batches and the augmentations."""

    def n_steps(self, n: int) -> int:
        """Steps in all for n images."""
        return self.steps or self.epochs * steps_in_epoch(n, self.batch_size)


@dataclass(frozen=True)
class Training:
    """Everything that :func:`train` needs."""

    network: nn.Module
    loss_of: LossOfBatch
    images: ImageRows
    config: TrainingConfig
    name: str
    """For messages, such as `ncl`."""
    processes: Processes = SINGLE_PROCESS
    folder: RunFolder | None = None
    """Where checkpoints and the log go; None keeps nothing."""
    on_step: OnLoss | None = None
    on_epoch: OnEpoch | None = None
    minutes: float = math.inf
    """Stop at a checkpoint after this time; a further call goes on."""


def train(training: Training) -> bool:
    """Train the network in place; False where the time was over before the last step.

    Global random state is as before afterwards. With a folder training goes on from the last checkpoint, to the same
    weights bit for bit on a CPU.

    Raises:
        InputError: the loss or a weight became infinite or NaN (the last good checkpoint stays), or the batch cannot
            be shared by the processes.
    """
    config, processes = training.config, training.processes
    _check_batch(training)
    devices = [processes.device] if processes.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        network = training.network.to(processes.device).train()
        if processes.world_size > 1:
            network = synchronise_batch_norm(network)
        optimizer = make_optimizer(network, config.optimizer, config.batch_size)
        start = training.folder.restore(network, optimizer) if training.folder is not None else 0
        if processes.any(start != 0) and not processes.all_equal(start):
            raise InputError(
                f"The processes found checkpoints of different steps (here {start}); put --out on a shared disk."
            )
        return _Run(training, network, optimizer).steps(start)


def _check_batch(training: Training) -> None:
    batch, world = min(training.config.batch_size, len(training.images)), training.processes.world_size
    if batch % world or batch // world < 2:
        raise InputError(
            f"A batch of {batch} images cannot be shared by {world} process{'es' if world > 1 else ''} with two or "
            f"more each; choose a --batch-size that is a multiple of {world}, and at least {2 * world} images."
        )


class _Run:
    """One call of :func:`train`."""

    def __init__(self, training: Training, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.training, self.network, self.optimizer = training, network, optimizer
        self.device = training.processes.device
        self.rng = Generator(self.device)
        self.n_steps = training.config.n_steps(len(training.images))
        self.per_epoch = steps_in_epoch(len(training.images), training.config.batch_size)
        self.unread: list[Tensor] = []
        """Losses that may still be on their way from the device."""
        self.epoch_losses: list[float] = []
        self.epoch_seconds = 0.0

    def steps(self, start: int) -> bool:
        """Do the steps after ``start``; False where time was over before the last."""
        training, config, processes = self.training, self.training.config, self.training.processes
        forward = self._forward()
        order = row_batches(len(training.images), config.batch_size, config.seed, range(start, self.n_steps), processes)
        deadline = time.monotonic() + 60 * training.minutes
        began = time.monotonic()
        for step, (rows, images) in enumerate(training.images.batches(order), start=start + 1):
            self._step(forward, images, rows, step)
            epoch_ends = step % self.per_epoch == 0 or step == self.n_steps
            if not (epoch_ends or self.device.type == "cpu" or step % _LOOK_EVERY == 0):
                continue
            self._read_losses(step)
            self.epoch_seconds += time.monotonic() - began
            if epoch_ends:
                self._end_epoch(step)
            over = step < self.n_steps and processes.any(time.monotonic() > deadline)
            if training.folder is not None and processes.is_main and (training.folder.due() or over):
                self._save(step)
            if over:
                return False
            began = time.monotonic()
        if training.folder is not None and processes.is_main and start < self.n_steps:
            self._save(self.n_steps)
        return True

    def _forward(self) -> nn.Module:
        """The network as it is called: over all processes, compiled where that is wanted."""
        forward: nn.Module = self.network
        if self.training.processes.world_size > 1:
            forward = DistributedDataParallel(forward, [self.device.index] if self.device.type == "cuda" else None)
        return cast(nn.Module, torch.compile(forward)) if self.training.config.compile else forward

    def _step(self, forward: nn.Module, images: Tensor, rows: Tensor, step: int) -> None:
        config = self.training.config
        rank = self.training.processes.rank
        self.rng.manual_seed(derive_seed("step", config.seed, step, rank))
        torch.manual_seed(derive_seed("dropout", config.seed, step, rank))  # dropout takes the global generator
        warm_up = round(config.optimizer.warmup * self.n_steps)
        set_lr(self.optimizer, warmup_cosine(step - 1, self.n_steps, warm_up))
        loss = self.training.loss_of(forward, images, rows, self.rng)
        self.optimizer.zero_grad()
        loss.backward()
        if config.optimizer.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.grad_clip)
        self.optimizer.step()
        self.unread.append(loss.detach())

    def _read_losses(self, step: int) -> None:
        """Wait for the losses up to ``step``; raise at the first bad one."""
        values = torch.stack(self.unread).tolist()
        bad = next((place for place, value in enumerate(values) if not math.isfinite(value)), None)
        if bad is not None:
            self._stop(f"loss became {values[bad]}", step - len(values) + 1 + bad)
        self.unread = []
        self.epoch_losses += values
        if self.training.on_step is not None:
            self.training.on_step(step, self.n_steps, values[-1])

    def _stop(self, what: str, step: int) -> None:
        folder, lr = self.training.folder, self.training.config.optimizer.lr
        kept = "" if folder is None else f"; {folder.kept()}"
        raise InputError(f"The {self.training.name} {what} at step {step}{kept}; lower lr ({lr:g}).")

    def _end_epoch(self, step: int) -> None:
        training = self.training
        done = len(self.epoch_losses) * min(training.config.batch_size, len(training.images))
        row = {
            "step": step,
            "epoch": -(-step // self.per_epoch),
            "loss": sum(self.epoch_losses) / len(self.epoch_losses),
            "lr": self.optimizer.param_groups[0]["lr"],
            "images_per_second": done / self.epoch_seconds,
        }
        self.epoch_losses, self.epoch_seconds = [], 0.0
        if training.processes.is_main and training.on_epoch is not None:
            self.network.eval()
            row |= training.on_epoch()
            self.network.train()
        if training.processes.is_main and training.folder is not None:
            training.folder.log(row)

    def _save(self, step: int) -> None:
        for name, parameter in self.network.named_parameters():
            if not torch.isfinite(parameter).all():
                self._stop(f"weight {name} became infinite or NaN", step)
        assert self.training.folder is not None
        self.training.folder.save(step, self.network, self.optimizer)
