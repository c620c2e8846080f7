"""Trackers receive every row of a log; a missing extra is named."""

import sys
import types
from pathlib import Path

import pytest

from monosemy.errors import MissingExtraError
from monosemy.training.checkpoint import make_trackers


def test_nothing_is_asked_for(tmp_path: Path) -> None:
    assert make_trackers(tmp_path, {}, tensorboard=False, wandb=None) == []


@pytest.mark.parametrize(("wanted", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_package_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"requires the extra 'track' .*pip install 'monosemy\[track\]'"):
        make_trackers(tmp_path, {}, tensorboard=wanted == "tensorboard", wandb="p" if wanted == "wandb" else None)


def test_rows_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            told.append(("folder", folder))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            told.append((name, value, step))

        def flush(self) -> None: ...

    class Run:
        def log(self, row: dict[str, float], step: int) -> None:
            told.append(("wandb", row, step))

    def start(**settings: object) -> Run:
        told.append(("init", settings["project"], settings["name"], settings["config"]))
        return Run()

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", types.SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=start))
    folder = tmp_path / "ncl-0"
    for tracker in make_trackers(folder, {"lr": 1}, tensorboard=True, wandb="features"):
        tracker({"step": 3, "loss": 0.5})
    assert told == [
        ("folder", str(folder / "tensorboard")),
        ("init", "features", "ncl-0", {"lr": 1}),
        ("loss", 0.5, 3),
        ("wandb", {"step": 3, "loss": 0.5}, 3),
    ]
