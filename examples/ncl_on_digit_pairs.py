"""SimCLR and NCL on the same images: what a non-negative map before the loss does to features."""

import numpy as np

from monosemy import LinearProbe, digit_pairs, measure, pretrain, symmetric_noise
from monosemy.encoders import PRESETS, embed

data = digit_pairs(n_train=3_000, n_test=1_000)  # two handwritten digits side by side, 100 classes
noisy = symmetric_noise(data.train.labels, 0.6, data.n_classes, np.random.default_rng(0))

print(f"{'':8} {'clean':>6} {'60 % noise':>11} {'active':>7} {'consistency':>12} {'chance':>7}")
for method in ("simclr", "ncl"):
    config = PRESETS["digit-pairs"].model_copy(update={"method": method, "steps": 120})
    encoder = pretrain(data.train.inputs, config)
    assert encoder is not None  # None only where a time limit was given
    train, test = (embed(encoder, split.inputs) for split in (data.train, data.test))
    accuracies = [
        LinearProbe(random_state=0).fit(train, labels).score(test, data.test.labels)
        for labels in (data.train.labels, noisy)
    ]
    metrics = measure(test, data.test.labels, data.class_names).metrics
    print(
        f"{method:8} {accuracies[0]:6.3f} {accuracies[1]:11.3f} {metrics['l0']:7.1f} "
        f"{metrics['semantic_consistency']:12.3f} {metrics['consistency_chance']:7.3f}"
    )
