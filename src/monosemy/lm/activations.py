"""Activations of a model's layers: which modules' outputs, and which of their tokens."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from monosemy.errors import InputError

Tokens = Literal["all", "completion", "last"]


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


def token_rows(activations: Tensor, inputs: Mapping[str, Any], tokens: Tokens, name: str) -> Tensor:
    """The activations (n, d) of the tokens that count.

    Args:
        activations: (S, T, d) or (S T, d) of S sequences; what a prompt-tuning adapter puts before the tokens is cut.
        inputs: ``attention_mask`` (S, L), and for ``completion`` TRL's ``completion_mask`` (S, L).
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
            f"tokens; choose a layer that gives a row for each token."
        )
    activations = activations[:, -length:]
    if tokens == "last":
        places = torch.arange(length, device=attended.device)
        last = torch.where(attended, places, -1).max(dim=1).values
        return activations[torch.arange(s, device=last.device), last]
    return activations[attended if tokens == "all" else inputs["completion_mask"].bool()]
