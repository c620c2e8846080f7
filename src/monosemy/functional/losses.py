"""Contrastive losses on one masked similarity matrix, and the non-negative maps s+ between a network and its
features.
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from monosemy.functional.monoscore import unit_rows

NonNegative = Literal["relu", "rep_relu"]
Gather = Callable[[Tensor], Tensor]


def local_rows(x: Tensor) -> Tensor:
    """Return the rows as they are: the ``gather`` of a batch that one process holds."""
    return x


def nt_xent(
    first: Tensor, second: Tensor, temperature: float, *, gather: Gather = local_rows, offset: int = 0
) -> Tensor:
    """Return NT-Xent, the cross-entropy of picking a sample's other view among the 2B - 1 other views.

    With z the 2B L2-normalised rows and s_ij = z_i . z_j / temperature,
    loss = mean_i [ -s_{i, pair(i)} + log sum_{j != i} exp(s_ij) ].

    Where several processes hold a part of the batch each, every one returns the mean over its local rows against the
    rows of all, and the mean of the processes' losses has the value and the gradient of the whole batch's.

    Args:
        first, second: (B, D), two views of the same B samples, not yet normalised. Non-negative features make this
            the loss of NCL.
        temperature: positive.
        gather: maps local rows (2B, ...) to the rows of all processes, such as
            :func:`monosemy.core.distributed.all_gather`; by default one process holds the batch.
        offset: position of the first local row among the gathered ones.

    Returns: a scalar, in nats; log(2B - 1) for features that tell nothing apart.

    Source: Chen et al., SimCLR (arXiv 2002.05709), equation 1; NCL (arXiv 2403.12459), equation 6.
    """
    similarity, columns = _similarity_to_others(torch.cat([first, second]), temperature, gather, offset)
    return F.cross_entropy(similarity, columns.roll(len(first)))


def supervised_contrastive(
    first: Tensor, second: Tensor, labels: Tensor, temperature: float, *, gather: Gather = local_rows, offset: int = 0
) -> Tensor:
    """Return the supervised contrastive loss, in which every other view of the same class is a positive.

    With P(i) the other views whose sample has i's label, and s_ij as in :func:`nt_xent`,
    loss = mean_i 1/|P(i)| sum_{p in P(i)} [ -s_ip + log sum_{j != i} exp(s_ij) ].

    Equal to NT-Xent where all labels differ.

    Args:
        first, second: (B, D), two views of the same B samples, not yet normalised.
        labels: (B,), integers.
        temperature: positive.
        gather, offset: as in :func:`nt_xent`.

    Returns: a scalar, in nats.

    Source: Khosla et al., "Supervised Contrastive Learning" (arXiv 2004.11362), equation 2 (L_out).
    """
    similarity, columns = _similarity_to_others(torch.cat([first, second]), temperature, gather, offset)
    twice = torch.cat([labels, labels])
    positive = twice[:, None] == gather(twice)[None, :]
    positive[torch.arange(len(columns), device=columns.device), columns] = False
    log_softmax = similarity - similarity.logsumexp(dim=1, keepdim=True)
    return -(log_softmax.masked_fill(~positive, 0).sum(dim=1) / positive.sum(dim=1)).mean()


def _similarity_to_others(features: Tensor, temperature: float, gather: Gather, offset: int) -> tuple[Tensor, Tensor]:
    """Return (n, N) similarities of n local rows to all N, -inf to themselves; and the column of each local row."""
    z = unit_rows(features)
    similarity = z @ gather(z).T / temperature
    rows = torch.arange(len(z), device=z.device)
    columns = offset + rows
    similarity[rows, columns] = float("-inf")
    return similarity, columns


def relu(x: Tensor) -> Tensor:
    """Return s+(x) = max(x, 0), elementwise, with derivative 1 at x = 0.

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
    """Return max(x, 0), with the derivative of GELU in the backward pass: d/dx [x Phi(x)] = Phi(x) + x phi(x).

    Units with slightly negative input keep a gradient, so fewer of them die.

    Source: Wang et al., "Non-negative Contrastive Learning" (arXiv 2403.12459), section 4 (reparameterised ReLU).
    """
    result: Tensor = _RepReLU.apply(x)
    return result


NON_NEGATIVE: dict[NonNegative, Callable[[Tensor], Tensor]] = {"relu": relu, "rep_relu": rep_relu}
