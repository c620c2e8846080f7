"""Whether anything was learned: means against a level that takes no learning."""

import math

import numpy as np
import pytest
from scipy import stats

from monosemy.results.intervals import Estimate, over_seeds
from monosemy.results.learning import any_above


def test_one_mean_is_above_where_its_interval_is() -> None:
    values = np.array([0.52, 0.55, 0.53, 0.56])
    low = values.mean() - stats.sem(values) * stats.t.ppf(0.975, 3)
    assert any_above([over_seeds(values)], low - 1e-6)
    assert not any_above([over_seeds(values)], low + 1e-6)
    assert not any_above([over_seeds(1 - values)], 0.5), "clearly below is not learned"


def test_several_means_are_held_to_a_stricter_level() -> None:
    """Of twenty guesses one looks better than chance by chance."""
    lucky, level = Estimate(0.53, 0.01, 1e6, 5), 0.5 + 0.005
    assert any_above([lucky], level)
    assert not any_above([lucky, *[Estimate(0.5, 0.01, 1e6, 5)] * 19], level)


def test_few_seeds_of_few_rows_are_held_against_their_rows() -> None:
    one_seed = Estimate(0.6, 0.06, 59, 1, 60)
    assert not any_above([one_seed], 0.5)
    assert any_above([one_seed], 0.45)


@pytest.mark.parametrize("mean", [0.5, 0.51])
def test_without_an_error_the_mean_counts(mean: float) -> None:
    assert any_above([Estimate(mean, math.nan, math.nan, 1)], 0.5) == (mean > 0.5)


def test_without_values_nothing_is_above() -> None:
    assert not any_above([])
    assert not any_above([Estimate(math.nan, math.nan, math.nan, 0)])
