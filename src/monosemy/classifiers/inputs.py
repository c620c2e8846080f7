"""Centred and scaled features of many linear classifiers: dense in memory, sparse, or on the disk."""

import math
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

Vector = np.typing.NDArray[np.floating]


class Inputs(Protocol):
    """Centred and scaled features; ``x @ W`` and ``x^T @ P`` of a minibatch, dense or sparse."""

    n: int
    center: torch.Tensor
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
    def __init__(self, features: np.typing.NDArray[np.floating], device: str = "cpu") -> None:
        x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)).to(device)
        self.center = x.mean(dim=0, dtype=torch.float64).float()
        x = x - self.center
        self.scale = positive(float(x.square().sum(dim=1, dtype=torch.float64).mean().sqrt()))
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

    def __init__(self, features: np.typing.NDArray[np.floating], device: str = "cpu") -> None:
        self.n = len(features)
        self._features, self._device = features, device
        total, energy = np.zeros(features.shape[1]), 0.0
        for block in row_blocks(features):
            rows = np.asarray(features[block], dtype=np.float64)
            total += rows.sum(axis=0)
            energy += float(np.square(rows).sum())
        mean = total / self.n
        self.center = torch.from_numpy(mean.astype(np.float32)).to(device)
        self.scale = positive(math.sqrt(max(energy / self.n - float(mean @ mean), 0.0)))
        step = -(-self.n * features.shape[1] // _SAMPLED)
        self.sample = self._scaled(np.arange(0, self.n, step)).cpu().numpy()
        self.n_sampled = len(self.sample)

    def _scaled(self, rows: np.typing.NDArray[np.integer]) -> torch.Tensor:
        x = np.empty((len(rows), self._features.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            x[start : start + _AT_ONCE] = self._features[rows[start : start + _AT_ONCE]]
            forget_pages(self._features)
        return torch.from_numpy(x).to(self._device).sub_(self.center).div_(self.scale)

    def matvec(self, vector: Vector) -> Vector:
        return self.sample @ vector.astype(np.float32)

    def rmatvec(self, vector: Vector) -> Vector:
        return self.sample.T @ vector.astype(np.float32)

    def batch(self, rows: torch.Tensor) -> "_DenseBatch":
        return _DenseBatch(self._scaled(rows.numpy()))


class SparseInputs:
    """The centre is kept apart, as a rank-one term: subtracting it would make the codes dense."""

    def __init__(self, features: sp.csr_array, device: str = "cpu") -> None:
        x = sp.csr_array(features, dtype=np.float32)
        mean = np.asarray(x.mean(axis=0, dtype=np.float64)).ravel()
        self._mean, self._device = mean.astype(np.float32), device
        self.center = torch.from_numpy(self._mean).to(device)
        energy = float(x.multiply(x).sum(dtype=np.float64)) / x.shape[0] - float(mean @ mean)
        self.scale = positive(math.sqrt(max(energy, 0.0)))
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


def inputs_of(features: Codes, device: str = "cpu") -> Inputs:
    """Return features in the form of the engine: CSR stays sparse, memory maps stay on the disk."""
    if sp.issparse(features):
        return SparseInputs(features, device)
    values = np.asarray(features)
    return DenseInputs(values, device) if memory_map(values) is None else MappedInputs(values, device)
