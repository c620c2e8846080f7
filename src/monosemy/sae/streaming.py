"""Training of several sparse autoencoders on a stream that need not fit into memory and is read once for all."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from monosemy import __version__
from monosemy.core import distributed, files
from monosemy.data.row_stream import RowStream, State
from monosemy.errors import InputError
from monosemy.functional.autoencoder import explained_variance
from monosemy.sae.estimators import SparseAutoencoder
from monosemy.sae.training import below
from monosemy.training.checkpoint import RunFolder

FORMAT = "monosemy.sae-training-state.v1"
SAMPLE = 8192
"""Rows that scale and bias start from: the first of the first pass."""
LEAST_STEPS = 2_000
"""Steps that passes are repeated for where neither passes nor steps are given."""
_LOG_EVERY = 100
"""Steps between rows of the log where the number of steps is not known; a hundredth of them where it is."""

OnStep = Callable[[int, int | None, float], None]
"""Called with (steps done, steps in all where known, mean loss of the autoencoders)."""
OnLog = Callable[[dict[str, float]], None]
"""Called with each row of the log."""


def names_of(saes: Sequence[SparseAutoencoder]) -> tuple[str, ...]:
    """Return a name for each, such as `topk-4096-k32-seed0`, which is that of its file."""
    names: list[str] = []
    for sae in saes:
        name = f"{sae.activation}-{sae.n_latents}-k{sae.k}-seed{sae.random_state}"
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return tuple(names)


def train_on_stream(
    saes: Sequence[SparseAutoencoder],
    stream: RowStream,
    *,
    steps: int | None = None,
    folder: str | Path | None = None,
    minutes: float = math.inf,
    processes: distributed.Processes = distributed.SINGLE_PROCESS,
    on_step: OnStep | None = None,
    on_log: OnLog | None = None,
) -> bool:
    """Fit sparse autoencoders on one stream; each becomes, bit for bit, what it would be if fitted on it alone.

    Scale and bias start from the first 8,192 rows, so shuffle rows that come in a meaningful order
    (:func:`monosemy.data.shuffled`). Rows at the end of a pass that fill no batch are left out.

    Args:
        saes: of one ``n_epochs`` and one ``batch_size``, each with a whole number as ``random_state``. Without
            ``n_epochs`` the stream is passed as often as 2,000 steps take, at least once; an iterator only once.
        steps: in all, instead of passes.
        folder: takes checkpoints, the log and at the end ``NAME.safetensors`` of each autoencoder, see
            :func:`names_of`. A killed training resumes from its last checkpoint, to the same weights on a CPU.
        minutes: stop at a checkpoint after this time; a further call resumes.
        processes: those that share each batch.

    Returns: False where the time ended before the last step.

    Raises:
        InputError: the autoencoders differ in how they read the stream, the stream is too short or has bad rows, a loss
            became infinite, or the folder contains another training. The last good state stays in the folder.
    """
    run = _Run(tuple(saes), stream, steps, minutes, processes, on_step, on_log)
    run.check()
    if folder is None:
        return run.run()
    seeds = {name: sae.random_state for name, sae in zip(run.names, saes, strict=True)}
    with RunFolder(Path(folder), run.settings(), stream.key(), seeds, is_main=processes.is_main) as run.folder:
        processes.barrier()
        return run.run()


@dataclass
class _Run:
    """One call of :func:`train_on_stream`."""

    saes: Sequence[SparseAutoencoder]
    stream: RowStream
    steps: int | None
    minutes: float
    processes: distributed.Processes
    on_step: OnStep | None
    on_log: OnLog | None
    folder: RunFolder | None = None
    step: int = 0
    epoch: int = 0
    since_log: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = names_of(self.saes)

    @property
    def batch(self) -> int:
        """Rows a step, over all processes."""
        return min(self.saes[0].batch_size, self.stream.length or self.saes[0].batch_size)

    @property
    def n_steps(self) -> int | None:
        if self.steps is not None or self.stream.length is None:
            return self.steps
        in_a_pass = self.stream.length // self.batch
        least = math.ceil(LEAST_STEPS / in_a_pass) if self.stream.repeatable else 1
        return (self.saes[0].n_epochs or least) * in_a_pass

    def _is_last_pass(self) -> bool:
        """Return whether the training ends with the pass that has ended."""
        if self.steps is not None:
            return False
        n_epochs = self.saes[0].n_epochs
        if n_epochs is None:
            return self.step >= LEAST_STEPS or not self.stream.repeatable
        return self.epoch + 1 >= n_epochs

    def check(self) -> None:
        """Raise where the autoencoders, the stream and the processes do not fit together."""
        if not self.saes:
            raise InputError("saes is empty; give at least one SparseAutoencoder.")
        for name in ("n_epochs", "batch_size"):
            values = list(dict.fromkeys(getattr(sae, name) for sae in self.saes))
            if len(values) > 1:
                raise InputError(
                    f"The autoencoders have {name}={values[0]!r} and {values[1]!r}, but read the same "
                    f"batches; make them equal."
                )
            if name == "n_epochs" and values[0] is None:
                continue
            if not isinstance(values[0], int) or values[0] < 1:
                raise InputError(f"{name}={values[0]!r} is not a positive whole number; choose one of at least 1.")
        for sae in self.saes:
            if not isinstance(sae.random_state, int):
                raise InputError(f"random_state={sae.random_state!r} cannot be repeated; give a whole number.")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps={self.steps!r} is not positive; choose a value above 0.")
        if self.stream.length is not None and self.stream.length < 2:
            raise InputError(f"{self.stream.name} has {self.stream.length} row; a dictionary starts from at least 2.")
        if self.batch % self.processes.world_size:
            raise InputError(
                f"A batch of {self.batch} rows cannot be divided among {self.processes.world_size} processes; choose a "
                f"batch_size that is a multiple of {self.processes.world_size}."
            )

    def settings(self) -> dict[str, Any]:
        """Return all that the result depends on beside the rows, as plain values."""
        saes = {
            name: {key: value for key, value in sae.get_params().items() if key not in ("on_epoch", "output")}
            for name, sae in zip(self.names, self.saes, strict=True)
        }
        made_by = {"torch": str(torch.__version__), "monosemy": __version__, "processes": self.processes.world_size}
        values = {"rows": self.stream.name, "saes": saes, "steps": self.steps, "made_by": made_by}
        return json.loads(json.dumps(values, default=int))

    def run(self) -> bool:
        processes = self.processes
        self._start()
        deadline, began = time.monotonic() + 60 * self.minutes, time.monotonic()
        last: torch.Tensor | None = None
        every = _LOG_EVERY if self.n_steps is None else max(1, self.n_steps // 100)
        while self.n_steps is None or self.step < self.n_steps:
            rows = self._next_rows()
            if rows is None:
                break
            self._step(rows)
            if processes.is_main and (self.step % every == 0 or self.step == self.n_steps):
                began = self._log(rows, began)
            last = rows
            over = processes.any(time.monotonic() > deadline)
            if self.folder is not None and processes.is_main and (self.folder.due() or over):
                self._save(self.folder)
            if over and self.step != self.n_steps:
                return False
        if self.since_log and processes.is_main and last is not None:
            self._log(last, began)
        self._finish()
        return True

    def _start(self) -> None:
        """Set up the autoencoders from the first rows, or from the checkpoint in the folder."""
        self.reader = self.stream.open()
        sample = self.reader.peek(max(SAMPLE, self.batch))
        if len(sample) < 2:
            raise InputError(f"{self.stream.name} ended after {len(sample)} rows; a dictionary starts from at least 2.")
        self.trainers = [sae.begin(sample, steps=self.n_steps, processes=self.processes) for sae in self.saes]
        if self.folder is not None and self.folder.checkpoint.exists():
            self._restore(self.folder)

    def _next_rows(self) -> torch.Tensor | None:
        """Return the local part of the next batch; None after the last pass.

        Where the stream fails, the state so far is saved first.
        """
        place = self.epoch, self.reader.state()
        rows, problem = self._read_part()
        if problem is None and rows is None:
            if self.step > 0:
                if self._is_last_pass():
                    return None
                self.epoch += 1
                self.reader = self.stream.open(self.epoch)
                rows, problem = self._read_part()
            if problem is None and rows is None:
                problem = (
                    f"{self.stream.name} ended before one batch of {self.batch} rows; give more rows or "
                    f"lower batch_size."
                )
        if problem is not None:
            if self.folder is not None and self.step > 0 and self.processes.is_main:
                self._save(self.folder, place)
            raise InputError(f"{problem} {self._saved_state()}".rstrip())
        return rows

    def _read_part(self) -> tuple[torch.Tensor | None, str | None]:
        """Return the local rows of the next batch, None after the last whole batch; and the problem of any process."""
        processes = self.processes
        n_rows = self.batch // processes.world_size
        rows, problem = None, None
        try:
            self.reader.skip(processes.rank * n_rows)
            rows = self.reader.read(n_rows)
            self.reader.skip((processes.world_size - 1 - processes.rank) * n_rows)
            code = int(len(rows) < n_rows)
        except InputError as error:
            problem, code = str(error), 2
        worst = -int(processes.min(torch.tensor(-code, device=processes.device)))
        if worst == 2:
            return None, problem or "Another process could not read its rows."
        return (None if worst else rows), None

    def _step(self, rows: torch.Tensor) -> None:
        rows = rows.to(self.processes.device)
        losses = []
        for name, trainer in zip(self.names, self.trainers, strict=True):
            try:
                losses.append(trainer.step(trainer.model.scaled(rows)))
            except InputError as error:
                raise InputError(f"{name}: {error} {self._saved_state()}") from error
        self.step += 1
        if self.processes.is_main:
            self.since_log.append(losses)
        if self.on_step is not None:
            self.on_step(self.step, self.n_steps, sum(losses) / len(losses))

    def _log(self, rows: torch.Tensor, began: float) -> float:
        """Log the progress and the autoencoders' metrics on the batch of the last step, and return the time."""
        now = time.monotonic()
        rate = len(self.since_log) * self.batch / max(now - began, 1e-9)
        means = torch.tensor(self.since_log, dtype=torch.float64).mean(dim=0).tolist()
        for sae, mean in zip(self.saes, means, strict=True):
            sae.losses_.append(mean)
        self.since_log = []
        row: dict[str, float] = {"step": self.step, "epoch": self.epoch + 1, "rows_per_second": rate}
        row |= {f"{name}/loss": mean for name, mean in zip(self.names, means, strict=True)}
        z = rows.to(self.processes.device)
        for name, trainer in zip(self.names, self.trainers, strict=True):
            codes = trainer.model.encode(z)
            row[f"{name}/explained_variance"] = explained_variance(trainer.model.decode(codes), z)
            row[f"{name}/l0"] = float((codes.values > 0).sum()) / len(z)
            row[f"{name}/dead"] = float((trainer.silent_for > trainer.config.dead_after).float().mean())
        if self.folder is not None:
            self.folder.log(row)
        if self.on_log is not None:
            self.on_log(row)
        return now

    def _saved_state(self) -> str:
        """Describe the saved state in a sentence."""
        if self.folder is None:
            return ""
        saved = self.folder.describe_checkpoint()
        return saved[0].upper() + saved[1:] + "."

    def _save(self, folder: RunFolder, place: tuple[int, State] | None = None) -> None:
        """Write a checkpoint; the position in the stream is by default that of its reader."""
        tensors: dict[str, torch.Tensor] = {}
        for name, trainer in zip(self.names, self.trainers, strict=True):
            if not all(bool(torch.isfinite(parameter).all()) for parameter in trainer.parameters):
                raise InputError(f"{name}: a weight became infinite or NaN; {folder.describe_checkpoint()}; lower lr.")
            tensors |= {f"{name}/{key}": value for key, value in trainer.state_dict().items()}
        epoch, reader = place or (self.epoch, self.reader.state())
        metadata = {"step": self.step, "epoch": epoch, "reader": reader}
        files.write_model_file(folder.checkpoint, FORMAT, metadata, tensors)
        folder.mark_saved(self.step)

    def _restore(self, folder: RunFolder) -> None:
        metadata, tensors = files.read_model_file(folder.checkpoint, FORMAT)
        try:
            for name, trainer in zip(self.names, self.trainers, strict=True):
                trainer.load_state_dict(below(f"{name}/", tensors))
            self.step, self.epoch, place = int(metadata["step"]), int(metadata["epoch"]), metadata["reader"]
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{folder.checkpoint} is the state of another training; choose another folder.") from error
        folder.mark_saved(self.step)
        if self.step != self.n_steps:
            self.reader = self.stream.open(self.epoch, place)

    def _finish(self) -> None:
        if self.folder is not None and self.processes.is_main:
            self._save(self.folder)
        for name, trainer in zip(self.names, self.trainers, strict=True):
            trainer.model.to("cpu")
            if self.folder is not None and self.processes.is_main:
                trainer.model.save(self.folder.path / f"{name}.safetensors")


def trained_files(folder: Path, saes: Sequence[SparseAutoencoder]) -> dict[str, Path]:
    """Return the file of each autoencoder that :func:`train_on_stream` has written into a folder."""
    return {name: folder / f"{name}.safetensors" for name in names_of(saes)}
