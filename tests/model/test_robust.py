"""The classifier for noisy labels: fit, choice, probabilities, folders, and what it refuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils.estimator_checks import parametrize_with_checks

from monosemy.corruptions.labels import symmetric_noise
from monosemy.errors import InputError
from monosemy.model import RobustClassifier
from monosemy.model.crossfit import folds

SMALL = {
    "sae": {"n_latents": 16, "k": 3, "max_steps": 60},
    "head": {"n_features": 16, "k": 3, "max_steps": 60, "min_steps": 30},
}


def _expected_failures(estimator: RobustClassifier) -> dict[str, str]:
    reason = "rows are spread over folds and minibatches, where a weight of two is not two rows"
    return dict.fromkeys(("check_sample_weight_equivalence_on_dense_data",
                          "check_sample_weight_equivalence_on_sparse_data"), reason)  # fmt: skip


@parametrize_with_checks(
    [
        RobustClassifier(("dense",), ("ce",), cv=2),
        RobustClassifier(("dense",), ("knn",), cv=2),
        RobustClassifier(("dense",), ("lda", "centroid"), cv=2),
    ],
    expected_failed_checks=_expected_failures,
)
def test_conformity(estimator, check) -> None:
    check(estimator)


def blobs(n: int = 400, n_classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, n_classes, n)
    centres = np.random.default_rng(99).normal(size=(n_classes, 8)) * 2
    return (centres[y] + rng.normal(size=(n, 8))).astype(np.float32), y


X, Y = blobs()
NOISY = symmetric_noise(Y, 0.4, 4, np.random.default_rng(0))
X_TEST, Y_TEST = blobs(600, seed=1)


@pytest.fixture(scope="module")
def fitted() -> RobustClassifier:
    return RobustClassifier(("dense", "sae"), settings=SMALL).fit(X, NOISY)


def test_it_predicts_the_true_classes_and_tells_the_noise(fitted: RobustClassifier) -> None:
    assert fitted.score(X_TEST, Y_TEST) > 0.9
    low, high = fitted.noise_rate_interval_
    assert low < (NOISY != Y).mean() < high
    assert fitted.transition_matrix_.shape == (4, 4)
    np.testing.assert_allclose(fitted.transition_matrix_.sum(axis=1), 1, rtol=1e-9)
    shares = fitted.predict_proba(X_TEST)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-9)
    true = shares[np.arange(600), Y_TEST].mean()
    assert true > 0.85, "probabilities are those of the true class, not of labels of which 40 % are wrong"
    np.testing.assert_array_equal(fitted.predict(X_TEST), fitted.classes_[shares.argmax(axis=1)])


def test_the_simplest_pair_within_a_standard_error_is_chosen(fitted: RobustClassifier) -> None:
    results = fitted.cv_results_
    assert results["features"].tolist() == ["dense"] * 4 + ["sae"] * 4
    assert results["classifier"].tolist() == ["ce", "gce", "forward", "knn"] * 2
    close = results["behind_best"] <= results["standard_error"]
    number = int(close.argmax())
    assert results["chosen"].tolist() == [i == number for i in range(8)]
    assert fitted.choice_ == f"{results['features'][number]} + {results['classifier'][number]}"
    assert results["behind_best"].min() == 0


def test_string_labels_lists_and_groups() -> None:
    names = np.array(["ant", "bee", "cow", "dog"])
    model = RobustClassifier(("dense",), ("ce",)).fit(X.tolist(), names[NOISY].tolist(), groups=np.arange(400) // 2)
    assert model.classes_.tolist() == names.tolist()
    assert (model.predict(X_TEST) == names[Y_TEST]).mean() > 0.85


def test_sparse_input_gives_the_same_as_dense() -> None:
    kept = np.where(np.abs(X) > 1, X, 0)
    dense = RobustClassifier(("dense",), ("ce", "knn")).fit(kept, NOISY)
    sparse = RobustClassifier(classifiers=("ce", "knn")).fit(sp.csr_array(kept), NOISY)
    assert sparse.choice_ == dense.choice_
    # Sparse products add in another order.
    np.testing.assert_allclose(
        sparse.predict_proba(sp.csr_array(X_TEST)), dense.predict_proba(X_TEST), rtol=1e-2, atol=1e-3
    )
    with pytest.raises(InputError, match="features='sae' needs dense input, but X is sparse"):
        RobustClassifier(("sae",)).fit(sp.csr_array(kept), NOISY)


@pytest.mark.parametrize("classifier", ["ce", "knn", "lda"])
def test_weights_of_zero_take_no_part(classifier: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(400) < 0.5
    labels, weight = np.where(wrong, (Y + 1) % 4, Y), np.where(wrong, 0.0, 1.0)
    model = RobustClassifier(("dense",), (classifier,)).fit(X, labels, sample_weight=weight)
    assert model.score(X_TEST, Y_TEST) > 0.9
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        RobustClassifier.load(tmp_path / "model").predict_proba(X_TEST), model.predict_proba(X_TEST)
    )
    found = model.explain(X_TEST[:5])
    assert found.of == "feature" or not found.values[:, np.flatnonzero(wrong)].nnz, "rows of weight 0 have no vote"


@pytest.mark.slow
def test_parallel_jobs_change_nothing(fitted: RobustClassifier) -> None:
    again = RobustClassifier(("dense", "sae"), settings=SMALL, n_jobs=2).fit(X, NOISY)
    assert again.choice_ == fitted.choice_
    np.testing.assert_array_equal(again.predict_proba(X_TEST), fitted.predict_proba(X_TEST))


CANDIDATES = [
    ("dense", "ce"), ("dense", "knn"), ("sae", "gce"), ("sae", "knn"), ("whitened", "lda"), ("ica", "ridge"),
    ("relu", "forward"), ("random-topk", "ce"), ("csr", "ce"), ("dense+ncl-head", "ce"), ("dense+sae", "knn"),
]  # fmt: skip


@pytest.mark.parametrize(("features", "classifier"), CANDIDATES)
def test_a_saved_model_predicts_the_same_to_the_bit(features: str, classifier: str, tmp_path: Path) -> None:
    model = RobustClassifier((features,), (classifier,), settings=SMALL).fit(X, NOISY)
    model.save(tmp_path / "model")
    loaded = RobustClassifier.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict_proba(X_TEST), model.predict_proba(X_TEST))
    assert (loaded.choice_, loaded.noise_rate_) == (model.choice_, model.noise_rate_)
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == ["model.json", "model.safetensors"]


def test_a_fresh_process_needs_the_folder_alone(fitted: RobustClassifier, tmp_path: Path) -> None:
    fitted.save(tmp_path / "model")
    np.save(tmp_path / "x.npy", X_TEST)
    code = (
        "import numpy as np; from monosemy.model import RobustClassifier; "
        f"np.save(r'{tmp_path / 'p.npy'}', RobustClassifier.load(r'{tmp_path / 'model'}')"
        f".predict_proba(np.load(r'{tmp_path / 'x.npy'}')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), fitted.predict_proba(X_TEST))


def test_other_folders_are_not_overwritten(fitted: RobustClassifier, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="exists and holds no model; give the name of a new folder"):
        fitted.save(tmp_path / "notes")
    assert [file.name for file in tmp_path.iterdir()] == ["notes"]
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")  # a model may be replaced
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model", "notes"]


def test_damaged_and_foreign_folders_are_one_sentence(fitted: RobustClassifier, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(InputError, match="does not exist"):
        RobustClassifier.load(folder)
    fitted.save(folder)
    description = json.loads((folder / "model.json").read_text())
    for damage, message in (
        (
            {"format": "monosemy.robust-classifier.v9"},
            "has the format 'monosemy.robust-classifier.v9', but this version",
        ),
        ({"features": {**description["features"], "name": "nosuch"}}, "uses the feature set 'nosuch'"),
        ({"classes": ["a"]}, "has a bias of shape|does not hold a whole model|voters"),
        ({"noise": {}}, "does not hold a whole model"),
    ):
        (folder / "model.json").write_text(json.dumps(description | damage))
        with pytest.raises(InputError, match=message):
            RobustClassifier.load(folder)
    (folder / "model.json").write_text("[1, 2")
    with pytest.raises(InputError, match="cannot be read as the description of a model"):
        RobustClassifier.load(folder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"features": ("ncl",)}, "features='ncl' cannot be made of embeddings; choose among dense"),
        ({"features": ("nosuch",)}, "features='nosuch' cannot be made of embeddings"),
        ({"features": ()}, "There is no feature set or no classifier"),
        ({"classifiers": ("gcee",)}, r"The classifier 'gcee' is unknown \(closest match: gce\)"),
        ({"classifiers": ("forward-oracle",)}, "The classifier 'forward-oracle' is for studies only"),
        ({"cv": 1}, "cv=1 folds cannot be made of 400 rows; choose 2 to 400"),
        ({"settings": {"sae": {"latents": 4}}}, "latents"),
    ],
)
def test_settings_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RobustClassifier(**settings).fit(X, NOISY)


def test_labels_that_cannot_be() -> None:
    with pytest.raises(InputError, match="y has 1 class; give at least two"):
        RobustClassifier(("dense",)).fit(X, np.zeros(400))
    with pytest.raises(InputError, match="groups has shape"):
        RobustClassifier(("dense",), ("ce",)).fit(X, NOISY, groups=[1, 2])


def test_folds_are_even_and_keep_groups() -> None:
    fold = folds(NOISY, 5, 0)
    for label in range(4):
        counts = np.bincount(fold[label == NOISY], minlength=5)
        assert counts.max() - counts.min() <= 1
    grouped = folds(NOISY, 5, 0, np.arange(400) // 4)
    assert all(len(set(grouped[start : start + 4])) == 1 for start in range(0, 400, 4))
    assert set(grouped) == set(range(5))


def test_no_row_is_judged_by_its_own_label() -> None:
    # Held-out probabilities of a row stay near what they were when its own label alone changes; those of a classifier
    # that has seen the label would follow it.
    model = RobustClassifier(("dense",), ("ce",)).fit(X, NOISY)
    changed = NOISY.copy()
    changed[7] = (changed[7] + 1) % 4
    again = RobustClassifier(("dense",), ("ce",)).fit(X, changed)
    assert model.held_out_proba_[7].argmax() == again.held_out_proba_[7].argmax()


@pytest.mark.parametrize("classifier", ["ce", "lda", "knn"])
def test_contributions_sum_to_the_logit(classifier: str) -> None:
    model = RobustClassifier(("sae",), (classifier,), settings=SMALL).fit(X, NOISY)
    found = model.explain(X_TEST[:50])
    total = found.bias + found.values.sum(axis=1)
    np.testing.assert_array_equal(found.classes, model.predict(X_TEST[:50]))
    logits = model.decision_function(X_TEST[:50]).max(axis=1)
    if classifier == "knn":
        assert found.of == "row"
        logits = np.exp(logits) - 1e-3  # of neighbours the logarithm of the share, to which a thousandth was added
    np.testing.assert_allclose(total, logits, rtol=1e-4, atol=1e-4)  # the logits are float32
    other = model.explain(X_TEST[:50], classes=2)
    np.testing.assert_array_equal(other.classes, np.full(50, 2))
    column, value = found.top(0, 1)[0]
    assert value == found.values.toarray()[0].max() == found.values[[0], [column]][0]
    assert len(found.sentences()) == 50
    with pytest.raises(InputError, match="The class 9 is unknown to the model"):
        model.explain(X_TEST[:3], classes=9)
