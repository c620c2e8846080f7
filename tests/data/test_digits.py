"""Digit pairs: balanced, and made of other handwriting in test than in train."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from monosemy.data.dataset import LabelledData, Split
from monosemy.data.digits import digit_pairs


@pytest.fixture(scope="module")
def pairs() -> LabelledData:
    return digit_pairs(n_train=2000, n_test=600, validation_fraction=0.2)


def halves(split: Split) -> list[bytes]:
    """The pixels of the left and of the right digit of every pair."""
    images = split.inputs
    assert isinstance(images, np.ndarray)
    return [half.tobytes() for part in (images[..., :8], images[..., 8:]) for half in np.ascontiguousarray(part)]


DIGIT_OF = {
    image.tobytes(): int(digit)
    for image, digit in zip(load_digits().images.astype(np.float32) / 16, load_digits().target, strict=True)
}


def test_shape_range_and_classes(pairs: LabelledData) -> None:
    assert pairs.kind == "images"
    assert pairs.class_names == tuple(f"{i:02d}" for i in range(100))
    for part in pairs.splits().values():
        assert isinstance(part.inputs, np.ndarray)
        assert part.inputs.shape[1:] == (1, 8, 16)
        assert part.inputs.dtype == np.float32
        assert part.inputs.min() == 0
        assert part.inputs.max() == 1


def test_every_class_is_equally_frequent(pairs: LabelledData) -> None:
    for part, size in ((pairs.train, 16), (pairs.validation, 4), (pairs.test, 6)):
        assert np.bincount(part.labels, minlength=100).tolist() == [size] * 100


def test_the_label_reads_what_the_two_halves_show(pairs: LabelledData) -> None:
    for part in (pairs.train, pairs.validation, pairs.test):
        digits = [DIGIT_OF[half] for half in halves(part)]
        left, right = digits[: len(part)], digits[len(part) :]
        assert [10 * a + b for a, b in zip(left, right, strict=True)] == part.labels.tolist()


def test_test_pairs_are_made_of_digits_that_train_never_shows(pairs: LabelledData) -> None:
    development = {*halves(pairs.train), *halves(pairs.validation)}
    test = set(halves(pairs.test))
    assert not development & test
    assert len(test) > 300, "of 539 digits most are used"
    assert len(development) > 1000


def test_labels_stand_in_random_order(pairs: LabelledData) -> None:
    assert len(np.unique(pairs.train.labels[:50])) > 25
    assert len(np.unique(pairs.test.labels[:50])) > 25


def test_the_seed_decides(pairs: LabelledData) -> None:
    same = digit_pairs(n_train=2000, n_test=600, validation_fraction=0.2)
    other = digit_pairs(n_train=2000, n_test=600, validation_fraction=0.2, seed=1)
    for name, part in pairs.splits().items():
        np.testing.assert_array_equal(part.inputs, same.splits()[name].inputs)
        np.testing.assert_array_equal(part.labels, same.splits()[name].labels)
        assert not np.array_equal(part.inputs, other.splits()[name].inputs)
