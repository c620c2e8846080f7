"""Counts of what fires, by hand and against loops."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st

from monosemy.functional.activity import firing_counts, merge_firing_counts, sparsity

FORMS = pytest.mark.parametrize("form", [np.asarray, sp.csr_array])


@FORMS
def test_by_hand(form) -> None:
    codes = np.zeros((20, 5), dtype=np.float32)
    codes[:, 0] = 1  # dense
    codes[:2, 1] = -2  # a tenth: not dense
    codes[:3, 2] = 1  # 15 %: dense
    codes[0, 3] = 1e-7  # below the threshold of its row: silent
    found = firing_counts(form(codes))
    assert found.support.tolist() == [20, 2, 3, 0, 0]
    assert found.l0.tolist() == [0, 17, 1, 2, 0, 0]
    summary = sparsity(found)
    assert summary.l0_mean == 25 / 20
    assert summary.l0_quantiles == (1, 1, 3)
    assert summary.dead == 2 / 5
    assert summary.dense == 2 / 5
    assert sparsity(found, dense_above=0.05).dense == 3 / 5


def test_rows_of_zeros_fire_for_nothing() -> None:
    for form in (np.zeros((4, 3)), sp.csr_array((4, 3))):
        found = sparsity(firing_counts(form))
        assert (found.l0_mean, found.dead, found.dense) == (0, 1, 0)


def test_without_samples_nothing_is_known() -> None:
    assert math.isnan(sparsity(firing_counts(np.zeros((0, 3)))).l0_mean)


@given(seed=st.integers(0, 999), n=st.integers(1, 30), cut=st.integers(0, 30))
def test_equals_the_loop_and_merges(seed: int, n: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    codes = (rng.standard_normal((n, 6)) * (rng.random((n, 6)) < 0.4)).astype(np.float32)
    fires = [[abs(float(v)) > 1e-5 * math.hypot(*map(float, row)) for v in row] for row in codes]
    quantiles = [sorted(map(sum, fires))[max(0, math.ceil(q * n) - 1)] for q in (0.05, 0.5, 0.95)]
    for form in (codes, sp.csr_array(codes)):
        merged = merge_firing_counts(firing_counts(form[:cut]), firing_counts(form[cut:]))
        assert merged.n_samples == n
        assert merged.support.tolist() == [sum(column) for column in zip(*fires, strict=True)]
        assert list(sparsity(merged).l0_quantiles) == quantiles
