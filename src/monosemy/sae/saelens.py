"""The layout of SAELens: a folder with ``cfg.json`` and ``sae_weights.safetensors``.

Read and written without the library. What it computes from the inputs of a hook this module computes too, to rounding:
the test files were written by sae-lens 6.54.12, and their codes recorded from it.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from monosemy import __version__
from monosemy.core.files import atomic_path, write_text
from monosemy.errors import InputError, reason
from monosemy.functional.autoencoder import Weights
from monosemy.sae.activations import Activation, BatchTopK, Gated, JumpReLU, ReLU, TopK
from monosemy.sae.interop import Tensors, assemble, gated, jump_relu, plain, read_json, shift, whole_number
from monosemy.sae.module import Autoencoder

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
_LAYOUT = "6.0.0"
"""The version of SAELens that brought the layout that is written."""
_UNFOLDED = {
    "expected_average_only_in": "a factor",
    "covariance_whitening": "a whitening",
}
"""Ways to normalise that SAELens can fold into the weights."""
_PER_ROW = ("layer_norm", "constant_norm_rescale")


class _Found(NamedTuple):
    """What a reader of an architecture makes of the tensors."""

    encoder_bias: Tensor
    activation: Activation
    widths: Sequence[int] | None = None


def from_saelens(folder: Path) -> Autoencoder:
    """Read a folder that SAELens wrote: standard, topk, batchtopk, jumprelu, gated or matryoshka_batchtopk.

    Configurations from before SAELens 6 serve as well. Heads of attention (``hook_z``) are expected side by side in one
    row. A batchtopk or matryoshka checkpoint of a training gets the threshold that SAELens itself would save with it.

    Raises:
        InputError: a file is missing or damaged, or the model does more than an autoencoder here can (another
            architecture, inputs normalised row by row, a normalisation that was not folded into the weights).
    """
    config = _modern(read_json(folder / CONFIG))
    where = str(folder / WEIGHTS)
    architecture = config.get("architecture", "standard")
    reader = _READERS.get(architecture) if isinstance(architecture, str) else None
    if reader is None:
        raise InputError(
            f"{folder / CONFIG} describes the architecture {architecture!r}, which cannot be read; give one of "
            f"{', '.join(_READERS)}."
        )
    _check_inputs(config, folder)
    try:
        tensors = Tensors(load_file(folder / WEIGHTS), where)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{where} cannot be read ({reason(error)}); give the file as SAELens saved it.") from error
    if "scaling_factor" in tensors.tensors and not bool((tensors.take("scaling_factor", None) == 1).all()):
        raise InputError(f"{where} has a finetuned scaling factor for each latent, which cannot be read; fold it in.")
    n_inputs, n_latents = (whole_number(config.get(name), name, str(folder / CONFIG)) for name in ("d_in", "d_sae"))
    weights = Weights(
        encoder=tensors.take("W_enc", n_inputs, n_latents).T.contiguous(),
        encoder_bias=torch.zeros(n_latents),
        decoder=tensors.take("W_dec", n_latents, n_inputs),
        decoder_bias=tensors.take("b_dec", n_inputs),
    )
    found = reader(tensors, config, n_latents)
    weights = weights._replace(encoder_bias=found.encoder_bias)
    if not config.get("apply_b_dec_to_input", True):
        weights = _subtracting(weights, found.activation)
    if config.get("rescale_acts_by_decoder_norm") and architecture in _RESCALED:
        weights = _rescaled(weights)
    return assemble(weights, found.activation, found.widths)


def to_saelens(model: Autoencoder, folder: Path) -> None:
    """Write ``cfg.json`` and ``sae_weights.safetensors``, which SAELens 6 loads by ``SAE.load_from_disk``.

    Codes and reconstructions are those of the model, to rounding; its scale is folded into the weights. As SAELens does
    itself, BatchTopK is written as JumpReLU with one threshold for all latents. Matryoshka prefixes stand in the
    metadata only.
    """
    weights = plain(model)
    tensors = {
        "W_enc": weights.encoder.T.contiguous(),
        "W_dec": weights.decoder,
        "b_dec": weights.decoder_bias,
    }
    activation, bias = model.activation, weights.encoder_bias
    more: dict[str, Any] = {}
    match activation:
        case ReLU():
            architecture = "standard"
        case TopK():
            architecture, more = "topk", {"k": activation.k, "rescale_acts_by_decoder_norm": False}
        case BatchTopK():
            architecture = "jumprelu"
            tensors["threshold"] = activation.threshold.expand(model.n_latents).clone()
        case JumpReLU():
            architecture = "jumprelu"
            tensors["threshold"] = activation.threshold.detach()
        case Gated():
            architecture = "gated"
            tensors |= {
                "b_gate": bias,
                "b_mag": activation.magnitude_bias.detach().clone(),
                "r_mag": activation.log_scale.detach().clone(),
            }
        case _:
            raise InputError(f"SAELens has no layout for the activation {activation.name!r}; save the model as it is.")
    if architecture != "gated":
        tensors["b_enc"] = bias
    metadata: dict[str, Any] = {"sae_lens_version": _LAYOUT, "written_by": f"monosemy {__version__}"}
    if len(model.widths) > 1:
        metadata["matryoshka_widths"] = list(model.widths)
    config = {
        "architecture": architecture, "d_in": model.n_inputs, "d_sae": model.n_latents, "dtype": "float32",
        "device": "cpu", "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": metadata,
    } | more  # fmt: skip
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file({name: tensor.float().cpu() for name, tensor in tensors.items()}, temporary)
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration in the terms of SAELens 6."""
    config = dict(config)
    kind = config.get("activation_fn_str", config.get("activation_fn"))
    if kind == "topk" and config.get("architecture", "standard") == "standard":
        arguments = config.get("activation_fn_kwargs")
        config["architecture"] = "topk"
        config["k"] = arguments.get("k") if isinstance(arguments, dict) else None
    normalised = config.get("normalize_activations")
    if not isinstance(normalised, str):
        config["normalize_activations"] = "expected_average_only_in" if normalised else "none"
    return config


