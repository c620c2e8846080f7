"""TopK codes: the k largest, never negative, and the same in every form."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monosemy.functional import SparseCodes, to_csr, to_dense, top_k


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
    assert codes.values.shape == codes.indices.shape == (n, k)
    assert codes.n_latents == m
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


@given(
    values=hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.just(3)), elements=st.floats(0, 10, width=32)),
    seed=st.integers(0, 99),
)
def test_dense_holds_every_value_at_its_index(values: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    indices = np.stack([rng.permutation(7)[:3] for _ in values])
    dense = to_dense(SparseCodes(torch.from_numpy(values), torch.from_numpy(indices), 7)).numpy()
    for i, (row, places) in enumerate(zip(values, indices, strict=True)):
        assert dense[i, places].tolist() == row.tolist()
        assert np.delete(dense[i], places).tolist() == [0.0] * 4


def test_csr_leaves_the_codes_as_they_are() -> None:
    # The zero in the middle is what an in-place removal would close up over.
    codes = SparseCodes(torch.tensor([[0.0, 2.0], [3.0, 1.0]]), torch.tensor([[2, 1], [3, 0]]), 4)
    csr = to_csr(codes)
    csr.data[:] = -1
    assert codes.values.tolist() == [[0.0, 2.0], [3.0, 1.0]]
    assert codes.indices.tolist() == [[2, 1], [3, 0]]


def test_codes_leave_no_trace_of_the_graph_in_csr() -> None:
    pre = torch.randn(4, 6, requires_grad=True)
    assert to_csr(top_k(pre, 2)).shape == (4, 6)
