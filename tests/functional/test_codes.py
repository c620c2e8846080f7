"""TopK codes: the k largest, never negative, and the same in every form."""

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from sklearn.svm import LinearSVC
from some_codes import some_codes

from monosemy.errors import InputError
from monosemy.functional.codes import (
    SparseCodes,
    above,
    batch_top_k,
    from_dense,
    latents_between,
    stack_codes,
    to_csr,
    to_dense,
    top_k,
)


def dense_top_k(rows: np.ndarray, k: int) -> np.ndarray:
    """The slow way: sort every row, keep k, clip at zero. Ties do not occur in the inputs."""
    result = np.zeros_like(rows)
    for i, row in enumerate(rows):
        for j in np.argsort(-row)[:k]:
            result[i, j] = max(row[j], 0)
    return result


def distinct_rows(n: int, m: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(m) for _ in range(n)]).astype(np.float32) - m // 2


@given(n=st.integers(1, 6), m=st.integers(1, 9), k=st.integers(1, 9), seed=st.integers(0, 99))
def test_top_k_is_sorting_and_clipping(n: int, m: int, k: int, seed: int) -> None:
    k = min(k, m)
    rows = distinct_rows(n, m, seed)
    codes = top_k(torch.from_numpy(rows), k)
    assert codes.values.shape == codes.indices.shape == (n * k,)
    assert (codes.n_samples, codes.n_latents) == (n, m)
    np.testing.assert_array_equal(to_dense(codes).numpy(), dense_top_k(rows, k))


def test_top_k_by_hand() -> None:
    codes = top_k(torch.tensor([[3.0, -1.0, 2.0, 5.0], [-4.0, -1.0, -2.0, -3.0]]), 2)
    assert to_dense(codes).tolist() == [[3.0, 0.0, 0.0, 5.0], [0.0, 0.0, 0.0, 0.0]]


@given(n=st.integers(1, 6), m=st.integers(1, 9), k=st.integers(1, 9), seed=st.integers(0, 99))
def test_csr_and_dense_are_the_same_matrix(n: int, m: int, k: int, seed: int) -> None:
    codes = top_k(torch.from_numpy(distinct_rows(n, m, seed)), min(k, m))
    csr, dense = to_csr(codes), to_dense(codes).numpy()
    assert csr.shape == dense.shape
    np.testing.assert_array_equal(csr.toarray(), dense)
    assert csr.nnz == (dense > 0).sum(), "explicit zeros are dropped"
    assert csr.has_sorted_indices
    assert all((np.diff(csr.indices[a:b]) > 0).all() for a, b in zip(csr.indptr[:-1], csr.indptr[1:], strict=True))


cases = given(n=st.integers(1, 6), m=st.integers(1, 10), d=st.integers(1, 4), seed=st.integers(0, 199))


@cases
def test_every_form_is_the_same_matrix(n: int, m: int, d: int, seed: int) -> None:
    codes, dense = some_codes(n, m, seed)
    torch.testing.assert_close(to_dense(codes), dense)
    np.testing.assert_array_equal(to_csr(codes).toarray(), dense.numpy())
    assert to_csr(codes).nnz == int((dense > 0).sum())
    back = from_dense(dense)
    torch.testing.assert_close(to_dense(back), dense)
    assert bool((back.values > 0).all())
    assert back.starts.tolist() == [0, *(dense > 0).sum(dim=1).cumsum(0).tolist()]
    halves = [some_codes(n, m, seed + i) for i in range(2)]
    stacked = stack_codes([half for half, _ in halves])
    torch.testing.assert_close(to_dense(stacked), torch.cat([matrix for _, matrix in halves]))


@cases
def test_a_range_of_latents_is_a_slice_of_columns(n: int, m: int, d: int, seed: int) -> None:
    codes, dense = some_codes(n, m, seed)
    first, end = sorted(np.random.default_rng(seed).integers(0, m + 1, 2).tolist())
    torch.testing.assert_close(to_dense(latents_between(codes, first, end)), dense[:, first:end])


@given(n=st.integers(1, 6), m=st.integers(1, 9), k=st.integers(1, 9), seed=st.integers(0, 99))
def test_batch_top_k_is_the_top_k_of_one_long_row(n: int, m: int, k: int, seed: int) -> None:
    k = min(k, m)
    rows = np.random.default_rng(seed).permutation(n * m).reshape(n, m).astype(np.float32) - n * m // 2
    codes = batch_top_k(torch.from_numpy(rows), k)
    assert len(codes.values) == n * k
    np.testing.assert_array_equal(to_dense(codes).numpy(), dense_top_k(rows.reshape(1, -1), n * k).reshape(n, m))


def test_batch_top_k_by_hand() -> None:
    codes = batch_top_k(torch.tensor([[5.0, 4.0, 3.0], [1.0, -1.0, -2.0], [-3.0, -4.0, -5.0]]), 1)
    assert to_dense(codes).tolist() == [[5.0, 4.0, 3.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert codes.starts.tolist() == [0, 3, 3, 3]


def test_above_a_threshold() -> None:
    pre = torch.tensor([[1.0, 0.5, -1.0], [0.2, 2.0, 0.0]])
    assert to_dense(above(pre, 0.4)).tolist() == [[1.0, 0.5, 0.0], [0.0, 2.0, 0.0]]
    assert to_dense(above(pre, torch.tensor([1.0, 0.5, -5.0]))).tolist() == [[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]


def test_dense_codes_pass_gradients_to_the_values() -> None:
    pre = torch.tensor([[3.0, 1.0, 2.0], [-1.0, -2.0, 4.0]], requires_grad=True)
    weight = torch.tensor([[1.0, 10.0, 100.0], [2.0, 20.0, 200.0]])
    (to_dense(top_k(pre, 2)) * weight).sum().backward()
    assert pre.grad is not None
    assert pre.grad.tolist() == [[1.0, 0.0, 100.0], [0.0, 0.0, 200.0]]


def test_negative_codes_are_refused() -> None:
    with pytest.raises(InputError, match=r"must be a non-negative matrix, but have shape \(1, 2\) and minimum -1"):
        from_dense(torch.tensor([[1.0, -1.0]]))


def test_csr_leaves_the_codes_as_they_are() -> None:
    # The zero in the middle is what an in-place removal would close up over.
    codes = SparseCodes(torch.tensor([0.0, 2.0, 3.0, 1.0]), torch.tensor([2, 1, 3, 0]), torch.tensor([0, 2, 4]), 4)
    csr = to_csr(codes)
    csr.data[:] = -1
    assert codes.values.tolist() == [0.0, 2.0, 3.0, 1.0]
    assert codes.indices.tolist() == [2, 1, 3, 0]


def test_codes_leave_no_trace_of_the_graph_in_csr() -> None:
    pre = torch.randn(4, 6, requires_grad=True)
    assert to_csr(top_k(pre, 2)).shape == (4, 6)


def test_indices_are_narrow_where_they_suffice() -> None:
    csr = to_csr(from_dense(torch.eye(3)))
    assert csr.indices.dtype == csr.indptr.dtype == np.int32
    LinearSVC().fit(csr, [0, 1, 1])  # liblinear refuses wider ones
