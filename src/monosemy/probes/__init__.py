"""Linear classifiers on frozen features, many at once."""

from monosemy.probes.engine import ProbeConfig, Probes, predict, probes_at_once, train_probes
from monosemy.probes.estimator import LinearProbe
from monosemy.probes.exact import exact_probe

__all__ = ["LinearProbe", "ProbeConfig", "Probes", "exact_probe", "predict", "probes_at_once", "train_probes"]
