"""The layout of dictionary_learning: a folder with ``config.json`` and ``ae.pt``, or ``ae.safetensors`` in its place.

Read and written without the library. ``ae.pt`` is a torch file: only tensors are read from it, and nothing is executed.
The test files were written by dictionary-learning 0.1.0, and their codes recorded from it.
"""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from monosemy.core.files import atomic_path, write_text
from monosemy.errors import InputError, reason
from monosemy.functional.autoencoder import Weights
from monosemy.sae.activations import BatchTopK, Gated, JumpReLU, ReLU, TopK
from monosemy.sae.interop import Tensors, assemble, gated, jump_relu, plain, read_json, shift, whole_number
from monosemy.sae.module import Autoencoder

CONFIG, WEIGHTS = "config.json", ("ae.safetensors", "ae.pt")
_UNTRAINED = -1.0
"""What the library writes as the threshold of a model that has none yet."""


def from_dictionary_learning(folder: Path) -> Autoencoder:
    """Read a folder that dictionary_learning wrote, by its ``dict_class``.

    AutoEncoder, AutoEncoderNew, AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE, JumpReluAutoEncoder and
    GatedAutoEncoder. Latents keep the scale that they have in the file.

    Raises:
        InputError: a file is missing or damaged, holds more than tensors, or is of another class.
    """
    config = read_json(folder / CONFIG)
    trainer = config.get("trainer")
    settings: dict[str, Any] = trainer if isinstance(trainer, dict) else {}
    kind = settings.get("dict_class")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise InputError(
            f"{folder / CONFIG} names the dict_class {kind!r}, which cannot be read; give one of {', '.join(_READERS)}."
        )
    path = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if path is None:
        raise InputError(f"{folder} has none of {' and '.join(WEIGHTS)}; give the folder as it was saved.")
    return reader(Tensors(_tensors(path), str(path)), settings)


def to_dictionary_learning(model: Autoencoder, folder: Path) -> None:
    """Write ``ae.pt`` and ``config.json``, which dictionary_learning loads by ``utils.load_dictionary``.

    Codes and reconstructions are those of the model, to rounding; its scale is folded into the weights. For ReLU the
    library then brings decoder rows to length 1 and latents to the scale that goes with it.
    """
    weights = plain(model)
    activation = model.activation
    settings: dict[str, Any] = {"activation_dim": model.n_inputs, "dict_size": model.n_latents}
    match activation:
        case ReLU():
            kind = "AutoEncoder"
            tensors = _linear(weights) | {"bias": weights.decoder_bias}
        case TopK():
            kind = "AutoEncoderTopK"
            tensors = _selecting(_linear(weights), weights, activation.k, torch.tensor(_UNTRAINED))
        case BatchTopK() if len(model.widths) == 1:
            kind = "BatchTopKSAE"
            tensors = _selecting(_linear(weights), weights, activation.k, activation.threshold)
        case BatchTopK():
            kind = "MatryoshkaBatchTopKSAE"
            tensors = _selecting(_matrices(weights), weights, activation.k, activation.threshold)
            tensors["group_sizes"] = torch.tensor([b - a for a, b in pairwise((0, *model.widths))])
        case JumpReLU():
            kind = "JumpReluAutoEncoder"
            unshifted = weights._replace(encoder_bias=weights.encoder_bias - shift(weights))
            tensors = _matrices(unshifted) | {"b_dec": weights.decoder_bias, "threshold": activation.threshold}
        case Gated():
            kind = "GatedAutoEncoder"
            tensors = {
                "decoder_bias": weights.decoder_bias,
                "r_mag": activation.log_scale,
                "gate_bias": weights.encoder_bias,
                "mag_bias": activation.magnitude_bias,
                "encoder.weight": weights.encoder,
                "decoder.weight": weights.decoder.T,
            }
        case _:
            raise InputError(
                f"dictionary_learning has no layout for the activation {activation.name!r}; save the model as it is."
            )
    if isinstance(activation, TopK | BatchTopK):
        settings["k"] = activation.k
    with atomic_path(folder / WEIGHTS[1]) as temporary:
        torch.save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)
    write_text(folder / CONFIG, json.dumps({"trainer": {"dict_class": kind} | settings}, indent=2) + "\n")


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name; whatever else it holds is refused, and nothing is executed."""
    try:
        found: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # damaged files raise nearly every type; each means just that
        why = "it is damaged or holds more than tensors" if isinstance(error, UnpicklingError) else reason(error)
        raise InputError(
            f"{path} cannot be read as tensors ({why}); give the weights as a .safetensors file."
        ) from error
    sound = isinstance(found, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
        for name, value in found.items()
    )
    if not sound:
        raise InputError(f"{path} is no plain dictionary of dense tensors; give a state_dict or a .safetensors file.")
    return dict(found)


def _linear(weights: Weights) -> dict[str, Tensor]:
    """As the library's classes with linear layers hold it."""
    return {
        "encoder.weight": weights.encoder,
        "encoder.bias": weights.encoder_bias,
        "decoder.weight": weights.decoder.T,
    }


