"""Contrastive losses."""

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent: cross-entropy of picking a sample's other view among the 2B - 1 other views.

    With z the 2B L2-normalised rows and s_ij = z_i . z_j / temperature,
    loss = mean_i [ -s_{i, pair(i)} + log sum_{j != i} exp(s_ij) ].

    Args:
        first, second: (B, D), two views of the same B samples, not yet normalised. Non-negative features make this
            the loss of NCL.
        temperature: positive.

    Returns: a scalar, in nats; log(2B - 1) for features that tell nothing apart.

    Source: Chen et al., SimCLR (arXiv 2002.05709), equation 1; NCL (arXiv 2403.12459), equation 6.
    """
    z = F.normalize(torch.cat([first, second]), dim=1)
    similarity = (z @ z.T / temperature).fill_diagonal_(float("-inf"))
    pairs = torch.arange(len(z), device=z.device).roll(len(first))
    return F.cross_entropy(similarity, pairs)
