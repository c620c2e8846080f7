"""Fitted transformers as JSON and tensors: a model is read back without unpickling anything.

A transformer is made anew by the registry of feature sets, and its fitted attributes are set: numbers, texts, arrays,
trained modules, and other transformers.
"""

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone

from monosemy.encoders.heads import Head
from monosemy.sae import activations
from monosemy.sae.module import Autoencoder

Tensors = dict[str, torch.Tensor]
_NEEDED = "_n_features_out"
"""Attribute of scikit-learn's that is private and yet fitted."""
_LEFT_OUT = ("losses_", "trainer_", "feature_names_in_")
"""Attributes that training alone or a check of column names needs."""


def state_of(transformer: Any) -> tuple[dict[str, Any], Tensors]:
    """Return the fitted attributes of a transformer: plain values, and tensors by name."""
    values: dict[str, Any] = {}
    tensors: Tensors = {}
    for name, value in vars(transformer).items():
        fitted = name.endswith("_") and not name.startswith("_") and name not in _LEFT_OUT
        if not fitted and name != _NEEDED:
            continue
        own: Tensors = {}
        if isinstance(value, torch.nn.Module):
            values[name], own = _described(value), value.state_dict()
        elif isinstance(value, BaseEstimator):
            values[name], own = state_of(value)
        elif isinstance(value, np.ndarray):
            tensors[name] = torch.from_numpy(np.ascontiguousarray(value))
        elif isinstance(value, bool | int | float | str | np.generic):
            values[name] = value.item() if isinstance(value, np.generic) else value
        tensors |= {f"{name}.{key}": tensor for key, tensor in own.items()}
    return values, tensors


def restore(transformer: Any, values: dict[str, Any], tensors: Tensors) -> Any:
    """Set the attributes of :func:`state_of` on a new transformer, and return it."""
    for name, value in values.items():
        if isinstance(value, dict):
            own = {
                key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")
            }
            inner = getattr(transformer, name.removesuffix("_"), None)
            value = _module(value, own) if inner is None else restore(clone(inner), value, own)
        setattr(transformer, name, value)
    for name, tensor in tensors.items():
        if "." not in name:
            setattr(transformer, name, tensor.numpy())
    return transformer


def _described(module: torch.nn.Module) -> dict[str, Any]:
    """Return the plain values that a module is made of."""
    if isinstance(module, Autoencoder):
        activation = module.activation
        return {"activation": activation.name, "settings": activation.settings(), "widths": list(module.widths)}
    assert isinstance(module, Head)
    return {"non_negative": module.non_negative, "k": module.k}


def _module(described: dict[str, Any], state: Tensors) -> torch.nn.Module:
    """Return the module with these plain values and tensors."""
    module: torch.nn.Module
    if "activation" in described:
        n_latents, n_inputs = state["encoder"].shape
        activation = activations.ACTIVATIONS[described["activation"]](n_latents, **described["settings"])
        module = Autoencoder(n_inputs, n_latents, activation, described["widths"])
    else:
        n_features, n_inputs = state["weight"].shape
        module = Head(n_inputs, n_features, described["non_negative"], described["k"])
    module.load_state_dict(state)
    return module.eval()
