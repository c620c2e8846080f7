"""Summaries of tidy tables, by hand, and the values of test rows that they are judged by."""

import math
from dataclasses import astuple
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st
from scipy import stats

import monosemy.study.probing.study  # noqa: F401 - makes the roles of the feature sets known
from monosemy.results.intervals import holm, over_seeds_and_rows
from monosemy.results.statistics import Scores, mean_interval, packed, split_test_rows, summarise, unpacked, with_means


def test_interval_is_the_textbook_one() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    mean, low, high = mean_interval(values)
    # s = sqrt(2.5), t_{0.975, 4} = 2.7764451: half width 2.7764451 * sqrt(2.5 / 5)
    assert mean == 3
    assert high - mean == pytest.approx(2.7764451 * math.sqrt(0.5), abs=1e-6)
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5], [0.1 + 0.2, 0.3]])
def test_what_was_measured_once_has_no_interval(values: list[float]) -> None:
    mean, low, high = mean_interval(np.array(values))
    assert mean == pytest.approx(values[0])
    assert math.isnan(low)
    assert math.isnan(high)


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04 times 3, 2, 1, made monotone: 0.03, 0.04, 0.04; NaN is no comparison.
    corrected = holm(np.array([0.04, math.nan, 0.01, 0.02]))
    assert corrected[[0, 2, 3]] == pytest.approx([0.04, 0.03, 0.04])
    assert math.isnan(corrected[1])


def _results(accuracies: dict[str, list[float]] | None = None) -> pd.DataFrame:
    given = accuracies or {"dense": [0.5, 0.6, 0.7], "sae": [0.6, 0.65, 0.9]}
    rows = [
        {"variant": f, "scenario": "clean", "level": 0.0, "seed": s, "metric": "accuracy", "value": v}
        for f, values in given.items()
        for s, v in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_summary_pairs_by_seed() -> None:
    summary = summarise(_results()).set_index("variant")
    assert summary.loc["sae", "gain"] == pytest.approx(np.mean([0.1, 0.05, 0.2]))
    assert math.isnan(summary.loc["dense", "gain"])
    assert summary.loc["sae", "p"] == pytest.approx(stats.ttest_rel([0.6, 0.65, 0.9], [0.5, 0.6, 0.7]).pvalue)
    assert summary.loc["sae", "outcome"] == "undecided"
    assert summary.loc["dense", "outcome"] == "baseline"
    assert summary["n_test"].tolist() == [0, 0]


def test_summary_does_not_depend_on_the_order_of_seeds() -> None:
    shuffled = _results().sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(
        summarise(_results()).set_index("variant").sort_index(), summarise(shuffled).set_index("variant").sort_index()
    )


@pytest.mark.parametrize(
    ("dense", "other", "n_test"),
    [
        ((17, 13), (18, 14), 20),
        ((17, 13), (16, 12), 20),
        ((13, 5, 8), (14, 6, 9), 20),
        ((31, 29, 22, 11, 7), (33, 31, 24, 13, 9), 40),
    ],
)
def test_the_same_gain_of_whole_rows_in_every_seed_is_not_tested(
    dense: tuple[int, ...], other: tuple[int, ...], n_test: int
) -> None:
    accuracies = {"dense": [right / n_test for right in dense], "sae": [right / n_test for right in other]}
    row = summarise(_results(accuracies)).query("variant == 'sae'").iloc[0]
    assert math.isnan(row["p"])
    assert math.isnan(row["p_holm"])
    assert math.isnan(row["gain_low"])
    assert row["outcome"] == "undecided"


def test_a_row_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="sae is there twice in clean, level 0, seed 1"):
        summarise(pd.concat([_results(), _results().iloc[[4]]]))


def test_without_a_seed_in_common_nothing_is_decided() -> None:
    table = _results({"dense": [0.5, 0.6, math.nan], "sae": [math.nan, math.nan, 0.9]})
    summary = summarise(table).set_index("variant")
    assert summary["seeds"].tolist() == [2, 1]
    assert math.isnan(summary.loc["sae", "gain"])
    assert summary.loc["sae", "outcome"] == "undecided"


