"""All linear classifiers of a feature set in one matrix product per step.

Features are dense, memory-mapped or sparse. The classifiers share the minibatches; each has its own labels, loss,
weight decay and step size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import LinearOperator, svds

from monosemy.classifiers import losses as equations
from monosemy.classifiers.inputs import (
    MOMENTUM,
    Inputs,
    Moments,
    as_tensor,
    has_plain_scale,
    inputs_of,
    moments_of,
    positive,
    sampled_rows,
)
from monosemy.classifiers.losses import ELR_MOMENTUM, Loss
from monosemy.data.memory_map import forget_pages
from monosemy.functional.consistency import Codes

_FEW_CLASSES = 32
_MEMORY_BUDGET = 64 * 2**20
"""Bytes for weights, momentum and activations of the probes that are trained together."""


class Probes(NamedTuple):
    """P linear classifiers on D features with C classes."""

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
        chosen = torch.from_numpy(np.asarray(probes, dtype=np.int64)).to(self.weight.device)
        weight = self.weight.view(n_features, n_probes, n_classes)[:, chosen].reshape(n_features, -1)
        return Probes(weight, self.bias[chosen])


def joined(parts: Sequence[Probes]) -> Probes:
    """Return probes on the same features as one."""
    n_features, _, n_classes = parts[0].shape
    weight = torch.cat([part.weight.view(n_features, -1, n_classes) for part in parts], dim=1)
    return Probes(weight.reshape(n_features, -1), torch.cat([part.bias for part in parts]))


def only(probes: Probes, kept: np.typing.NDArray[np.bool_]) -> Probes:
    """Return probes of which all but some are zeros, kept (P,)."""
    n_features, n_probes, n_classes = probes.shape
    factor = torch.from_numpy(kept.astype(np.float32)).unsqueeze(1)
    weight = probes.weight.view(n_features, n_probes, n_classes) * factor
    return Probes(weight.reshape(n_features, -1), probes.bias * factor)


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
    device: str = "cpu"


@dataclass(frozen=True)
class Validation:
    """Held-out rows with labels as noisy as those of train, by which each probe stops early."""

    features: Codes
    labels: np.typing.NDArray[np.integer]
    """(N, P); -1 leaves a row out."""
    checks: int = 10
    """Looks at these rows in a training, evenly spaced; the last is at its end."""


class Fitted(NamedTuple):
    """Probes at their best step by validation, and what validation said of them."""

    probes: Probes
    accuracy: np.typing.NDArray[np.float64]
    """(P,), on the validation rows with their noisy labels."""
    log_likelihood: np.typing.NDArray[np.float64]
    """(P,), mean over the validation rows, of their noisy labels under the loss's own model of the noise."""

    def select(self, probes: np.typing.NDArray[np.integer]) -> "Fitted":
        """Return the probes with these numbers, in that order."""
        return Fitted(self.probes.select(probes), self.accuracy[probes], self.log_likelihood[probes])


