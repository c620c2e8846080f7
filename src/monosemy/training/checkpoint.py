"""The whole state of a training run in one file: weights, optimiser, step.

Where a run's log goes beside its file, if the user wants: TensorBoard, Weights & Biases.

The folder of a training run: its settings, its state, its log.
"""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import torch
import yaml
from torch import Tensor, nn

from monosemy.core.environment import write_environment
from monosemy.core.files import FolderLock, read_model_file, write_model_file, write_text
from monosemy.errors import InputError, needs_extra, reason, shown

FORMAT = "monosemy.training-state.v1"


def save_state(path: Path, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state after ``step`` steps, whole or not at all: a kill leaves the file before it.

    Random numbers need no state: each step's are derived from the seed and the step. Neither does the learning rate.
    """
    tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
    for number, values in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items() if value is not None}
    write_model_file(path, FORMAT, {"step": step}, {name: t.detach() for name, t in tensors.items()})


def load_state(path: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Put module and optimiser into the saved state; the number of steps done, 0 where there is no file.

    Raises:
        InputError: the file is damaged, or is another network's.
    """
    if not path.exists():
        return 0
    about, tensors = read_model_file(path, FORMAT)
    try:
        module.load_state_dict(_part(tensors, "module."))
        state: dict[int, dict[str, Any]] = {}
        for name, tensor in _part(tensors, "optimizer.").items():
            number, _, slot = name.partition(".")
            state.setdefault(int(number), {})[slot] = tensor
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return int(about["step"])
    except (RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path} is the state of another network; choose another --out.") from error


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Tracker(Protocol):
    """Something that is told each row of a log."""

    def log(self, row: dict[str, float]) -> None: ...


class TensorBoard:
    """Event files for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        with needs_extra("track", "Logging to TensorBoard"):
            from torch.utils.tensorboard import SummaryWriter
        self._writer: Any = SummaryWriter(str(folder))

    def log(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()


class WeightsAndBiases:
    """A run of the given project at Weights & Biases."""

    def __init__(self, project: str, name: str, config: dict[str, Any]) -> None:
        with needs_extra("track", "Logging to Weights & Biases"):
            import wandb
        self._run = wandb.init(project=project, name=name, id=name, config=config, resume="allow")

    def log(self, row: dict[str, float]) -> None:
        self._run.log(row, step=int(row["step"]))


def make_trackers(folder: Path, config: dict[str, Any], *, tensorboard: bool, wandb: str | None) -> list[Tracker]:
    """The trackers that the user asked for; ``wandb`` is the project's name."""
    trackers: list[Tracker] = []
    if tensorboard:
        trackers.append(TensorBoard(folder / "tensorboard"))
    if wandb is not None:
        trackers.append(WeightsAndBiases(wandb, folder.name, config))
    return trackers


_SAVE_EVERY = 60.0
"""Seconds between checkpoints: what a kill can cost."""


class RunFolder:
    """``config.yaml``, ``environment.json``, ``checkpoint.safetensors`` and ``log.jsonl`` (a row an epoch) of one run.

    As a context it keeps other processes out until the block ends.
    """

    def __init__(
        self,
        path: Path,
        config: dict[str, Any],
        data_key: str,
        seeds: Mapping[str, Any] | None = None,
        is_main: bool = True,
    ) -> None:
        """Open a folder, new or of the same settings and data; one without a checkpoint takes new settings.

        Args:
            config: all settings of the run, plain values.
            data_key: fingerprint of what it trains on.
            seeds: that all random numbers come from, for the record.
            is_main: False in all but one of several processes.

        Raises:
            InputError: the folder holds a run of other settings or data, or something else, or another process writes
                into it.
        """
        self.path, self._trackers = path, list[Tracker]()
        self._lock: FolderLock | None = None
        self._saved_step, self._saved_at = 0, time.monotonic()
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; choose a folder as --out.")
        values = config | {"data_key": data_key}
        known = _read_config(path / "config.yaml")
        if known is not None and self.checkpoint.exists():
            _check_same(path, known, values)
        elif known is None and path.exists() and any(not file.name.startswith(".") for file in path.iterdir()):
            raise InputError(f"The folder {path} is not empty and holds no training run; choose another --out.")
        if not is_main:
            return
        self._lock = FolderLock(path)
        if known != values:
            write_text(path / "config.yaml", yaml.safe_dump(values, sort_keys=False))
            write_environment(path, seeds or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    def tell(self, trackers: Sequence[Tracker]) -> None:
        """Let trackers know each further row of the log too."""
        self._trackers += trackers

    @property
    def checkpoint(self) -> Path:
        """The file of the last checkpoint, whether it is there or not."""
        return self.path / "checkpoint.safetensors"

    def restore(self, module: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Put module and optimiser into the state of the last checkpoint; the number of steps done."""
        self._saved_step = load_state(self.checkpoint, module, optimizer)
        return self._saved_step

    def due(self) -> bool:
        """Whether it is time for a checkpoint."""
        return time.monotonic() - self._saved_at >= _SAVE_EVERY

    def save(self, step: int, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint."""
        save_state(self.checkpoint, step, module, optimizer)
        self.saved(step)

    def saved(self, step: int) -> None:
        """Take note that :attr:`checkpoint` holds the state after ``step`` steps."""
        self._saved_step, self._saved_at = step, time.monotonic()

    def kept(self) -> str:
        """What is left of the run, as half a sentence."""
        return (
            f"the checkpoint of step {self._saved_step} is kept in {self.path}" if self._saved_step else "none is kept"
        )

    def log(self, row: dict[str, float]) -> None:
        """Append a row; rows that a killed run wrote after its last checkpoint are replaced by those made again."""
        rows = [known for known in self.read_log(self.path) if known["step"] < row["step"]]
        write_text(self.path / "log.jsonl", "".join(json.dumps(known) + "\n" for known in [*rows, row]))
        for tracker in self._trackers:
            tracker.log(row)

    @staticmethod
    def read_log(path: Path) -> list[dict[str, float]]:
        """The rows of a run folder's log so far."""
        log = path / "log.jsonl"
        if not log.exists():
            return []
        try:
            rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            return [{"step": float(row["step"])} | row for row in rows]
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InputError(
                f"{log} is no log of a training ({reason(error)}); remove it, and it starts anew."
            ) from error


def _read_config(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
    except Exception as error:  # the parser's constructors raise nearly every type
        raise InputError(f"{path} cannot be read, so nothing tells what made it; choose another --out.") from error
    return known if isinstance(known, dict) else {}


def _check_same(path: Path, known: dict[str, Any], wanted: dict[str, Any]) -> None:
    old, new = _flat(known), _flat(wanted)
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            what = (
                "other data" if name == "data_key" else f"{name} = {shown(old.get(name))}, not {shown(new.get(name))}"
            )
            raise InputError(f"The folder {path} holds a run with {what}; choose another --out, or the same again.")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
