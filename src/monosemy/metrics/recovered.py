"""Probe-recovered accuracy: how much of what a linear probe finds in embeddings does it find in their codes?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monosemy.errors import InputError
from monosemy.functional.consistency import Codes
from monosemy.functional.rows import as_codes
from monosemy.probes import ProbeConfig, predict, train_probes
from monosemy.seeding import numpy_rng

WEIGHT_DECAYS = (1e-5, 1e-4, 1e-3, 1e-2)
"""Tried for each of the two alike; codes and embeddings want different ones."""
MOST_PROBED = 20_000
"""Rows that probes are trained and tested on where more are at hand."""
_CONFIG = ProbeConfig(min_steps=300)


class Recovered(NamedTuple):
    """Accuracy of a linear probe on codes, and on what they were made from."""

    codes: float
    embeddings: float

    @property
    def share(self) -> float:
        """accuracy on codes / accuracy on embeddings; NaN where the latter is 0. Above 1 where codes help."""
        return self.codes / self.embeddings if self.embeddings > 0 else float("nan")

    def metrics(self) -> dict[str, float]:
        """By the names that tables have."""
        return {
            "probe_accuracy": self.codes,
            "probe_accuracy_of_embeddings": self.embeddings,
            "probe_recovered": self.share,
        }


def probed_rows(n: int) -> NDArray[np.int64]:
    """The rows of N that probes are trained and tested on, rising: all, or ``MOST_PROBED`` drawn at random."""
    if n <= MOST_PROBED:
        return np.arange(n)
    return np.sort(numpy_rng("measure", n).choice(n, MOST_PROBED, replace=False))


def recovered_accuracy(
    codes: Codes, embeddings: Codes, labels: NDArray[np.integer], n_classes: int, seed: int = 0
) -> Recovered:
    """:func:`recovered_accuracies` of one set of codes."""
    return recovered_accuracies([codes], embeddings, labels, n_classes, seed)[0]


def recovered_accuracies(
    codes: Sequence[Codes], embeddings: Codes, labels: NDArray[np.integer], n_classes: int, seed: int = 0
) -> list[Recovered]:
    """Accuracy of linear probes on codes (N, M), for each of several, and on embeddings (N, D) of the same rows.

    Rows are dealt at random: three fifths train, a fifth chooses the weight decay, a fifth is tested on. All probes
    see the same rows.

    Args:
        labels: (N,) in [0, n_classes).
        seed: of the split and of the order of the samples.

    Raises:
        InputError: too few rows to split, one class only, or numbers of rows that differ.
    """
    parts = [*map(as_codes, codes), as_codes(embeddings)]
    n = len(labels)
    for name, part in zip([*("codes" for _ in codes), "embeddings"], parts, strict=True):
        if part.shape[0] != n:
            raise InputError(f"{name} has {part.shape[0]} rows for {n} labels; give one for each label.")
    order = np.random.default_rng(seed).permutation(n)
    chosen, tested, trained = np.split(order, [n // 5, 2 * (n // 5)])
    if len(tested) == 0 or len(np.unique(labels[trained])) < 2:
        raise InputError(f"labels has {n} rows, too few or of one class, to train and test a probe; give more rows.")
    *found, plain = (_tested_accuracy(part, labels, n_classes, (trained, chosen, tested), seed) for part in parts)
    return [Recovered(accuracy, plain) for accuracy in found]


def _tested_accuracy(
    features: Codes,
    labels: NDArray[np.integer],
    n_classes: int,
    parts: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    seed: int,
) -> float:
    trained, chosen, tested = parts
    decays = np.array(WEIGHT_DECAYS)
    targets = np.repeat(np.asarray(labels, dtype=np.int64)[trained, None], len(decays), axis=1)
    probes = train_probes(features[trained], targets, n_classes, decays, _CONFIG, seed)
    accuracy = (predict(probes, features[chosen]) == labels[chosen, None]).mean(axis=0)
    best = probes.select(np.array([accuracy.argmax()]))
    return float((predict(best, features[tested])[:, 0] == labels[tested]).mean())
