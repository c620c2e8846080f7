"""What the latents of a sparse autoencoder respond to, as a page to look at."""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from monosemy import SparseAutoencoder, explain
from monosemy.metrics import name_latents
from monosemy.report import Gallery, GallerySet, write_gallery

digits = load_digits()
embeddings = digits.data.astype(np.float32)
codes = SparseAutoencoder(n_latents=128, k=8, n_epochs=50, output="sparse", random_state=0).fit_transform(embeddings)
explanations = explain(codes, digits.target, n_classes=10, reference_embeddings=embeddings)
names = name_latents(codes, labels=digits.target)

path = Path(tempfile.gettempdir()) / "gallery-digits.html"
write_gallery(
    Gallery(
        title="Handwritten digits",
        about="128 latents of a sparse autoencoder on pixels.",
        n_samples=len(embeddings),
        sets=(GallerySet("sae", "sparse autoencoder", explanations, names=names),),
        labels=digits.target,
        class_names=tuple("0123456789"),
        inputs=(digits.images[:, None] / 16).astype(np.float32),
    ),
    path,
)
best = int(np.nanargmax(explanations.consistency - explanations.chance))
print(f"latent {best} fires for {explanations.support[best]} digits, mostly {explanations.classes[best, 0]}s")
surest = max(names.known, key=lambda name: name.auc_low)
print(
    f"latent {surest.latent} is named {surest}: AUC {surest.auc:.2f} on held-out digits, at least {surest.auc_low:.2f}"
)
print(f"{len(names.known)} of {len(names)} latents have a name")
print(f"open {path}")
