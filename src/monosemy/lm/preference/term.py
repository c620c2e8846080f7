"""What DecPO adds to a loss: the activations of some layers, which of their tokens, and what is made of them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.functional.gather import all_gather

Tokens = Literal["all", "completion", "last"]
Regularizer = Literal["decorrelation", "l1", "dropout"]


@contextmanager
def first_outputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Collect the first output of each module, with its gradient and before other hooks, while the block runs.

    Only the first, because the pass of the policy comes before that of the reference, which with PEFT runs through
    the same modules, and because gradient checkpointing runs them again.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found.setdefault(name, output[0] if isinstance(output, tuple) else output)

        return hook

    with ExitStack() as hooks:
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(keep(name), prepend=True).remove)
        yield found


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


def token_rows(activations: Tensor, inputs: Mapping[str, Any], tokens: Tokens, name: str) -> Tensor:
    """The activations (n, d) of the tokens that count.

    Args:
        activations: (S, T, d) or (S T, d) of S sequences; what a prompt-tuning adapter puts before the tokens is cut.
        inputs: TRL's batch, with ``attention_mask`` and ``completion_mask`` (S, L).
        name: the layer, for the message.

    Raises:
        InputError: the layer does not have one row of features for every token.
    """
    attended = inputs["attention_mask"].bool()
    s, length = attended.shape
    if activations.ndim == 2 and len(activations) % s == 0:
        activations = activations.view(s, -1, activations.shape[-1])
    if activations.ndim != 3 or len(activations) != s or activations.shape[1] < length:
        raise InputError(
            f"The layer {name} gives activations of shape {tuple(activations.shape)} for {s} sequences of {length} "
            f"tokens; choose by decpo_layers one that gives a row for each token."
        )
    activations = activations[:, -length:]
    if tokens == "last":
        places = torch.arange(length, device=attended.device)
        last = torch.where(attended, places, -1).max(dim=1).values
        return activations[torch.arange(s, device=last.device), last]
    return activations[attended if tokens == "all" else inputs["completion_mask"].bool()]


def gathered_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, each with as many as it has; with their gradient as :func:`all_gather`'s."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return rows
    counts = all_gather(torch.tensor([len(rows)], device=rows.device)).tolist()
    padded = F.pad(rows, (0, 0, 0, max(counts) - len(rows)))
    everyone = all_gather(padded).view(len(counts), max(counts), -1)
    return torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])
