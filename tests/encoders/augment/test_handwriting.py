"""Two characters in one image move apart from each other."""

import torch

from monosemy.encoders.augmentation import handwriting_pair


def test_the_two_characters_of_a_pair_move_apart_from_each_other() -> None:
    x = torch.zeros(500, 1, 8, 16)
    x[:, :, 2:6, 2:6] = 1
    x[:, :, 2:6, 10:14] = 1
    views = handwriting_pair(x, torch.Generator().manual_seed(0)).clamp(0, 1)[:, 0]
    column = torch.arange(8.0)
    left, right = ((half.sum(dim=1) * column).sum(dim=1) / half.sum(dim=(1, 2)) for half in views.split(8, dim=2))
    assert left.std() > 0.2
    assert torch.corrcoef(torch.stack([left, right]))[0, 1].abs() < 0.3


def test_contrast_and_noise_have_the_given_strength() -> None:
    flat = torch.full((2000, 1, 24, 48), 0.5)
    views = handwriting_pair(flat, torch.Generator().manual_seed(0))[:, 0, 10:14, 10:14]  # no border reaches there
    level = views.mean(dim=(1, 2)) / 0.5
    assert abs(level.mean() - 1) < 0.02
    assert 0.15 < level.std() < 0.21, "U[0.7, 1.3] has a standard deviation of 0.173"
    assert 0.09 < (views - views.mean(dim=(1, 2), keepdim=True)).std() < 0.11