def _matrices(weights: Weights) -> dict[str, Tensor]:
    """As its classes with plain matrices hold it."""
    return {"W_enc": weights.encoder.T, "b_enc": weights.encoder_bias, "W_dec": weights.decoder}


def _selecting(parts: dict[str, Tensor], weights: Weights, k: int, threshold: Tensor) -> dict[str, Tensor]:
    more = {"b_dec": weights.decoder_bias, "k": torch.tensor(k, dtype=torch.int32), "threshold": threshold.float()}
    return parts | more


def _linear_weights(tensors: Tensors, decoder_bias: str, encoder_bias: str = "encoder.bias") -> Weights:
    encoder = tensors.take("encoder.weight", None, None)
    n_latents, n_inputs = encoder.shape
    return Weights(
        encoder,
        tensors.take(encoder_bias, n_latents),
        tensors.take("decoder.weight", n_inputs, n_latents).T.contiguous(),
        tensors.take(decoder_bias, n_inputs),
    )


def _matrix_weights(tensors: Tensors) -> Weights:
    decoder = tensors.take("W_dec", None, None)
    n_latents, n_inputs = decoder.shape
    return Weights(
        tensors.take("W_enc", n_inputs, n_latents).T.contiguous(),
        tensors.take("b_enc", n_latents),
        decoder,
        tensors.take("b_dec", n_inputs),
    )


def _relu(n_latents: int) -> ReLU:
    return ReLU(n_latents, n_latents, sparsity_weight=ReLU.start_weight)


def _auto_encoder(tensors: Tensors, settings: dict[str, Any]) -> Autoencoder:
    weights = _linear_weights(tensors, "bias")
    return assemble(weights, _relu(len(weights.encoder)))


def _auto_encoder_new(tensors: Tensors, settings: dict[str, Any]) -> Autoencoder:
    weights = _linear_weights(tensors, "decoder.bias")
    return assemble(_subtracting(weights), _relu(len(weights.encoder)))


def _auto_encoder_topk(tensors: Tensors, settings: dict[str, Any]) -> Autoencoder:
    weights = _linear_weights(tensors, "b_dec")
    return assemble(weights, TopK(len(weights.encoder), _k(tensors, settings)))


def _batch_topk(tensors: Tensors, settings: dict[str, Any]) -> Autoencoder:
    weights = _linear_weights(tensors, "b_dec")
    return assemble(weights, _with_threshold(tensors, settings, len(weights.encoder)))


def _matryoshka(tensors: Tensors, settings: dict[str, Any]) -> Autoencoder:
    weights = _matrix_weights(tensors)
    sizes = [int(size) for size in tensors.take("group_sizes", None)]
    widths = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    return assemble(weights, _with_threshold(tensors, settings, len(weights.encoder)), widths)


def _jumprelu(tensors: Tensors, settings: dict[str, Any]) -> Autoencoder:
    weights = _matrix_weights(tensors)
    return assemble(_subtracting(weights), jump_relu(tensors.take("threshold", len(weights.encoder))))


def _gated(tensors: Tensors, settings: dict[str, Any]) -> Autoencoder:
    weights = _linear_weights(tensors, "decoder_bias", "gate_bias")
    n_latents = len(weights.encoder)
    return assemble(weights, gated(tensors.take("r_mag", n_latents), tensors.take("mag_bias", n_latents)))


_READERS: dict[str, Callable[[Tensors, dict[str, Any]], Autoencoder]] = {
    "AutoEncoder": _auto_encoder,
    "AutoEncoderNew": _auto_encoder_new,
    "AutoEncoderTopK": _auto_encoder_topk,
    "BatchTopKSAE": _batch_topk,
    "MatryoshkaBatchTopKSAE": _matryoshka,
    "JumpReluAutoEncoder": _jumprelu,
    "GatedAutoEncoder": _gated,
}


def _k(tensors: Tensors, settings: dict[str, Any]) -> int:
    """Of the weights, or of the configuration where older weights have none."""
    k = float(tensors.take("k")) if "k" in tensors.tensors else settings.get("k")
    return whole_number(k, "k", tensors.where)


def _with_threshold(tensors: Tensors, settings: dict[str, Any], n_latents: int) -> BatchTopK:
    activation = BatchTopK(n_latents, _k(tensors, settings))
    activation.threshold.copy_(tensors.take("threshold"))
    return activation


def _subtracting(weights: Weights) -> Weights:
    """The same pre-activations where b is subtracted from the inputs first; these classes do not."""
    return weights._replace(encoder_bias=weights.encoder_bias + shift(weights))
