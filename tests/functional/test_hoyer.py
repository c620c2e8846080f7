"""Hoyer's sparsity by hand."""

import numpy as np
import pytest

from monosemy.functional.activity import hoyer_sparsity


def test_by_hand() -> None:
    rows = np.array([[0.0, -3.0, 0.0, 0.0], [2.0, -2.0, 2.0, 2.0], [3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    found = hoyer_sparsity(rows)
    assert found[:3] == pytest.approx([1.0, 0.0, 2 - 7 / 5])
    assert np.isnan(found[3])


def test_scale_does_not_matter() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 9))
    assert hoyer_sparsity(7 * rows) == pytest.approx(hoyer_sparsity(rows))
