"""Switch latents of a sparse autoencoder off in embeddings, or up, and see what a classifier makes of them."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from monosemy import SparseAutoencoder

digits = load_digits()
X_train, X_test, y_train, y_test = train_test_split(
    digits.data.astype(np.float32), digits.target, stratify=digits.target, random_state=0
)
sae = SparseAutoencoder(n_latents=64, k=8, n_epochs=20, random_state=0).fit(X_train)
classifier = LogisticRegression(max_iter=3000).fit(X_train, y_train)

codes = sae.transform(X_train)
digit = 0
above_others = codes[y_train == digit].mean(axis=0) - codes[y_train != digit].mean(axis=0)
latents = np.argsort(-above_others)[:8]


def fraction(X: np.ndarray) -> float:
    """Return the fraction of rows that are classified as the digit."""
    return float((classifier.predict(X) == digit).mean())


print(f"the latents that speak most for {digit}: {latents.tolist()}")
zeros, others = X_test[y_test == digit], X_test[y_test != digit]
for n in (0, 1, 4, 8):
    print(f"{n} of them off: {fraction(sae.ablate(zeros, latents[:n])):.2f} of the {digit}s are classified as {digit}")
strongest = int(latents[0])
for value in (0.0, 2.0, 4.0, 8.0):
    steered = fraction(sae.steer(others, {strongest: value * float(codes[:, strongest].max())}))
    print(f"latent {strongest} at {value:g} times its largest value: {steered:.2f} of the other digits")
