"""The training loop of all networks: batches in order, their losses, steps, checkpoints and a log."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from monosemy.core.console import OnLoss
from monosemy.core.distributed import SINGLE_PROCESS, Processes
from monosemy.errors import InputError
from monosemy.seeding import derive_seed
from monosemy.training.batches import ImageRows, row_batches
from monosemy.training.checkpoint import RunFolder
from monosemy.training.config import TrainingConfig, steps_in_epoch
from monosemy.training.optimizers import make_optimizer, set_lr, warmup_cosine

LossOfBatch = Callable[[nn.Module, Tensor, Tensor, Generator], Tensor]
"""(network, images on the device, their rows, generator of the step) -> scalar loss."""
OnEpoch = Callable[[], dict[str, float]]
"""Called after each epoch in the main process; returns further columns of the log."""
_READ_EVERY = 20
"""Steps between reads of the losses on a GPU: each read waits for the GPU."""


@dataclass(frozen=True)
class TrainingJob:
    """A network, its loss, its images and its settings: the input of :func:`train`."""

    network: nn.Module
    loss_of: LossOfBatch
    images: ImageRows
    config: TrainingConfig
    name: str
    """Name in messages, such as `ncl`."""
    processes: Processes = SINGLE_PROCESS
    folder: RunFolder | None = None
    """Folder of checkpoints and the log; None writes nothing."""
    on_step: OnLoss | None = None
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
        nn.SyncBatchNorm.convert_sync_batchnorm(job.network)
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

    def __init__(self, job: TrainingJob, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.job, self.network, self.optimizer = job, network, optimizer
        self.device = job.processes.device
        self.rng = Generator(self.device)
        self.n_steps = job.config.n_steps(len(job.images))
        self.per_epoch = steps_in_epoch(len(job.images), job.config.batch_size)
        self.unread: list[Tensor] = []
        """Losses that are still on the device."""
        self.epoch_losses: list[float] = []
        self.epoch_seconds = 0.0

    def run(self, start: int) -> bool:
        """Do the steps after ``start``; return False if the time ran out before the last one."""
        job, config, processes = self.job, self.job.config, self.job.processes
        forward = self._forward()
        order = row_batches(len(job.images), config.batch_size, config.seed, range(start, self.n_steps), processes)
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

    def _forward(self) -> nn.Module:
        """Return the network as the loss calls it: distributed over the processes, and compiled if asked for."""
        forward: nn.Module = self.network
        if self.job.processes.world_size > 1:
            forward = DistributedDataParallel(forward, [self.device.index] if self.device.type == "cuda" else None)
        return cast(nn.Module, torch.compile(forward)) if self.job.config.compile else forward

    def _step(self, forward: nn.Module, images: Tensor, rows: Tensor, step: int) -> None:
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
            nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.grad_clip)
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
