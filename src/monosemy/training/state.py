"""The whole state of a training run in one file: weights, optimiser, step."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.modelfile import read_model_file, write_model_file

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
