"""Digit pairs: the data set that the package contains.

Two of scikit-learn's real 8x8 handwritten digits side by side form one 8x16 image with one of 100 classes, "00" to
"99". So 90 % label noise still carries information, and a feature with one meaning ("a 3 on the left") is easy to
recognise. Train and test pairs consist of different handwritten digits.
"""

import numpy as np

from monosemy.data import config, dataset
from monosemy.seeding import numpy_rng

NAME = config.DIGIT_PAIRS


def digit_pairs(
    n_train: int = 10_000,
    n_test: int = 3_000,
    validation_fraction: float = 0.2,
    test_digits: float = 0.3,
    seed: int = 0,
) -> dataset.LabelledData:
    """Create the data set; the same seed gives the same pairs on every machine.

    Args:
        n_train, n_test: number of pairs, spread evenly over the 100 classes. The validation pairs are part of
            ``n_train``.
        validation_fraction: fraction of the ``n_train`` pairs that is split off, class by class.
        test_digits: fraction of the 1,797 handwritten digits that is reserved for test pairs.
        seed: seed of the split and of the pairing.
    """
    from sklearn.datasets import load_digits  # takes a second to import, and other data needs none

    digits = load_digits()
    images = digits.images.astype(np.float32) / 16.0
    rng = numpy_rng(NAME, seed)
    pool, test_pool = dataset.stratified_split(digits.target, test_digits, rng)
    development = _pairs(images, digits.target, pool, n_train, rng)
    test = _pairs(images, digits.target, test_pool, n_test, rng)
    train, validation = dataset.stratified_split(development.labels, validation_fraction, rng)
    return dataset.LabelledData(
        name=NAME,
        kind="images",
        train=development.take(train),
        validation=development.take(validation),
        test=test,
        class_names=tuple(f"{c:02d}" for c in range(100)),
    )


def _pairs(
    images: np.typing.NDArray[np.float32],
    digits: np.typing.NDArray[np.integer],
    pool: np.typing.NDArray[np.integer],
    n: int,
    rng: np.random.Generator,
) -> dataset.Split:
    labels = rng.permutation(np.arange(n) % 100)
    sides = []
    for wanted in (labels // 10, labels % 10):
        chosen = np.empty(n, dtype=np.int64)
        for digit in range(10):
            rows = np.flatnonzero(wanted == digit)
            chosen[rows] = rng.choice(pool[digits[pool] == digit], size=len(rows))
        sides.append(images[chosen])
    return dataset.Split(np.concatenate(sides, axis=2)[:, None], labels.astype(np.int64))
