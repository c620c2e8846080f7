"""The closed-form gradient against autograd on the dense definition."""

import math

import pytest
import torch
from torch import Tensor

from monosemy.functional.autoencoder import (
    Terms,
    Weights,
    aux_k,
    decode,
    loss_and_gradient,
    normalized_mse,
    pre_activations,
)
from monosemy.functional.codes import batch_top_k, to_dense, top_k
from monosemy.functional.monoscore import batch_mono_score, mono_loss

B, D, M, K = 7, 5, 12, 3
SELECT = {"topk": top_k, "batchtopk": batch_top_k}


def random_weights(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Weights, Tensor]:
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=dtype)

    weights = Weights(draw(M, D), 0.3 * draw(M), draw(M, D), 0.7 * draw(D) + 0.5)
    return weights, draw(B, D) + 1


def masked(pre: Tensor, k: int, name: str = "topk", among: Tensor | None = None) -> Tensor:
    """The code by a mask over the dense matrix."""
    if among is not None:
        pre = pre.masked_fill(~among, -torch.inf)
    rows = pre if name == "topk" else pre.reshape(1, -1)
    kth = rows.sort(dim=1, descending=True).values[:, k * len(pre) // len(rows) - 1, None]
    return torch.where((rows >= kth).view_as(pre), pre, torch.zeros_like(pre)).clamp(min=0)


def dense_loss(weights: Weights, x: Tensor, name: str, k: int, dead: Tensor, terms: Terms) -> Tensor:
    """The definition on dense matrices, left to autograd."""
    pre = (x - weights.decoder_bias) @ weights.encoder.T + weights.encoder_bias
    code = masked(pre, k, name)
    loss = torch.zeros((), dtype=x.dtype)
    for width in terms.widths:
        prefix = code * (torch.arange(M) < width)
        reconstruction = prefix @ weights.decoder + weights.decoder_bias
        loss = loss + normalized_mse(reconstruction, x)
    if terms.aux_weight > 0 and dead.any():
        aux = masked(pre, min(terms.aux_latents, int(dead.sum())), among=dead)
        loss = loss + terms.aux_weight * aux_k(x - reconstruction, aux @ weights.decoder)
    if terms.mono_weight > 0:
        loss = loss + terms.mono_weight * mono_loss(batch_mono_score(code, x))
    return loss


def closed_form(weights: Weights, x: Tensor, name: str, k: int, dead: Tensor, terms: Terms) -> tuple[float, Weights]:
    pre = pre_activations(weights, x)
    return loss_and_gradient(weights, x, pre, SELECT[name](pre, k), dead, terms)


def autograd(weights: Weights, *arguments) -> tuple[float, Weights]:
    leaves = Weights(*(w.clone().requires_grad_() for w in weights))
    loss = dense_loss(leaves, *arguments)
    return loss.item(), Weights(*torch.autograd.grad(loss, leaves))


def some_dead(*latents: int) -> Tensor:
    return torch.zeros(M, dtype=torch.bool).index_fill(0, torch.tensor(latents, dtype=torch.int64), True)


def assert_same(ours: tuple[float, Weights], theirs: tuple[float, Weights]) -> None:
    assert ours[0] == pytest.approx(theirs[0])
    for name, a, b in zip(Weights._fields, ours[1], theirs[1], strict=True):
        torch.testing.assert_close(a, b, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", sorted(SELECT))
@pytest.mark.parametrize("widths", [(M,), (2, 5, M)])
@pytest.mark.parametrize("mono_weight", [0.0, 0.7])
@pytest.mark.parametrize("aux_sparse_from", [0, 100])
@pytest.mark.parametrize(
    ("dead", "aux_latents", "aux_weight"),
    [
        (some_dead(), 2, 0.1),
        (some_dead(1, 4, 5, 9), 2, 0.0),
        (some_dead(1, 4, 5, 9), 2, 0.5),
        (some_dead(3, 7), 6, 0.5),  # fewer dead latents than AuxK may use
        (some_dead(*range(M)), 4, 2.0),
    ],
)
def test_loss_and_gradient_equal_autograd(
    seed: int,
    name: str,
    widths: tuple[int, ...],
    mono_weight: float,
    dead: Tensor,
    aux_latents: int,
    aux_weight: float,
    aux_sparse_from: int,
) -> None:
    weights, x = random_weights(seed)
    arguments = (x, name, K, dead, Terms(widths, aux_latents, aux_weight, aux_sparse_from, mono_weight))
    assert_same(closed_form(weights, *arguments), autograd(weights, *arguments))


def test_samples_and_blocks_without_an_active_latent() -> None:
    weights, x = random_weights(3)
    weights.encoder_bias[:5] = -50.0  # the first two blocks are silent
    x[0] = weights.decoder_bias - 0.001 * weights.encoder.sum(dim=0)
    arguments = (x, "batchtopk", 2, some_dead(0, 1), Terms((2, 5, M), 2, 0.5, 10, 0.3))
    assert_same(closed_form(weights, *arguments), autograd(weights, *arguments))


def test_no_active_latent_at_all() -> None:
    weights, x = random_weights(0)
    weights.encoder_bias[:] = -100.0
    loss, gradient = closed_form(weights, x, "topk", K, some_dead(), Terms((M,), 2, 0.1, 10, 1.0))
    assert loss == pytest.approx(float(normalized_mse(weights.decoder_bias.expand_as(x), x)))
    assert float(gradient.encoder.abs().sum() + gradient.decoder.abs().sum()) == 0
    assert all(math.isfinite(float(part.sum())) for part in gradient)


def test_aux_k_trains_the_encoder_of_dead_latents() -> None:
    weights, x = random_weights(0)
    silent = 4
    weights.encoder_bias[silent] = -2.0
    # Scaled until latent 4 is among the K of no sample, yet positive for some.
    weights.encoder_bias[silent] += 0.01 - pre_activations(weights, x)[:, silent].max()
    dead = some_dead(silent)
    assert (masked(pre_activations(weights, x), K)[:, silent] == 0).all()
    without = closed_form(weights, x, "topk", K, dead, Terms((M,), 2, 0.0, 10, 0.0))[1]
    with_aux = closed_form(weights, x, "topk", K, dead, Terms((M,), 2, 0.5, 10, 0.0))[1]
    for name in ("encoder", "encoder_bias", "decoder"):
        assert getattr(without, name)[silent].abs().sum() == 0
        assert getattr(with_aux, name)[silent].abs().sum() > 0
    alive = ~dead
    torch.testing.assert_close(with_aux.encoder[alive], without.encoder[alive])
    torch.testing.assert_close(with_aux.decoder[alive], without.decoder[alive])


def test_aux_loss_counts_the_decoder_bias_once() -> None:
    # A dead latent whose decoder row is the error itself models it perfectly, whatever the decoder bias is.
    weights, x = random_weights(1)
    x = x[:1]
    terms = Terms((M,), 1, 1.0, 10, 0.0)
    main = closed_form(weights, x, "topk", K, some_dead(), terms)[0]
    pre = pre_activations(weights, x)
    error = x - decode(weights, top_k(pre, K))
    code = to_dense(top_k(pre, K))[0]
    silent = int((code == 0).nonzero()[0])
    small = 1e-3 * float(code.max())
    weights.encoder_bias[silent] += small - pre[0, silent]  # positive, but not among the K largest
    assert to_dense(top_k(pre_activations(weights, x), K))[0, silent] == 0
    weights.decoder[silent] = error[0] / small
    loss = closed_form(weights, x, "topk", K, some_dead(silent), terms)[0]
    assert loss == pytest.approx(main, rel=1e-9)


def test_encode_and_decode_by_hand() -> None:
    weights = Weights(
        encoder=torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]),
        encoder_bias=torch.tensor([0.0, 0.5, 0.0]),
        decoder=torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]),
        decoder_bias=torch.tensor([1.0, 1.0]),
    )
    pre = pre_activations(weights, torch.tensor([[4.0, 2.0], [0.0, 0.0]]))
    assert pre.tolist() == [[3.0, 1.5, -4.0], [-1.0, -0.5, 2.0]]
    assert decode(weights, top_k(pre, 2)).tolist() == [[7.0, 5.5], [3.0, 3.0]]


def test_prefix_losses_by_hand() -> None:
    # One sample (1, 0), latents e1 with activation 0.5 and e1 with 0.25: prefixes leave 0.5 and 0.25.
    weights = Weights(
        encoder=torch.tensor([[0.5, 0.0], [0.25, 0.0]]),
        encoder_bias=torch.zeros(2),
        decoder=torch.tensor([[1.0, 0.0], [1.0, 0.0]]),
        decoder_bias=torch.zeros(2),
    )
    x = torch.tensor([[1.0, 0.0]])
    pre = pre_activations(weights, x)
    no_one = torch.zeros(2, dtype=torch.bool)
    for widths, wanted in (((2,), 0.25**2), ((1, 2), 0.5**2 + 0.25**2)):
        loss, _ = loss_and_gradient(weights, x, pre, top_k(pre, 2), no_one, Terms(widths, 1, 0.0, 10, 0.0))
        assert loss == pytest.approx(wanted)
