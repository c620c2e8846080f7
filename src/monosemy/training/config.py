"""Settings of the training of networks: optimiser, schedule, length and batches.

Plans and the command line derive from these models; the chapter therefore imports no numerical library.
"""

from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt
from pydantic import model_validator

from monosemy.core.config import Config

OptimizerName = Literal["lars", "sgd", "adamw"]
_BY_NAME = {"sgd": {"lr": 0.1, "weight_decay": 5e-4}, "adamw": {"lr": 1e-3, "weight_decay": 0.05}}


class OptimizerConfig(Config):
    """An optimiser and its schedule; the defaults are those of SimCLR and NCL on CIFAR (arXiv 2403.12459).

    Weight decay spares biases and normalisations (parameters with one dimension) with LARS and AdamW; SGD decays all.
    """

    name: OptimizerName = "lars"
    """Optimiser: lars, sgd or adamw; each has its own defaults."""
    lr: Annotated[float, Gt(0)] = 0.4
    """Peak learning rate; default 0.4 for lars, 0.1 for sgd, 0.001 for adamw."""
    lr_scaling: bool = False
    """Multiply lr by batch size / 256."""
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    """Momentum of SGD (Nesterov's) and LARS; the first beta of AdamW, whose second is 0.999."""
    weight_decay: Annotated[float, Ge(0)] = 1e-4
    """Weight decay; default 0.0001 for lars, 0.0005 for sgd, 0.05 for adamw (decoupled)."""
    eta: Annotated[float, Gt(0)] = 0.02
    """Trust coefficient of LARS: the step as a fraction of a weight's norm, before lr."""
    clip_lars: bool = True
    """Clip the trust ratio of LARS, so that it only makes steps smaller than SGD's."""
    warmup: Annotated[float, Ge(0), Lt(1)] = 0.05
    """Fraction of the steps in which lr rises linearly; then it falls to 0 by a cosine."""
    grad_clip: Annotated[float, Gt(0)] | None = None
    """Maximum norm of the whole gradient."""

    @model_validator(mode="before")
    @classmethod
    def _fill_by_name(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("name"), str):
            return _BY_NAME.get(values["name"], {}) | values
        return values


def steps_in_epoch(n: int, batch_size: int) -> int:
    """Return the number of whole batches in n samples, at least one; each epoch leaves out other samples."""
    return max(1, n // batch_size)


class TrainingConfig(Config):
    """Length, batches and optimiser of a training."""

    epochs: Annotated[int, Ge(1)] = 200
    """Passes over the images."""
    steps: Annotated[int, Ge(1)] | None = None
    """Total number of optimiser steps, instead of epochs."""
    batch_size: Annotated[int, Ge(2)] = 256
    """Images per step, over all processes."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """The optimiser and its schedule."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of matrix products and convolutions (autocast); losses and weights stay float32."""
    compile: bool = False
    """Compile the network by torch.compile."""
    seed: int = 0
    """Seed of the initialisation, the batches and the augmentations."""

    def n_steps(self, n: int) -> int:
        """Return the total number of steps for n images."""
        return self.steps or self.epochs * steps_in_epoch(n, self.batch_size)
