"""The closed-form gradient against autograd on the dense definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from monosemy.functional import SparseCodes, aux_k, normalized_mse, to_dense, top_k
from monosemy.functional.topk_autoencoder import Weights, decode, encode, loss_and_gradient, transposed_product

B, D, M, K = 7, 5, 12, 3


def random_weights(seed: int, dtype: torch.dtype = torch.float64) -> tuple[Weights, Tensor]:
    rng = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=dtype)

    weights = Weights(draw(M, D), 0.3 * draw(M), draw(M, D), 0.7 * draw(D) + 0.5)
    return weights, draw(B, D) + 1


def dense_code(weights: Weights, x: Tensor, k: int, among: Tensor | None = None) -> Tensor:
    pre = (x - weights.decoder_bias) @ weights.encoder.T + weights.encoder_bias
    if among is not None:
        pre = pre.masked_fill(~among, -torch.inf)
    largest = pre.topk(k, dim=1).indices
    mask = torch.zeros_like(pre).scatter(1, largest, 1.0)
    return torch.where(mask > 0, pre, torch.zeros_like(pre)).clamp(min=0)


def dense_loss(weights: Weights, x: Tensor, k: int, dead: Tensor, aux_latents: int, aux_weight: float) -> Tensor:
    """The definition on dense matrices, left to autograd."""
    reconstruction = dense_code(weights, x, k) @ weights.decoder + weights.decoder_bias
    loss = normalized_mse(reconstruction, x)
    if aux_weight > 0 and dead.any():
        code = dense_code(weights, x, min(aux_latents, int(dead.sum())), among=dead)
        loss = loss + aux_weight * aux_k(x - reconstruction, code @ weights.decoder)
    return loss


def autograd(weights: Weights, *arguments) -> tuple[Tensor, Weights]:
    leaves = Weights(*(w.clone().requires_grad_() for w in weights))
    loss = dense_loss(leaves, *arguments)
    return loss.detach(), Weights(*torch.autograd.grad(loss, leaves))


def some_dead(*latents: int) -> Tensor:
    return torch.zeros(M, dtype=torch.bool).index_fill(0, torch.tensor(latents, dtype=torch.int64), True)


@pytest.mark.parametrize("seed", range(4))
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
def test_loss_and_gradient_equal_autograd(seed: int, dead: Tensor, aux_latents: int, aux_weight: float) -> None:
    weights, x = random_weights(seed)
    arguments = (x, K, dead, aux_latents, aux_weight)
    loss, gradient, codes = loss_and_gradient(weights, *arguments)
    wanted_loss, wanted = autograd(weights, *arguments)
    assert loss == pytest.approx(float(wanted_loss))
    for name, ours, theirs in zip(Weights._fields, gradient, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"{name}: {text}")
    torch.testing.assert_close(to_dense(codes), dense_code(weights, x, K))


def test_aux_k_trains_the_encoder_of_dead_latents() -> None:
    weights, x = random_weights(0)
    silent = 4
    weights.encoder_bias[silent] = -2.0
    # Scaled until latent 4 is among the K of no sample, yet positive for some.
    pre = (x - weights.decoder_bias) @ weights.encoder.T + weights.encoder_bias
    weights.encoder_bias[silent] += 0.01 - pre[:, silent].max()
    dead = some_dead(silent)
    assert (to_dense(encode(weights, x, K))[:, silent] == 0).all()
    without = loss_and_gradient(weights, x, K, dead, 2, 0.0)[1]
    with_aux = loss_and_gradient(weights, x, K, dead, 2, 0.5)[1]
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
    main = loss_and_gradient(weights, x, K, some_dead(), 1, 1.0)[0]
    error = x - decode(weights, encode(weights, x, K))
    silent = int((dense_code(weights, x, K)[0] == 0).nonzero()[0])
    pre = ((x - weights.decoder_bias) @ weights.encoder.T + weights.encoder_bias)[0, silent]
    largest = dense_code(weights, x, K).max()
    weights.encoder_bias[silent] += 1e-3 * largest - pre  # positive, but not among the K largest
    if (dense_code(weights, x, K)[0, silent]) != 0:
        pytest.fail("the latent must stay outside the main code")
    weights.decoder[silent] = error[0] / (1e-3 * largest)
    loss = loss_and_gradient(weights, x, K, some_dead(silent), 1, 1.0)[0]
    assert loss == pytest.approx(main, rel=1e-9)


def test_encode_and_decode_by_hand() -> None:
    weights = Weights(
        encoder=torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]),
        encoder_bias=torch.tensor([0.0, 0.5, 0.0]),
        decoder=torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 1.0]]),
        decoder_bias=torch.tensor([1.0, 1.0]),
    )
    x = torch.tensor([[4.0, 2.0], [0.0, 0.0]])
    assert to_dense(encode(weights, x, 1)).tolist() == [[3.0, 0.0, 0.0], [0.0, 0.0, 2.0]]
    assert to_dense(encode(weights, x, 2)).tolist() == [[3.0, 1.5, 0.0], [0.0, 0.0, 2.0]]
    assert decode(weights, encode(weights, x, 2)).tolist() == [[7.0, 5.5], [3.0, 3.0]]


@given(n=st.integers(1, 6), m=st.integers(1, 10), k=st.integers(1, 10), d=st.integers(1, 4), seed=st.integers(0, 99))
def test_transposed_product_equals_the_dense_one(n: int, m: int, k: int, d: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    codes = top_k(torch.randn(n, m, generator=rng, dtype=torch.float64), min(k, m))
    dense = torch.randn(n, d, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(transposed_product(codes, dense), to_dense(codes).T @ dense)


def test_transposed_product_keeps_signed_values_and_latents_that_never_occur() -> None:
    codes = SparseCodes(torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([[4, 0], [0, 2]]), 6)
    dense = torch.tensor([[1.0, 10.0], [2.0, 20.0]])
    assert transposed_product(codes, dense).tolist() == [
        [4.0, 40.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 10.0], [0.0, 0.0],
    ]  # fmt: skip
