"""What DecPO does to activations beside measuring them: dropout as an ablation, and rows of all processes."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from monosemy.functional.gather import all_gather

Regularizer = Literal["decorrelation", "l1", "dropout"]


def add_dropout(modules: Mapping[str, nn.Module], share: float) -> None:
    """Drop a share of the modules' outputs from now on: in training, and not in passes without a gradient.

    The reference's pass is one without, also where it runs through the same modules. The recomputation of gradient
    checkpointing restores the state of the random numbers, and drops the same again.
    """

    def drop(module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not (module.training and torch.is_grad_enabled()):
            return None
        if isinstance(output, tuple):
            return (F.dropout(output[0], share), *output[1:])
        return F.dropout(output, share)

    for module in modules.values():
        module.register_forward_hook(drop)


def gathered_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, each with as many as it has; with their gradient as :func:`all_gather`'s."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    counts = all_gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = F.pad(rows, (0, 0, 0, max(counts) - len(rows)))
    everyone = all_gather(padded).view(len(counts), max(counts), -1)
    return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])
