"""All linear probes of a feature set in one matrix product per step, on dense, memory-mapped and sparse features."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import LinearOperator, svds

from monosemy.data.memory_map import forget_pages, memory_map, row_blocks
from monosemy.functional import codes, consistency

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

    def batch(self, rows: torch.Tensor) -> "Batch": ...


class Batch(Protocol):
    def times(self, weight: torch.Tensor, out: torch.Tensor) -> None: ...

    def add_transposed_product(self, momentum: torch.Tensor, right: torch.Tensor) -> None:
        """Set momentum <- 0.9 momentum + x^T right / B, in place."""
        ...


class DenseInputs:
    def __init__(self, features: np.typing.NDArray[np.floating]) -> None:
        x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
        self.center = x.mean(dim=0, dtype=torch.float64).float()
        x = x - self.center
        self.scale = positive(float(x.square().sum(dim=1, dtype=torch.float64).mean().sqrt()))
        self.x = x.div_(self.scale)
        self.n = self.n_sampled = len(x)

    def matvec(self, vector: Vector) -> Vector:
        return self.x.numpy() @ vector.astype(np.float32)

    def rmatvec(self, vector: Vector) -> Vector:
        return self.x.numpy().T @ vector.astype(np.float32)

    def batch(self, rows: torch.Tensor) -> "_DenseBatch":
        return _DenseBatch(self.x[rows])


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

    def __init__(self, features: np.typing.NDArray[np.floating]) -> None:
        self.n = len(features)
        self._features = features
        total, energy = np.zeros(features.shape[1]), 0.0
        for block in row_blocks(features):
            rows = np.asarray(features[block], dtype=np.float64)
            total += rows.sum(axis=0)
            energy += float(np.square(rows).sum())
        mean = total / self.n
        self.center = torch.from_numpy(mean.astype(np.float32))
        self.scale = positive(math.sqrt(max(energy / self.n - float(mean @ mean), 0.0)))
        step = -(-self.n * features.shape[1] // _SAMPLED)
        self.sample = self._scaled(np.arange(0, self.n, step)).numpy()
        self.n_sampled = len(self.sample)

    def _scaled(self, rows: np.typing.NDArray[np.integer]) -> torch.Tensor:
        x = np.empty((len(rows), self._features.shape[1]), dtype=np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            x[start : start + _AT_ONCE] = self._features[rows[start : start + _AT_ONCE]]
            forget_pages(self._features)
        return torch.from_numpy(x).sub_(self.center).div_(self.scale)

    def matvec(self, vector: Vector) -> Vector:
        return self.sample @ vector.astype(np.float32)

    def rmatvec(self, vector: Vector) -> Vector:
        return self.sample.T @ vector.astype(np.float32)

    def batch(self, rows: torch.Tensor) -> "_DenseBatch":
        return _DenseBatch(self._scaled(rows.numpy()))


class SparseInputs:
    """The centre is kept apart, as a rank-one term: subtracting it would make the codes dense."""

    def __init__(self, features: sp.csr_array) -> None:
        x = sp.csr_array(features, dtype=np.float32)
        mean = np.asarray(x.mean(axis=0, dtype=np.float64)).ravel()
        self.center = torch.from_numpy(mean.astype(np.float32))
        energy = float(x.multiply(x).sum(dtype=np.float64)) / x.shape[0] - float(mean @ mean)
        self.scale = positive(math.sqrt(max(energy, 0.0)))
        self.x = sp.csr_array((x.data / np.float32(self.scale), x.indices, x.indptr), shape=x.shape)
        self.n = self.n_sampled = int(x.shape[0])

    def matvec(self, vector: Vector) -> Vector:
        return self.x @ vector - self.center.numpy() @ vector / self.scale

    def rmatvec(self, vector: Vector) -> Vector:
        # svds also asks by columns, (n, 1)
        return self.x.T @ vector.ravel() - self.center.numpy() * (vector.sum() / self.scale)

    def batch(self, rows: torch.Tensor) -> "_SparseBatch":
        return _SparseBatch(sp.csr_array(self.x[rows.numpy()]), self.center / self.scale)


class _SparseBatch:
    def __init__(self, x: sp.csr_array, center: torch.Tensor) -> None:
        self.x = as_tensor(x)
        self.transposed = as_tensor(sp.csr_array(x.T))
        self.center = center

    def times(self, weight: torch.Tensor, out: torch.Tensor) -> None:
        out.copy_((self.center @ weight).neg_().expand_as(out))
        torch.addmm(out, self.x, weight, out=out)

    def add_transposed_product(self, momentum: torch.Tensor, right: torch.Tensor) -> None:
        torch.addmm(momentum, self.transposed, right, beta=MOMENTUM, alpha=1 / len(right), out=momentum)
        momentum.addr_(self.center, right.sum(dim=0), alpha=-1 / len(right))


def as_tensor(x: sp.csr_array) -> torch.Tensor:
    shape = (int(x.shape[0]), int(x.shape[1]))
    return codes.csr_tensor(torch.from_numpy(x.indptr), torch.from_numpy(x.indices), torch.from_numpy(x.data), shape)


def positive(value: float) -> float:
    return value if value > 0 else 1.0


def inputs_of(features: consistency.Codes) -> Inputs:
    """Return features in the form of the engine: CSR stays sparse, memory maps stay on the disk."""
    if sp.issparse(features):
        return SparseInputs(features)
    values = np.asarray(features)
    return DenseInputs(values) if memory_map(values) is None else MappedInputs(values)


_FEW_CLASSES = 32
_MEMORY_BUDGET = 64 * 2**20
"""Bytes for weights, momentum and activations of the probes that are trained together."""


class Probes(NamedTuple):
    """P softmax regressions on D features with C classes."""

    weight: torch.Tensor
    """(D, P * C), for features as they come."""
    bias: torch.Tensor
    """(P, C)."""

    def __repr__(self) -> str:
        return "Probes: {1} on {0} features with {2} classes".format(*self.shape)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, P, C)."""
        return (self.weight.shape[0], *self.bias.shape)

    def select(self, probes: np.typing.NDArray[np.integer]) -> "Probes":
        """Return the probes with these numbers, in that order."""
        n_features, n_probes, n_classes = self.shape
        chosen = torch.from_numpy(np.asarray(probes, dtype=np.int64))
        weight = self.weight.view(n_features, n_probes, n_classes)[:, chosen].reshape(n_features, -1)
        return Probes(weight, self.bias[chosen])


