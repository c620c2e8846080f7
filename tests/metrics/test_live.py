"""Feature statistics during training, against counts by hand."""

import numpy as np
import pytest

from monosemy.functional.consistency import activation_counts, semantic_consistency
from monosemy.metrics.dimensions import feature_statistics


def test_counts_by_hand() -> None:
    codes = np.array([[1.0, 0, 0, 2], [0, 3, 0, 1], [1, 0, 0, 0]], dtype=np.float32)
    assert feature_statistics(codes, None, 0) == {"l0": pytest.approx(5 / 3), "active_dimensions": 3.0}


def test_consistency_is_that_of_the_metrics() -> None:
    rng = np.random.default_rng(0)
    codes = np.maximum(rng.standard_normal((200, 6)), 0).astype(np.float32)
    labels = rng.integers(0, 4, 200)
    found = feature_statistics(codes, labels, 4)
    wanted = semantic_consistency(activation_counts(codes, labels, 4), np.bincount(labels) / 200)
    assert found["consistency"] == pytest.approx(wanted.mean(10))
    assert found["consistency_chance"] == pytest.approx(wanted.mean_chance(10))
    assert found["active_dimensions"] == 6
