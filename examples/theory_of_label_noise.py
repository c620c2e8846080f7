"""When does one concept a score separate classes better than a mixture? Closed forms, and a toy model."""

import numpy as np

from monosemy.theory import (
    ToyConfig,
    measure_superposition,
    overtaking,
    scale_free_separability,
    score_separability,
    train_toy_models,
    two_feature_moments,
)

MONO, POLY = (1.0, 0.0), (1.0, 1.0)  # weights of the scores x1 and x1 - x2

print("two features, each 0 with probability S; J of x1 and of x1 - x2")
print(f"{'S':>4} {'J(x1)':>7} {'J(x1-x2)':>9} {'x1 leads from':>14} {'d(x1)':>6} {'d(x1-x2)':>9}")
for sparsity in (0.0, 0.2, 0.5, 0.8):
    mono, poly = (two_feature_moments(sparsity, weights) for weights in (MONO, POLY))
    threshold = overtaking(mono, poly).threshold
    where = "never" if np.isnan(threshold) else f"{threshold:.1%} noise" if threshold else "the start"
    print(
        f"{sparsity:4.1f} {score_separability(mono):7.2f} {score_separability(poly):9.2f} {where:>14} "
        f"{scale_free_separability(mono):6.2f} {scale_free_separability(poly):9.2f}"
    )
print("d, which has no unit, puts the mixture ahead at every S shown: the crossing hangs on J's unit.\n")

sparsities = np.array([0.0, 0.5, 0.9])
models = train_toy_models(sparsities, np.zeros(3, dtype=int), 20, 5, config=ToyConfig(steps=600))
superposition = measure_superposition(models.weight)
for sparsity, features in zip(sparsities, superposition.features_per_dimension, strict=True):
    print(f"toy model, 20 features in 5 dimensions, S = {sparsity}: {features:.2f} features a dimension")
