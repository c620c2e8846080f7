"""The loss of a batch and its gradient: densely by autograd, or in closed form where the code is sparse enough."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from monosemy.features.autoencoder.activations import Selecting
from monosemy.features.autoencoder.module import Autoencoder
from monosemy.functional import aux_k
from monosemy.functional.autoencoder import Terms, loss_and_gradient, pre_activations
from monosemy.functional.codes import SparseCodes, from_dense, to_dense, top_k
from monosemy.functional.dispatch import sparse_pays
from monosemy.functional.mono_loss import batch_mono_score, mono_loss


class Step(NamedTuple):
    """What a batch says."""

    loss: float
    gradients: Sequence[Tensor | None]
    """In the order of the model's parameters; None where the loss does not depend on one."""
    codes: SparseCodes


def is_sparse(model: Autoencoder) -> bool:
    """Whether the closed form is used: the code is sparse by selection, and sparse enough for the device."""
    activation, device = model.activation, model.encoder.device
    return isinstance(activation, Selecting) and sparse_pays(model.n_latents, activation.k, device)


def evaluate(model: Autoencoder, x: Tensor, dead: Tensor, terms: Terms) -> Step:
    """Loss and gradient of a batch.

    Args:
        x: (B, D), scaled.
        dead: (M,) bool.
    """
    return sparse_step(model, x, dead, terms) if is_sparse(model) else dense_step(model, x, dead, terms)


def sparse_step(model: Autoencoder, x: Tensor, dead: Tensor, terms: Terms) -> Step:
    """In closed form; for activations that select."""
    assert isinstance(model.activation, Selecting)
    pre = pre_activations(model.weights, x)
    codes = model.activation.select(pre)
    loss, gradient = loss_and_gradient(model.weights, x, pre, codes, dead, terms)
    return Step(loss, gradient, codes)


def dense_step(model: Autoencoder, x: Tensor, dead: Tensor, terms: Terms) -> Step:
    """By autograd on dense matrices; for every activation."""
    parameters = list(model.parameters())
    model.requires_grad_(True)
    try:
        with torch.enable_grad():
            loss, code = dense_loss(model, x, dead, terms)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        model.requires_grad_(False)
    return Step(loss.item(), gradients, from_dense(code.detach()))


def dense_loss(model: Autoencoder, x: Tensor, dead: Tensor, terms: Terms) -> tuple[Tensor, Tensor]:
    """The loss as :func:`monosemy.functional.autoencoder.loss_and_gradient` defines it, with the activation's penalty.

    loss = (sum_p |r_p - x|^2 + penalty) / |x|^2 + AuxK + MonoScore's term.

    Returns: the loss and the (B, M) code.
    """
    weights = model.weights
    pre = pre_activations(weights, x)
    code = model.activation.training_code(pre, weights)
    # Block by block, so that nothing is added up twice.
    energy = terms.total(x.pow(2).sum()).clamp(min=1e-30)
    recon = weights.decoder_bias
    loss = model.activation.penalty(pre, x, weights)
    start = 0
    for end in terms.widths:
        recon = recon + code[:, start:end] @ weights.decoder[start:end]
        loss = loss + (recon - x).pow(2).sum()
        start = end
    loss = loss / energy
    if terms.mono_weight > 0:
        loss = loss + terms.mono_weight * mono_loss(batch_mono_score(code, x))
    n_dead = int(dead.sum())
    if terms.aux_weight > 0 and n_dead > 0:
        among_dead = to_dense(top_k(pre[:, dead], min(terms.aux_latents, n_dead)))
        error = x - recon
        own = error.detach().pow(2).sum()
        share = own / terms.total(own).clamp(min=1e-30)
        loss = loss + terms.aux_weight * share * aux_k(error, among_dead @ weights.decoder[dead])
    return loss, code
