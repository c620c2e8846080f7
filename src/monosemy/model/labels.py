"""The noise of given labels as a fitted model: how many are wrong, and how classes are mixed up."""

import math
from dataclasses import dataclass

import numpy as np

from monosemy.functional import label_noise
from monosemy.seeding import numpy_rng

Values = np.typing.NDArray[np.float64]
Labels = np.typing.NDArray[np.int64]

TEMPERATURES = tuple(2.0 ** (step / 2) for step in range(-6, 13))
"""From 1/8 to 64."""
PRIORS = (10.0, 100.0, 1000.0)
"""Weights of the symmetric prior of the transition matrix, in rows a class."""
_REPETITIONS = 40
"""Bootstrap samples of the interval of the noise rate."""
_MOST_ROWS = 5_000
"""Rows that the temperature is found on, and the interval, drawn at random of more."""


@dataclass(frozen=True)
class LabelModel:
    """Class probabilities of rows and the noise of their given labels, fitted together to held-out logits."""

    temperature: float
    """Divisor of the logits."""
    transition: Values
    """(C, C), P(given | true)."""
    rate: float
    """Share of wrong labels among the given ones."""
    low: float
    high: float
    """Ends of the 95 % interval of the rate, by bootstrap over rows; error of the classifier is not in it."""
    log_likelihood: float
    """Of given labels, mean over rows."""

    def posterior(self, logits: np.typing.NDArray[np.floating], labels: Labels) -> Values:
        """Return the probabilities (N, C) of the true class of rows with given labels."""
        p = label_noise.tempered(logits, self.temperature)
        return label_noise.true_class_posterior(p, labels, self.transition)


def fit_label_model(logits: np.typing.NDArray[np.floating], labels: Labels, seed: int) -> LabelModel:
    """Fit temperature and transition matrix to held-out logits (N, C) and given labels (N,).

    The temperature is the one under which the labels are most likely, each with the matrix that fits it, see
    :func:`monosemy.functional.label_noise.fit_transition`. The weight of the matrix's symmetric prior is the one under
    which a matrix of half of the rows makes the labels of the other half most likely.
    """
    rng = numpy_rng("label-model", seed)
    n_classes = logits.shape[1]
    some = np.sort(rng.choice(len(labels), min(len(labels), _MOST_ROWS), replace=False))
    guess = float(np.clip((logits[some].argmax(axis=1) != labels[some]).mean(), 0.005, 0.95))
    start = label_noise.symmetric_transition(guess, n_classes)

    def likelihood_at(temperature: float) -> float:
        p = label_noise.tempered(logits[some], temperature)
        fitted = label_noise.fit_transition(p, labels[some], start, prior=PRIORS[-1], n_iter=10)
        return label_noise.log_likelihood(p, labels[some], fitted)

    temperature = max(TEMPERATURES, key=likelihood_at)
    p = label_noise.tempered(logits, temperature)
    prior = _best_prior(p, labels, start, rng.random(len(labels)) < 0.5)
    transition = label_noise.fit_transition(p, labels, start, prior=prior)
    rates = []
    for _ in range(_REPETITIONS):
        rows = some[rng.integers(len(some), size=len(some))]
        again = label_noise.fit_transition(p[rows], labels[rows], transition, prior=prior, n_iter=2)
        rates.append(label_noise.noise_rate(p[rows], labels[rows], again))
    rate = label_noise.noise_rate(p, labels, transition)
    spread = 1.96 * float(np.std(rates, ddof=1)) * math.sqrt(len(some) / len(labels))
    likelihood = label_noise.log_likelihood(p, labels, transition)
    return LabelModel(temperature, transition, rate, max(rate - spread, 0.0), min(rate + spread, 1.0), likelihood)


def _best_prior(p: Values, labels: Labels, start: Values, first: np.typing.NDArray[np.bool_]) -> float:
    """Return the weight of the prior that predicts the labels of one half of the rows best from the other."""
    if not 0 < first.sum() < len(first):
        return PRIORS[-1]

    def predicted(prior: float) -> float:
        total = 0.0
        for half in (first, ~first):
            fitted = label_noise.fit_transition(p[half], labels[half], start, prior=prior, n_iter=10)
            total += float((~half).sum()) * label_noise.log_likelihood(p[~half], labels[~half], fitted)
        return total

    return max(PRIORS, key=predicted)


def best_temperature(logits: np.typing.NDArray[np.floating], labels: Labels, transition: Values) -> float:
    """Return the temperature under which held-out logits (N, C) make given labels most likely, for known noise."""

    def likelihood(temperature: float) -> float:
        return label_noise.log_likelihood(label_noise.tempered(logits, temperature), labels, transition)

    return max(TEMPERATURES, key=likelihood)
