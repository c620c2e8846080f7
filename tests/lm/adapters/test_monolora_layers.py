"""MonoLoRA in models of several families: identity at the start, the formula of each placement, training."""

import pytest
import torch
from made_adapters import CAUSAL, FAMILIES, TASKS, adapted, config, filled, llama, token_batch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from torch.autograd.graph import saved_tensors_hooks

from monosemy.functional.lora import PLACEMENTS

MAPS = ("relu", "rep_relu")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_identity_at_the_start(family: str, placement: str) -> None:
    tokens = token_batch()
    wanted = FAMILIES[family]().eval()(tokens).logits
    assert torch.equal(adapted(family, placement=placement).eval()(tokens).logits, wanted)


def by_hand(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, placement: str) -> torch.Tensor:
    def s(value: torch.Tensor) -> torch.Tensor:
        return torch.maximum(value, torch.zeros(()))

    return {
        "output": lambda: s(x @ a.T @ b.T),
        "hidden": lambda: s(x @ a.T) @ b.T,
        "both": lambda: s(s(x @ a.T) @ b.T),
        "weights": lambda: x @ s(a).T @ s(b).T,
    }[placement]()


@pytest.mark.parametrize("non_negative", MAPS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_layer_gives_the_plain_formula(family: str, placement: str, non_negative: str) -> None:
    model = filled(adapted(family, placement=placement, non_negative=non_negative, lora_alpha=6))
    layers = [m for m in model.modules() if isinstance(m, LoraLayer)]
    assert layers
    for layer in layers:
        x = torch.randn(3, 7, layer.in_features, generator=torch.Generator().manual_seed(2))
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        wanted = layer.base_layer(x) + 6 / 4 * by_hand(x, a, b, placement)
        torch.testing.assert_close(layer(x), wanted)
        assert not torch.allclose(wanted, layer.base_layer(x)), "the update is not nothing"


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_dropout_is_on_the_input_alone_and_scaling_on_the_update(placement: str) -> None:
    layer = filled(adapted(placement=placement, lora_dropout=0.5)).model.model.layers[0].self_attn.q_proj
    x = torch.ones(1, 5, 32)
    layer.train()
    torch.manual_seed(9)
    out = layer(x)
    torch.manual_seed(9)
    dropped = torch.nn.functional.dropout(x, 0.5)
    update = by_hand(dropped, layer.lora_A["default"].weight, layer.lora_B["default"].weight, placement)
    torch.testing.assert_close(out, layer.base_layer(x) + layer.scaling["default"] * update)


def loss_of(model: torch.nn.Module, tokens: torch.Tensor, family: str) -> torch.Tensor:
    labels = tokens if family in CAUSAL else torch.arange(len(tokens)) % 2
    return model(input_ids=tokens, labels=labels).loss


@pytest.mark.parametrize("non_negative", MAPS)
@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_placement_trains_from_zero(family: str, placement: str, non_negative: str) -> None:
    model = adapted(family, placement=placement, non_negative=non_negative)
    tokens = token_batch()
    first = loss_of(model, tokens, family)
    first.backward()
    slopes = [p.grad for n, p in model.named_parameters() if ".lora_B." in n]
    assert all(slope is not None and slope.abs().max() > 0 for slope in slopes), "no adapter is dead at zero"
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.02)
    for _ in range(12):
        optimiser.zero_grad()
        loss = loss_of(model, tokens, family)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.97 * first.item()
    assert all(".lora_" in n or "modules_to_save" in n for n, p in model.named_parameters() if p.requires_grad)


def kept_bytes(model: torch.nn.Module, length: int) -> int:
    """What autograd keeps of a forward pass, parameters and their copies aside: what grows with the sequence."""
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(pack, lambda t: t):
        loss_of(model, token_batch(length=length), "llama")
    return sum(kept.values())


@pytest.mark.parametrize("non_negative", MAPS)
@pytest.mark.parametrize("placement", PLACEMENTS)
def test_memory_grows_with_the_sequence_as_loras(placement: str, non_negative: str) -> None:
    def growth(model: torch.nn.Module) -> int:
        model.train()
        return kept_bytes(model, 40) - kept_bytes(model, 20)

    torch.manual_seed(3)
    shared = {"r": 4, "lora_alpha": 4, "lora_dropout": 0.1, "target_modules": "all-linear"}
    lora = get_peft_model(llama(), LoraConfig(**shared))
    assert growth(adapted(placement=placement, non_negative=non_negative, lora_dropout=0.1)) == growth(lora) > 0


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_same_seed_gives_loras_factors(placement: str) -> None:
    torch.manual_seed(3)
    lora = get_peft_model(llama(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    mono = adapted(placement=placement).state_dict()
    assert mono.keys() == lora.state_dict().keys()
    assert all(torch.equal(value, mono[name]) for name, value in lora.state_dict().items())


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_settings_of_lora_that_mean_the_same(placement: str) -> None:
    model = adapted(
        placement=placement, use_rslora=True, rank_pattern={"q_proj": 2}, alpha_pattern={"k_proj": 10}, lora_alpha=4,
        target_modules=["q_proj", "k_proj", "v_proj"], init_lora_weights="gaussian", layers_to_transform=[1],
    )  # fmt: skip
    assert not isinstance(model.model.model.layers[0].self_attn.q_proj, LoraLayer)
    attention = model.model.model.layers[1].self_attn
    assert attention.q_proj.lora_A["default"].weight.shape == (2, 32)
    assert attention.q_proj.scaling["default"] == pytest.approx(4 / 2**0.5)
    assert attention.k_proj.scaling["default"] == pytest.approx(10 / 4**0.5)
    filled(model)
    x = torch.randn(2, 3, 32)
    for layer in (attention.q_proj, attention.k_proj):
        update = by_hand(x, layer.lora_A["default"].weight, layer.lora_B["default"].weight, placement)
        torch.testing.assert_close(layer(x), layer.base_layer(x) + layer.scaling["default"] * update)


def test_eva_makes_new_factors_and_s_plus_stays() -> None:
    from peft import EvaConfig, initialize_lora_eva_weights

    model = adapted(placement="both", init_lora_weights="eva", eva_config=EvaConfig(rho=1.0), target_modules=["q_proj"])
    batches = [{"input_ids": token_batch(8)[i : i + 4]} for i in (0, 4)]
    initialize_lora_eva_weights(model, batches, show_progress_bar=False)
    filled(model)
    layer = model.model.model.layers[0].self_attn.q_proj
    x = torch.randn(2, 3, 32)
    update = by_hand(x, layer.lora_A["default"].weight, layer.lora_B["default"].weight, "both")
    torch.testing.assert_close(layer(x), layer.base_layer(x) + layer.scaling["default"] * update)


def test_the_papers_defaults() -> None:
    from monosemy.lm.monolora import MonoLoraConfig

    plain = MonoLoraConfig.paper()
    assert (plain.r, plain.lora_alpha, plain.lora_dropout) == (8, 4, 0.1)
    assert (plain.placement, plain.non_negative) == ("output", "relu")
    assert config().peft_type == "MONOLORA"
    assert set(TASKS) == set(FAMILIES)
