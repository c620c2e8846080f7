"""The weight gauge of each architecture with MLP biases, by its own module names, by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_architectures import tiny

from monosemy.errors import InputError
from monosemy.lm.layers import layer_weight_gauges

# For each: the module of a layer's up-projection, and whether its weight has a neuron's inputs in a column.
UP: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "gpt2": (lambda m: [block.mlp.c_fc for block in m.transformer.h], True),
    "gpt_neo": (lambda m: [block.mlp.c_fc for block in m.transformer.h], False),
    "gptj": (lambda m: [block.mlp.fc_in for block in m.transformer.h], False),
    "opt": (lambda m: [layer.fc1 for layer in m.model.decoder.layers], False),
    "gpt_neox": (lambda m: [layer.mlp.dense_h_to_4h for layer in m.gpt_neox.layers], False),
}


@pytest.mark.parametrize("kind", UP)
def test_by_hand(kind: str) -> None:
    model = tiny(kind)
    find, in_columns = UP[kind]
    with torch.no_grad():
        for number, up in enumerate(find(model)):
            up.weight.zero_()
            up.bias.zero_()
            # Neuron 7 has the inputs 3 and 4 (length 5) and a bias; neuron 9 one input only.
            for neuron, place, value in ((7, 0, 3.0), (7, 15, 4.0), (9, 2, 2.0)):
                up.weight[(place, neuron) if in_columns else (neuron, place)] = value
            up.bias[7], up.bias[9] = -0.1 * (number + 1), 0.5
    found = layer_weight_gauges(model)
    assert [len(neurons) for neurons in found] == [40] * 3
    for number, neurons in enumerate(found):
        expected = np.zeros(40)
        expected[7], expected[9] = -0.5 * (number + 1), 1.0
        assert neurons == pytest.approx(expected, rel=1e-6)


def test_no_bias() -> None:
    with pytest.raises(InputError, match=r"MLPs of this llama model have no bias \(layer 0\)"):
        layer_weight_gauges(tiny("llama"))


def test_adapters_count_when_merged() -> None:
    torch.manual_seed(1)
    config = LoraConfig(r=2, target_modules=["fc1"], init_lora_weights=False)
    adapted = get_peft_model(tiny("opt"), config)
    with pytest.raises(InputError, match=r"adapter on model\.decoder\.layers\.0\.fc1 cannot be merged"):
        layer_weight_gauges(adapted)
    layer = adapted.get_base_model().model.decoder.layers[0].fc1
    weight = (layer.base_layer.weight + layer.get_delta_weight("default")).detach().numpy()
    bias = torch.randn(40, generator=torch.Generator().manual_seed(2))
    layer.base_layer.bias.data[:] = bias
    found = layer_weight_gauges(adapted.merge_and_unload())[0]
    assert found == pytest.approx(np.linalg.norm(weight, axis=1) * bias.numpy(), rel=1e-5)
    assert not np.allclose(found, layer_weight_gauges(tiny("opt"))[0])
