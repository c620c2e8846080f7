import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import NearestCentroid

from monosemy.classifiers import closed_form
from monosemy.classifiers.engine import Probes, predict
from monosemy.functional.consistency import Codes

C, D = 5, 12
FORMS = ["dense", "sparse", "map"]


def _data(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, test features and three label vectors, the last without class 3."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((D, D)) + 2 * np.eye(D)
    centres = 1.5 * rng.standard_normal((C, D))
    true = rng.integers(0, C, n)
    x, test = ((centres[y] + rng.standard_normal((len(y), D))) @ mixing + 3 for y in (true, rng.integers(0, C, 200)))
    noisy = np.where(rng.random(n) < 0.4, rng.integers(0, C, n), true)
    labels = np.stack([true, noisy, np.where(true == 3, 0, true)], axis=1)
    return x.astype(np.float32), test.astype(np.float32), labels


def _form(x: np.ndarray, form: str, folder: object) -> Codes:
    if form == "sparse":
        return sp.csr_array(x)
    if form == "map":
        np.save(f"{folder}/x.npy", x)
        return np.load(f"{folder}/x.npy", mmap_mode="r")
    return x


def _scores(probes: Probes, x: np.ndarray, job: int) -> np.ndarray:
    d, jobs, classes = probes.shape
    return x.astype(np.float64) @ probes.weight.double().numpy().reshape(d, jobs, classes)[:, job] + np.asarray(
        probes.bias[job]
    )


@pytest.mark.parametrize("form", FORMS)
def test_moments_are_the_slow_ones(form: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monosemy.data.memory_map._ROWS_AT_ONCE", 8 * D * 37)
    x, _, labels = _data()
    of = closed_form.moments(_form(x, form, tmp_path), labels, C)
    covariance = np.cov(x.astype(np.float64).T, bias=True)
    np.testing.assert_allclose(of.vectors * of.eigenvalues @ of.vectors.T, covariance, rtol=1e-9, atol=1e-9)
    for job in range(3):
        for c in range(C):
            rows = x[labels[:, job] == c].astype(np.float64)
            assert of.counts[job, c] == len(rows)
            if len(rows):
                np.testing.assert_allclose(of.means[job, c] + of.mean, rows.mean(axis=0), rtol=1e-9)
    assert not of.means[2, 3].any()


@pytest.mark.parametrize("form", FORMS)
def test_centroid_is_that_of_scikit_learn(form: str, tmp_path: object) -> None:
    x, test, labels = _data()
    predicted = predict(closed_form.centroid(closed_form.moments(_form(x, form, tmp_path), labels, C)), test)
    for job in range(3):
        np.testing.assert_array_equal(predicted[:, job], NearestCentroid().fit(x, labels[:, job]).predict(test))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shrinkage", [0.01, 0.3, 1.0])
def test_lda_is_that_of_scikit_learn(shrinkage: float, form: str, tmp_path: object) -> None:
    x, test, labels = _data()
    probes = closed_form.lda(closed_form.moments(_form(x, form, tmp_path), labels, C), shrinkage)
    for job in range(3):
        reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
        reference.fit(x.astype(np.float64), labels[:, job])
        expected = reference.decision_function(test.astype(np.float64))
        scores = _scores(probes, test, job)[:, reference.classes_]
        np.testing.assert_allclose(
            scores - scores.mean(axis=1, keepdims=True), expected - expected.mean(axis=1, keepdims=True),
            rtol=2e-3, atol=2e-3,
        )  # fmt: skip
        np.testing.assert_array_equal(predict(probes, test)[:, job], reference.predict(test))


def test_lda_with_a_shrinkage_for_each_label_vector() -> None:
    x, _, labels = _data()
    of = closed_form.moments(x, labels, C)
    together = closed_form.lda(of, np.array([0.1, 0.5, 0.9]))
    for job, shrinkage in enumerate((0.1, 0.5, 0.9)):
        np.testing.assert_array_equal(
            _scores(together, x, job), _scores(closed_form.lda(of, shrinkage), x, job)
        )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [300, 20])
def test_ledoit_wolf_is_that_of_scikit_learn(n: int, form: str, tmp_path: object) -> None:
    x, _, labels = _data(n=n)
    features = _form(x, form, tmp_path)
    of = closed_form.moments(features, labels, C)
    found = closed_form.ledoit_wolf(of, features, labels)
    for job in range(3):
        residual = x - (of.means[job] + of.mean)[labels[:, job]]
        assert found[job] == pytest.approx(ledoit_wolf_shrinkage(residual, assume_centered=True), rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("penalty", [1e-3, 1.0, 100.0])
def test_ridge_is_that_of_scikit_learn(penalty: float, form: str, tmp_path: object) -> None:
    x, test, labels = _data()
    of = closed_form.moments(_form(x, form, tmp_path), labels, C)
    probes = closed_form.ridge(of, penalty)
    for job in range(3):
        reference = RidgeClassifier(alpha=penalty * of.scale * of.n).fit(x.astype(np.float64), labels[:, job])
        expected = reference.decision_function(test.astype(np.float64))  # of labels -1 and 1
        scores = 2 * _scores(probes, test, job)[:, reference.classes_] - 1
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        np.testing.assert_array_equal(predict(probes, test)[:, job], reference.predict(test))


def test_ridge_of_two_classes_is_that_of_scikit_learn() -> None:
    x, test, labels = _data()
    binary = (labels[:, :1] > 1).astype(int)
    of = closed_form.moments(x, binary, 2)
    reference = RidgeClassifier(alpha=0.5 * of.scale * of.n).fit(x, binary[:, 0])
    np.testing.assert_array_equal(predict(closed_form.ridge(of, 0.5), test)[:, 0], reference.predict(test))


@pytest.mark.parametrize("n", [3, 8])
def test_fewer_rows_than_features(n: int) -> None:
    x, test, labels = _data(n=n)
    of = closed_form.moments(x, labels, C)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)
    if len(set(labels[:, 0])) < n:
        reference.fit(x.astype(np.float64), labels[:, 0])
        np.testing.assert_array_equal(
            predict(closed_form.lda(of, 0.5), test)[:, 0], reference.predict(test.astype(np.float64))
        )
    for probes in (closed_form.centroid(of), closed_form.lda(of, 0.1), closed_form.ridge(of, 0.1)):
        predicted = predict(probes, test)
        assert all(set(predicted[:, job]) <= set(labels[:, job]) for job in range(3))


def test_features_that_do_not_vary_predict_the_commonest_class() -> None:
    labels = np.array([[0], [2], [2], [1]])
    of = closed_form.moments(np.ones((4, 3), dtype=np.float32), labels, 4)
    for probes in (closed_form.lda(of, 0.5), closed_form.ridge(of, 1.0)):
        assert predict(probes, np.ones((2, 3), dtype=np.float32)).ravel().tolist() == [2, 2]


def test_values_out_of_range() -> None:
    x, _, labels = _data()
    of = closed_form.moments(x, labels, C)
    for shrinkage in (0.0, -0.1, 1.1):
        with pytest.raises(ValueError, match="shrinkage"):
            closed_form.lda(of, shrinkage)
    for penalty in (0.0, -1.0):
        with pytest.raises(ValueError, match="penalty"):
            closed_form.ridge(of, penalty)


def test_best_value_of_equals_the_largest() -> None:
    accuracies = [np.array([0.5, 0.7]), np.array([0.6, 0.6]), np.array([0.1, 0.9])]
    assert closed_form.best_of(accuracies, (0.1, 10.0, 1.0)) == 10.0
