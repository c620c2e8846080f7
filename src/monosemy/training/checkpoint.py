"""The folder of a training run: its settings, checkpoint and log, and trackers that receive the log as well.

A checkpoint is the whole state in one file: weights, optimiser, step. Random numbers need no state, since those of each
step derive from the seed and the step; neither does the learning rate.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
import yaml

from monosemy.core import environment, files
from monosemy.errors import InputError, needs_extra, reason, shown

FORMAT = "monosemy.training-state.v1"
_SAVE_EVERY = 60.0
"""Seconds between checkpoints, which is what a kill can cost."""


OnRow = Callable[[dict[str, float]], None]
"""A tracker: called with each row of a log."""


def make_trackers(folder: Path, config: dict[str, Any], *, tensorboard: bool, wandb: str | None) -> list[OnRow]:
    """Return the trackers that the user asked for: TensorBoard's event files, and a run of the project ``wandb``."""
    trackers: list[OnRow] = []
    if tensorboard:
        with needs_extra("track", "Logging to TensorBoard"):
            from torch.utils.tensorboard import SummaryWriter
        writer: Any = SummaryWriter(str(folder / "tensorboard"))

        def write_events(row: dict[str, float]) -> None:
            for name, value in row.items():
                if name != "step":
                    writer.add_scalar(name, value, int(row["step"]))
            writer.flush()

        trackers.append(write_events)
    if wandb is not None:
        with needs_extra("track", "Logging to Weights & Biases"):
            from wandb import init
        run = init(project=wandb, name=folder.name, id=folder.name, config=config, resume="allow")
        trackers.append(lambda row: run.log(row, step=int(row["step"])))
    return trackers


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
        """Open a folder, new or of the same settings and data; one without a checkpoint accepts other settings.

        Args:
            config: all settings of the run, plain values.
            data_key: fingerprint of the training data.
            seeds: all seeds of the run, for the record.
            is_main: False in all but one of several processes.

        Raises:
            InputError: the folder holds a run of other settings or data, or other files, or another process writes into
                it.
        """
        self.path, self.trackers = path, list[OnRow]()
        self._lock: files.FolderLock | None = None
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
        self._lock = files.FolderLock(path)
        if known != values:
            files.write_text(path / "config.yaml", yaml.safe_dump(values, sort_keys=False))
            environment.write_environment(path, seeds or {})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()

    @property
    def checkpoint(self) -> Path:
        """The file of the last checkpoint, which may not exist yet."""
        return self.path / "checkpoint.safetensors"

    def due(self) -> bool:
        """Return whether it is time for a checkpoint."""
        return time.monotonic() - self._saved_at >= _SAVE_EVERY

    def save(self, step: int, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Write the state after ``step`` steps, whole or not at all: a kill leaves the previous checkpoint."""
        tensors = {f"module.{name}": tensor for name, tensor in module.state_dict().items()}
        for number, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items() if value is not None}
        files.write_model_file(
            self.checkpoint, FORMAT, {"step": step}, {name: t.detach() for name, t in tensors.items()}
        )
        self.mark_saved(step)

    def mark_saved(self, step: int) -> None:
        """Record that :attr:`checkpoint` holds the state after ``step`` steps."""
        self._saved_step, self._saved_at = step, time.monotonic()

    def restore(self, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Load the last checkpoint into module and optimiser; return the number of steps done, 0 without one.

        Raises:
            InputError: the file is damaged, or holds the state of another network.
        """
        if not self.checkpoint.exists():
            return 0
        metadata, tensors = files.read_model_file(self.checkpoint, FORMAT)
        parts: dict[str, dict[str, Any]] = {"module": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        try:
            module.load_state_dict(parts["module"])
            state: dict[int, dict[str, Any]] = {}
            for name, tensor in parts["optimizer"].items():
                number, _, slot = name.partition(".")
                state.setdefault(int(number), {})[slot] = tensor
            optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
            self._saved_step = int(metadata["step"])
        except (RuntimeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{self.checkpoint} is the state of another network; choose another --out.") from error
        return self._saved_step

    def describe_checkpoint(self) -> str:
        """Return half a sentence for error messages on the last checkpoint."""
        if not self._saved_step:
            return "none is kept"
        return f"the checkpoint of step {self._saved_step} is kept in {self.path}"

    def log(self, row: dict[str, float]) -> None:
        """Append a row, and drop the rows that a killed run wrote after its last checkpoint."""
        rows = [known for known in self.read_log(self.path) if known["step"] < row["step"]]
        files.write_text(self.path / "log.jsonl", "".join(json.dumps(known) + "\n" for known in [*rows, row]))
        for tracker in self.trackers:
            tracker(row)

    @staticmethod
    def read_log(path: Path) -> list[dict[str, float]]:
        """Return the rows of a run folder's log.

        Raises:
            InputError: the file is not a log.
        """
        log = path / "log.jsonl"
        if not log.exists():
            return []
        try:
            rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            return [{"step": float(row["step"])} | row for row in rows]
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InputError(
                f"{log} cannot be read as the log of a training ({reason(error)}); remove it to start a new one."
            ) from error


def _read_config(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        known = yaml.safe_load(path.read_text(encoding="utf-8"))
    except Exception as error:  # the parser's constructors raise nearly every type
        raise InputError(f"{path} cannot be read, so its run is unknown; choose another --out.") from error
    return known if isinstance(known, dict) else {}


def _check_same(path: Path, known: dict[str, Any], wanted: dict[str, Any]) -> None:
    old, new = _flat(known), _flat(wanted)
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            what = (
                "other data" if name == "data_key" else f"{name} = {shown(old.get(name))}, not {shown(new.get(name))}"
            )
            raise InputError(
                f"The folder {path} holds a run with {what}; choose another --out, or the same settings and data."
            )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
