"""Class purity and entropy, by hand and against the loop over dimensions."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st

from monosemy.functional.consistency import activation_mass, class_purity

LABELS = np.array([0, 0, 1, 2])


def test_by_hand() -> None:
    #                  pure  3 of 4   even  signed  dead
    codes = np.array([[2.0, 1.0, 1.0, -3.0, 0], [1, 2, 0, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]])
    for form in (codes, sp.csr_array(codes)):
        found = class_purity(activation_mass(form, LABELS, 3))
        assert found.score[:4].tolist() == pytest.approx([1, 3 / 4, 1 / 3, 3 / 4])
        quarters = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
        assert found.entropy[:4].tolist() == pytest.approx([0, quarters, math.log(3), quarters])
        assert math.isnan(found.score[4])
        assert math.isnan(found.entropy[4])
        assert found.means() == pytest.approx(((1 + 0.75 + 1 / 3 + 0.75) / 4, (2 * quarters + math.log(3)) / 4))


def test_nothing_active_has_no_mean() -> None:
    assert all(math.isnan(mean) for mean in class_purity(np.zeros((2, 3))).means())


@given(seed=st.integers(0, 999), n=st.integers(1, 25), density=st.sampled_from([0.1, 0.5, 1.0]))
def test_equals_the_loop_over_dimensions(seed: int, n: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    codes = (rng.standard_normal((n, 4)) * (rng.random((n, 4)) < density)).astype(np.float32)
    labels = rng.integers(0, 5, n)
    for form in (codes, sp.csr_array(codes)):
        found = class_purity(activation_mass(form, labels, 5))
        for m in range(4):
            mass = [float(np.abs(codes[labels == c, m].astype(np.float64)).sum()) for c in range(5)]
            if sum(mass) == 0:
                assert math.isnan(found.score[m])
                continue
            shares = [value / sum(mass) for value in mass]
            assert found.score[m] == pytest.approx(max(shares))
            assert found.entropy[m] == pytest.approx(-sum(p * math.log(p) for p in shares if p > 0), abs=1e-12)
