"""Names of classifiers and their first grid; this chapter imports no numerical library, for plans name them."""

from typing import Literal, get_args

ClassifierName = Literal[
    "ce", "gce", "forward", "knn", "sce", "elr", "label-smoothing", "forward-estimated", "forward-oracle", "wann",
    "knn-relabel", "centroid", "lda", "ridge", "cleanlab",
]  # fmt: skip
NAMES: tuple[ClassifierName, ...] = get_args(ClassifierName)
DEFAULTS: tuple[ClassifierName, ...] = ("ce", "gce", "forward", "knn")
"""Classifiers of a study that names none."""
WEIGHT_DECAYS = (1e-6, 1e-5)
"""First grid of weight decays."""
