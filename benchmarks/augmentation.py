"""The ``cifar`` recipe against the same operations of kornia, and of torchvision image by image.

Needs kornia 0.9 and torchvision, best in an environment of their own; monosemy itself needs neither.
"""

from collections.abc import Callable

import kornia.augmentation as K
import torch
from record import interleaved_medians, write_record
from torch import Tensor

from monosemy.encoders.augmentation import make_augmentation

BATCH, SIDE, ROUNDS = 512, 32, 11
ONE_BY_ONE = 128
"""Images for torchvision; its time grows with their number."""


def ours() -> Callable[[Tensor], Tensor]:
    augmentation, rng = make_augmentation("cifar"), torch.Generator().manual_seed(0)
    return lambda images: augmentation(images, rng)


def kornia() -> Callable[[Tensor], Tensor]:
    """With the faster of its two ways to crop and to blur."""
    return K.AugmentationSequential(
        K.RandomResizedCrop((SIDE, SIDE), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), cropping_mode="resample"),
        K.RandomHorizontalFlip(p=0.5),
        K.ColorJitter(0.8, 0.8, 0.8, 0.2, p=0.8),
        K.RandomGrayscale(p=0.2),
        K.RandomGaussianBlur((3, 3), (0.1, 2.0), p=0.5, separable=False),
    )


def torchvision() -> Callable[[Tensor], Tensor]:
    if not torch.cuda.is_available():  # its wheel expects CUDA operators; declaring two of them is enough
        for operator in ("nms", "qnms"):
            LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIDE, scale=(0.08, 1.0), antialias=True),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            v2.RandomGrayscale(0.2),
            v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], p=0.5),
        ]
    )
    return lambda images: torch.stack([transform(image) for image in images])


LIBRARY = torch.library.Library("torchvision", "FRAGMENT")


def main() -> None:
    images = torch.rand(BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    few = images[:ONE_BY_ONE]
    sides = {
        "monosemy": (ours(), images),
        "kornia": (kornia(), images),
        "torchvision, one by one": (torchvision(), few),
    }
    lines, ratios = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        seconds = interleaved_medians(
            {name: lambda side=side, batch=batch: side(batch) for name, (side, batch) in sides.items()}, ROUNDS
        )
        rate = {name: len(batch) / seconds[name] for name, (_, batch) in sides.items()}
        ratios.append(rate["monosemy"] / rate["kornia"])
        lines += [f"| {threads} | {name} | {r:,.0f} | {r / rate['kornia']:.2f} |" for name, r in rate.items()]
    body = f"""
Random resized crop (0.08 to 1), flip, colour jitter (0.8, 0.8, 0.8, 0.2, for 80 % of the images), grey (20 %), blur
(3 x 3, 50 %): the recipe `cifar`. Batches of {BATCH} images 3 x {SIDE} x {SIDE} ({ONE_BY_ONE} for torchvision), every
image with its own draw. Medians of {ROUNDS} interleaved rounds.

| threads | who | images/s | of kornia's |
|---|---|---|---|
{chr(10).join(lines)}

- Against kornia: **{ratios[0]:.1f}x** on one thread, **{ratios[1]:.1f}x** on two (asked for: 1.7x)
- kornia runs with the faster of its two ways to crop (`cropping_mode="resample"`) and to blur (`separable=False`).
- Not the same in all: kornia's crop maps corner pixels on corner pixels and does not antialias, and it draws one order
  of the jitter's operations for a batch; ours equals torchvision, with an order for each image.
"""
    write_record(
        "augmentation",
        "Augmentation of CIFAR batches",
        "python benchmarks/augmentation.py",
        body,
        ("kornia", "torchvision"),
    )


if __name__ == "__main__":
    main()
