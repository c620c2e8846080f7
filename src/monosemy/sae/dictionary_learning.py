"""The layout of dictionary_learning: a folder with ``config.json`` and ``ae.pt``, or ``ae.safetensors`` in its place.

Read and written without the library. ``ae.pt`` is a torch file: only tensors are read from it; nothing is executed.
The test files were written by dictionary-learning 0.1.0, and their codes recorded from it.
"""

from itertools import accumulate, pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file

from monosemy.core.files import atomic_path
from monosemy.errors import InputError, reason
from monosemy.functional.autoencoder import Weights
from monosemy.sae import activations, interop, module

CONFIG, WEIGHTS = "config.json", ("ae.safetensors", "ae.pt")
_UNTRAINED = -1.0
"""The library's threshold of a model that has none yet."""
_BIASES = {
    "AutoEncoder": ("encoder.bias", "bias"),
    "AutoEncoderNew": ("encoder.bias", "decoder.bias"),
    "AutoEncoderTopK": ("encoder.bias", "b_dec"),
    "BatchTopKSAE": ("encoder.bias", "b_dec"),
    "MatryoshkaBatchTopKSAE": ("b_enc", "b_dec"),
    "JumpReluAutoEncoder": ("b_enc", "b_dec"),
    "GatedAutoEncoder": ("gate_bias", "decoder_bias"),
}
"""Names of c and b by class; classes with `b_enc` have plain matrices, the others linear layers."""


def from_dictionary_learning(folder: Path) -> module.Autoencoder:
    """Read a folder that dictionary_learning wrote, by its ``dict_class``.

    AutoEncoder, AutoEncoderNew, AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE, JumpReluAutoEncoder and
    GatedAutoEncoder. Latents keep the scale that they have in the file.

    Raises:
        InputError: a file is missing or damaged, contains more than tensors, or is of another class.
    """
    config = interop.read_json(folder / CONFIG)
    trainer = config.get("trainer")
    settings: dict[str, Any] = trainer if isinstance(trainer, dict) else {}
    kind = interop.check_kind(settings.get("dict_class"), tuple(_BIASES), "dict_class", folder / CONFIG)
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} has none of {' and '.join(WEIGHTS)}; give the folder as it was saved.")
    tensors = interop.Tensors(_read_tensors(path), str(path))
    weights = _weights(tensors, kind)
    n_latents, widths = len(weights.encoder), None
    activation: activations.Activation
    match kind:
        case "AutoEncoder" | "AutoEncoderNew":
            activation = interop.relu(n_latents)
        case "AutoEncoderTopK":
            activation = activations.TopK(n_latents, _k(tensors, settings))
        case "BatchTopKSAE" | "MatryoshkaBatchTopKSAE":
            activation = interop.batch_top_k(n_latents, _k(tensors, settings), tensors.take("threshold"))
            if kind == "MatryoshkaBatchTopKSAE":
                widths = list(accumulate(int(size) for size in tensors.take("group_sizes", None)))
        case "JumpReluAutoEncoder":
            activation = interop.jump_relu(tensors.take("threshold", n_latents))
        case _:
            activation = interop.gated(tensors.take("r_mag", n_latents), tensors.take("mag_bias", n_latents))
    if kind in ("AutoEncoderNew", "JumpReluAutoEncoder"):  # these do not subtract b from the inputs
        weights = interop.centred(weights, activation)
    return interop.assemble(weights, activation, widths)


def to_dictionary_learning(model: module.Autoencoder, folder: Path) -> None:
    """Write ``ae.pt`` and ``config.json``, which dictionary_learning loads by ``utils.load_dictionary``.

    Codes and reconstructions are those of the model, to rounding; its scale is folded into the weights. For ReLU the
    library then brings decoder rows to length 1 and latents to the scale that goes with it.
    """
    weights, activation = interop.plain(model), model.activation
    linear = {"encoder.weight": weights.encoder, "decoder.weight": weights.decoder.T}
    matrices = {"W_enc": weights.encoder.T, "W_dec": weights.decoder}
    settings: dict[str, Any] = {"activation_dim": model.n_inputs, "dict_size": model.n_latents}
    match activation:
        case activations.ReLU():
            kind, tensors = "AutoEncoder", linear
        case activations.TopK():
            kind, tensors = "AutoEncoderTopK", linear | {"threshold": torch.tensor(_UNTRAINED)}
        case activations.BatchTopK() if len(model.widths) == 1:
            kind, tensors = "BatchTopKSAE", linear | {"threshold": activation.threshold.float()}
        case activations.BatchTopK():
            kind, tensors = "MatryoshkaBatchTopKSAE", matrices | {"threshold": activation.threshold.float()}
            tensors["group_sizes"] = torch.tensor([b - a for a, b in pairwise((0, *model.widths))])
        case activations.JumpReLU():
            kind, tensors = "JumpReluAutoEncoder", matrices | {"threshold": activation.threshold}
            weights = weights._replace(encoder_bias=weights.encoder_bias - interop.shift(weights))
        case activations.Gated():
            kind = "GatedAutoEncoder"
            tensors = linear | {"r_mag": activation.log_scale, "mag_bias": activation.magnitude_bias}
        case _:
            raise InputError(
                f"dictionary_learning has no layout for the activation {activation.name!r}; save the model as it is."
            )
    tensors |= dict(zip(_BIASES[kind], (weights.encoder_bias, weights.decoder_bias), strict=True))
    if isinstance(activation, activations.TopK | activations.BatchTopK):
        settings["k"] = activation.k
        tensors["k"] = torch.tensor(activation.k, dtype=torch.int32)
    with atomic_path(folder / WEIGHTS[1]) as temporary:
        torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    interop.write_json(folder / CONFIG, {"trainer": {"dict_class": kind} | settings})


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name; other contents are refused, and nothing is executed."""
    try:
        tensors: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # damaged files raise nearly every type; each means just that
        why = "it is damaged or contains more than tensors" if isinstance(error, UnpicklingError) else reason(error)
        raise InputError(
            f"{path} cannot be read as tensors ({why}); give the weights as a .safetensors file."
        ) from error
    sound = isinstance(tensors, dict) and all(
        isinstance(name, str)
        and isinstance(value, torch.Tensor)
        and value.layout == torch.strided
        and not value.is_quantized
        for name, value in tensors.items()
    )
    if not sound:
        raise InputError(
            f"{path} is not a plain dictionary of dense tensors; give a state_dict or a .safetensors file."
        )
    return dict(tensors)


def _weights(tensors: interop.Tensors, kind: str) -> Weights:
    encoder_bias, decoder_bias = _BIASES[kind]
    if encoder_bias != "b_enc":
        encoder = tensors.take("encoder.weight", None, None)
        n_latents, n_inputs = encoder.shape
        decoder = tensors.take("decoder.weight", n_inputs, n_latents).T.contiguous()
    else:
        decoder = tensors.take("W_dec", None, None)
        n_latents, n_inputs = decoder.shape
        encoder = tensors.take("W_enc", n_inputs, n_latents).T.contiguous()
    return Weights(encoder, tensors.take(encoder_bias, n_latents), decoder, tensors.take(decoder_bias, n_inputs))


def _k(tensors: interop.Tensors, settings: dict[str, Any]) -> int:
    """Return k of the weights, or of the configuration where older weights have none."""
    k = float(tensors.take("k")) if "k" in tensors.tensors else settings.get("k")
    return interop.whole_number(k, "k", tensors.where)