@dataclass(frozen=True)
class Prepared:
    """Features in the form of the engine, for several trainings on them."""

    inputs: Inputs
    curvature: float
    sample_weight: np.typing.NDArray[np.float64] | None = None
    """(N,), of mean 1; None: all 1."""
    columns: torch.Tensor | None = None
    """(D, 1), by which the columns were divided before all else; None: nothing was."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.inputs.n, len(self.inputs.center)


def prepared(
    features: Codes,
    device: str = "cpu",
    sample_weight: np.typing.NDArray[np.floating] | None = None,
    moments: Moments | None = None,
) -> Prepared:
    """Return features, their centre, scale and curvature: what a training computes of them before it starts.

    Args:
        sample_weight: (N,), >= 0; only ratios count. Centre, scale and curvature are those of repeated rows.
        moments: by which features are centred and scaled, those of the features by default.
    """
    if moments is None and sample_weight is not None:
        moments = moments_of(features, sample_weight)
    inputs = inputs_of(features, device, moments)
    if moments is None and not has_plain_scale(inputs.scale):  # float32 does not hold the squares: use float64
        own = moments_of(features)
        inputs = inputs if has_plain_scale(own.scale) else inputs_of(features, device, own)
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64) / np.mean(sample_weight)
    sampled = None if weight is None else weight[sampled_rows(features)] if inputs.n_sampled < inputs.n else weight
    columns = None
    if moments is not None and moments.by_column:
        columns = torch.from_numpy(moments.columns.astype(np.float32)).to(device).unsqueeze(1)
    return Prepared(inputs, largest_eigenvalue(inputs, features.shape[1], sampled), weight, columns)


def largest_eigenvalue(
    inputs: Inputs, n_features: int, sample_weight: np.typing.NDArray[np.floating] | None = None
) -> float:
    """Return the largest eigenvalue of the covariance X^T diag(w) X / N of the centred and scaled features.

    Args:
        sample_weight: w, of the sampled rows; 1 by default.
    """
    if min(inputs.n_sampled, n_features) == 1:
        return 1.0  # one direction holds all of the variance, which the scale makes 1
    root = None if sample_weight is None else np.sqrt(sample_weight)
    operator = LinearOperator(
        (inputs.n_sampled, n_features),
        matvec=inputs.matvec if root is None else lambda vector: root * inputs.matvec(vector).ravel(),
        rmatvec=inputs.rmatvec if root is None else lambda vector: inputs.rmatvec(root * vector.ravel()),
        dtype=np.float64,
    )
    product = operator.matvec if n_features <= inputs.n_sampled else operator.rmatvec
    start = np.linspace(1, 2, min(inputs.n_sampled, n_features))  # fixed, so that runs repeat bit for bit
    if not product(start).any():  # at right angles to all features: take another
        start = np.random.default_rng(0).standard_normal(len(start))
    if not product(start).any():
        return 1.0  # the features do not vary
    (largest,) = svds(operator, k=1, v0=start, return_singular_vectors=False, tol=1e-3)
    return positive(float(largest) ** 2 / inputs.n_sampled)


def train_probes(
    features: Codes | Prepared,
    labels: np.typing.NDArray[np.integer],
    n_classes: int,
    weight_decay: np.typing.NDArray[np.floating],
    config: ProbeConfig,
    seed: int,
) -> Probes:
    """Train softmax regressions by cross-entropy to the last step: :func:`fit_probes` without its further arguments."""
    return fit_probes(features, labels, n_classes, weight_decay, config, seed).probes


def fit_probes(
    features: Codes | Prepared,
    labels: np.typing.NDArray[np.integer],
    n_classes: int,
    weight_decay: np.typing.NDArray[np.floating],
    config: ProbeConfig,
    seed: int,
    losses: Sequence[Loss] | None = None,
    validation: Validation | None = None,
    start: Probes | None = None,
    pace: np.typing.NDArray[np.floating] | None = None,
) -> Fitted:
    """Minimise, for every probe p, mean_i w_i loss_p(W_p x_i + b_p, y_ip) + weight_decay_p / 2 |W_p|^2.

    x is the feature minus its mean, over the root mean square length of all, both with the sample weights w, whose mean
    over the used rows is 1; the bias is not decayed. SGD with momentum 0.9 on minibatches that all probes share. The
    result is rewritten for features as they come.

    A loss whose gradient is that of cross-entropy times a weight gets a step size over the mean weight of recent
    samples, which follows the curvature: GCE starts with C^-q of cross-entropy's gradient.

    Args:
        features: (N, D), dense, CSR or a memory map, of which one batch is read at a time, or :func:`prepared`, which
            may hold sample weights.
        labels: (N, P), integers of any type in [0, n_classes); -1 leaves the sample out of that probe.
        weight_decay: (P,), >= 0.
        seed: of the order of the samples.
        losses: (P,); cross-entropy for all where None.
        validation: rows by which each probe keeps the best of its checked steps: by the likelihood of their labels
            for forward correction, by accuracy otherwise; of equals the last. None keeps the last step of all.
        start: P probes that the descent starts from; zeros by default.
        pace: (P,), factors on the peak step sizes; 1 by default.
    """
    features = features if isinstance(features, Prepared) else prepared(features, config.device)
    inputs, n_probes = features.inputs, labels.shape[1]
    if labels.shape[0] != inputs.n or len(weight_decay) != n_probes:
        raise ValueError(f"features, labels and weight_decay disagree: {inputs.n}, {labels.shape}, {len(weight_decay)}")
    weights = features.sample_weight
    fraction_used = _used(labels, weights)
    if not fraction_used.all():
        raise ValueError(f"probe {int(fraction_used.argmin())} has no labelled row; give every probe at least one")
    effective = fraction_used if weights is None else fraction_used**2 / _used(labels, np.square(weights))
    problem = _Problem(
        inputs=inputs,
        labels=torch.from_numpy(np.ascontiguousarray(labels)),
        n_classes=n_classes,
        losses=tuple(losses or [Loss()] * n_probes),
        weight_decay=torch.from_numpy(np.asarray(weight_decay, dtype=np.float32)).to(config.device),
        fraction_used=torch.from_numpy(fraction_used.astype(np.float32)).to(config.device),
        effective_fraction=torch.from_numpy(effective.astype(np.float32)).to(config.device),
        sample_weight=None if weights is None else torch.from_numpy(weights.astype(np.float32)),
        columns=features.columns,
        curvature=features.curvature,
        lr=torch.from_numpy(config.lr * np.asarray(np.ones(n_probes) if pace is None else pace, dtype=np.float32)).to(
            config.device
        ),
    )
    best = _Best(problem, validation)
    _descend(problem, config, torch.Generator().manual_seed(seed), best, start)
    return best.fitted()


def n_epochs(config: ProbeConfig, n_rows: int) -> int:
    """Return the number of passes over N rows: more than ``config.epochs`` where the data are small."""
    return max(config.epochs, -(-config.min_steps // (n_rows // min(config.batch_size, n_rows))))


def _used(
    labels: np.typing.NDArray[np.integer], weights: np.typing.NDArray[np.float64] | None
) -> np.typing.NDArray[np.float64]:
    """Return the mean weight (P,) of labels (N, P), with 0 for those of -1; without weights the fraction used."""
    if weights is None:
        return np.array([(column >= 0).mean() for column in labels.T])
    return np.array([weights[column >= 0].sum() / len(weights) for column in labels.T])


def probes_at_once(n_features: int, n_classes: int, batch_size: int) -> int:
    """Return the number of probes that fit into the memory budget together, at least one."""
    bytes_a_probe = 4 * n_classes * (2 * n_features + 2 * batch_size)
    return max(1, _MEMORY_BUDGET // bytes_a_probe)


@dataclass(frozen=True)
class _Problem:
    """The objectives of P probes on the same features."""

    inputs: Inputs
    labels: torch.Tensor
    """(N, P), on the CPU."""
    n_classes: int
    losses: tuple[Loss, ...]
    weight_decay: torch.Tensor
    fraction_used: torch.Tensor
    """(P,), mean weight of the samples with 0 for those that a probe leaves out."""
    effective_fraction: torch.Tensor
    """(P,), number of equally heavy samples whose mean varies as much as that of the used ones, over N."""
    sample_weight: torch.Tensor | None
    columns: torch.Tensor | None
    curvature: float
    lr: torch.Tensor
    """(P,), peak step sizes in units of 1 / curvature."""

    def features_as_they_come(self, weight: torch.Tensor, bias: torch.Tensor) -> Probes:
        """Return a copy of probes on scaled features, (D, P, C) and (P, C), for features as they come."""
        weight = weight.reshape(weight.shape[0], -1) / self.inputs.scale
        bias = bias - (self.inputs.center @ weight).view_as(bias)
        return Probes(weight if self.columns is None else weight / self.columns, bias)

    def scaled(self, probes: Probes) -> Probes:
        """Return probes on features as they come for the scaled features of the engine."""
        weight = probes.weight.to(self.weight_decay.device)
        weight = weight if self.columns is None else weight * self.columns
        bias = probes.bias.to(self.weight_decay.device) + (self.inputs.center @ weight).view_as(probes.bias)
        return Probes(weight * self.inputs.scale, bias)


class _Best:
    """The best probes so far by validation; without it, the last."""

    def __init__(self, problem: _Problem, validation: Validation | None) -> None:
        self.problem, self.validation = problem, validation
        self.checks = 1 if validation is None else validation.checks
        n_probes = len(problem.losses)
        self.by_likelihood = np.array([loss.name == "forward" for loss in problem.losses])
        self.accuracy, self.log_likelihood = np.full(n_probes, np.nan), np.full(n_probes, np.nan)
        self.score = np.full(n_probes, -np.inf)
        self.probes: Probes | None = None

    def look(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Keep the probes, (D, P, C) and (P, C), that are at least as good as before."""
        now = self.problem.features_as_they_come(weight, bias)
        if self.validation is None:
            self.probes = now
            return
        accuracy, log_likelihood = validation_scores(
            now, self.problem.losses, self.validation.features, self.validation.labels
        )
        score = np.where(self.by_likelihood, log_likelihood, accuracy)
        better = score >= self.score
        if self.probes is None:
            self.probes = now
        else:
            chosen = torch.from_numpy(np.flatnonzero(better)).to(weight.device)
            n_features, n_probes, n_classes = now.shape
            self.probes.weight.view(n_features, n_probes, n_classes)[:, chosen] = now.weight.view(
                n_features, n_probes, n_classes
            )[:, chosen]
            self.probes.bias[chosen] = now.bias[chosen]
        for values, new in ((self.score, score), (self.accuracy, accuracy), (self.log_likelihood, log_likelihood)):
            values[better] = new[better]

    def fitted(self) -> Fitted:
        assert self.probes is not None
        return Fitted(Probes(self.probes.weight.cpu(), self.probes.bias.cpu()), self.accuracy, self.log_likelihood)


