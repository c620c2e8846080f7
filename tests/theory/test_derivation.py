"""The numeric closed forms against computer algebra that starts from the densities."""

import derivation
import pytest

from monosemy.theory.two_features import (
    ALWAYS_AHEAD_SPARSITY,
    MONO,
    POLY,
    overtaking,
    score_separability,
    two_feature_moments,
)

POINTS = [(0.0, 1.0, 0.0, 0.0), (0.2, 1.0, 1.0, 0.1), (0.5, 0.7, -0.4, 0.0), (0.9, -1.0, 2.0, 0.5)]


@pytest.mark.parametrize("point", POINTS)
def test_clean_moments(point):
    s, w1, w2, noise = point
    names = derivation.symbols()
    values = {names.sparsity: s, names.w1: w1, names.w2: w2, names.input_noise: noise}
    numeric = two_feature_moments(s, (w1, w2), noise)
    for name, expression in derivation.derive_moments()._asdict().items():
        assert float(getattr(numeric, name)) == pytest.approx(float(expression.subs(values)), rel=1e-12), name


@pytest.mark.parametrize("label_noise", [0.0, 0.1, 0.45])
@pytest.mark.parametrize("point", POINTS)
def test_squared_separability(point, label_noise):
    s, w1, w2, noise = point
    names = derivation.symbols()
    squared = derivation.derive_squared_separability().subs(
        dict(zip(names[:5], (s, w1, w2, label_noise, noise), strict=True))
    )
    numeric = score_separability(two_feature_moments(s, (w1, w2), noise), label_noise)
    assert float(numeric) ** 2 == pytest.approx(float(squared), rel=1e-10)


def test_the_threshold_noise_is_the_root_of_the_derived_polynomial():
    names = derivation.symbols()
    polynomial = derivation.derive_crossing()
    for s in (0.05, 0.2, 0.5, 0.7):
        eta = overtaking(two_feature_moments(s, MONO), two_feature_moments(s, POLY)).threshold
        at_root = polynomial.as_expr().subs({names.sparsity: s, names.q: eta * (1 - eta)})
        assert abs(float(at_root)) < 1e-10
    assert polynomial.degree() == 2
    # At S = 0 the root is eta = 1/2 itself, where both J are 0: no crossing below it.
    assert polynomial.as_expr().subs({names.sparsity: 0, names.q: 0.25}) == 0


def test_the_polynomial_of_the_documentation():
    """16 (1 + 2 S)^4 q^2 + 16 S^2 (S^2 + 4 S + 1) q + (7 S^2 - 4 S - 1)(S^2 + 4 S + 1)."""
    s, q = derivation.symbols().sparsity, derivation.symbols().q
    common = s**2 + 4 * s + 1
    written = 16 * (1 + 2 * s) ** 4 * q**2 + 16 * s**2 * common * q + (7 * s**2 - 4 * s - 1) * common
    assert (derivation.derive_crossing().as_expr() - written).expand() == 0


def test_from_which_sparsity_mono_leads():
    constant = derivation.derive_crossing().eval(0).subs(derivation.symbols().sparsity, ALWAYS_AHEAD_SPARSITY)
    assert float(constant) == pytest.approx(0, abs=1e-13)
