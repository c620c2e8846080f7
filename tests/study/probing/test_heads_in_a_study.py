"""Contrastive heads, and features beside dense ones, in a whole study."""

import numpy as np
import pytest

from monosemy.features.registry import WEIGHTS
from monosemy.study.probing.study import Study

FEATURES = ("dense", "csr", "dense+dense", "dense+csr")
CLASSIFIERS = ("ce", "knn")
HEAD = {"n_features": 64, "k": 8, "batch_size": 64, "min_steps": 60, "max_steps": 60}


@pytest.fixture(scope="module")
def result(digit_arrays, tmp_path_factory):
    probe, rows = {"cross_check": True}, slice(500)
    study = Study(FEATURES, label_noise=[0.6], n_seeds=2, head=HEAD, classifiers=CLASSIFIERS, probe=probe)
    return study.run(
        *(part[rows] for part in digit_arrays), out=tmp_path_factory.mktemp("runs") / "heads", executor="in-process"
    )


def test_heads_are_feature_sets_like_all_others(result) -> None:
    accuracy = result.summary.set_index(["variant", "scenario"])["accuracy"]
    for name in FEATURES:
        for classifier in CLASSIFIERS:
            assert accuracy[f"{name} + {classifier}", "clean"] > 0.8
            assert accuracy[f"{name} + {classifier}", "label-noise"] > 0.5
    metrics = result.results.groupby(["features", "metric"])["value"].mean()
    assert metrics["csr", "l0"] <= 8
    assert metrics["dense+csr", "n_dimensions"] == 64 + 64


def test_classifiers_choose_the_weight_of_the_second_part(result) -> None:
    weights = result.results[result.results["metric"] == "weight"]
    assert set(weights["features"]) == {"dense+dense", "dense+csr"}
    assert set(weights["value"]) <= set(WEIGHTS)
    assert len(weights) == 2 * len(CLASSIFIERS) * 2 * 2, "in each cell and seed"
    assert (weights.groupby(["variant", "scenario"])["value"].nunique() >= 1).all()
    twice = weights[weights["features"] == "dense+dense"].groupby(["classifier", "scenario"])["value"].nunique()
    assert (twice == 1).all(), "seeds that share their codes share the choice"


def test_exact_optimum_is_that_of_the_chosen_weight(result) -> None:
    first = result.results[result.results["seed"] == 0]
    exact, ours = (
        first[first["metric"] == metric].set_index(["variant", "scenario"])["value"]
        for metric in ("exact_accuracy", "accuracy")
    )
    both = exact - ours[exact.index]
    assert both[["dense+csr + ce", "dense+dense + ce"]].abs().max() < 0.05


def test_dense_twice_is_dense_at_unit_length(result) -> None:
    """A second copy changes no cosine, so neighbours are those of dense features."""
    accuracy = result.results[result.results["metric"] == "accuracy"].set_index(["variant", "scenario", "seed"])[
        "value"
    ]
    np.testing.assert_allclose(accuracy["dense+dense + knn"], accuracy["dense + knn"], atol=0.005)  # ties by rounding
