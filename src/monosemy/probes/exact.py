"""The exact optimum of one probe, as a cross-check of the many trained together."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from monosemy.functional.consistency import Codes


def exact_probe(
    features: Codes, labels: NDArray[np.integer], weight_decay: float, max_iter: int = 2000
) -> LogisticRegression:
    """L-BFGS on the same objective as the probe engine: mean CE + weight_decay / 2 |W|^2, bias not decayed.

    Features are divided by the root mean square distance to their mean, as in the engine (centring does not change
    the optimum, because the bias takes it up). Labels of -1 leave the sample out. The returned classifier expects
    features as they come.
    """
    if weight_decay <= 0:
        raise ValueError(f"weight_decay={weight_decay} must be positive for a unique optimum")
    mean = np.asarray(features.mean(axis=0)).ravel()
    energy = np.square(features).sum() if isinstance(features, np.ndarray) else features.multiply(features).sum()
    scale = np.sqrt(max(float(energy) / features.shape[0] - float(mean @ mean), 1e-30))
    used = np.flatnonzero(labels >= 0)
    model = LogisticRegression(C=1 / (weight_decay * len(used)), max_iter=max_iter, tol=1e-6)
    model.fit(features[used] / scale, labels[used])
    model.coef_ = model.coef_ / scale
    return model
