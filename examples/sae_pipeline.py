"""A sparse autoencoder as a scikit-learn transformer: codes, their monosemanticity, and a classifier on them."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from monosemy import SparseAutoencoder
from monosemy.functional import activation_counts, semantic_consistency

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.data.astype(np.float32), digits.target, stratify=digits.target, random_state=0
)

sae = SparseAutoencoder(n_latents=256, k=8, output="sparse", random_state=0)
model = make_pipeline(sae, LogisticRegression(max_iter=1000)).fit(X_train, y_train)
codes = sae.transform(X_test)
consistency = semantic_consistency(activation_counts(codes, y_test, n_classes=10))

print(f"accuracy on codes          {model.score(X_test, y_test):.3f}")
print(f"explained variance         {sae.score(X_test):.3f}")
print(f"active latents per sample  {codes.nnz / codes.shape[0]:.1f} of {codes.shape[1]}")
print(f"semantic consistency       {consistency.mean(10):.2f} (chance {consistency.mean_chance(10):.2f})")
