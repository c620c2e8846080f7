"""Centred and scaled features of many linear classifiers: dense in memory, sparse, or on the disk."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import scipy.sparse as sp
import torch

from monosemy.data.memory_map import forget_pages, memory_map, row_blocks
from monosemy.functional.codes import csr_tensor
from monosemy.functional.consistency import Codes

MOMENTUM = 0.9
_SAMPLED = 2**24
"""Numbers of a memory map that its curvature is estimated from: 64 MiB, an error of about one part in a hundred."""
_AT_ONCE = 512
"""Rows from all over a map that are read before its pages are given back: with each the system maps 64 kB around it."""

_PLAIN_SCALES = (1e-12, 1e15)
"""Lengths of features whose squares float32 holds."""

Vector = np.typing.NDArray[np.floating]


@dataclass(frozen=True)
class Moments:
    """Weighted mean and variance of every column, in float64: m = sum_i w_i x_i / sum_i w_i, and v likewise."""

    total: float
    """sum_i w_i."""
    mean: np.typing.NDArray[np.float64]
    """(D,)."""
    variance: np.typing.NDArray[np.float64]
    """(D,)."""
    by_column: bool = False
    """True where every column is divided by its own standard deviation first, False where all share one scale."""

    @property
    def columns(self) -> np.typing.NDArray[np.float64]:
        """Divisors of the columns, (D,): standard deviations, 1 for constant columns, or 1 for all."""
        if not self.by_column:
            return np.ones(len(self.mean))
        deviation = np.sqrt(self.variance)
        return np.where(deviation > 0, deviation, 1.0)

    @property
    def scale(self) -> float:
        """The root mean square distance to the mean, of divided columns; 1 where features do not vary."""
        return positive(float(np.sqrt((self.variance / np.square(self.columns)).sum())))

    def merged(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of both."""
        total = self.total + other.total
        step, fraction = other.mean - self.mean, other.total / total
        variance = (1 - fraction) * self.variance + fraction * other.variance
        variance += fraction * (1 - fraction) * np.square(step)
        return Moments(total, self.mean + fraction * step, variance, self.by_column)


def moments_of(features: Codes, sample_weight: Vector | None = None, *, by_column: bool = False) -> Moments:
    """Return the moments of features (N, D), dense, CSR or a memory map, whose rows have weights (N,), 1 by default."""
    n, width = features.shape
    weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    result: Moments | None = None
    for block in row_blocks(features):
        w, rows = weight[block], features[block]
        total = float(w.sum())
        if total == 0:
            continue
        if isinstance(rows, np.ndarray):
            x = rows.astype(np.float64)
            mean = w @ x / total
            variance = w @ np.square(x - mean) / total
        else:
            x = sp.csr_array(rows, dtype=np.float64)
            mean = np.asarray(x.T @ w) / total
            inside = sp.csr_array((np.square(x.data - mean[x.indices]), x.indices, x.indptr), shape=x.shape)
            stored = sp.csr_array((np.ones(len(x.data)), x.indices, x.indptr), shape=x.shape)
            outside = np.maximum(total - np.asarray(stored.T @ w), 0)
            variance = (np.asarray(inside.T @ w) + outside * np.square(mean)) / total
        one = Moments(total, mean, variance, by_column)
        result = one if result is None else result.merged(one)
    return Moments(0.0, np.zeros(width), np.zeros(width), by_column) if result is None else result


class Inputs(Protocol):
    """Centred and scaled features; ``x @ W`` and ``x^T @ P`` of a minibatch, dense or sparse."""

    n: int
    center: torch.Tensor
    """(D,), the mean of the divided columns."""
    scale: float
    n_sampled: int
    """Rows that ``matvec`` and ``rmatvec`` apply to: all, or a sample."""

    def matvec(self, vector: Vector) -> Vector: ...

    def rmatvec(self, vector: Vector) -> Vector: ...

    def batch(self, rows: torch.Tensor) -> "Batch":
        """Return the rows with these numbers, which are on the CPU, on the device of the features."""
        ...


