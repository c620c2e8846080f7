"""Probe-recovered accuracy on data where it is known."""

import math

import numpy as np
import pytest
import scipy.sparse as sp

from monosemy.errors import InputError
from monosemy.metrics.measurement import Recovered, recovered_accuracies

N = 400
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 3])[np.arange(N) % 10]
RNG = np.random.default_rng(0)
EMBEDDINGS = (np.eye(4)[LABELS] * 6 + RNG.standard_normal((N, 4))).astype(np.float32)


def recovered(codes: object, *arguments: object, **settings: int) -> Recovered:
    return recovered_accuracies([codes], *arguments, **settings)[0]


def test_codes_that_keep_all_recover_all_and_codes_that_merge_classes_only_the_common_ones() -> None:
    one_hot = np.eye(4, dtype=np.float32)[LABELS]
    assert recovered(one_hot, EMBEDDINGS, LABELS, 4).fraction == pytest.approx(1, abs=0.02)
    merged = np.eye(2, dtype=np.float32)[LABELS % 2]  # the rare classes 2 and 3 look like 0 and 1
    found = recovered(sp.csr_array(merged), EMBEDDINGS, LABELS, 4)
    assert found.embeddings == pytest.approx(1, abs=0.02)
    assert found.codes == pytest.approx(0.8, abs=0.12)
    assert found.fraction == found.codes / found.embeddings


def test_the_same_features_recover_exactly_themselves() -> None:
    noisy = EMBEDDINGS + 3 * RNG.standard_normal(EMBEDDINGS.shape).astype(np.float32)
    found = recovered(noisy, noisy, LABELS, 4, seed=3)
    assert found.fraction == 1
    assert found == recovered(noisy, noisy, LABELS, 4, seed=3)
    assert 0.3 < found.codes < 1


def test_nothing_can_be_recovered_of_nothing() -> None:
    assert math.isnan(Recovered(0.5, 0.0).fraction)


@pytest.mark.parametrize(
    ("codes", "labels", "named"),
    [
        (EMBEDDINGS[:-1], LABELS, "codes has 399 rows"),
        (EMBEDDINGS[:4], LABELS[:4], "4 rows"),
        (EMBEDDINGS, np.zeros(N, dtype=np.int64), "one class"),
    ],
)
def test_what_no_probe_can_learn_from_is_refused(codes: np.ndarray, labels: np.ndarray, named: str) -> None:
    with pytest.raises(InputError, match=named):
        recovered(codes, EMBEDDINGS[: len(labels)], labels, 4)
