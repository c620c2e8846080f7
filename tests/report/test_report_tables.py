import math

import numpy as np
import pandas as pd
import pytest
from made_study import make_result

from monosemy.errors import InputError
from monosemy.report import tables
from monosemy.report.tables import Cell

NAN = float("nan")


def cell(accuracy: float = 0.5, half: float = 0.1, gain: float = 0.0, p_holm: float = 0.5) -> Cell:
    accuracies, gains = (accuracy, accuracy - half, accuracy + half), (gain, gain - half, gain + half)
    return Cell("sae", "clean", 0.0, 3, 150, *accuracies, *gains, 0.1, p_holm, "undecided")


def test_the_clean_cell_begins_every_scale_of_levels() -> None:
    summary = make_result().summary
    assert tables.levels(tables.scenario_table(summary, "label-noise")) == [0.0, 0.3, 0.6]
    assert tables.levels(tables.scenario_table(summary, "input-noise")) == [0.0, 0.25]
    assert tables.levels(tables.scenario_table(summary, "few-labels")) == [1.0, 0.5, 0.1]
    assert tables.levels(tables.scenario_table(summary, "given-labels")) == [0.1734]
    start = tables.scenario_table(summary, "few-labels").iloc[0]
    assert start["accuracy"] == summary.iloc[0]["accuracy"]


def test_the_order_of_feature_sets_survives_the_sorting_of_levels() -> None:
    summary = make_result().summary
    for scenario in ("label-noise", "few-labels"):
        table = tables.scenario_table(summary, scenario)
        for level in tables.levels(table):
            names = list(table.loc[table["level"] == level, "variant"])
            assert names == ["dense", "relu", "sae", "dense+cleanlab"]


def test_a_level_that_is_clean_already_is_not_doubled() -> None:
    summary = make_result(scenarios=("label-noise",)).summary
    summary.loc[summary["level"] == 0.3, "level"] = 0.0
    table = tables.scenario_table(summary, "label-noise")
    assert not table.duplicated(["variant", "level"]).any()
    assert set(table["scenario"]) == {"label-noise"}


def test_a_feature_set_without_the_scenario_brings_no_clean_point() -> None:
    summary = make_result().summary
    absent = (summary["variant"] == "dense+cleanlab") & (summary["scenario"] == "few-labels")
    table = tables.scenario_table(summary[~absent], "few-labels")
    assert "dense+cleanlab" not in set(table["variant"])


def test_clean_data_is_a_scenario_of_its_own_only_without_a_scale() -> None:
    assert "clean" not in tables.scenarios(make_result().summary)
    assert tables.scenarios(make_result(scenarios=("shift:sketch",)).summary) == ["clean", "shift:sketch"]
    assert tables.scenarios(make_result(scenarios=()).summary) == ["clean"]
    assert tables.main_scenario(make_result(scenarios=()).summary) is None
    assert tables.main_scenario(make_result(scenarios=("shift:sketch",)).summary) == "shift:sketch"


def test_an_unknown_scenario_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"'fog'.*label-noise"):
        tables.scenario_table(make_result().summary, "fog")


def test_surplus_consistency_is_above_chance() -> None:
    results = make_result().results
    mean, low, high = tables.surplus_consistency(results, "sae")
    assert 0.39 < low < mean < high < 0.42
    assert mean == pytest.approx(0.4 + np.mean([0.0, 0.016, 0.012, 0.008]))
    assert math.isnan(tables.surplus_consistency(results, "dense+cleanlab")[0])


def test_the_feature_table_holds_what_was_measured() -> None:
    table = tables.feature_table(make_result().results)
    assert list(table.index) == ["dense", "relu", "sae"]
    assert table.loc["sae", "explained_variance"] == pytest.approx(0.97)
    assert math.isnan(float(table.loc["dense", "explained_variance"]))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [(0.1234, False, "12.3"), (0.1, True, "+10.0"), (-0.1, True, "-10.0"), (-0.0001, True, "0.0"), (NAN, True, "–")],
)
def test_points(value: float, signed: bool, text: str) -> None:
    assert tables.points(value, signed) == text


def test_numbers_in_words() -> None:
    assert tables.accuracy_text(cell(0.545, 0.012)) == "54.5 ±1.2"
    assert tables.accuracy_text(cell(0.545, NAN)) == "54.5"
    assert tables.gain_interval_text(cell(gain=0.05, half=0.1)) == "-5.0 to +15.0"
    assert tables.gain_interval_text(cell(gain=0.05, half=NAN)) == "–"


@pytest.mark.parametrize(
    ("scenario", "level", "text"),
    [
        ("label-noise", 0.0, "clean"), ("label-noise", 0.3, "30 %"), ("label-noise", 0.005, "0.5 %"),
        ("few-labels", 1.0, "all labels"), ("few-labels", 0.1, "10 %"), ("input-noise", 0.25, "0.25"),
        ("labels-per-class", 1.0, "1 a class"), ("labels-per-class", 16.0, "16 a class"), ("imbalance", 1.0, "clean"),
        ("imbalance", 50.0, "50 : 1"), ("given-labels", 0.1734, "17.3 % wrong"), ("shift:sketch", 1.0, "test set"),
    ],
)  # fmt: skip
def test_levels_in_words(scenario: str, level: float, text: str) -> None:
    assert tables.level_text(scenario, level) == text


def test_numbers_of_test_rows_in_words() -> None:
    for counts, text in (
        ([0, 0], ""),
        ([4500, 4500], ", 4,500 test rows"),
        ([0, 90, 150, 120], ", 90 to 150 test rows"),
    ):
        assert tables.test_rows_text(pd.DataFrame({"n_test": counts})) == text
