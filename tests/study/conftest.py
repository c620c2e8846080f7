"""A small real study: handwritten digits as plain embeddings."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

Arrays = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]


@pytest.fixture(scope="session")
def digit_arrays() -> Arrays:
    """X_train, y_train, X_test, y_test of scikit-learn's digits."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = digits.data[order].astype(np.float32), digits.target[order].astype(np.int64)
    return x[:1000], y[:1000], x[1000:], y[1000:]


@pytest.fixture
def digit_file(digit_arrays: Arrays, tmp_path: Path) -> Path:
    """The same as an .npz file."""
    path = tmp_path / "digits.npz"
    x_train, y_train, x_test, y_test = digit_arrays
    np.savez(path, X_train=x_train, y_train=y_train, X_test=x_test, y_test=y_test)
    return path
