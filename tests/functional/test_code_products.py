"""Products of sparse codes: those of the dense matrix, by torch's operators and by Triton's kernels."""

import sys

import pytest
import torch
from hypothesis import given, strategies as st
from some_codes import some_codes
from torch import Tensor

from monosemy.functional.codes import SparseCodes, to_dense, top_k
from monosemy.functional.products import (
    by_latent,
    entry_products,
    latent_sums,
    product,
    transposed_product,
    triton_runs,
)


@pytest.fixture(params=["torch", "triton"])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where tensors lie, so that the products take this way."""
    device: torch.device = torch.device("cpu") if request.param == "torch" else request.getfixturevalue("triton_device")
    assert triton_runs(device) == (request.param == "triton")
    return device


def on(device: torch.device, codes: SparseCodes) -> SparseCodes:
    return SparseCodes(codes.values.to(device), codes.indices.to(device), codes.starts.to(device), codes.n_latents)


def normal(device: torch.device, seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device)


@given(n=st.integers(1, 6), m=st.integers(1, 10), d=st.integers(1, 4), seed=st.integers(0, 199))
def test_products_equal_the_dense_ones(device: torch.device, n: int, m: int, d: int, seed: int) -> None:
    codes, dense = some_codes(n, m, seed)
    codes, dense = on(device, codes), dense.to(device)
    table, right = normal(device, seed, m, d), normal(device, seed, n, d)
    torch.testing.assert_close(product(codes, table), dense @ table)
    torch.testing.assert_close(transposed_product(codes, right), dense.T @ right)
    wanted = (right @ table.T)[codes.samples, codes.indices]
    torch.testing.assert_close(entry_products(codes, table, right), wanted)
    torch.testing.assert_close(latent_sums(codes, by_latent(codes)), dense.sum(dim=0))


def test_gradients_of_the_products(device: torch.device) -> None:
    codes, _ = some_codes(5, 6, 3)
    codes = on(device, codes)
    table, right = normal(device, 0, 6, 3).requires_grad_(), normal(device, 1, 5, 3).requires_grad_()
    values = codes.values.requires_grad_()
    for inputs, way in (
        ((values, table), lambda values, table: product(codes._replace(values=values), table)),
        ((values, right), lambda values, right: transposed_product(codes._replace(values=values), right)),
    ):
        ours = torch.autograd.grad(way(*inputs).pow(2).sum(), inputs)
        dense = to_dense(codes) if inputs[1] is table else to_dense(codes).T
        theirs = torch.autograd.grad((dense @ inputs[1]).pow(2).sum(), inputs)
        torch.testing.assert_close(ours, theirs)


def test_transposed_product_keeps_signed_values_and_latents_that_never_occur(device: torch.device) -> None:
    codes = SparseCodes(torch.tensor([1.0, -2.0, 3.0, 0.0]), torch.tensor([4, 0, 0, 2]), torch.tensor([0, 2, 4]), 6)
    dense = torch.tensor([[1.0, 10.0], [2.0, 20.0]], device=device)
    assert transposed_product(on(device, codes), dense).tolist() == [
        [4.0, 40.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 10.0], [0.0, 0.0],
    ]  # fmt: skip


@pytest.mark.parametrize("n", [0, 3])
def test_without_samples_and_without_entries(device: torch.device, n: int) -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    codes = on(device, SparseCodes(nothing.double(), nothing, torch.zeros(n + 1, dtype=torch.int64), 4))
    table, right = normal(device, 0, 4, 2), normal(device, 0, n, 2)
    assert product(codes, table).tolist() == [[0.0, 0.0]] * n
    assert transposed_product(codes, right).tolist() == [[0.0, 0.0]] * 4
    assert entry_products(codes, table, right).shape == (0,)


def test_triton_computes_where_it_runs(triton_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object, **named: object) -> None:
        raise AssertionError("torch's own operator was called")

    monkeypatch.setattr(torch.nn.functional, "embedding_bag", refused)
    monkeypatch.setattr("monosemy.functional.codes.csr_tensor", refused)
    codes, dense = some_codes(3, 4, 0)
    codes, dense = on(triton_device, codes), dense.to(triton_device)
    product(codes, dense.T), transposed_product(codes, dense), entry_products(codes, dense.T, dense[:, :3])
    monkeypatch.setenv("MONOSEMY_SPARSE", "0")
    with pytest.raises(AssertionError, match="own operator"):
        product(codes, dense.T)


def test_products_give_the_same_bits_again(device: torch.device) -> None:
    codes = on(device, top_k(torch.randn(200, 51), 20))
    table, right = (torch.randn(rows, 30).to(device) for rows in (51, 200))

    def run() -> list[Tensor]:
        sums = latent_sums(codes, by_latent(codes))
        return [product(codes, table), transposed_product(codes, right), entry_products(codes, table, right), sums]

    first = run()
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, run(), strict=True))


def test_the_cpu_needs_no_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    monkeypatch.delitem(sys.modules, "monosemy.functional.triton_csr", raising=False)
    codes, dense = some_codes(3, 4, 0)
    torch.testing.assert_close(transposed_product(codes, dense), dense.T @ dense)
