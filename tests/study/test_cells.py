import itertools
from pathlib import Path

import numpy as np
import pytest

from monosemy.core.config import validated
from monosemy.data.dataset import LabelledData
from monosemy.data.in_memory import from_arrays
from monosemy.errors import InputError
from monosemy.study.conditions import (
    Cell,
    Conditions,
    Evaluation,
    Training,
    conditions,
    corrupted,
    corruption_rng,
    evaluation_inputs,
    make_cells,
    training_labels,
    with_levels,
)
from monosemy.study.probing import ProbingPlan
from monosemy.study.probing.study import ProbingStudy
from monosemy.study.registry import read_plan


def _plan(encoder: str = "none", **sections: object) -> ProbingPlan:
    """A plan whose sections name its scenarios."""
    values = {"encoder": encoder, "features": ["dense", "sae"]}
    values["scenarios"] = [name.replace("_", "-") for name in sections]
    used = {name: section for name, section in sections.items() if section is not None}
    return validated(ProbingPlan, values | used, "test")


DRAWS = {
    "symmetric": [[0, 2, 1, 3, 3, 1, 2, 0, 0, 0, 2, 3, 2, 1, 2, 0, 0, 1, 3, 3], [0, 1, 2, 1, 1, 1, 3, 3]],
    "pair": [[1, 1, 2, 3, 0, 1, 3, 3, 0, 2, 3, 3, 1, 1, 2, 0, 1, 1, 2, 0], [0, 2, 2, 0, 0, 1, 2, 0]],
    "matrix": [[0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 0, 0, 1, 1, 2, 3, 0, 0, 2, 3], [0, 1, 2, 3, 0, 1, 2, 3]],
}
"""Train and validation labels by kind of noise."""


def _labels(training: Training, plan: ProbingPlan, data: LabelledData, seed: int) -> tuple[np.ndarray, np.ndarray]:
    return training_labels(training, conditions(plan, data), data, seed)


@pytest.fixture
def data(digit_arrays):
    return from_arrays(*digit_arrays)


def test_noise_hits_train_and_validation_at_the_same_rate_and_never_test(data) -> None:
    train, validation = _labels(Training("symmetric", 0.4), _plan(label_noise={"levels": [0.4]}), data, 0)
    assert (train != data.train.labels).sum() == round(0.4 * len(data.train))
    assert (validation != data.validation.labels).sum() == round(0.4 * len(data.validation))


def test_labels_depend_on_seed_and_level_only(data) -> None:
    plan = _plan(label_noise={"levels": [0.4]})
    first = _labels(Training("symmetric", 0.4), plan, data, 0)[0]
    np.testing.assert_array_equal(first, _labels(Training("symmetric", 0.4), plan, data, 0)[0])
    assert (first != _labels(Training("symmetric", 0.4), plan, data, 1)[0]).any()
    other_features = plan.model_copy(update={"features": ("dense",)})
    np.testing.assert_array_equal(first, _labels(Training("symmetric", 0.4), other_features, data, 0)[0])


def test_fewer_labels_are_a_subset_of_more(data) -> None:
    plan = _plan(few_labels={"fractions": [0.1, 0.5]})
    few, few_validation = _labels(Training("few", 0.1), plan, data, 0)
    more, _ = _labels(Training("few", 0.5), plan, data, 0)
    assert set(np.flatnonzero(few >= 0)) < set(np.flatnonzero(more >= 0))
    assert (few_validation >= 0).sum() < 0.2 * len(few_validation)


def test_draws_stay_as_they_are() -> None:
    # A study must give the same numbers with the next version.
    labels = np.arange(20) % 4
    data = from_arrays(np.eye(20), labels, np.eye(20), labels, X_validation=np.eye(20)[:8], y_validation=labels[:8])
    given = Conditions(_plan(), matrix=np.full((4, 4), 0.2) + 0.2 * np.eye(4))
    drawn = {kind: [part.tolist() for part in training_labels(Training(kind, 0.4), given, data, 1)] for kind in DRAWS}
    assert drawn == DRAWS


