"""Why NCL can be monosemantic and SimCLR need not be: one loss survives a rotation of the features, one does not."""

import torch

from monosemy.functional import nt_xent, rep_relu, supervised_contrastive

generator = torch.Generator().manual_seed(0)
concepts = torch.eye(8)[torch.arange(64) % 8]  # 64 images of 8 concepts, one dimension each
first, second = (concepts + 0.05 * torch.rand(64, 8, generator=generator) for _ in range(2))
rotation = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q

print("NT-Xent, temperature 0.2                  as it is   rotated")
for name, s_plus in (("SimCLR: z", lambda z: z), ("NCL: s+(z)", torch.relu)):
    plain = nt_xent(s_plus(first), s_plus(second), 0.2)
    turned = nt_xent(s_plus(first @ rotation), s_plus(second @ rotation), 0.2)
    print(f"{name:40} {plain:9.4f} {turned:9.4f}")

# With labels every view of the same class is a positive; without a second view of a class it is NT-Xent again.
labels = torch.arange(64) % 8
supervised = supervised_contrastive(first, second, labels, 0.2)
alone = supervised_contrastive(first, second, torch.arange(64), 0.2)
print(f"\nsupervised {supervised:.4f}; all labels different {alone:.4f}, NT-Xent {nt_xent(first, second, 0.2):.4f}")

# rep_relu is ReLU forwards and GELU backwards: a unit that is silent for all samples still learns.
silent = torch.full((4,), -0.5, requires_grad=True)
for s_plus in (torch.relu, rep_relu):
    (gradient,) = torch.autograd.grad(s_plus(silent).sum(), silent)
    print(f"gradient of a silent unit, {s_plus.__name__}: {gradient[0]:.4f}")