@dataclass(frozen=True)
class ProbeConfig:
    """Training of the probes, the same for every feature set."""

    epochs: int = 10
    batch_size: int = 256
    lr: float = 0.7
    """Peak step size in units of 1 / curvature of the features, so that it needs no tuning by scale; 5 % warm-up, then
    cosine to 0."""
    min_steps: int = 0
    """Small data gets more epochs until this many steps are made."""


def largest_eigenvalue(inputs: Inputs, n_features: int) -> float:
    """Return the largest eigenvalue of the covariance X^T X / N of the centred and scaled features."""
    if min(inputs.n_sampled, n_features) == 1:
        return 1.0  # one direction holds all of the variance, which the scale makes 1
    operator = LinearOperator(
        (inputs.n_sampled, n_features), matvec=inputs.matvec, rmatvec=inputs.rmatvec, dtype=np.float64
    )
    product = operator.matvec if n_features <= inputs.n_sampled else operator.rmatvec
    start = np.linspace(1, 2, min(inputs.n_sampled, n_features))  # fixed, so that runs repeat bit for bit
    if not product(start).any():  # at right angles to all features: take another
        start = np.random.default_rng(0).standard_normal(len(start))
    if not product(start).any():
        return 1.0  # the features do not vary
    (largest,) = svds(operator, k=1, v0=start, return_singular_vectors=False, tol=1e-3)
    return positive(float(largest) ** 2 / inputs.n_sampled)


def _curvature(
    inputs: Inputs,
    n_features: int,
    batch_size: int,
    fraction_used: np.typing.NDArray[np.floating],
    weight_decay: np.typing.NDArray[np.floating],
) -> np.typing.NDArray[np.float32]:
    """Return the divisor of the peak step (P,): largest eigenvalue + 2 / (B fraction) + weight decay.

    The first term is the curvature of the mean loss (features have mean square length 1), the second that of the used
    samples of a minibatch of B, which are few and vary in directions of their own: without it the step is too large for
    features with a flat spectrum, such as whitened ones, and for few labels.
    """
    used_a_batch = min(batch_size, inputs.n) * fraction_used
    return (largest_eigenvalue(inputs, n_features) + 2 / used_a_batch + np.asarray(weight_decay)).astype(np.float32)


def train_probes(
    features: consistency.Codes,
    labels: np.typing.NDArray[np.integer],
    n_classes: int,
    weight_decay: np.typing.NDArray[np.floating],
    config: ProbeConfig,
    seed: int,
) -> Probes:
    """Minimise, for every probe p, mean_i CE(W_p x_i + b_p, y_ip) + weight_decay_p / 2 |W_p|^2.

    x is the feature minus its mean, over the root mean square length of all; the bias is not decayed. SGD with
    momentum 0.9 on minibatches that all probes share. The result is rewritten for features as they come.

    Args:
        features: (N, D), dense, CSR or a memory map, of which one batch is read at a time.
        labels: (N, P), integers of any type in [0, n_classes); -1 leaves the sample out of that probe.
        weight_decay: (P,), >= 0.
        seed: of the order of the samples.
    """
    inputs = inputs_of(features)
    n_features, n_probes = features.shape[1], labels.shape[1]
    if labels.shape[0] != inputs.n or len(weight_decay) != n_probes:
        raise ValueError(f"features, labels and weight_decay disagree: {inputs.n}, {labels.shape}, {len(weight_decay)}")
    fraction_used: np.typing.NDArray[np.float64] = np.array([(column >= 0).mean() for column in labels.T])
    if not fraction_used.all():
        raise ValueError(f"probe {int(fraction_used.argmin())} has no labelled row; give every probe at least one")
    weight = torch.zeros(n_features, n_probes * n_classes)
    bias = _descend(
        inputs,
        torch.from_numpy(np.ascontiguousarray(labels)),
        torch.from_numpy(fraction_used.astype(np.float32)),
        weight,
        torch.from_numpy(np.asarray(weight_decay, dtype=np.float32)),
        config.lr / torch.from_numpy(_curvature(inputs, n_features, config.batch_size, fraction_used, weight_decay)),
        config,
        torch.Generator().manual_seed(seed),
    )
    weight.div_(inputs.scale)
    return Probes(weight, bias - (inputs.center @ weight).view_as(bias))