def test_seeds_without_a_value_do_not_count() -> None:
    table = _results({"dense": [0.5, 0.6, 0.7, 0.8], "sae": [0.6, 0.65, 0.9, math.nan]})
    summary = summarise(table).set_index("variant")
    assert summary["seeds"].tolist() == [4, 3]
    assert summary.loc["sae", "gain"] == pytest.approx(0.35 / 3)


@given(st.lists(st.booleans(), min_size=1, max_size=70))
def test_hits_come_back_as_they_were(hits: list[bool]) -> None:
    values = packed(np.array(hits))
    assert len(values["row_values"]) == math.ceil(len(hits) / 8)
    np.testing.assert_array_equal(unpacked(values["n_test"], values["row_values"]), hits)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20))
def test_numbers_come_back_as_float32(numbers: list[float]) -> None:
    values = packed(np.array(numbers))
    np.testing.assert_array_equal(unpacked(values["n_test"], values["row_values"]), np.array(numbers, dtype=np.float32))


@pytest.mark.parametrize(("count", "size"), [(8, 2), (9, 1), (3, 11), (3, 0)])
def test_bytes_that_do_not_fit_are_refused(count: int, size: int) -> None:
    with pytest.raises(ValueError, match="test rows"):
        unpacked(count, bytes(size))


def _rows(hits: dict[str, np.ndarray], scenario: str = "clean", level: float = 0.0) -> list[dict[str, object]]:
    """Rows of jobs for hits (seeds, test rows) of each feature set."""
    return [
        {"variant": name, "scenario": scenario, "level": level, "seed": seed, "metric": "accuracy",
         "value": float(of_seed.mean())} | packed(of_seed)
        for name, of_seeds in hits.items() for seed, of_seed in enumerate(of_seeds)
    ]  # fmt: skip


