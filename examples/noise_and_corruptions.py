"""What labels, images and texts are corrupted with: exact counts, seeded, the same for every feature set."""

import numpy as np
from sklearn.datasets import load_digits

from monosemy import symmetric_noise
from monosemy.corruptions import (
    KINDS,
    corrupt,
    corrupt_images,
    few_labels,
    matrix_noise,
    pair_noise,
    token_drops,
    typos,
)

labels = load_digits().target
confusion = np.full((10, 10), 0.02) + 0.8 * np.eye(10)  # your annotators' P(noisy | true)
print("fraction of wrong labels")
for name, noisy in {
    "symmetric, 0.4": symmetric_noise(labels, 0.4, 10, np.random.default_rng(0)),
    "pair, 0.3": pair_noise(labels, 0.3, 10, np.random.default_rng(0)),
    "matrix, 0.18": matrix_noise(labels, confusion, np.random.default_rng(0)),
}.items():
    print(f"  {name:16} {(noisy != labels).mean():.4f}")
selected = few_labels(labels, 0.1, np.random.default_rng(0))
print(f"a tenth of the labels: {selected.sum()} of {len(labels)}, each class {np.bincount(labels[selected])}")

# 32 x 32 images in [0, 1], (N, C, H, W); sides of 32, 64 and 224 have published severities of their own.
rows = np.random.default_rng(0).integers(0, len(labels), (64, 4, 4))
tiles = load_digits().images[rows] / 16
images = tiles.transpose(0, 1, 3, 2, 4).reshape(64, 1, 32, 32).astype(np.float32)
print("mean distance to the clean image, severity 1 and 5")
for kind in KINDS:
    near, far = (np.abs(corrupt(images, kind, s, np.random.default_rng(0)) - images).mean() for s in (1, 5))
    print(f"  {kind:18} {near:.3f} {far:.3f}")
noisy_images = corrupt_images(images, "gaussian", 0.3, "default", np.random.default_rng(0))
print(f"  Gaussian 0.3, ours {np.abs(noisy_images - images).mean():.3f}")

queries = ("what is my balance", "please cancel the order")
print(typos(queries, 0.2, np.random.default_rng(0)), token_drops(queries, 0.3, np.random.default_rng(0)))
