"""Independent components: sources that were mixed are found again."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.utils.estimator_checks import parametrize_with_checks

from monosemy.errors import InputError
from monosemy.features.registry import IndependentComponents
from monosemy.functional.autoencoder import explained_variance


@parametrize_with_checks([IndependentComponents(random_state=0)])
def test_scikit_learn_conventions(estimator, check) -> None:
    check(estimator)


def mixed(n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    """Rare positive sources, and a rotation and scaling of them in eight dimensions."""
    rng = np.random.default_rng(0)
    sources = rng.exponential(size=(n, 5)) * (rng.random((n, 5)) < 0.2)
    return sources, (sources @ rng.standard_normal((5, 8)) * 3 + 7).astype(np.float32)


def test_sources_are_found_again_with_their_sign() -> None:
    sources, z = mixed()
    model = IndependentComponents(random_state=0).fit(z)
    found = model.transform(z)
    assert found.shape == (3000, 5), "only as many directions as hold variance"
    correlation = np.corrcoef(sources.T, found.T)[:5, 5:]
    rows, columns = linear_sum_assignment(-correlation)
    assert correlation[rows, columns].min() > 0.97, "positive: towards the rare, large values"
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-2)


def test_embeddings_come_back() -> None:
    _, z = mixed()
    model = IndependentComponents(random_state=0).fit(z)
    back = model.inverse_transform(model.transform(z))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, z, atol=1e-3)
    wanted = explained_variance(torch.from_numpy(back), torch.from_numpy(z))
    assert model.score(z) == pytest.approx(wanted, abs=1e-6)
    assert model.score(z) > 0.999


def test_more_rows_than_are_looked_at() -> None:
    _, z = mixed()
    few, all_rows = (IndependentComponents(max_samples=m, random_state=0).fit(z) for m in (2000, 10_000))
    assert few.transform(z).shape == all_rows.transform(z).shape
    correlation = np.abs(np.corrcoef(few.transform(z).T, all_rows.transform(z).T)[:5, 5:])
    assert correlation.max(axis=1).min() > 0.97
    assert not np.allclose(few.mean_, all_rows.mean_)


@pytest.mark.parametrize("variance", [0.0, 1.0, 2])
def test_a_share_that_is_none(variance: float) -> None:
    with pytest.raises(InputError, match=f"variance={variance!r} is outside"):
        IndependentComponents(variance).fit(np.eye(4))
