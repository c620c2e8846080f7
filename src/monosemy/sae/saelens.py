"""The layout of SAELens: a folder with ``cfg.json`` and ``sae_weights.safetensors``.

Read and written without the library. Codes of the inputs of a hook equal the library's to rounding: the test files were
written by sae-lens 6.54.12, and their codes recorded from it.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from monosemy import __version__
from monosemy.core.files import atomic_path
from monosemy.errors import InputError, reason
from monosemy.functional.autoencoder import Weights
from monosemy.sae import activations, interop, module

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
_LAYOUT = "6.0.0"
"""The version of SAELens that brought the layout that is written."""
_UNFOLDED = {"expected_average_only_in": "a factor", "covariance_whitening": "a whitening"}
"""Ways to normalise that SAELens can fold into the weights."""
_PER_ROW = ("layer_norm", "constant_norm_rescale")
_ARCHITECTURES = ("standard", "topk", "batchtopk", "jumprelu", "gated", "matryoshka_batchtopk")
_RESCALED = ("topk", "batchtopk", "matryoshka_batchtopk")
"""Architectures that may scale activations by the length of their decoder row."""


def from_saelens(folder: Path) -> module.Autoencoder:
    """Read a folder that SAELens wrote: standard, topk, batchtopk, jumprelu, gated or matryoshka_batchtopk.

    Configurations from before SAELens 6 are read as well. Heads of attention (``hook_z``) are expected side by side in
    one row. A batchtopk or matryoshka checkpoint of a training gets the threshold that SAELens itself would save with
    it.

    Raises:
        InputError: a file is missing or damaged, or the model has a feature that is not supported (another
            architecture, inputs normalised row by row, a normalisation that was not folded into the weights).
    """
    config = _modern(interop.read_json(folder / CONFIG))
    where = str(folder / WEIGHTS)
    architecture = interop.check_kind(
        config.get("architecture", "standard"), _ARCHITECTURES, "architecture", folder / CONFIG
    )
    _check_inputs(config, folder)
    try:
        tensors = interop.Tensors(load_file(folder / WEIGHTS), where)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{where} cannot be read ({reason(error)}); give the file as SAELens saved it.") from error
    if "scaling_factor" in tensors.tensors and not bool((tensors.take("scaling_factor", None) == 1).all()):
        raise InputError(f"{where} has a finetuned scaling factor for each latent, which cannot be read; fold it in.")
    n_inputs, n_latents = (
        interop.whole_number(config.get(name), name, str(folder / CONFIG)) for name in ("d_in", "d_sae")
    )
    weights = Weights(
        encoder=tensors.take("W_enc", n_inputs, n_latents).T.contiguous(),
        encoder_bias=tensors.take("b_gate" if architecture == "gated" else "b_enc", n_latents),
        decoder=tensors.take("W_dec", n_latents, n_inputs),
        decoder_bias=tensors.take("b_dec", n_inputs),
    )
    activation, widths = _activation(architecture, tensors, config, n_latents)
    if not config.get("apply_b_dec_to_input", True):
        weights = interop.centred(weights, activation)
    if config.get("rescale_acts_by_decoder_norm") and architecture in _RESCALED:
        lengths = weights.decoder.norm(dim=1)
        weights = Weights(
            weights.encoder * lengths[:, None],
            weights.encoder_bias * lengths,
            weights.decoder / lengths.clamp(min=torch.finfo(torch.float32).tiny)[:, None],
            weights.decoder_bias,
        )
    return interop.assemble(weights, activation, widths)


def to_saelens(model: module.Autoencoder, folder: Path) -> None:
    """Write ``cfg.json`` and ``sae_weights.safetensors``, which SAELens 6 loads by ``SAE.load_from_disk``.

    Codes and reconstructions are those of the model, to rounding; its scale is folded into the weights. As SAELens does
    itself, BatchTopK is written as JumpReLU with one threshold for all latents. Matryoshka prefixes stand in the
    metadata only.
    """
    weights = interop.plain(model)
    tensors = {"W_enc": weights.encoder.T.contiguous(), "W_dec": weights.decoder, "b_dec": weights.decoder_bias}
    activation, more = model.activation, dict[str, Any]()
    match activation:
        case activations.ReLU():
            architecture = "standard"
        case activations.TopK():
            architecture, more = "topk", {"k": activation.k, "rescale_acts_by_decoder_norm": False}
        case activations.BatchTopK():
            architecture = "jumprelu"
            tensors["threshold"] = activation.threshold.expand(model.n_latents).clone()
        case activations.JumpReLU():
            architecture = "jumprelu"
            tensors["threshold"] = activation.threshold.detach()
        case activations.Gated():
            architecture = "gated"
            tensors |= {"b_mag": activation.magnitude_bias.detach(), "r_mag": activation.log_scale.detach()}
        case _:
            raise InputError(f"SAELens has no layout for the activation {activation.name!r}; save the model as it is.")
    tensors["b_gate" if architecture == "gated" else "b_enc"] = weights.encoder_bias
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
    interop.write_json(folder / CONFIG, config)


def _modern(config: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration in the terms of SAELens 6."""
    changed: dict[str, Any] = {}
    kind = config.get("activation_fn_str", config.get("activation_fn"))
    if kind == "topk" and config.get("architecture", "standard") == "standard":
        arguments = config.get("activation_fn_kwargs")
        changed = {"architecture": "topk", "k": arguments.get("k") if isinstance(arguments, dict) else None}
    normalised = config.get("normalize_activations")
    if not isinstance(normalised, str):
        changed["normalize_activations"] = "expected_average_only_in" if normalised else "none"
    return config | changed


