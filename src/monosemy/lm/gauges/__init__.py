"""Gauges of language models, layer by layer: how decorrelated, how sparse, how monosemantic."""

from monosemy.lm.gauges.measure import GaugedModel, Gauges, gauge
from monosemy.lm.gauges.prompts import LayerReading, read_layers
from monosemy.lm.gauges.weights import layer_weight_gauges

__all__ = ["GaugedModel", "Gauges", "LayerReading", "gauge", "layer_weight_gauges", "read_layers"]
