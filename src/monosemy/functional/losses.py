"""Contrastive losses: one masked similarity matrix, over the samples of all processes where there are several.

Non-negative maps s+ that stand between a network and its features.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from monosemy.core.distributed import all_gather, row_offset


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent: cross-entropy of picking a sample's other view among the 2B - 1 other views.

    With z the 2B L2-normalised rows and s_ij = z_i . z_j / temperature,
    loss = mean_i [ -s_{i, pair(i)} + log sum_{j != i} exp(s_ij) ].

    In several processes B counts the samples of all of them: each process returns the mean over its own rows, against
    the rows of all, and the mean of the processes' losses has the value and the gradient of the whole batch's.

    Args:
        first, second: (B, D), two views of the same B samples, not yet normalised. Non-negative features make this
            the loss of NCL.
        temperature: positive.

    Returns: a scalar, in nats; log(2B - 1) for features that tell nothing apart.

    Source: Chen et al., SimCLR (arXiv 2002.05709), equation 1; NCL (arXiv 2403.12459), equation 6.
    """
    similarity, own = _similarity_to_others(torch.cat([first, second]), temperature)
    return F.cross_entropy(similarity, own.roll(len(first)))


def supervised_contrastive(first: Tensor, second: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss: every other view of the same class counts as a positive.

    With P(i) the other views whose sample has i's label, and s_ij as in :func:`nt_xent`,
    loss = mean_i 1/|P(i)| sum_{p in P(i)} [ -s_ip + log sum_{j != i} exp(s_ij) ].

    Equal to NT-Xent where all labels differ. Processes share their rows and labels as in :func:`nt_xent`.

    Args:
        first, second: (B, D), two views of the same B samples, not yet normalised.
        labels: (B,), integers.
        temperature: positive.

    Returns: a scalar, in nats.

    Source: Khosla et al., "Supervised Contrastive Learning" (arXiv 2004.11362), equation 2 (L_out).
    """
    similarity, own = _similarity_to_others(torch.cat([first, second]), temperature)
    twice = torch.cat([labels, labels])
    positive = twice[:, None] == all_gather(twice)[None, :]
    positive[torch.arange(len(own), device=own.device), own] = False
    log_share = similarity - similarity.logsumexp(dim=1, keepdim=True)
    return -(log_share.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).mean()


def _unit_rows(features: Tensor) -> Tensor:
    """Rows of length 1; an all-zero row, which has no direction, stays zero with a gradient of ordinary size.

    Dividing by a small constant instead, as F.normalize does, would give a silent image's row a gradient of 1e12.
    """
    length = features.norm(dim=1, keepdim=True)
    return features / torch.where(length > 0, length, 1.0)


def _similarity_to_others(features: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(n, N) similarities of this process's n rows to all processes' N, a row's own at -inf; and the own columns."""
    z = _unit_rows(features)
    similarity = z @ all_gather(z).T / temperature
    rows = torch.arange(len(z), device=z.device)
    own = row_offset(len(z)) + rows
    similarity[rows, own] = float("-inf")
    return similarity, own


NonNegative = Literal["relu", "rep_relu"]


def relu(x: Tensor) -> Tensor:
    """s+(x) = max(x, 0), elementwise, with derivative 1 at x = 0.

    The derivative at zero is the reason not to call ``torch.relu``, whose derivative there is 0: a map whose input
    starts at exactly zero (an adapter with B = 0) would never leave it.

    Source: Wang et al., "Non-negative Contrastive Learning" (arXiv 2403.12459), section 4.
    """
    return x.clamp(min=0)


class _RepReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.ops.aten.gelu_backward(grad_outputs[0], x)


def rep_relu(x: Tensor) -> Tensor:
    """Forward max(x, 0), backward the derivative of GELU: d/dx [x Phi(x)] = Phi(x) + x phi(x).

    Units with slightly negative input keep a gradient, so fewer of them die.

    Source: Wang et al., "Non-negative Contrastive Learning" (arXiv 2403.12459), section 4 (reparameterised ReLU).
    """
    result: Tensor = _RepReLU.apply(x)
    return result


NON_NEGATIVE: dict[NonNegative, Callable[[Tensor], Tensor]] = {"relu": relu, "rep_relu": rep_relu}
