"""Codes, tasks and accuracies of the toy study."""

import numpy as np
import pandas as pd
import pytest

from monosemy.core.executors import ExecutorConfig
from monosemy.results.result import StudyResult
from monosemy.study.engine import run_study
from monosemy.theory.codes import draw_task, evaluate_codes, make_codes, task_labels
from monosemy.theory.plan import SweepConfig, TaskConfig, ToyConfig, ToyPlan
from monosemy.theory.study import ToyStudy
from monosemy.theory.verdict import sweep_gains

SMALL = TaskConfig(n_train=800, n_validation=300, n_test=800)
NOISE = (0.5,), (0.5,)
"""Label noise and input noise."""


def values_by(rows: pd.DataFrame, metric: str, *keys: str) -> dict[tuple, np.ndarray]:
    """Return the values of a metric, in the order of the seeds, for each combination of the keys."""
    chosen = rows[rows["metric"] == metric].sort_values("seed", kind="stable")
    return {place: group["value"].to_numpy() for place, group in chosen.groupby(list(keys))}


def run(**settings) -> StudyResult:
    plan = ToyPlan.model_validate({"task": SMALL, "label_noise": (0.5,), "input_noise": (0.5,)} | settings)
    return run_study(ToyStudy(), plan, None, executor=ExecutorConfig(name="in-process"))


def cells_of(table: pd.DataFrame) -> list[tuple[str, float]]:
    """Return scenarios and levels of the accuracies."""
    accuracy = table[table["metric"] == "accuracy"]
    return list(dict.fromkeys(zip(accuracy["scenario"], accuracy["level"], strict=True)))


def test_labels():
    x = np.array([[0.1, 0.3, 0.9], [0, 0, 0.5], [0, 0, 0], [0.4, 0, 0]], dtype=np.float32)
    assert task_labels(x, "all", 2).tolist() == [2, 2, -1, 0]
    assert task_labels(x, "kept", 2).tolist() == [1, -1, -1, 0]


def test_drawn_samples_all_have_a_label_and_every_class_occurs():
    x, y = draw_task(0.9, 6, 3, "kept", 2000, np.random.default_rng(0))
    assert x.shape == (2000, 6)
    assert sorted(set(y)) == [0, 1, 2]
    np.testing.assert_array_equal(x[:, :3].argmax(axis=1), y)
    assert x[:, :3].any(axis=1).all()


def test_codes():
    weight = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    x = np.arange(5, dtype=np.float32)
    codes = make_codes(weight, ("mono", "poly", "rotated"), seed=0)
    np.testing.assert_array_equal(codes["mono"] @ x, [0, 1, 2])
    np.testing.assert_allclose(codes["poly"] @ x, weight @ x)
    assert np.linalg.norm(codes["rotated"] @ x) == pytest.approx(np.linalg.norm([0, 1, 2]), rel=1e-5)
    assert not np.allclose(codes["rotated"], codes["mono"], atol=0.1)
    assert make_codes(weight[:1], ("rotated",), seed=0)["rotated"].shape == (1, 5)


@pytest.fixture(scope="module")
def rows():
    """A 'poly' code that is nearly useless: all features summed into each dimension."""
    weight = np.ones((4, 6), dtype=np.float32) + 0.01 * np.eye(4, 6, dtype=np.float32)
    return pd.DataFrame([r for s in range(3) for r in evaluate_codes(weight, 0.3, "kept", s, SMALL, *NOISE)])


def test_a_code_that_holds_the_answer_wins_and_noise_hurts(rows):
    accuracy = {key: v.mean() for key, v in values_by(rows, "accuracy", "variant", "scenario").items()}
    assert accuracy["mono", "clean"] > 0.9
    assert accuracy["poly", "clean"] < accuracy["mono", "clean"] - 0.1
    assert accuracy["mono", "label-noise"] < accuracy["mono", "clean"]
    assert accuracy["mono", "input-noise"] < accuracy["mono", "clean"] - 0.1


