import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from monosemy.results.intervals import Estimate, holm, holm_levels, judge, over_seeds, over_seeds_and_rows, p_text


def _hits(rng: np.random.Generator, seeds: int, rows: int, effects: tuple[float, float, float, float]) -> np.ndarray:
    """Difference of two classifiers' hits: common row difficulty, own row effect, own seed effect, noise."""
    common, own, seed, noise = effects
    difficulty = common * rng.standard_normal(rows, dtype=np.float32)
    hits = []
    for skill in (1.2, 1.0):
        logit = skill + difficulty + own * rng.standard_normal(rows, dtype=np.float32)
        logit = logit + seed * rng.standard_normal((seeds, 1), dtype=np.float32)
        hits.append(logit + noise * rng.standard_normal((seeds, rows), dtype=np.float32) > 0)
    return hits[0].astype(np.float32) - hits[1]


EFFECTS = {
    "rows and seeds": (1.0, 0.3, 0.15, 0.3),
    "mostly rows": (1.0, 0.4, 0.02, 0.1),
    "mostly seeds": (1.0, 0.3, 0.5, 0.1),
    "rows differ anew for each seed": (0.0, 0.0, 0.0, 1.0),
    "the seed changes nothing": (1.0, 0.4, 0.0, 0.0),
}


@pytest.mark.parametrize("effects", EFFECTS)
@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(("rows", "draws"), [(150, 1500), pytest.param(5000, 600, marks=pytest.mark.slow)])
def test_intervals_cover_the_true_gain(effects: str, seeds: int, rows: int, draws: int) -> None:
    rng = np.random.default_rng(seeds * rows)
    spread = math.sqrt(sum(effect**2 for effect in EFFECTS[effects]))
    true = stats.norm.cdf(1.2 / spread) - stats.norm.cdf(1.0 / spread)
    covered = 0
    for _ in range(draws):
        low, high = over_seeds_and_rows(_hits(rng, seeds, rows, EFFECTS[effects]), unit=1).interval()
        covered += low <= true <= high
    error = 2.5 * math.sqrt(0.05 * 0.95 / draws)  # of this simulation
    assert 0.935 - error < covered / draws < 0.97 + error


def test_error_over_rows_alone_would_be_too_small_and_over_seeds_too() -> None:
    rng = np.random.default_rng(0)
    same_rows = np.broadcast_to(_hits(rng, 1, 500, EFFECTS["the seed changes nothing"]), (5, 500))
    estimate = over_seeds_and_rows(same_rows, unit=1)
    assert estimate.se == pytest.approx(same_rows[0].std(ddof=1) / math.sqrt(500))  # five seeds are no five test sets
    assert estimate.df == pytest.approx(499)
    shift = rng.normal(0, 3, (4, 1)) + np.zeros((4, 500))
    assert over_seeds_and_rows(shift).se == pytest.approx(stats.sem(shift[:, 0]))
    assert over_seeds_and_rows(shift).df == pytest.approx(3)


def test_estimate_by_hand() -> None:
    # Seed means 2, 4; row means 1, 3, 5; residuals (+1, 0, -1), (-1, 0, +1).
    estimate = over_seeds_and_rows(np.array([[1.0, 2, 3], [1, 4, 7]]))
    v_seeds, v_rows, v_both = 2 / 2, 4 / 3, (4 / 2) / 6
    assert estimate.mean == 3
    assert estimate.se**2 == pytest.approx(v_seeds + v_rows - v_both)
    assert estimate.df == pytest.approx(1 / (1.8 * 0.5 / 1 + 0.5**2 / 2))
    assert (estimate.seeds, estimate.rows) == (2, 3)


def test_never_much_narrower_than_the_sampling_error_of_the_rows() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        hits = rng.integers(-1, 2, (2, 40)).astype(float)
        hits[1] = rng.permutation(hits[0])  # equal gains by chance
        low, high = over_seeds_and_rows(hits, unit=1).interval()
        assert (high - low) / 2 > hits.mean(axis=0).std(ddof=1) / math.sqrt(40)


def test_no_row_that_differs_still_has_an_error_of_one_row() -> None:
    low, high = over_seeds_and_rows(np.zeros((3, 150)), unit=1).interval()
    assert high == pytest.approx(1.96 / 150, rel=0.02)
    assert low == -high
    assert math.isnan(over_seeds_and_rows(np.zeros((3, 150))).se)


def test_one_seed_has_the_error_of_its_rows() -> None:
    values = np.random.default_rng(2).random((1, 60))
    estimate = over_seeds_and_rows(values)
    assert estimate.se == pytest.approx(stats.sem(values[0]))
    assert estimate.p == pytest.approx(stats.ttest_1samp(values[0], 0).pvalue)


