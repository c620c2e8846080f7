"""Codes, tasks and accuracies of the toy study."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from monosemy.errors import InputError
from monosemy.theory.answers import cells_of, sweep_gains, values_by
from monosemy.theory.runs import SweepSetting, ToySetting, run_sweep, run_toy
from monosemy.theory.toy import ToyConfig
from monosemy.theory.toy_study import TaskConfig, draw_task, evaluate_codes, make_codes, task_labels

SMALL = TaskConfig(label_noise=(0.5,), input_noise=(0.5,), train=800, validation=300, test=800)


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
    return pd.DataFrame([r for s in range(3) for r in evaluate_codes(weight, 0.3, "kept", s, SMALL)])


def test_a_code_that_holds_the_answer_wins_and_noise_hurts(rows):
    accuracy = {key: v.mean() for key, v in values_by(rows, "accuracy", "code", "scenario").items()}
    assert accuracy["mono", "clean"] > 0.9
    assert accuracy["poly", "clean"] < accuracy["mono", "clean"] - 0.1
    assert accuracy["mono", "label-noise"] < accuracy["mono", "clean"]
    assert accuracy["mono", "input-noise"] < accuracy["mono", "clean"] - 0.1


def test_a_rotation_changes_j_and_not_what_a_probe_can_do(rows):
    accuracy = values_by(rows, "accuracy", "code", "scenario", "level")
    for code, *cell in list(accuracy):
        if code == "mono":
            np.testing.assert_allclose(accuracy["rotated", *cell], accuracy["mono", *cell], atol=0.01)
    j = values_by(rows, "separability", "code", "scenario")
    assert (np.abs(j["rotated", "clean"] / j["mono", "clean"] - 1) > 0.02).all()


def test_same_samples_for_a_code_whatever_runs_beside_it(rows):
    weight = np.ones((4, 6), dtype=np.float32) + 0.01 * np.eye(4, 6, dtype=np.float32)
    alone = pd.DataFrame(evaluate_codes(weight, 0.3, "kept", 0, SMALL, ("poly",)))
    beside = rows[(rows["code"] == "poly") & (rows["seed"] == 0)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, beside)


def test_the_weight_decay_that_does_best_on_validation_is_chosen():
    config = replace(SMALL, weight_decays=(1e-3, 100.0), input_noise=())
    rows = pd.DataFrame(evaluate_codes(np.eye(4, 6, dtype=np.float32), 0.3, "kept", 0, config, ("mono",)))
    assert (values_by(rows, "weight_decay", "scenario")["clean",] == 1e-3).all()
    assert values_by(rows, "accuracy", "scenario")["clean",] > 0.8


def test_a_run_is_complete_and_repeats():
    setting = ToySetting(8, 3, 0.5, 2, pictured=(0.9,), task=SMALL, training=ToyConfig(steps=50))
    first, second = run_toy(setting), run_toy(setting)
    pd.testing.assert_frame_equal(first.results, second.results)
    assert first.pictured == (0.5, 0.9)
    assert first.models.weight.shape == (4, 3, 8)
    assert cells_of(first.results, "all") == [("clean", 0.0), ("label-noise", 0.5), ("input-noise", 0.5)]
    assert {len(v) for v in values_by(first.results, "accuracy", "task", "code", "scenario").values()} == {2}
    assert set(first.results["metric"]) >= {"variance_explained", "features_per_dimension", "interference"}


def test_noise_levels_without_information_are_left_out_of_a_task():
    setting = ToySetting(8, 2, 0.5, 1, pictured=(), task=SMALL, training=ToyConfig(steps=20))
    assert cells_of(run_toy(setting).results, "kept") == [("clean", 0.0), ("input-noise", 0.5)]


def test_one_dimension_has_no_task_of_its_own():
    setting = ToySetting(4, 1, 0.5, 1, pictured=(), task=SMALL, training=ToyConfig(steps=20))
    assert cells_of(run_toy(setting).results, "kept") == []


def test_sweep():
    setting = SweepSetting(
        features=6, dimensions=(1, 3), sparsity=(0.0, 0.9), seeds=2, task=SMALL, training=ToyConfig(steps=50)
    )
    seen = []
    sweep = run_sweep(setting, lambda *s: seen.append(s))
    gains = sweep_gains(sweep).set_index(["task", "scenario", "dimensions", "sparsity"])
    assert len(gains) == 3 * 2 * (2 + 1)  # one dimension has no `kept` task
    one = values_by(sweep, "accuracy", "task", "scenario", "dimensions", "sparsity", "code")
    cell = ("all", "clean", 3, 0.9)
    expected = 100 * (one[*cell, "mono"] - one[*cell, "poly"]).mean()
    assert gains.loc[cell, "gain"] == pytest.approx(expected)
    assert seen[-1] == ("sweep: probes", 12, 12)
    noise = sweep.loc[sweep["scenario"] == "label-noise"].groupby("task")["level"].unique()
    assert noise["all"] == pytest.approx(0.9 * 5 / 6)
    assert noise["kept"] == pytest.approx(0.9 * 2 / 3)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": 1}, "features is 1"),
        ({"dimensions": 0}, "dimensions is 0"),
        ({"dimensions": 41}, "dimensions is 41"),
        ({"sparsity": 1.0}, "sparsity is 1"),
        ({"seeds": 0}, "seeds is 0"),
        ({"importance_decay": 0.0}, "importance_decay is 0"),
        ({"training": ToyConfig(steps=0)}, "steps is 0"),
        ({"task": TaskConfig(label_noise=(0.98,))}, r"label_noise=0\.98 is not below"),
        ({"task": TaskConfig(input_noise=(-1.0,))}, "input_noise is -1"),
    ],
)
def test_bad_input(changes, words):
    with pytest.raises(InputError, match=words):
        ToySetting(**changes).check()