def test_a_rotation_changes_j_and_not_what_a_probe_can_do(rows):
    accuracy = values_by(rows, "accuracy", "variant", "scenario", "level")
    for code, *cell in list(accuracy):
        if code == "mono":
            np.testing.assert_allclose(accuracy["rotated", *cell], accuracy["mono", *cell], atol=0.01)
    j = values_by(rows, "separability", "variant", "scenario")
    assert (np.abs(j["rotated", "clean"] / j["mono", "clean"] - 1) > 0.02).all()


def test_same_samples_for_a_code_whatever_runs_beside_it(rows):
    weight = np.ones((4, 6), dtype=np.float32) + 0.01 * np.eye(4, 6, dtype=np.float32)
    alone = pd.DataFrame(evaluate_codes(weight, 0.3, "kept", 0, SMALL, *NOISE, ("poly",)))
    beside = rows[(rows["variant"] == "poly") & (rows["seed"] == 0)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, beside)


def test_the_weight_decay_that_does_best_on_validation_is_chosen():
    config = SMALL.model_copy(update={"weight_decays": (1e-3, 100.0)})
    rows = pd.DataFrame(evaluate_codes(np.eye(4, 6, dtype=np.float32), 0.3, "kept", 0, config, (0.5,), (), ("mono",)))
    assert (values_by(rows, "weight_decay", "scenario")["clean",] == 1e-3).all()
    assert values_by(rows, "accuracy", "scenario")["clean",] > 0.8


def test_a_run_is_complete_and_repeats():
    settings = {"n_features": 8, "n_dimensions": 3, "sparsity": 0.5, "n_seeds": 2, "pictured": (0.9,), "sweep": False}
    first, second = (run(**settings, training=ToyConfig(steps=50)) for _ in range(2))
    pd.testing.assert_frame_equal(first.results, second.results)
    assert dict.fromkeys(first.tables["weights"]["sparsity"]) == dict.fromkeys((0.5, 0.9))
    assert len(first.tables["weights"]) == 2 * 2 * 3 * 8
    assert cells_of(first.results) == [("clean", 0.0), ("label-noise", 0.5), ("input-noise", 0.5)]
    both = pd.concat([first.results, first.tables["kept"]])
    assert {len(v) for v in values_by(both, "accuracy", "task", "variant", "scenario").values()} == {2}
    assert set(first.results["metric"]) >= {"variance_explained", "features_per_dimension", "interference"}
    poly = first.summary[first.summary["variant"] == "poly"]
    assert poly["gain"].isna().all()
    assert "Largest of the features that mono keeps: mono" in str(first.verdict)


def test_noise_levels_without_information_are_left_out_of_a_task():
    result = run(
        n_features=8, n_dimensions=2, sparsity=0.5, n_seeds=1, pictured=(), sweep=False, training={"steps": 20}
    )
    assert cells_of(result.tables["kept"]) == [("clean", 0.0), ("input-noise", 0.5)]


def test_one_dimension_has_no_task_of_its_own():
    result = run(
        n_features=4, n_dimensions=1, sparsity=0.5, n_seeds=1, pictured=(), sweep=False, training={"steps": 20}
    )
    assert "kept" not in result.tables
    assert "Largest of the features that mono keeps" not in str(result.verdict)


def test_sweep():
    grid = SweepConfig(n_features=6, dimensions=(1, 3), sparsities=(0.0, 0.9), n_seeds=2, task=SMALL)
    sweep = run(n_features=4, n_dimensions=2, n_seeds=1, pictured=(), training={"steps": 50}, grid=grid).tables["sweep"]
    gains = sweep_gains(sweep).set_index(["task", "scenario", "dimensions", "sparsity"])
    assert len(gains) == 3 * 2 * (2 + 1)  # one dimension has no `kept` task
    one = values_by(sweep, "accuracy", "task", "scenario", "dimensions", "sparsity", "variant")
    cell = ("all", "clean", 3, 0.9)
    expected = 100 * (one[*cell, "mono"] - one[*cell, "poly"]).mean()
    assert gains.loc[cell, "gain"] == pytest.approx(expected)
    noise = sweep.loc[sweep["scenario"] == "label-noise"].groupby("task")["level"].unique()
    assert noise["all"] == pytest.approx(0.9 * 5 / 6)
    assert noise["kept"] == pytest.approx(0.9 * 2 / 3)