class Batch(Protocol):
    def times(self, weight: torch.Tensor, out: torch.Tensor) -> None: ...

    def add_transposed_product(self, momentum: torch.Tensor, right: torch.Tensor) -> None:
        """Set momentum <- 0.9 momentum + x^T right / B, in place."""
        ...


class DenseInputs:
    def __init__(
        self, features: np.typing.NDArray[np.floating], device: str = "cpu", moments: Moments | None = None
    ) -> None:
        x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)).to(device)
        if moments is None:
            self.center = x.mean(dim=0, dtype=torch.float64).float()
            x = x - self.center
            self.scale = positive(float(x.square().sum(dim=1, dtype=torch.float64).mean().sqrt()))
        else:
            self.center, self.scale = _center(moments, device), moments.scale
            x = x / _columns(moments, device) - self.center
        self.x = x.div_(self.scale)
        self.n = self.n_sampled = len(x)

    def matvec(self, vector: Vector) -> Vector:
        return self._product(self.x, vector)

    def rmatvec(self, vector: Vector) -> Vector:
        return self._product(self.x.T, vector)

    def _product(self, matrix: torch.Tensor, vector: Vector) -> Vector:
        right = torch.from_numpy(vector.astype(np.float32)).to(matrix.device)
        product: Vector = (matrix @ right).cpu().numpy()
        return product

    def batch(self, rows: torch.Tensor) -> "_DenseBatch":
        return _DenseBatch(self.x[rows.to(self.x.device)])


class _DenseBatch:
    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def times(self, weight: torch.Tensor, out: torch.Tensor) -> None:
        torch.mm(self.x, weight, out=out)

    def add_transposed_product(self, momentum: torch.Tensor, right: torch.Tensor) -> None:
        momentum.addmm_(self.x.T, right, beta=MOMENTUM, alpha=1 / len(right))


