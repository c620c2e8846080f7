"""The folder of a training run: its settings, its state, its log."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import yaml
from torch import nn

from monosemy.environment import write_environment
from monosemy.errors import InputError, reason, shown
from monosemy.files import FolderLock, write_text
from monosemy.training.state import load_state, save_state
from monosemy.training.trackers import Tracker

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
        writes: bool = True,
    ) -> None:
        """Open a folder, new or of the same settings and data; one without a checkpoint takes new settings.

        Args:
            config: all settings of the run, plain values.
            data_key: fingerprint of what it trains on.
            seeds: that all random numbers come from, for the record.
            writes: False in all but one of several processes.

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
        if not writes:
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
