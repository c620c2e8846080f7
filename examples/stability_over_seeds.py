"""Are the features real? Which latents does training with another seed find again, and which by chance?"""

import numpy as np

from monosemy import SparseAutoencoder
from monosemy.functional import orthogonality_error
from monosemy.metrics import activation_stability, decoder_stability

rng = np.random.default_rng(0)  # rows that really are sparse mixtures: each of 40 directions in one row of ten
directions = rng.standard_normal((40, 24))
rows = ((rng.random((4_000, 40)) < 0.1) * rng.random((4_000, 40)) @ directions).astype(np.float32)
saes = [SparseAutoencoder(n_latents=64, k=4, n_epochs=30, random_state=seed).fit(rows) for seed in (0, 1)]
decoders = [sae.autoencoder_.decoder.detach().numpy() for sae in saes]
codes = [sae.transform(rows) for sae in saes]

by_direction = decoder_stability(*decoders, threshold=0.7)
by_activation = activation_stability(*codes, threshold=0.7)
print(f"{'latents matched one to one by':32} {'found again':>11} {'mean':>6} {'by chance':>10}")
for name, stability in (("direction (cosine)", by_direction), ("activation (correlation)", by_activation)):
    print(f"{name:32} {stability.found:11.1%} {stability.mean:6.2f} {stability.chance:10.2f}")
print(f"mean |cosine| between latents of one dictionary: {orthogonality_error(decoders[0]).mean:.3f}")

# Latents that fire more often are found again more often.
support = (codes[0] > 0).sum(axis=0)
again = by_direction.similarity >= 0.7
print(
    f"median rows a latent fires for: found again {np.median(support[again]):.0f}, not {np.median(support[~again]):.0f}"
)