def test_fewer_labels_a_class_are_a_subset_of_more(data) -> None:
    plan = _plan(labels_per_class={})
    drawn = [_labels(cell.training, with_levels(plan, data), data, 0) for cell in make_cells(plan, data)[1:]]
    assert len(drawn) == 5
    for train, validation in drawn:
        given, true = train[train >= 0], data.train.labels[train >= 0]
        np.testing.assert_array_equal(given, true)
        assert (validation >= 0).sum() <= len(given)
    for few, more in itertools.pairwise(drawn):
        for part in (0, 1):
            assert set(np.flatnonzero(few[part] >= 0)) <= set(np.flatnonzero(more[part] >= 0))
    for count, (train, validation) in zip((1, 2, 4, 8, 16), drawn, strict=True):
        assert set(np.bincount(train[train >= 0])) == {count}
        # Validation is a quarter of train, and shrinks by the same factor as train.
        assert set(np.bincount(validation[validation >= 0])) == {max(1, count // 4)}
    other = _labels(Training("per-class", 1.0), plan, data, 1)
    assert (other[0] != drawn[0][0]).any(), "seeds differ"


def test_validation_never_has_more_labels_a_class_than_train() -> None:
    x, labels = np.eye(40), np.arange(40) % 2
    data = from_arrays(x[:10], labels[:10], x, labels, X_validation=x, y_validation=labels)
    train, validation = _labels(Training("per-class", 3.0), _plan(labels_per_class={"counts": [3]}), data, 0)
    assert np.bincount(train[train >= 0]).tolist() == np.bincount(validation[validation >= 0]).tolist() == [3, 3]


def _unequal(*sizes: int) -> LabelledData:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    x = np.random.default_rng(0).standard_normal((len(labels), 3))
    return from_arrays(x, labels, x, labels, X_validation=x, y_validation=labels)


def test_small_classes_are_taken_whole_and_this_is_said() -> None:
    data, study = _unequal(20, 3, 5, 20), ProbingStudy()
    plan = study.resolve(_plan(labels_per_class={"counts": [2, 4, 8]}), data)
    train, _ = _labels(Training("per-class", 8.0), plan, data, 0)
    assert np.bincount(train[train >= 0]).tolist() == [8, 3, 5, 8]
    said = "Of 8 labels a class, 2 of 4 classes have fewer train rows, at least 3; they are taken whole."
    assert said in study.messages(study.check(plan, data, "cpu"))
    fitting = study.resolve(_plan(labels_per_class={"counts": [2, 3]}), data)
    assert not any("taken whole" in text for text in study.messages(study.check(fitting, data, "cpu")))


def test_default_numbers_of_labels_are_those_that_a_class_has() -> None:
    resolved = ProbingStudy().resolve(_plan(labels_per_class=None), _unequal(9, 4))
    assert resolved.labels_per_class.counts == (1, 2, 4, 8)
    assert ProbingStudy().resolve(resolved, _unequal(9, 4)) == resolved


def test_level_zero_shares_the_clean_probe(data) -> None:
    cells = make_cells(_plan(label_noise={"levels": [0.0, 0.4]}, few_labels={"fractions": [0.5, 1.0]}), data)
    assert [(c.scenario, c.level) for c in cells] == [
        ("clean", 0.0), ("label-noise", 0.0), ("label-noise", 0.4), ("few-labels", 0.5), ("few-labels", 1.0),
    ]  # fmt: skip
    assert {c.training for c in cells} == {Training(), Training("symmetric", 0.4), Training("few", 0.5)}


def test_image_noise_is_paired_across_feature_sets(data) -> None:
    images = data.train.inputs.reshape(-1, 1, 8, 8)[:50] / 16
    pictures = from_arrays(images, data.train.labels[:50], images, data.train.labels[:50])
    plan = _plan("contrastive", input_noise={"levels": [0.2], "kind": "gaussian"})
    std = np.ones((1, 1, 1), dtype=np.float32)
    first, labels = evaluation_inputs(Evaluation("gaussian", 0.2), plan, pictures, 0, std)
    again, _ = evaluation_inputs(Evaluation("gaussian", 0.2), plan, pictures, 0, 5 * std)  # another encoder
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(labels, pictures.test.labels)
    other, _ = evaluation_inputs(Evaluation("gaussian", 0.2), plan, pictures, 1, std)
    assert (first != other).any()


def _pictures(**shifts: tuple[np.ndarray, np.ndarray]) -> LabelledData:
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 16, 16), dtype=np.uint8)
    return from_arrays(images, np.arange(40) % 4, images[:12], np.arange(12) % 4, shifts=shifts)


def _corruptions(**section: object) -> ProbingPlan:
    return with_levels(_plan("contrastive", corruptions=section, shift=None), _pictures())


def test_every_corruption_and_severity_is_a_cell_of_the_clean_probe() -> None:
    cells = make_cells(_corruptions(), _pictures())[1:]
    assert len(cells) == 15 * 3
    assert cells[1] == Cell("corruption:gaussian_noise", 3.0, Training(), Evaluation("corruption:gaussian_noise", 3.0))
    few = make_cells(_corruptions(kinds=["fog", "snow", "fog"], severities=[2]), _pictures())[1:]
    assert [(cell.scenario, cell.level) for cell in few] == [("corruption:fog", 2.0), ("corruption:snow", 2.0)]


def test_shifted_sets_tell_their_level_by_their_name() -> None:
    images, labels = np.zeros((2, 3, 16, 16), dtype=np.uint8), np.array([0, 1])
    names = ["c/fog@1", "c/fog@5", "sketch", "odd@name", "@2"]
    data = _pictures(**dict.fromkeys(names, (images, labels)))
    cells = [cell for cell in make_cells(_corruptions(kinds=["fog"]), data) if cell.scenario.startswith("shift:")]
    assert [(cell.scenario, cell.level) for cell in cells] == [
        ("shift:c/fog", 1.0), ("shift:c/fog", 5.0), ("shift:sketch", 1.0), ("shift:odd@name", 1.0), ("shift:", 2.0),
    ]  # fmt: skip
    assert [cell.evaluation.kind for cell in cells] == [f"shift:{name}" for name in names]
    twice = _pictures(**dict.fromkeys(["sketch", "sketch@1"], (images, labels)))
    with pytest.raises(InputError, match="sketch@1"):
        make_cells(_corruptions(kinds=["fog"]), twice)


