"""The pair that a classifier has chosen: the transformer of its features and the classifier on them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosemy.classifiers import neighbours
from monosemy.core.config import Config
from monosemy.encoders.config import HeadConfig
from monosemy.features.registry import FEATURE_SETS
from monosemy.functional.consistency import Codes
from monosemy.model.crossfit import CrossFitted, linear_logits, vote_logits
from monosemy.sae.config import SaeConfig

Labels = np.typing.NDArray[np.int64]
Shares = np.typing.NDArray[np.float32]


class FeatureSettings(Config):
    """Settings of the feature sets that are trained."""

    sae: SaeConfig = SaeConfig()
    head: HeadConfig = HeadConfig()


@dataclass(frozen=True)
class Chosen:
    """All that predictions need: the transformer, the classifier on its features, and the rows that vote."""

    features: str
    classifier: CrossFitted
    """Without its held-out logits."""
    transformer: Any
    rows: Codes | None = None
    """(N, M), features of the rows that vote; None for linear classifiers."""
    labels: Labels | None = None
    """(N,), classes of these rows."""
    weights: np.typing.NDArray[np.float32] | None = None
    """(N,), their sample weights; None: all 1."""

    def codes(self, X: Codes) -> Codes:
        """Return the features (N, M) of inputs."""
        codes: Codes = self.transformer.transform(X)
        return codes

    def logits(self, codes: Codes, n_classes: int) -> Shares:
        """Return the logits (N, C) of features; for neighbours the logarithms of their votes."""
        if self.classifier.probes is not None:
            return linear_logits(self.classifier.probes, codes)
        near, labels, vote = self.voters(codes)
        return vote_logits(near, labels, n_classes, vote)

    def voters(self, codes: Codes) -> tuple[neighbours.Neighbours, Labels, neighbours.Vote]:
        """Return the neighbours of features, the classes of all rows that vote, and the rule of the vote."""
        assert self.rows is not None
        assert self.labels is not None
        assert self.classifier.vote is not None
        vote = self.classifier.vote
        found = neighbours.rows_within(self.weights, len(self.labels), vote.k)
        near = neighbours.nearest_neighbours(codes, self.rows, found)
        if self.weights is not None:
            near = near._replace(weights=torch.from_numpy(self.weights)[near.rows])
        return near, self.labels, vote


def unfitted(settings: FeatureSettings, features: str, seed: int) -> Any:
    """Return the unfitted transformer of a feature set."""
    made = FEATURE_SETS[features]
    return made.make(getattr(settings, made.settings), seed)