def _check_inputs(config: dict[str, Any], folder: Path) -> None:
    """Refuse what is done to the inputs beside subtracting the bias."""
    normalised = config["normalize_activations"]
    if normalised in _UNFOLDED:
        raise InputError(
            f"{folder / CONFIG} says normalize_activations={normalised!r}: inputs need {_UNFOLDED[normalised]} that "
            f"the weights do not hold; fold it in with SAELens and save the model again."
        )
    if normalised != "none":
        how = "row by row" if normalised in _PER_ROW else "in an unknown way"
        raise InputError(
            f"{folder / CONFIG} says normalize_activations={normalised!r}, so inputs are normalised {how}, which an "
            f"autoencoder here cannot do; use SAELens for this model."
        )


def _standard(tensors: Tensors, config: dict[str, Any], n_latents: int) -> _Found:
    activation = ReLU(n_latents, n_latents, sparsity_weight=ReLU.start_weight)
    kind = config.get("activation_fn_str", config.get("activation_fn", "relu"))
    if kind != "relu":
        raise InputError(f"{tensors.where} has the activation {kind!r}, which cannot be read; give one with relu.")
    return _Found(tensors.take("b_enc", n_latents), activation)


def _topk(tensors: Tensors, config: dict[str, Any], n_latents: int) -> _Found:
    k = whole_number(config.get("k"), "k", tensors.where)
    return _Found(tensors.take("b_enc", n_latents), TopK(n_latents, k))


def _batchtopk(tensors: Tensors, config: dict[str, Any], n_latents: int) -> _Found:
    k = config.get("k")  # a mean, so it need not be whole
    if isinstance(k, float) and 0 < k <= n_latents:
        k = max(1, round(k))
    activation = BatchTopK(n_latents, whole_number(k, "k", tensors.where))
    activation.threshold.copy_(tensors.take("topk_threshold"))
    return _Found(tensors.take("b_enc", n_latents), activation)


def _matryoshka(tensors: Tensors, config: dict[str, Any], n_latents: int) -> _Found:
    widths = config.get("matryoshka_widths")
    if not isinstance(widths, list) or not widths:
        raise InputError(f"{tensors.where} has matryoshka_widths={widths!r}, which are no widths; check the file.")
    sizes = [whole_number(width, "matryoshka_widths", tensors.where) for width in widths]
    if sizes[-1] != n_latents:
        sizes.append(n_latents)  # SAELens does so too
    return _batchtopk(tensors, config, n_latents)._replace(widths=sizes)


def _jumprelu(tensors: Tensors, config: dict[str, Any], n_latents: int) -> _Found:
    return _Found(tensors.take("b_enc", n_latents), jump_relu(tensors.take("threshold", n_latents)))


def _gated(tensors: Tensors, config: dict[str, Any], n_latents: int) -> _Found:
    activation = gated(tensors.take("r_mag", n_latents), tensors.take("b_mag", n_latents))
    return _Found(tensors.take("b_gate", n_latents), activation)


_READERS: dict[str, Callable[[Tensors, dict[str, Any], int], _Found]] = {
    "standard": _standard,
    "topk": _topk,
    "batchtopk": _batchtopk,
    "jumprelu": _jumprelu,
    "gated": _gated,
    "matryoshka_batchtopk": _matryoshka,
}
_RESCALED = ("topk", "batchtopk", "matryoshka_batchtopk")


@torch.no_grad()
def _subtracting(weights: Weights, activation: Activation) -> Weights:
    """The same pre-activations where b is subtracted from the inputs first."""
    moved = shift(weights)
    if isinstance(activation, Gated):  # its magnitude path does without the encoder's bias
        activation.magnitude_bias.add_(activation.log_scale.exp() * moved)
    return weights._replace(encoder_bias=weights.encoder_bias + moved)


def _rescaled(weights: Weights) -> Weights:
    """With activations times the length of their decoder row, which is 1 then."""
    lengths = weights.decoder.norm(dim=1)
    return Weights(
        weights.encoder * lengths[:, None],
        weights.encoder_bias * lengths,
        weights.decoder / lengths.clamp(min=torch.finfo(torch.float32).tiny)[:, None],
        weights.decoder_bias,
    )
