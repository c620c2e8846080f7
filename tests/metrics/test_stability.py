"""Stability over seeds: dictionaries of which it is known what is found again."""

from itertools import permutations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, strategies as st

from monosemy.data import memory_map as rows_module
from monosemy.errors import InputError
from monosemy.metrics.stability import activation_stability, correlations, decoder_stability, match_latents

RNG = np.random.default_rng(0)


@given(seed=st.integers(0, 999), m=st.integers(1, 5), other=st.integers(1, 5))
def test_the_matching_is_the_best_of_all(seed: int, m: int, other: int) -> None:
    similarity = np.random.default_rng(seed).uniform(-1, 1, (m, other))
    match, value = match_latents(similarity)
    small, large = sorted((m, other))
    rows = similarity if m <= other else similarity.T
    best = max(sum(rows[i, p[i]] for i in range(small)) for p in permutations(range(large), small))
    assert np.nansum(value) == pytest.approx(best)
    assert (match >= 0).sum() == small == len(set(match[match >= 0].tolist()))
    assert np.isnan(value).tolist() == (match < 0).tolist()


def test_the_same_dictionary_in_another_order_and_scale_is_found_wholly() -> None:
    decoder = RNG.standard_normal((40, 16))
    order = RNG.permutation(40)
    found = decoder_stability(decoder, decoder[order] * RNG.uniform(0.1, 9, (40, 1)))
    assert found.found == 1
    assert found.mean == pytest.approx(1)
    np.testing.assert_array_equal(order[found.match], np.arange(40))


def test_a_known_share_is_found_again_and_the_sign_counts() -> None:
    decoder = np.eye(10)
    other = decoder.copy()
    other[:3] = -decoder[:3]  # opposite: another feature
    other[3] = [0] * 3 + [1, 0.9] + [0] * 5  # cosine 0.743 with latent 3
    found = decoder_stability(decoder, other)
    assert found.found == pytest.approx(7 / 10)
    assert decoder_stability(decoder, other, threshold=0.75).found == pytest.approx(6 / 10)
    assert found.similarity[3] == pytest.approx(1 / np.hypot(1, 0.9))
    assert found.mean == pytest.approx((found.similarity[3] + 6 + found.similarity[:3].sum()) / 10)


def test_unrelated_dictionaries_are_at_chance() -> None:
    one, two = RNG.standard_normal((2, 60, 32))
    found = decoder_stability(one, two)
    assert found.mean == pytest.approx(found.chance, abs=0.04)
    assert found.chance > 0.2, "best partners lie close by chance"
    assert found.found == found.chance_found == 0


def test_in_two_dimensions_chance_alone_finds_again() -> None:
    one, two = RNG.standard_normal((2, 50, 2))
    found = decoder_stability(one, two)
    assert found.chance_found > 0.8
    assert found.found == pytest.approx(found.chance_found, abs=0.15)


def test_a_smaller_dictionary_cannot_hold_all() -> None:
    decoder = RNG.standard_normal((30, 24))
    found = decoder_stability(decoder, decoder[:12])
    assert found.found == pytest.approx(12 / 30)
    assert found.mean == pytest.approx(1)
    assert (found.match[12:] == -1).all()
    assert decoder_stability(decoder[:12], decoder).found == 1


FORMS = {"dense": np.asarray, "sparse": sp.csr_array, "memory": lambda x: x.astype(np.float16)}


@given(seed=st.integers(0, 999), density=st.sampled_from([0.1, 0.5, 1.0]))
def test_correlations_are_those_of_numpy(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    one, two = (rng.random((30, m)) * (rng.random((30, m)) < density) for m in (4, 3))
    one[:, 0] = 0
    two[:, 1] = 5  # does not vary
    wanted = np.zeros((4, 3))
    for i in range(4):
        for j in range(3):
            if one[:, i].std() > 0 and two[:, j].std() > 1e-12:
                wanted[i, j] = np.corrcoef(one[:, i], two[:, j])[0, 1]
    for a in (one, sp.csr_array(one)):
        for b in (two, sp.csr_array(two)):
            np.testing.assert_allclose(correlations(a, b), wanted, atol=1e-9)


@pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
def test_codes_of_the_same_latents_are_found_again_in_other_spaces(form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "_ROWS_AT_ONCE", 5000)
    codes = RNG.random((300, 20)) * (RNG.random((300, 20)) < 0.2)
    other = np.concatenate([3 * codes[:, 10:], RNG.random((300, 10)) * (RNG.random((300, 10)) < 0.2)], axis=1)
    found = activation_stability(form(codes), form(other))
    assert found.found == pytest.approx(0.5)
    np.testing.assert_array_equal(found.match[10:], np.arange(10))
    assert found.chance < 0.4


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: decoder_stability(np.eye(3), np.eye(4)), "other has directions of 4 numbers but decoder of 3"),
        (lambda: decoder_stability(np.eye(3), np.diag([1.0, 0, 1])), "other has length 0 in row 1"),
        (lambda: decoder_stability(np.eye(3), np.eye(3), threshold=0), "threshold=0"),
        (lambda: activation_stability(np.eye(3), np.eye(4)), "the same samples"),
        (lambda: activation_stability(np.full((3, 2), np.nan), np.ones((3, 2))), "codes has 3 of 3 rows with NaN"),
        (lambda: activation_stability(np.ones((1, 2)), np.ones((1, 2))), "at least two"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call()


def test_stability_prints_a_short_summary() -> None:
    text = repr(decoder_stability(np.eye(3), np.eye(3)))
    assert text.startswith("Stability of 3 latents: 100.0% found again at similarity 0.7 (chance ")
    assert text.splitlines()[1].startswith("  mean similarity 1 (chance ")
