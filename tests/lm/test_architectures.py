"""The table of architectures against tiny random models of each, and the names that are said where it ends."""

import re
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from monosemy.errors import InputError
from monosemy.lm.architectures import ARCHITECTURES, MlpNames, input_weights, mlp_names, mlps, up_projection

SIZES: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 2, "max_position_embeddings": 32, "vocab_size": 64, "n_embd": 16, "n_inner": 40,
    "n_layer": 3, "n_head": 2, "n_positions": 32, "rotary_dim": 4, "ffn_dim": 40, "word_embed_proj_dim": 16,
    "d_model": 16, "n_layers": 3, "n_heads": 2, "max_seq_len": 32, "num_layers": 3, "num_heads": 2,
    "attention_heads": 2, "attention_types": [[["global"], 3]], "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip


def tiny(kind: str) -> Any:
    """A random model of three layers of width 16."""
    known = {name: value for name, value in SIZES.items() if hasattr(AutoConfig.for_model(kind), name)}
    if "head_dim" in AutoConfig.for_model(kind).to_dict():
        known["head_dim"] = 8
    if kind == "codegen":
        known |= {"n_head": 4, "num_attention_heads": 4}  # it splits its heads into four parts
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **known)).eval()


@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_table(kind: str) -> None:
    """Each has its layers, with projections to more numbers and back, which a forward pass really uses."""
    model = tiny(kind)
    found = mlps(model)
    assert len(found) == 3
    calls: list[tuple[int, str]] = []
    seen: dict[tuple[int, str], torch.Tensor] = {}
    for number, mlp in enumerate(found):
        assert dict(model.named_modules())[mlp.up_name] is mlp.up
        up, down = input_weights(mlp.up), input_weights(mlp.down)
        assert up is not None
        assert down is not None
        assert up.shape == down.shape[::-1]
        assert up.shape[1] == 16
        assert up.shape[0] in (40, 64)

        def after(_m: nn.Module, _x: Any, y: torch.Tensor, number: int = number) -> None:
            calls.append((number, "up"))
            seen[number, "up"] = y

        def before(_m: nn.Module, x: Any, number: int = number) -> None:
            calls.append((number, "down"))
            seen[number, "down"] = x[0]

        mlp.up.register_forward_hook(after)
        mlp.down.register_forward_pre_hook(before)
    model(input_ids=torch.tensor([[3, 4, 5, 6]]))
    assert calls == [(number, which) for number in range(3) for which in ("up", "down")]
    assert all(seen[number, "up"].shape == seen[number, "down"].shape for number in range(3))


def test_conv1d_is_turned() -> None:
    turned = Conv1D(5, 3)
    assert turned.weight.shape == (3, 5)
    weights = input_weights(turned)
    assert weights is not None
    assert torch.equal(weights, turned.weight.T)
    plain = nn.Linear(3, 5)
    assert input_weights(plain) is plain.weight
    assert input_weights(nn.LayerNorm(3)) is None


def test_numbers_and_names() -> None:
    model = tiny("gpt_neox")
    assert up_projection(model, "-1", "layer")[0] == "gpt_neox.layers.2.mlp.dense_h_to_4h"
    name, module = up_projection(model, "gpt_neox.layers.0.attention", "layer")
    assert name == "gpt_neox.layers.0.attention"
    assert module is model.gpt_neox.layers[0].attention


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (MlpNames("model.layer", "mlp.up_proj", "mlp.down_proj"), "layers names 'model.layer', but"),
        (MlpNames("model.layers", "mlp.up_pro", "mlp.down_proj"), "nearest name is 'model.layers.0.mlp.up_proj'"),
        (MlpNames("model", "mlp.up_proj", "mlp.down_proj"), "layers='model' is a LlamaModel, not a list of layers"),
    ],
)
def test_names_that_are_not_there(names: MlpNames, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        mlps(tiny("llama"), names)


def test_other_models_by_names() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([nn.ModuleDict({"wide": nn.Linear(3, 5), "back": nn.Linear(5, 3)})])

    assert mlps(Own(), MlpNames("blocks", "wide", "back"))[0].up_name == "blocks.0.wide"
    with pytest.raises(InputError, match=r"architecture 'Own' is not one .* such as 'blocks\.0\.(wide|back)'"):
        mlp_names(Own())
