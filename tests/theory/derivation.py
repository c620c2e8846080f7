"""The closed forms of :mod:`monosemy.functional.separability`, derived by computer algebra from the densities alone.

Nothing is typed in but the model: two independent features, 0 with probability S, else U[0, 1]; the label says which
is larger; ties are left out. SymPy integrates, mixes and solves. The tests hold the numeric functions against this.
"""

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import sympy


class Symbols(NamedTuple):
    """The variables of all expressions."""

    sparsity: "sympy.Symbol"
    """S, the probability of a zero."""
    w1: "sympy.Symbol"
    w2: "sympy.Symbol"
    label_noise: "sympy.Symbol"
    """eta."""
    input_noise: "sympy.Symbol"
    """s, a standard deviation."""
    q: "sympy.Symbol"
    """eta (1 - eta)."""


class Moments(NamedTuple):
    """Mean and variance of the score in class 0 and 1, as expressions."""

    mean_0: Any
    mean_1: Any
    variance_0: Any
    variance_1: Any


@cache
def symbols() -> Symbols:
    """One set of symbols for every expression of this module."""
    import sympy

    return Symbols(
        sympy.Symbol("S", nonnegative=True),
        *sympy.symbols("w1 w2", real=True),
        *sympy.symbols("eta s q", nonnegative=True),
    )


def conditional_expectation(function: Any, x1: Any, x2: Any) -> Any:
    """E[function(x1, x2) | x1 > x2] by integration over the two ways in which x1 can be the larger.

    x1 uniform and x2 = 0, with probability S (1 - S); or both uniform and x2 below x1, with density (1 - S)^2.
    """
    import sympy

    s = symbols().sparsity
    zero = s * (1 - s)
    both = (1 - s) ** 2
    one_active = sympy.integrate(function.subs(x2, 0), (x1, 0, 1))
    two_active = sympy.integrate(sympy.integrate(function, (x2, 0, x1)), (x1, 0, 1))
    probability = zero + both * sympy.Rational(1, 2)
    return sympy.factor(sympy.cancel((zero * one_active + both * two_active) / probability))


@cache
def derive_moments() -> Moments:
    """Clean moments of v = w1 x1 - w2 x2 + noise, by integrating v and v^2."""
    import sympy

    names = symbols()
    x1, x2 = sympy.symbols("x1 x2", nonnegative=True)
    noise = (names.w1**2 + names.w2**2) * names.input_noise**2
    parts = []
    # In class 0 the roles are exchanged: integrate over x2 > x1 by renaming.
    for v in (names.w1 * x2 - names.w2 * x1, names.w1 * x1 - names.w2 * x2):
        mean = conditional_expectation(v, x1, x2)
        second = conditional_expectation(sympy.expand(v**2), x1, x2)
        parts.append((mean, sympy.factor(sympy.cancel(second - mean**2)) + noise))
    (mean_0, variance_0), (mean_1, variance_1) = parts
    return Moments(mean_0, mean_1, variance_0, variance_1)


def derive_noisy_moments(moments: Moments) -> Moments:
    """Moments of the noisy classes from the first two raw moments of the mixture, not from a variance formula."""
    eta = symbols().label_noise
    second_0 = moments.variance_0 + moments.mean_0**2
    second_1 = moments.variance_1 + moments.mean_1**2
    mean_0 = (1 - eta) * moments.mean_0 + eta * moments.mean_1
    mean_1 = (1 - eta) * moments.mean_1 + eta * moments.mean_0
    return Moments(
        mean_0,
        mean_1,
        (1 - eta) * second_0 + eta * second_1 - mean_0**2,
        (1 - eta) * second_1 + eta * second_0 - mean_1**2,
    )


@cache
def derive_squared_separability() -> Any:
    """J^2 of v = w1 x1 - w2 x2 for any S, weights, label noise and input noise."""
    noisy = derive_noisy_moments(derive_moments())
    return (noisy.mean_1 - noisy.mean_0) ** 2 / (noisy.variance_0 * noisy.variance_1)


@cache
def derive_crossing() -> Any:
    """The polynomial in q = eta (1 - eta), over S, whose root is the threshold noise of x1 against x1 - x2.

    Positive where J(x1)^2 > J(x1 - x2)^2, the common factor (1 - 2 eta)^2 and positive constants taken out.
    """
    import sympy

    names = symbols()
    clean = {names.input_noise: 0}
    mono = derive_squared_separability().subs({names.w1: 1, names.w2: 0, **clean})
    poly = derive_squared_separability().subs({names.w1: 1, names.w2: 1, **clean})
    difference = sympy.cancel(sympy.together((1 / poly - 1 / mono) * (1 - 2 * names.label_noise) ** 2))
    eta_of_q = (1 - sympy.sqrt(1 - 4 * names.q)) / 2
    in_q = sympy.simplify(sympy.expand(difference.subs(names.label_noise, eta_of_q)))
    return sympy.Poly(sympy.numer(sympy.together(in_q)), names.q)
