"""Means over kinds of corruption, by hand."""

import numpy as np
import pandas as pd
import pytest

import monosemy.study.probing.study  # noqa: F401 - makes the roles of the feature sets known
from monosemy.results.intervals import holm
from monosemy.results.statistics import family_of, is_mean, single_kinds, summarise, with_means


def table(rows: list[tuple[str, str, float, int, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["variant", "scenario", "level", "seed", "metric", "value"])
    frame.insert(0, "dataset", "toy")
    frame.insert(1, "encoder", "none")
    return frame


def cells(scenarios: list[str], levels: tuple[float, ...] = (1.0, 3.0)) -> pd.DataFrame:
    """Two sets, three seeds; kind number n has accuracy 0.9 - n level / 100, and sae gains n / 100 on it."""
    rows = []
    for name in ("dense", "sae"):
        for seed in range(3):
            rows.append((name, "clean", 0.0, seed, "accuracy", 0.9 + 0.01 * seed))
            for number, scenario in enumerate(scenarios):
                for level in levels:
                    gain = (name == "sae") * (number + seed) / 100
                    rows.append((name, scenario, level, seed, "accuracy", 0.9 - number * level / 100 + gain))
                    rows.append((name, scenario, level, seed, "weight_decay", 1e-4))
    return table(rows)


@pytest.mark.parametrize(
    ("scenario", "family", "mean"),
    [
        ("corruption:fog", "corruption:", False),
        ("corruption:mean", "corruption:", True),
        ("shift:c/fog", "shift:c/", False),
        ("shift:my/c/fog", "shift:my/c/", False),
        ("shift:c/mean", "shift:c/", True),
        ("shift:sketch", None, False),
        ("shift:mean", None, False),
        ("label-noise", None, False),
    ],
)
def test_families(scenario: str, family: str | None, mean: bool) -> None:
    assert family_of(scenario) == family
    assert is_mean(scenario) == mean


def test_the_mean_is_that_of_each_seed_and_level_and_of_accuracy_alone() -> None:
    kinds = ["corruption:fog", "corruption:snow", "shift:c/fog", "shift:c/snow", "shift:c/frost"]
    before = cells(kinds)
    after = with_means(before)
    pd.testing.assert_frame_equal(after.iloc[: len(before)], before)
    added = after.iloc[len(before) :]
    assert set(added["metric"]) == {"accuracy"}
    assert set(added["dataset"]) == {"toy"}
    values = added.set_index(["variant", "scenario", "level", "seed"])["value"]
    assert len(values) == 2 * 2 * 2 * 3
    assert values["dense", "corruption:mean", 3.0, 1] == pytest.approx(0.9 - 0.5 * 0.03)
    assert values["sae", "corruption:mean", 3.0, 2] == pytest.approx(0.9 - 0.5 * 0.03 + 0.025)
    assert values["sae", "shift:c/mean", 1.0, 0] == pytest.approx(0.9 - 3 * 0.01 + 0.03)
    summary = summarise(after).set_index(["variant", "scenario", "level"])
    assert summary.loc[("sae", "corruption:mean", 3.0), "gain"] == pytest.approx(0.015)


def test_a_mean_needs_every_kind_and_more_than_one() -> None:
    whole = cells(["corruption:fog", "corruption:snow"])
    missing = whole[~((whole["scenario"] == "corruption:fog") & (whole["level"] == 3.0) & (whole["seed"] == 1))]
    added = with_means(missing).iloc[len(missing) :]
    assert set(zip(added["level"], added["seed"], strict=True)) == {(1.0, 0), (1.0, 1), (1.0, 2), (3.0, 0), (3.0, 2)}
    for alone in (["corruption:fog"], ["shift:sketch", "shift:photo"], ["shift:c/fog", "shift:c/mean"]):
        assert len(with_means(cells(alone))) == len(cells(alone))


def test_single_kinds_stand_back_where_there_is_a_mean() -> None:
    present = ["clean", "corruption:fog", "corruption:mean", "shift:c/fog", "shift:sketch"]
    assert single_kinds(present) == {"corruption:fog"}


def test_holm_corrects_single_kinds_apart_from_all_else() -> None:
    summary = summarise(with_means(cells(["corruption:fog", "corruption:snow", "shift:sketch"])))
    p = summary["p"].to_numpy(dtype=float)
    single = summary["scenario"].isin(["corruption:fog", "corruption:snow"]).to_numpy()
    np.testing.assert_allclose(summary["p_holm"][single], holm(p[single]))
    np.testing.assert_allclose(summary["p_holm"][~single], holm(p[~single]))
    assert np.isfinite(p[single]).sum() > 1
