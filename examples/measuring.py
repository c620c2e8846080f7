"""How monosemantic are embeddings, and the codes of a sparse autoencoder on them? All metrics in one call."""

import numpy as np
from sklearn.datasets import load_digits

from monosemy import SparseAutoencoder, measure
from monosemy.metrics import SemanticConsistency

digits = load_digits()
embeddings, labels = digits.data.astype(np.float32), digits.target
names = [str(name) for name in digits.target_names]

sae = SparseAutoencoder(n_latents=128, k=6, n_epochs=40, random_state=0).fit(embeddings)
codes = sae.transform(embeddings)
decoded = sae.inverse_transform(codes)

before = measure(embeddings, labels, names, separability=True, label_noise=[0.4])
after = measure(
    codes, labels, names, reference_embeddings=embeddings, reconstruction=decoded, separability=True, label_noise=[0.4]
)
print(f"{'':24} {'embeddings':>10} {'codes':>8}")
for metric in ("l0", "dead", "semantic_consistency", "consistency_chance", "class_purity", "mono_score"):
    print(f"{metric:24} {before.metrics[metric]:10.3f} {after.metrics[metric]:8.3f}")
print(f"{'explained_variance':24} {'':10} {after.metrics['explained_variance']:8.3f}")
for name, measurement in (("embeddings", before), ("codes", after)):
    assert measurement.separability is not None
    print(f"\nseparability of {name}\n{measurement.separability.means.to_string(index=False, float_format='%.2f')}")

# The same from a stream, in pieces that need not fit into memory together.
consistency = SemanticConsistency(n_classes=10)
for start in range(0, len(codes), 500):
    consistency.update(codes[start : start + 500], labels[start : start + 500])
result = consistency.compute()
best = int(np.argmax(np.where(result.support >= 10, result.score, 0)))
commonest = np.bincount(labels[codes[:, best] > 0]).argmax()
print(f"\nlatent {best}: fires {result.support[best]} times, {result.score[best]:.0%} of them for digit {commonest}")
