"""How well single dimensions tell classes apart, as numbers and tables: J and its scale-free form d.

J = |mu_a - mu_b| / (sd_a sd_b) has a unit, one over that of the dimension, and grows when a dimension is scaled down.
Comparisons, and what counts as the best dimension, therefore go by d = |mu_a - mu_b| / sqrt(sd_a sd_b).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monosemy.functional import ClassMoments, class_separability, pair_separability

FORMS = {"separability": False, "separability_d": True}
"""Name of each form in results, and whether it is scale-free."""


def mean_separability(moments: ClassMoments, label_noise: float = 0.0) -> dict[str, float]:
    """Each form for the best dimension of a class pair, mean over the pairs.

    Args:
        moments: of clean labels, from :func:`monosemy.functional.class_moments`.
        label_noise: rate of symmetric noise that the moments are mixed by; no label is drawn.
    """
    return {name: class_separability(moments, label_noise, scale_free).mean() for name, scale_free in FORMS.items()}


def dimension_separability(moments: ClassMoments, label_noises: Sequence[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Each form of every dimension, best and mean over class pairs, and over all dimensions, at each noise.

    Returns: tidy (dimension, label_noise, metric, value) with the metrics separability_best, separability_mean and the
        same of separability_d; and one row a noise with :func:`mean_separability`.
    """
    dimensions, means = [], []
    for eta in label_noises:
        mean: dict[str, float] = {"label_noise": eta}
        for name, scale_free in FORMS.items():
            found = class_separability(moments, eta, scale_free)
            mean[name] = found.mean()
            for summary, values in (("best", found.dimension_best), ("mean", found.dimension_mean)):
                dimensions.append(tidy_dimensions(f"{name}_{summary}", values, eta))
        means.append(mean)
    return pd.concat(dimensions, ignore_index=True), pd.DataFrame(means)


def tidy_dimensions(metric: str, values: NDArray[np.generic], label_noise: float = 0.0) -> pd.DataFrame:
    """One number for each dimension as rows (dimension, label_noise, metric, value)."""
    return pd.DataFrame(
        {
            "dimension": np.arange(len(values)),
            "label_noise": label_noise,
            "metric": metric,
            "value": values.astype(np.float64),
        }
    )


def class_dimensions(moments: ClassMoments, class_names: Sequence[str], label_noises: Sequence[float]) -> pd.DataFrame:
    """For each class the dimension that tells it best from the others: largest clean d, mean over the other classes.

    Returns: one row a class and noise: class, dimension, label_noise and both forms of that same dimension, mean over
        the other classes. Classes with fewer than two samples are left out.
    """
    rows = []
    for number, name in enumerate(class_names):
        against_others = _mean_over_classes(pair_separability(moments, number, scale_free=True))
        if np.isnan(against_others).all():
            continue
        best = int(np.nanargmax(against_others))
        alone = ClassMoments(moments.counts, moments.mean[:, [best]], moments.variance[:, [best]])
        for eta in label_noises:
            values = {
                form: float(_mean_over_classes(pair_separability(alone, number, eta, scale_free))[0])
                for form, scale_free in FORMS.items()
            }
            rows.append({"class": name, "dimension": best, "label_noise": eta, **values})
    return pd.DataFrame(rows, columns=["class", "dimension", "label_noise", *FORMS])


def _mean_over_classes(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C, D) to (D,): mean over the classes where it is defined; NaN where it is for none."""
    defined = ~np.isnan(pairs)
    counts = defined.sum(axis=0)
    return np.where(counts > 0, np.where(defined, pairs, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)