def _check_inputs(config: dict[str, Any], folder: Path) -> None:
    """Raise where inputs are changed by more than subtracting the bias."""
    normalised = config["normalize_activations"]
    has = f"{folder / CONFIG} has normalize_activations={normalised!r}"
    if normalised in _UNFOLDED:
        raise InputError(
            f"{has}: inputs need {_UNFOLDED[normalised]} that is not part of the weights; fold it in with SAELens and "
            f"save the model again."
        )
    if normalised != "none":
        how = "row by row" if normalised in _PER_ROW else "in an unknown way"
        raise InputError(
            f"{has}, so inputs are normalised {how}, which an autoencoder here cannot do; use SAELens for this model."
        )


def _activation(
    architecture: str, tensors: interop.Tensors, config: dict[str, Any], n_latents: int
) -> tuple[activations.Activation, list[int] | None]:
    """Return the activation of an architecture, and its prefix widths."""
    match architecture:
        case "standard":
            kind = config.get("activation_fn_str", config.get("activation_fn", "relu"))
            if kind != "relu":
                raise InputError(
                    f"{tensors.where} has the activation {kind!r}, which cannot be read; give one with relu."
                )
            return interop.relu(n_latents), None
        case "topk":
            return activations.TopK(n_latents, interop.whole_number(config.get("k"), "k", tensors.where)), None
        case "jumprelu":
            return interop.jump_relu(tensors.take("threshold", n_latents)), None
        case "gated":
            return interop.gated(tensors.take("r_mag", n_latents), tensors.take("b_mag", n_latents)), None
    sizes: list[int] | None = None
    if architecture == "matryoshka_batchtopk":
        widths = config.get("matryoshka_widths")
        if not isinstance(widths, list) or not widths:
            raise InputError(f"{tensors.where} has matryoshka_widths={widths!r}; give a list of prefix widths.")
        sizes = [interop.whole_number(width, "matryoshka_widths", tensors.where) for width in widths]
        if sizes[-1] != n_latents:
            sizes.append(n_latents)  # as SAELens does
    k = config.get("k")  # a mean, so it may be fractional
    if isinstance(k, float) and 0 < k <= n_latents:
        k = max(1, round(k))
    k = interop.whole_number(k, "k", tensors.where)
    return interop.batch_top_k(n_latents, k, tensors.take("topk_threshold")), sizes