def test_corruptions_are_drawn_once_for_all_seeds_and_in_parts_as_at_once() -> None:
    data, plan = _pictures(), _corruptions()
    evaluation = Evaluation("corruption:gaussian_noise", 5.0)
    first, labels = evaluation_inputs(evaluation, plan, data, 0, None)
    np.testing.assert_array_equal(labels, data.test.labels)
    np.testing.assert_array_equal(first, evaluation_inputs(evaluation, plan, data, 1, None)[0])
    rng = corruption_rng(evaluation, plan)
    parts = [corrupted(data.test.inputs[i : i + 5], evaluation, rng) for i in range(0, 12, 5)]
    np.testing.assert_array_equal(first, np.concatenate(parts))
    assert 0.08 < (first - data.test.inputs / 255).std() <= 0.1  # clipped
    other = evaluation_inputs(evaluation, plan.model_copy(update={"seed": 1}), data, 0, None)[0]
    assert (first != other).any()
    assert not evaluation.seeded
    assert Evaluation("gaussian", 0.1).seeded


@pytest.mark.parametrize(
    ("scenarios", "named"),
    [
        ({"label_noise": {"levels": [0.9]}}, "0.9"),  # ten classes: no information left
        ({"label_noise": {"levels": [0.5], "kind": "pair"}}, "0.5"),
        ({"label_noise": {"levels": [0.5], "kind": "matrix"}}, "matrix"),
        ({"labels_per_class": {"counts": [2, 5000]}}, "5000 exceeds the .* train rows of the largest class"),
        ({"input_noise": {"levels": [0.1], "kind": "input-noise"}}, "typos"),
        ({"given_labels": None}, "data.noisy_label_column"),
        ({"shift": None}, "data.shifts"),
        ({"corruptions": {}}, "needs images"),
        ({"corruptions": {"kinds": ["rain"]}}, "needs images"),
    ],
)
def test_what_the_data_cannot_give_is_refused(data, scenarios: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        ProbingStudy().check(_plan(**scenarios), data, "cpu")


@pytest.mark.parametrize(
    ("features", "named"),
    [(["dense", "nonsense"], "nonsense"), (["sae"], "'dense'"), (["dense", "ncl"], "'ncl'"), ([], "at least 1 item")],
)
def test_impossible_features_are_refused(data, features: list[str], named: str) -> None:
    values = {"encoder": "none", "features": features, "scenarios": []}
    with pytest.raises(InputError, match=named):
        ProbingStudy().check(validated(ProbingPlan, values, "test"), data, "cpu")


def test_an_unknown_corruption_suggests_the_closest() -> None:
    with pytest.raises(InputError, match=r"'rain' is unknown.*gaussian_noise"):
        ProbingStudy().check(_corruptions(kinds=["rain"]), _pictures(), "cpu")


@pytest.mark.parametrize(
    "values",
    [
        {"n_seeds": 0},
        {"sae": {"n_latents": 4, "k": 8}},
        {"label_noise": {"levels": [0.3, 0.3]}},
        {"label_noise": {"levels": []}},
        {"scenarios": ["labels-per-class"], "labels_per_class": {"counts": [0, 2]}},
        {"scenarios": ["labels-per-class"], "labels_per_class": {"counts": [2.5]}},
        {"scenarios": ["imbalance"], "imbalance": {"ratios": [0.5]}},
        {"labels_per_class": {"counts": [2]}},
        {"corruptions": {"severities": [0]}},
        {"corruptions": {"severities": [1, 6]}},
        {"corruptions": {"severities": [1.5]}},
        {"corruptions": {"severities": [3, 3]}},
        {"input_noise": {"levels": [0.1]}},
        {"encoder": {"name": "none", "layer": "backbone"}},
        {"encoder": {"name": "none", "contrastive": {"steps": 3}}},
        {"classifiers": ["gce", "knn"]},
        {"classifiers": ["ce", "gcee"]},
        {"classifiers": []},
        {"encoder": {"name": "7" * 5000, "layer": "backbone"}},
        {"unknown": 1},
        {"probe": {"lr": -1}},
    ],
)
def test_a_bad_plan_is_one_sentence(values: dict[str, object]) -> None:
    base = {"encoder": "none", "features": ["dense"], "scenarios": ["label-noise", "corruptions"]}
    with pytest.raises(InputError) as caught:
        validated(ProbingPlan, base | values, "plan.yaml")
    assert "\n" not in str(caught.value)


def test_plan_survives_yaml(tmp_path: Path) -> None:
    plan = _plan(label_noise={"levels": [0.1, 0.3]}, few_labels={"fractions": [0.2]})
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    assert read_plan(tmp_path / "plan.yaml") == plan