class _Gradients:
    """The gradient of every probe's loss with respect to its logits, from the softmax of a minibatch.

    Arrays of a minibatch are (B, P, C), or (B, C, P) where classes are few.
    """

    def __init__(self, problem: _Problem, class_axis: int) -> None:
        self.problem, self.class_axis = problem, class_axis
        device, losses = problem.weight_decay.device, problem.losses
        self.everything_used = bool((problem.fraction_used == 1).all()) and problem.sample_weight is None
        self.of: dict[str, torch.Tensor] = {}
        """Numbers of the probes of each loss; forward correction by a matrix is a loss of its own here."""
        names = ["matrix" if loss.transition is not None else loss.name for loss in losses]
        for name in dict.fromkeys(names):
            self.of[name] = torch.tensor([i for i, other in enumerate(names) if other == name], device=device)
        self.parameter = torch.tensor([loss.parameter for loss in losses], dtype=torch.float32, device=device)
        self.weighted = bool({"gce", "sce", "forward"} & set(self.of))
        self.mean_weight = torch.ones(len(losses), device=device)
        """Of recent samples, for each probe."""
        if "matrix" in self.of:
            matrices = np.stack([loss.transition for loss in losses if loss.transition is not None])
            self.transition = torch.from_numpy(matrices.astype(np.float32)).to(device)
        if "elr" in self.of:
            n_rows = problem.inputs.n
            self.targets = torch.zeros(n_rows, len(self.of["elr"]), problem.n_classes, device=device)
        self.target = torch.full((len(losses),), -1.0, device=device)
        if "label-smoothing" in self.of:
            self.target += torch.where(self._is("label-smoothing"), self.parameter, 0.0)
        self.first = True

    def _is(self, name: str) -> torch.Tensor:
        return torch.zeros(len(self.problem.losses), dtype=torch.bool, device=self.parameter.device).index_fill_(
            0, self.of[name], True
        )

    def __call__(self, p: torch.Tensor, rows: torch.Tensor) -> None:
        """Turn the softmax ``p`` of the rows into the gradients, in place."""
        problem, axis = self.problem, self.class_axis
        targets = problem.labels[rows].long().to(p.device)
        places = targets.clamp(min=0).unsqueeze(axis)
        weight = self._weights(p.gather(axis, places).squeeze(axis)) if self.weighted else None
        extra = {name: self._extra(name, p, targets, rows) for name in ("matrix", "elr") if name in self.of}
        p.scatter_add_(axis, places, self.target.expand_as(targets).unsqueeze(axis))
        if "label-smoothing" in self.of:
            uniform = torch.where(self._is("label-smoothing"), self.parameter, 0.0) / problem.n_classes
            p.sub_(uniform.unsqueeze(axis - 1))
        for name, value in extra.items():
            value = value.movedim(2, axis)
            if name == "matrix":
                p.index_copy_(3 - axis, self.of[name], value)
            else:
                p.index_add_(3 - axis, self.of[name], value)
        factor = weight
        if not self.everything_used:
            # The expected, not the actual, fraction of used samples in a batch: unbiased, and never zero.
            used = (targets >= 0) / problem.fraction_used
            if problem.sample_weight is not None:
                used = used * problem.sample_weight[rows].to(p.device).unsqueeze(1)
            factor = used if factor is None else factor * used
        if factor is not None:
            p.mul_(factor.unsqueeze(axis))
        if weight is not None:
            now = weight.mean(dim=0)
            if not self.everything_used:
                labelled = targets >= 0
                if problem.sample_weight is None:
                    count = labelled.sum(dim=0)
                    now = torch.where(count > 0, (weight * labelled).sum(dim=0) / count.clamp(min=1), self.mean_weight)
                else:
                    total = used.sum(dim=0)
                    now = torch.where(total > 0, (weight * used).sum(dim=0) / total, self.mean_weight)
            self.mean_weight = now if self.first else self.mean_weight.mul_(MOMENTUM).add_(now, alpha=1 - MOMENTUM)
            self.mean_weight.clamp_(min=1e-6)
            self.first = False

    def _weights(self, p_y: torch.Tensor) -> torch.Tensor:
        """Return the factor (B, P) between each gradient and that of cross-entropy."""
        weight = torch.ones_like(p_y)
        for name in ("gce", "sce", "forward"):
            if name in self.of:
                probes = self.of[name]
                ours, parameter = p_y[:, probes], self.parameter[probes]
                if name == "gce":
                    weight[:, probes] = equations.gce_weight(ours, parameter)
                elif name == "sce":
                    weight[:, probes] = equations.sce_weight(ours)
                else:
                    weight[:, probes] = equations.symmetric_forward_weight(ours, parameter, self.problem.n_classes)
        return weight

    def _extra(self, name: str, p: torch.Tensor, targets: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the gradient (B, P', C) of forward correction by matrices, or the one that ELR adds."""
        probes = self.of[name]
        ours = p.movedim(self.class_axis, 2)[:, probes]
        if name == "matrix":
            labels = targets[:, probes].clamp(min=0)
            return equations.forward_gradient(ours, self.transition.mT[torch.arange(len(probes)), labels])
        here = rows.to(p.device)
        average = self.targets[here].mul_(ELR_MOMENTUM).add_(ours, alpha=1 - ELR_MOMENTUM)
        self.targets[here] = average
        return equations.elr_gradient(ours, average, self.parameter[probes].view(-1, 1))


def _descend(
    problem: _Problem, config: ProbeConfig, rng: torch.Generator, best: _Best, start: Probes | None = None
) -> None:
    """Train by SGD with momentum, with a peak step size for each probe; look at validation now and then.

    Columns of the weights are (probe, class), or (class, probe) where classes are few: torch's softmax is vectorised
    along the last axis, or along the axes behind it, and ten classes fill no vector.
    """
    inputs, n_classes, n_probes = problem.inputs, problem.n_classes, len(problem.losses)
    device, n_features = config.device, problem.inputs.center.shape[0]
    batch_size = min(config.batch_size, inputs.n)
    class_major = n_classes < _FEW_CLASSES
    columns = (n_classes, n_probes) if class_major else (n_probes, n_classes)
    class_axis = 1 if class_major else 2
    gradients = _Gradients(problem, class_axis)
    weight = torch.zeros(n_features, n_probes * n_classes, device=device)
    bias = torch.zeros(columns, device=device)
    if start is not None:
        scaled = problem.scaled(start)
        if class_major:
            weight.view(n_features, *columns).copy_(scaled.weight.view(n_features, n_probes, n_classes).transpose(1, 2))
            bias.copy_(scaled.bias.T)
        else:
            weight.copy_(scaled.weight)
            bias.copy_(scaled.bias)
    momentum, bias_momentum = torch.zeros_like(weight), torch.zeros_like(bias)

    def by_column(values: torch.Tensor) -> torch.Tensor:
        return values.unsqueeze(class_axis - 1).expand(columns)

    decay = by_column(problem.weight_decay).reshape(-1)
    # The curvature of the mean loss (features have mean square length 1), and that of the used samples of a minibatch,
    # which are few and vary in directions of their own: without it the step is too large for features with a flat
    # spectrum, such as whitened ones, and for few labels.
    curvature = problem.curvature + 2 / (batch_size * problem.effective_fraction)
    n_batches, epochs = inputs.n // batch_size, n_epochs(config, inputs.n)
    # A constant feature of mean square 1: curvature 1, and that of a minibatch where some samples are heavy.
    bias_lr = problem.lr
    if problem.sample_weight is not None:
        bias_lr = problem.lr / (1 + 2 * (problem.fraction_used / problem.effective_fraction - 1) / batch_size)
    steps, step = epochs * n_batches, 0
    logits = torch.empty(batch_size, n_probes * n_classes, device=device)
    for _ in range(epochs):
        order = torch.randperm(inputs.n, generator=rng)[: n_batches * batch_size]
        for rows in order.view(n_batches, batch_size):
            x = inputs.batch(rows)
            x.times(weight, logits)
            residual = torch.softmax(logits.view(batch_size, *columns).add_(bias), dim=class_axis)
            gradients(residual, rows)
            x.add_transposed_product(momentum, residual.view(batch_size, -1))
            momentum.addcmul_(weight, decay)
            bias_momentum.mul_(MOMENTUM).add_(residual.sum(dim=0), alpha=1 / batch_size)
            now = min(1.0, (step + 1) / max(1.0, 0.05 * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))
            step_size = problem.lr / (curvature * gradients.mean_weight + problem.weight_decay)
            weight.addcmul_(momentum, by_column(step_size).reshape(-1), value=-now)
            bias.addcmul_(bias_momentum, by_column(bias_lr / gradients.mean_weight), value=-now)
            step += 1
            if step * best.checks // steps > (step - 1) * best.checks // steps:
                view = weight.view(n_features, *columns)
                best.look(view.transpose(1, 2) if class_major else view, bias.T if class_major else bias)


def logits(probes: Probes, rows: Codes) -> torch.Tensor:
    """Return the logits (N, P, C) of some rows."""
    _, n_probes, n_classes = probes.shape
    weight = probes.weight
    if isinstance(rows, np.ndarray):
        product = torch.from_numpy(np.require(rows, np.float32, ["C", "W"])).to(weight.device) @ weight
        forget_pages(rows)
    else:
        product = as_tensor(sp.csr_array(rows, dtype=np.float32)).to(weight.device) @ weight
    return product.view(-1, n_probes, n_classes).add_(probes.bias)


def predict(probes: Probes, features: Codes, chunk: int = 512) -> np.typing.NDArray[np.int64]:
    """Return classes (N, P) by the largest logit, ``chunk`` rows at a time."""
    result = np.empty((features.shape[0], probes.shape[1]), dtype=np.int64)
    for start in range(0, features.shape[0], chunk):
        result[start : start + chunk] = logits(probes, features[start : start + chunk]).argmax(dim=-1).cpu().numpy()
    return result


def validation_scores(
    probes: Probes, losses: Sequence[Loss], features: Codes, labels: np.typing.NDArray[np.integer], chunk: int = 512
) -> tuple[np.typing.NDArray[np.float64], np.typing.NDArray[np.float64]]:
    """Return accuracy (P,) on given labels, and their mean log-likelihood (P,) under each loss's model of the noise.

    The model of forward correction is (p T)_y; that of other losses is p_y itself.

    Args:
        labels: (N, P); -1 leaves a row out.
    """
    _, n_probes, n_classes = probes.shape
    rate = torch.tensor([loss.parameter if loss.name == "forward" else 0.0 for loss in losses])
    other = (rate / (n_classes - 1)).to(probes.weight.device)
    kept = 1 - rate.to(probes.weight.device) - other
    hits, likelihood, count = np.zeros(n_probes), np.zeros(n_probes), np.zeros(n_probes)
    for start in range(0, features.shape[0], chunk):
        given = torch.from_numpy(np.ascontiguousarray(labels[start : start + chunk])).long().to(probes.weight.device)
        used, places = given >= 0, given.clamp(min=0)
        found = logits(probes, features[start : start + chunk])
        hits += ((found.argmax(dim=-1) == given) & used).sum(dim=0).cpu().numpy()
        p = torch.softmax(found, dim=-1)
        p_given = kept * p.gather(2, places.unsqueeze(2)).squeeze(2) + other
        for number, loss in enumerate(losses):
            if loss.transition is not None:
                matrix = torch.from_numpy(loss.transition.astype(np.float32)).to(p.device)
                p_given[:, number] = (p[:, number] * matrix.T[places[:, number]]).sum(dim=-1)
        likelihood += (p_given.clamp(min=1e-12).log() * used).sum(dim=0).double().cpu().numpy()
        count += used.sum(dim=0).cpu().numpy()
    count = np.maximum(count, 1)
    return hits / count, likelihood / count
