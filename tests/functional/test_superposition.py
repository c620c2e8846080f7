"""The weight gauge and its change by hand."""

import numpy as np
import pytest

from monosemy.functional.geometry import layer_superposition, neuron_superposition, superposition_change


def test_neurons_by_hand() -> None:
    weight = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]], dtype=np.float32)
    assert neuron_superposition(weight, np.array([-1.0, 0.5, 0.0])).tolist() == [-5.0, 1.0, 0.0]


def test_layers_are_divided_by_the_largest_median() -> None:
    found = layer_superposition([np.array([-5.0, 1.0, 0.0]), np.array([-4.0, -2.0]), np.array([1.5])])
    assert found.weight_median.tolist() == [0.0, -3.0, 1.5]
    assert found.weight_gauge.tolist() == [0.0, -1.0, 0.5]


def test_layers_without_any_bias_have_no_gauge() -> None:
    assert np.isnan(layer_superposition([np.zeros(3), np.zeros(3)]).weight_gauge).all()


def test_change_over_the_neurons_that_changed_most() -> None:
    before = np.array([-1.0, 2.0, -4.0, 10.0])
    after = np.array([-0.5, 2.1, -3.0, 10.0])
    assert superposition_change(before, after, most_changed=2) == pytest.approx((0.5 + 1.0) / (1.0 + 4.0))
    assert superposition_change(before, after) == pytest.approx(1.6 / 17)
    assert superposition_change(before, before) == 0
    assert np.isnan(superposition_change(np.zeros(2), np.ones(2)))
