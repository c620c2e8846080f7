"""Training steps as lightly's SimCLR example makes them; run in an environment with torch, torchvision and lightly.

    python lightly_step.py STEM WIDTH BATCH STEPS WORKERS

Prints the seconds of each step without the first.
"""

import sys
import time

import torch

if not torch.cuda.is_available():  # torchvision's wheel expects CUDA operators; declaring two of them is enough
    LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import itertools

import numpy as np
import torchvision
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from PIL import Image
from torchvision.transforms import v2


class TwoViews(torch.utils.data.Dataset):
    """Two augmented views of each image."""

    def __init__(self, images: list[Image.Image]) -> None:
        self.images = images
        self.transform = v2.Compose(
            [
                v2.RandomResizedCrop(32, scale=(0.08, 1.0), antialias=True),
                v2.RandomHorizontalFlip(0.5),
                v2.RandomApply([v2.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
                v2.RandomGrayscale(0.2),
                v2.RandomApply([v2.GaussianBlur(3, (0.1, 2.0))], p=0.5),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.images[index]), self.transform(self.images[index])


def backbone(stem: str, width: int) -> torch.nn.Module:
    """torchvision's ResNet-18 with a small first convolution, and all its widths scaled."""
    net = torchvision.models.ResNet(torchvision.models.resnet.BasicBlock, [2, 2, 2, 2])
    if width != 64:
        net.inplanes = width
        net.bn1 = torch.nn.BatchNorm2d(width)
        for stage, blocks in enumerate((2, 2, 2, 2)):
            layer = net._make_layer(
                torchvision.models.resnet.BasicBlock, width * 2**stage, blocks, stride=1 if stage == 0 else 2
            )
            setattr(net, f"layer{stage + 1}", layer)
    net.conv1 = torch.nn.Conv2d(3, width, 3, 1 if stem == "cifar" else 2, padding=1, bias=False)
    net.maxpool = torch.nn.Identity()
    net.fc = torch.nn.Identity()
    return net


def main() -> None:
    stem, width, batch, steps, workers = sys.argv[1], *map(int, sys.argv[2:])
    pixels = np.random.default_rng(0).integers(0, 256, ((steps + 2) * batch, 32, 32, 3), dtype=np.uint8)
    loader = torch.utils.data.DataLoader(
        TwoViews([Image.fromarray(image) for image in pixels]),
        batch_size=batch,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
    )
    net, head, criterion = backbone(stem, width), SimCLRProjectionHead(8 * width, 512, 128), NTXentLoss(temperature=0.2)
    parameters = [*net.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    ends: list[float] = []
    while len(ends) <= steps:
        for first, second in loader:
            loss = criterion(head(net(first)), head(net(second)))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            loss.item()
            ends.append(time.perf_counter())
            if len(ends) > steps:
                break
    print(*(after - before for before, after in itertools.pairwise(ends)), sep="\n")


if __name__ == "__main__":
    main()