def _hits(seeds: int, rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    hard = rng.standard_normal(rows)
    return {
        name: hard + 0.5 * rng.standard_normal((seeds, rows)) < skill
        for name, skill in {"dense": 0.5, "relu": 0.6, "sae": 1.0}.items()
    }


def test_test_rows_become_a_table_of_their_own() -> None:
    extra = {"variant": "sae", "scenario": "clean", "level": 0.0, "seed": 0, "metric": "l0", "value": 16.0}
    results, test_rows = split_test_rows(pd.DataFrame([*_rows(_hits(2, 9)), extra]))
    assert results.columns.tolist() == ["variant", "scenario", "level", "seed", "metric", "value"]
    assert len(results) == 7
    assert test_rows is not None
    assert len(test_rows) == 6
    assert test_rows["n_test"].tolist() == [9] * 6
    assert split_test_rows(results) == (results, None)


@pytest.mark.parametrize("seeds", [1, 3, 5])
def test_the_error_is_that_over_seeds_and_rows(seeds: int) -> None:
    hits = _hits(seeds, 200)
    results, test_rows = split_test_rows(pd.DataFrame(_rows(hits)))
    summary = summarise(results, test_rows=test_rows).set_index("variant")
    assert (summary["n_test"] == 200).all()
    expected = over_seeds_and_rows(hits["sae"].astype(float) - hits["dense"], unit=1)
    assert (summary.loc["sae", "gain_low"], summary.loc["sae", "gain_high"]) == pytest.approx(expected.interval())
    accuracy = over_seeds_and_rows(hits["sae"].astype(float), unit=1)
    assert summary.loc["sae", "accuracy_low"] == pytest.approx(accuracy.interval()[0])
    assert summary.loc["sae", "outcome"] == ("better" if seeds > 1 else "undecided")
    against = Scores(results, test_rows).gain("sae", "relu", "clean", 0.0)
    expected = over_seeds_and_rows(hits["sae"].astype(float) - hits["relu"], unit=1)
    assert astuple(against) == pytest.approx(astuple(expected))


def test_gains_that_do_not_vary_with_the_seed_are_judged_by_their_test_rows() -> None:
    once = {name: np.repeat(hits, 3, axis=0) for name, hits in _hits(1, 300).items()}
    results, test_rows = split_test_rows(pd.DataFrame(_rows(once)))
    row = summarise(results, test_rows=test_rows).set_index("variant").loc["sae"]
    difference = once["sae"][0].astype(float) - once["dense"][0]
    assert (row["gain_high"] - row["gain_low"]) / 2 == pytest.approx(stats.sem(difference) * stats.t.ppf(0.975, 299))
    assert row["outcome"] == "better"


def test_rows_that_cannot_be_paired_leave_the_error_over_seeds() -> None:
    hits = _hits(3, 40)
    rows = _rows({"dense": hits["dense"]}) + _rows({"sae": hits["sae"][:, :30]})
    results, test_rows = split_test_rows(pd.DataFrame(rows))
    row = summarise(results, test_rows=test_rows).set_index("variant").loc["sae"]
    values = [hits["sae"][seed, :30].mean() - hits["dense"][seed].mean() for seed in range(3)]
    assert row["p"] == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


@pytest.mark.parametrize(("size", "tested"), [(1e-7, False), (1e-4, True)])
def test_values_that_are_equal_but_for_rounding_are_not_tested(size: float, tested: bool) -> None:
    """Float32 differs in the seventh digit, in every seed in the same direction by chance."""
    losses = [3.0, 3.1, 2.9]
    rows = [
        {"variant": name, "scenario": "clean", "level": 0.0, "seed": seed, "metric": "loss", "value": value}
        for seed, loss in enumerate(losses)
        for name, value in (("a", loss), ("b", loss * (1 + size * (1 + 0.1 * seed))))
    ]
    gain = Scores(pd.DataFrame(rows), metric="loss").gain("b", "a", "clean", 0.0)
    assert np.isfinite(gain.p) == tested
    assert (gain.mean != 0) == tested


def test_equal_accuracies_on_different_rows_are_tested() -> None:
    one = np.tile(np.repeat([True, False], 20), (3, 1))
    results, test_rows = split_test_rows(pd.DataFrame(_rows({"dense": one, "sae": ~one})))
    row = summarise(results, test_rows=test_rows).set_index("variant").loc["sae"]
    assert row["gain"] == 0
    assert row["gain_high"] > 0.3
    assert row["outcome"] == "undecided"


def test_intervals_of_accuracies_stay_between_0_and_1() -> None:
    hits = {"dense": np.ones((3, 20), dtype=bool), "sae": np.zeros((3, 20), dtype=bool)}
    results, test_rows = split_test_rows(pd.DataFrame(_rows(hits)))
    summary = summarise(results, test_rows=test_rows).set_index("variant")
    assert 0.8 < summary.loc["dense", "accuracy_low"] < 1 == summary.loc["dense", "accuracy_high"]
    assert 0 == summary.loc["sae", "accuracy_low"] < summary.loc["sae", "accuracy_high"] < 0.2


def test_the_mean_over_kinds_has_the_mean_of_the_test_rows() -> None:
    kinds = {f"corruption:{kind}": _hits(3, 50, seed=number) for number, kind in enumerate(("fog", "snow", "frost"))}
    rows = [row for kind, hits in kinds.items() for row in _rows(hits, kind, 1.0)]
    results, test_rows = split_test_rows(with_means(pd.DataFrame(rows)))
    summary = summarise(results, test_rows=test_rows).set_index(["scenario", "variant"])
    mean = {name: np.mean([hits[name] for hits in kinds.values()], axis=0) for name in ("sae", "dense")}
    expected = over_seeds_and_rows(mean["sae"] - mean["dense"])
    found = summary.loc["corruption:mean", "sae"]
    assert found["gain"] == pytest.approx(expected.mean)
    assert found["p"] == pytest.approx(expected.p, rel=1e-4)
    assert found["n_test"] == 50


def test_only_claims_are_corrected() -> None:
    cells = product(("dense", "relu", "sae"), (0.1, 0.3), range(4))
    rng = np.random.default_rng(0)
    rows = [
        {"variant": name, "scenario": "label-noise", "level": level, "seed": seed, "metric": "accuracy",
         "value": 0.5 + 0.01 * rng.standard_normal() + 0.02 * (name != "dense")}
        for name, level, seed in cells
    ]  # fmt: skip
    summary = summarise(pd.DataFrame(rows))
    claims = summary[summary["variant"] == "sae"]
    np.testing.assert_allclose(claims["p_holm"], holm(claims["p"].to_numpy()))
    controls = summary[summary["variant"] == "relu"]
    np.testing.assert_allclose(controls["p_holm"], controls["p"])
