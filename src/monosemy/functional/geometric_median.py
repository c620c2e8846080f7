"""The geometric median: a centre that a few outliers do not move."""

import torch
from torch import Tensor


def geometric_median(points: Tensor, *, max_steps: int = 200, tolerance: float = 1e-6) -> Tensor:
    """argmin_m sum_i |p_i - m|, by Weiszfeld's iteration from the mean.

    m <- sum_i w_i p_i / sum_i w_i with w_i = 1 / |p_i - m|. Where m meets points, they are left out of the sums and
    hold it back in proportion to their number, so that the iteration does not stop at a point that is not the median.

    Args:
        points: (N, D), N >= 1.
        tolerance: the iteration ends when a step is shorter than this share of the points' mean distance.

    Returns: (D,).

    Source: Weiszfeld (1937); at the points Vardi and Zhang, "The multivariate L1-median and associated data depth"
    (PNAS 97, 2000), equation 2.6.
    """
    center = points.mean(dim=0)
    tiny = torch.finfo(points.dtype).tiny
    for _ in range(max_steps):
        # Exact differences: |p|^2 - 2 p.m + |m|^2 has no digits left near m.
        distances = torch.cdist(points, center[None], compute_mode="donot_use_mm_for_euclid_dist")[:, 0]
        apart = distances > tiny
        if not apart.any():
            break
        weights = torch.where(apart, 1 / distances.clamp(min=tiny), 0)
        # Relative to the centre, for the digits of data that lies far from the origin.
        towards = (weights / weights.sum()) @ (points - center)
        pull = float(towards.norm() * weights.sum())
        held = int((~apart).sum())
        share = 1.0 if held == 0 else max(0.0, 1 - held / pull) if pull > 0 else 0.0
        center = center + share * towards
        if float(share * towards.norm()) <= tolerance * float(distances.mean()):
            break
    return center