def probes_at_once(n_features: int, n_classes: int, batch_size: int) -> int:
    """Return the number of probes that fit into the memory budget together, at least one."""
    bytes_a_probe = 4 * n_classes * (2 * n_features + 2 * batch_size)
    return max(1, _MEMORY_BUDGET // bytes_a_probe)


def _descend(
    inputs: Inputs,
    labels: torch.Tensor,
    fraction_used: torch.Tensor,
    weight: torch.Tensor,
    weight_decay: torch.Tensor,
    step_size: torch.Tensor,
    config: ProbeConfig,
    rng: torch.Generator,
) -> torch.Tensor:
    """Train ``weight`` in place by SGD with momentum, with a peak step size for each probe, and return the bias.

    Columns of ``weight`` are (probe, class), or (class, probe) where classes are few: torch's softmax is vectorised
    along the last axis, or along the axes behind it, and ten classes fill no vector.
    """
    batch_size = min(config.batch_size, inputs.n)
    n_probes = labels.shape[1]
    n_classes = weight.shape[1] // n_probes
    class_major = n_classes < _FEW_CLASSES
    columns = (n_classes, n_probes) if class_major else (n_probes, n_classes)
    class_axis = 1 if class_major else 2
    bias = torch.zeros(columns)
    momentum, bias_momentum = torch.zeros_like(weight), torch.zeros_like(bias)
    decay_of_column, step_of_column = (
        values.unsqueeze(class_axis - 1).expand(columns).reshape(-1) for values in (weight_decay, step_size)
    )
    everything_used = bool((fraction_used == 1).all())
    probe, stride = torch.arange(n_probes), n_probes if class_major else 1
    first_column = probe if class_major else probe * n_classes
    logits = torch.empty(batch_size, n_probes * n_classes)
    n_batches = inputs.n // batch_size
    epochs = max(config.epochs, -(-config.min_steps // n_batches))
    steps, step = epochs * n_batches, 0
    for _ in range(epochs):
        order = torch.randperm(inputs.n, generator=rng)[: n_batches * batch_size]
        for rows in order.view(n_batches, batch_size):
            x = inputs.batch(rows)
            x.times(weight, logits)
            residual = torch.softmax(logits.view(batch_size, *columns).add_(bias), dim=class_axis)
            flat = residual.view(batch_size, -1)
            targets = labels[rows].long()
            target_columns = targets.clamp(min=0) * stride + first_column
            flat.scatter_add_(1, target_columns, flat.new_full((1, 1), -1.0).expand_as(target_columns))
            if not everything_used:
                # The expected, not the actual, fraction of used samples in a batch: unbiased, and never zero.
                residual.mul_(((targets >= 0) / fraction_used).unsqueeze(class_axis))
            x.add_transposed_product(momentum, flat)
            momentum.addcmul_(weight, decay_of_column)
            bias_momentum.mul_(MOMENTUM).add_(residual.sum(dim=0), alpha=1 / batch_size)
            now = min(1.0, (step + 1) / max(1.0, 0.05 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))
            weight.addcmul_(momentum, step_of_column, value=-now)
            bias.sub_(bias_momentum, alpha=config.lr * now)  # a constant feature of mean square 1: curvature 1
            step += 1
    if class_major:
        weight.copy_(weight.view(-1, *columns).transpose(1, 2).reshape(weight.shape))
        bias = bias.T.contiguous()
    return bias


def predict(probes: Probes, features: consistency.Codes, chunk: int = 512) -> np.typing.NDArray[np.int64]:
    """Return classes (N, P) by the largest logit, ``chunk`` rows at a time."""
    _, n_probes, n_classes = probes.shape
    result = np.empty((features.shape[0], n_probes), dtype=np.int64)
    weight = probes.weight
    for start in range(0, features.shape[0], chunk):
        rows = features[start : start + chunk]
        if isinstance(rows, np.ndarray):
            logits = torch.from_numpy(np.require(rows, np.float32, ["C", "W"])) @ weight
            forget_pages(rows)
        else:
            logits = as_tensor(sp.csr_array(rows, dtype=np.float32)) @ weight
        logits = logits.view(-1, n_probes, n_classes).add_(probes.bias)
        result[start : start + chunk] = logits.argmax(dim=-1).numpy()
    return result