@pytest.mark.parametrize(
    ("dense", "other", "rows"),
    [
        ((17, 13), (18, 14), 20),
        ((17, 13), (16, 12), 20),
        ((13, 5, 8), (14, 6, 9), 20),
        ((31, 29, 22, 11, 7), (33, 31, 24, 13, 9), 40),
        ((3, 7, 9), (3, 7, 9), 11),
        ((999_999, 3, 7), (1_000_000, 4, 8), 3_000_001),
    ],
)
def test_gains_that_are_equal_but_for_rounding_are_not_tested(
    dense: tuple[int, ...], other: tuple[int, ...], rows: int
) -> None:
    gain = over_seeds(np.array(other) / rows - np.array(dense) / rows)
    assert math.isnan(gain.se)
    assert math.isnan(gain.p)
    (judgement,) = judge([gain])
    assert judgement.outcome == ("equivalent" if dense == other else "undecided")
    assert math.isnan(judgement.p_holm)


def test_gains_that_differ_by_one_row_of_many_are_tested() -> None:
    gain = over_seeds(np.array([1, 1, 2]) / 5_000_000)
    assert gain.p == pytest.approx(stats.ttest_1samp([1, 1, 2], 0).pvalue)


def _gain(mean: float, se: float = 0.01, df: float = 1000, seeds: int = 5) -> Estimate:
    return Estimate(mean, se, df, seeds, 1000)


@pytest.mark.parametrize(
    ("mean", "se", "outcome"),
    [
        (0.05, 0.01, "better"),
        (-0.05, 0.01, "worse"),
        (0.01, 0.01, "undecided"),
        (0.002, 0.002, "equivalent"),
        (-0.002, 0.002, "equivalent"),
        (0.005, 0.003, "undecided"),
        (0.006, 0.001, "better"),
    ],
)
def test_the_rule(mean: float, se: float, outcome: str) -> None:
    assert judge([_gain(mean, se)])[0].outcome == outcome
    few = judge([_gain(mean, se, seeds=2)])[0]
    assert few.outcome == "undecided"
    assert math.isnan(few.p)
    assert (few.low, few.high) == pytest.approx(stats.t.interval(0.95, 1000, mean, se))


def test_equivalence_is_two_one_sided_tests() -> None:
    x = np.random.default_rng(3).normal(0.002, 0.012, 20)
    p, *_ = ttost_paired(x, np.zeros(20), -0.01, 0.01)
    assert p < 0.025
    assert judge([over_seeds(x)])[0].outcome == "equivalent"
    p, *_ = ttost_paired(x, np.zeros(20), -0.006, 0.006)
    assert p > 0.025
    assert judge([over_seeds(x)], margin=0.006)[0].outcome == "undecided"
    assert judge([over_seeds(x)], margin=None)[0].outcome == "undecided"
    both = judge([over_seeds(x)] * 2, [False] * 2, margin=[0.01, None])
    assert [found.outcome for found in both] == ["equivalent", "undecided"]


def test_only_claims_count_for_the_correction() -> None:
    gains = [_gain(0.023), _gain(0.0), _gain(0.024), _gain(0.001)]
    alone = judge(gains, claims=[True, False, False, False])
    assert [j.outcome for j in alone] == ["better", "undecided", "better", "undecided"]
    assert alone[0].p_holm == alone[0].p
    together = judge(gains)
    assert [j.outcome for j in together] == ["undecided"] * 4
    np.testing.assert_allclose([j.p_holm for j in together], holm(np.array([gain.p for gain in gains])))
    assert together[0].low < 0 < alone[0].low


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.floats(-0.2, 0.2), st.floats(1e-3, 0.1), st.floats(1, 5000), st.sampled_from([1, 2, 3, 5])),
        min_size=1,
        max_size=12,
    )
)
def test_interval_p_value_and_outcome_never_contradict_each_other(gains: list[tuple[float, float, float, int]]) -> None:
    for (*_, seeds), judgement in zip(gains, judge([Estimate(*gain, 100) for gain in gains]), strict=True):
        excludes_zero = judgement.low > 0 or judgement.high < 0
        within = judgement.low > -0.01 and judgement.high < 0.01
        if seeds < 3:
            assert judgement.outcome == "undecided"
            continue
        if abs(judgement.p_holm - 0.05) > 1e-9:
            assert excludes_zero == (judgement.p_holm < 0.05)
        expected = "better" if judgement.low > 0 else "worse" if judgement.high < 0 else None
        assert judgement.outcome == (expected or ("equivalent" if within else "undecided"))


def test_levels_of_holm_by_hand() -> None:
    p = np.array([0.04, math.nan, 0.001, 0.02])  # 0.001 < 0.05 / 3; 0.02 < 0.05 / 2; 0.04 < 0.05
    np.testing.assert_allclose(holm_levels(p), [0.05, 0.05, 0.05 / 3, 0.025])
    p = np.array([0.04, 0.001, 0.03])  # 0.03 fails at 0.05 / 2, which holds for 0.04 too
    np.testing.assert_allclose(holm_levels(p), [0.025, 0.05 / 3, 0.025])
    assert (holm(p) < 0.05).tolist() == (p < holm_levels(p)).tolist()


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.055, "0.055"), (0.0496, "0.0496"), (0.04999, "0.04999"), (0.0504, "0.05"), (0.4321, "0.43"), (1.0, "1"),
     (0.0004, "< 0.001"), (0.0013, "0.0013"), (math.nan, "–")],
)  # fmt: skip
def test_p_values_keep_their_side_of_five_percent(p: float, text: str) -> None:
    assert p_text(p) == text
