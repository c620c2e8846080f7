"""Losses of classifiers on noisy labels, and their gradients with respect to the logits in closed form.

Notation: z logits (N, C), p = softmax(z), y the given labels (N,), e_y the unit vector of y. The gradient of several
losses is that of cross-entropy, p - e_y, times a number that depends on p_y alone: :func:`gce_weight`,
:func:`sce_weight` and :func:`symmetric_forward_weight` return it. It is near 0 for labels that the classifier does not
believe, which is where the robustness comes from.
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

LossName = Literal["ce", "label-smoothing", "gce", "sce", "forward", "elr"]
SCE_ALPHA, SCE_BETA, SCE_A = 0.1, 1.0, -4.0
"""Weights of cross-entropy and of its reverse, and the logarithm that stands for log 0 (arXiv 1908.06112)."""
ELR_MOMENTUM = 0.7
"""Memory of the targets of early-learning regularisation for each epoch (arXiv 2007.00151)."""
_LEAST = 1e-4
"""Least value of 1 - <p, t>, as in the authors' code: its logarithm has no bound."""


@dataclass(frozen=True)
class Loss:
    """A loss with its hyper-parameter."""

    name: LossName = "ce"
    parameter: float = 0.0
    """Smoothing, q of GCE, symmetric noise rate of forward correction, or strength of ELR; not used by others."""
    transition: np.typing.NDArray[np.float64] | None = field(default=None, compare=False)
    """(C, C), P(given | true), for forward correction by a full matrix; it takes the place of the rate."""

    def __post_init__(self) -> None:
        upper = {"label-smoothing": 1.0, "gce": 1.0, "forward": 1.0, "elr": float("inf")}.get(self.name, 0.0)
        lower = 1e-6 if self.name == "gce" else 0.0
        if not lower <= self.parameter <= upper:
            raise ValueError(f"{self.name} has parameter {self.parameter}; choose one in [{lower:g}, {upper:g}]")


def _log_p_y(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits, dim=-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return -log p_y, (N,)."""
    return -_log_p_y(logits, labels)


def label_smoothing(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Return cross-entropy against (1 - smoothing) e_y + smoothing / C, (N,) (Szegedy et al. 2016, 1512.00567)."""
    log_p = torch.log_softmax(logits, dim=-1)
    return -(1 - smoothing) * _log_p_y(logits, labels) - smoothing * log_p.mean(dim=-1)


def generalized_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, q: float) -> torch.Tensor:
    """Return (1 - p_y^q) / q, (N,), for 0 < q <= 1 (Zhang and Sabuncu 2018, arXiv 1805.07836, eq. 6).

    q towards 0 is cross-entropy, q = 1 the mean absolute error over 2.
    """
    return -torch.expm1(q * _log_p_y(logits, labels)) / q


def symmetric_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return alpha CE + beta (-A) (1 - p_y), (N,) (Wang et al. 2019, arXiv 1908.06112, eq. 6 with log 0 = A)."""
    log_p_y = _log_p_y(logits, labels)
    return -SCE_ALPHA * log_p_y + SCE_BETA * SCE_A * torch.expm1(log_p_y)


def forward_correction(logits: torch.Tensor, labels: torch.Tensor, transition: torch.Tensor) -> torch.Tensor:
    """Return -log sum_c T[c, y] p_c, (N,) (Patrini et al. 2017, arXiv 1609.03683, theorem 2).

    Args:
        transition: T (C, C), the probability of the given label (column) for each true one (row).
    """
    joint = torch.log_softmax(logits, dim=-1) + transition.clamp(min=1e-30).log().T[labels]
    return -torch.logsumexp(joint, dim=-1)


def early_learning_regularization(
    logits: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, strength: float
) -> torch.Tensor:
    """Return CE + strength * log(1 - <p, t>), (N,) (Liu et al. 2020, arXiv 2007.00151, eq. 6).

    Args:
        targets: t (N, C), an average of the sample's own p over earlier epochs, held constant.
    """
    similarity = (torch.softmax(logits, dim=-1) * targets).sum(dim=-1)
    return cross_entropy(logits, labels) + strength * (1 - similarity).clamp(min=_LEAST).log()


def symmetric_transition(rate: float, n_classes: int) -> torch.Tensor:
    """Return T (C, C) of symmetric noise: 1 - rate on the diagonal, rate / (C - 1) elsewhere."""
    other = rate / (n_classes - 1)
    return torch.full((n_classes, n_classes), other).fill_diagonal_(1 - rate)


def gce_weight(p_y: torch.Tensor, q: torch.Tensor | float) -> torch.Tensor:
    """Return p_y^q, by which the gradient of GCE differs from that of cross-entropy."""
    return p_y**q


def sce_weight(p_y: torch.Tensor) -> torch.Tensor:
    """Return alpha - beta A p_y, by which the gradient of symmetric cross-entropy differs from that of CE."""
    return SCE_ALPHA - SCE_BETA * SCE_A * p_y


def symmetric_forward_weight(p_y: torch.Tensor, rate: torch.Tensor | float, n_classes: int) -> torch.Tensor:
    """Return a p_y / (a p_y + b), the weight of forward correction for symmetric noise of a rate.

    b = rate / (C - 1) and a = 1 - rate - b; the sum is the probability of the given label. At rate 0 it is 1.
    """
    other = rate / (n_classes - 1)
    believed = (1 - rate - other) * p_y
    return torch.where(believed + other > 0, believed / (believed + other).clamp(min=1e-30), 1.0)


def forward_gradient(p: torch.Tensor, likelihood: torch.Tensor) -> torch.Tensor:
    """Return the gradient of forward correction with respect to the logits: p less the posterior of the true class.

    Args:
        p: (..., C).
        likelihood: T[:, y] (..., C), the probability of the given label for each true class.
    """
    joint = p * likelihood
    return p - joint / joint.sum(dim=-1, keepdim=True).clamp(min=1e-30)


def elr_gradient(p: torch.Tensor, targets: torch.Tensor, strength: torch.Tensor | float) -> torch.Tensor:
    """Return the gradient of strength * log(1 - <p, t>) with respect to the logits, without cross-entropy's.

    It is -strength p (t - <p, t>) / (1 - <p, t>), and 0 where 1 - <p, t> is clamped.

    Args:
        p: (..., C).
        targets: t (..., C).
        strength: a number, or (..., 1).
    """
    similarity = (p * targets).sum(dim=-1, keepdim=True)
    rest = 1 - similarity
    return torch.where(rest > _LEAST, -strength * p * (targets - similarity) / rest.clamp(min=_LEAST), 0.0)