class MappedInputs:
    """Rows of a memory map, read when their batch comes; in memory are one batch and a sample.

    Mean and length are of all rows. The curvature, which sets the step size alone, is that of rows evenly spaced.
    """

    def __init__(
        self, features: np.typing.NDArray[np.floating], device: str = "cpu", moments: Moments | None = None
    ) -> None:
        self.n = len(features)
        self._features, self._device = features, device
        self._columns = None if moments is None else _columns(moments, device)
        if moments is None:
            total, energy = np.zeros(features.shape[1]), 0.0
            for block in row_blocks(features):
                rows = np.asarray(features[block], dtype=np.float64)
                total += rows.sum(axis=0)
                energy += float(np.square(rows).sum())
            mean = total / self.n
            self.center = torch.from_numpy(mean.astype(np.float32)).to(device)
            self.scale = positive(math.sqrt(max(energy / self.n - float(mean @ mean), 0.0)))
        else:
            self.center, self.scale = _center(moments, device), moments.scale
        self.sample = self._scaled(sampled_rows(features)).cpu().numpy()
        self.n_sampled = len(self.sample)

    def _scaled(self, rows: np.typing.NDArray[np.integer]) -> torch.Tensor:
        x = np.empty((len(rows), self._features.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            x[start : start + _AT_ONCE] = self._features[rows[start : start + _AT_ONCE]]
            forget_pages(self._features)
        rows_on_device = torch.from_numpy(x).to(self._device)
        if self._columns is not None:
            rows_on_device.div_(self._columns)
        return rows_on_device.sub_(self.center).div_(self.scale)

    def matvec(self, vector: Vector) -> Vector:
        return self.sample @ vector.astype(np.float32)

    def rmatvec(self, vector: Vector) -> Vector:
        return self.sample.T @ vector.astype(np.float32)

    def batch(self, rows: torch.Tensor) -> "_DenseBatch":
        return _DenseBatch(self._scaled(rows.numpy()))


class SparseInputs:
    """The centre is kept apart, as a rank-one term: subtracting it would make the codes dense."""

    def __init__(self, features: sp.csr_array, device: str = "cpu", moments: Moments | None = None) -> None:
        x = sp.csr_array(features, dtype=np.float32)
        if moments is None:
            mean = np.asarray(x.mean(axis=0, dtype=np.float64)).ravel()
            energy = float(x.multiply(x).sum(dtype=np.float64)) / x.shape[0] - float(mean @ mean)
            self.scale = positive(math.sqrt(max(energy, 0.0)))
        else:
            mean, self.scale = moments.mean / moments.columns, moments.scale
            if moments.by_column:
                divided = (x.data / moments.columns[x.indices]).astype(np.float32)
                x = sp.csr_array((divided, x.indices, x.indptr), shape=x.shape)
        self._mean, self._device = mean.astype(np.float32), device
        self.center = torch.from_numpy(self._mean).to(device)
        self.x = sp.csr_array((x.data / np.float32(self.scale), x.indices, x.indptr), shape=x.shape)
        self.n = self.n_sampled = int(x.shape[0])

    def matvec(self, vector: Vector) -> Vector:
        return self.x @ vector - self._mean @ vector / self.scale

    def rmatvec(self, vector: Vector) -> Vector:
        # svds also asks by columns, (n, 1)
        return self.x.T @ vector.ravel() - self._mean * (vector.sum() / self.scale)

    def batch(self, rows: torch.Tensor) -> "_SparseBatch":
        return _SparseBatch(sp.csr_array(self.x[rows.numpy()]), self.center / self.scale, self._device)


class _SparseBatch:
    def __init__(self, x: sp.csr_array, center: torch.Tensor, device: str) -> None:
        self.x = as_tensor(x).to(device)
        self.transposed = as_tensor(sp.csr_array(x.T)).to(device)
        self.center = center

    def times(self, weight: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_((self.center @ weight).neg_().expand_as(out))
        torch.addmm(out, self.x, weight, out=out)

    def add_transposed_product(self, momentum: torch.Tensor, right: torch.Tensor) -> None:
        torch.addmm(momentum, self.transposed, right, beta=MOMENTUM, alpha=1 / len(right), out=momentum)
        momentum.addr_(self.center, right.sum(dim=0), alpha=-1 / len(right))


def as_tensor(x: sp.csr_array) -> torch.Tensor:
    shape = (int(x.shape[0]), int(x.shape[1]))
    return csr_tensor(torch.from_numpy(x.indptr), torch.from_numpy(x.indices), torch.from_numpy(x.data), shape)


def positive(value: float) -> float:
    return value if value > 0 else 1.0


def _center(moments: Moments, device: str) -> torch.Tensor:
    return torch.from_numpy((moments.mean / moments.columns).astype(np.float32)).to(device)


def _columns(moments: Moments, device: str) -> torch.Tensor:
    return torch.from_numpy(moments.columns.astype(np.float32)).to(device)


def sampled_rows(features: Codes) -> np.typing.NDArray[np.int64]:
    """Return the numbers of evenly spaced rows, all of them where they hold few numbers."""
    n, width = features.shape
    return np.arange(0, n, -(-n * width // _SAMPLED))


def inputs_of(features: Codes, device: str = "cpu", moments: Moments | None = None) -> Inputs:
    """Return features in the form of the engine: CSR stays sparse, memory maps stay on the disk.

    Args:
        moments: by which features are centred and scaled; their own, without weights, where None.
    """
    if sp.issparse(features):
        return SparseInputs(features, device, moments)
    values = np.asarray(features)
    return (DenseInputs if memory_map(values) is None else MappedInputs)(values, device, moments)


def has_plain_scale(scale: float) -> bool:
    """Return whether the squares of features of this length are plain float32 numbers."""
    return _PLAIN_SCALES[0] < scale < _PLAIN_SCALES[1] and scale != 1.0
