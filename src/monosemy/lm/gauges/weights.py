"""The weight gauge |w_in|_2 b_in of the neurons of every layer, from a model's own modules."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from monosemy.errors import InputError
from monosemy.functional.superposition import neuron_gauge
from monosemy.lm.architectures import MlpNames, input_weights, mlps, model_type


def layer_weight_gauges(model: nn.Module, names: MlpNames | None = None) -> list[NDArray[np.float64]]:
    """:func:`~monosemy.functional.neuron_gauge` of the neurons (M,) of each layer's MLP, in order.

    The input weights and biases are those of the up-projection, for a gated MLP of the projection that is not gated.

    Args:
        names: where the layers are; default by the architecture.

    Raises:
        InputError: the projections have no biases, or an adapter that is not merged into them.
    """
    found = []
    for number, mlp in enumerate(mlps(model, names)):
        if hasattr(mlp.up, "base_layer"):
            raise InputError(
                f"The adapter on {mlp.up_name} cannot be merged into the weights, so that there is no weight gauge; "
                f"measure by prompts."
            )
        weight, bias = input_weights(mlp.up), getattr(mlp.up, "bias", None)
        if weight is None or not weight.is_floating_point():
            raise InputError(
                f"{mlp.up_name} is a {type(mlp.up).__name__} without plain weights, so that there is no weight gauge; "
                f"load the model unquantised."
            )
        if not isinstance(bias, Tensor):
            raise InputError(
                f"The MLPs of this {model_type(model)} model have no bias (layer {number}), which the weight gauge "
                f"needs; measure by prompts, or take a model that has them, such as GPT-2, GPT-Neo, GPT-J, OPT or "
                f"Pythia."
            )
        found.append(neuron_gauge(_array(weight), _array(bias)))
    return found


def _array(values: Tensor) -> NDArray[np.floating]:
    return np.asarray(values.detach().float().cpu().numpy())
