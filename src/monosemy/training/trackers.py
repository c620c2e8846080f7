"""Where a run's log goes beside its file, if the user wants: TensorBoard, Weights & Biases."""

from pathlib import Path
from typing import Any, Protocol

from monosemy.errors import InputError


class Tracker(Protocol):
    """Something that is told each row of a log."""

    def log(self, row: dict[str, float]) -> None: ...


class TensorBoard:
    """Event files for `tensorboard --logdir`."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError("--tensorboard needs the package tensorboard; install monosemy[track].") from error
        self._writer: Any = SummaryWriter(str(folder))

    def log(self, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()


class WeightsAndBiases:
    """A run of the given project at Weights & Biases."""

    def __init__(self, project: str, name: str, config: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise InputError("--wandb needs the package wandb; install monosemy[track].") from error
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
