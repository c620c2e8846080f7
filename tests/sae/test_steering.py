"""Ablating and steering latents: hand values, what stays as it is, and a language model with a latent off."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from monosemy.functional.codes import to_dense
from monosemy.sae.activations import ACTIVATIONS, ReLU, TopK
from monosemy.sae.estimators import RandomDictionary, SparseAutoencoder
from monosemy.sae.module import Autoencoder


def by_hand() -> Autoencoder:
    """Scale 2, bias (1, 0), latents along (1, 0), (0, 1) and (0.6, 0.8)."""
    model = Autoencoder(2, 3, ReLU(3, 1))
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    model.encoder.copy_(rows)
    model.decoder.copy_(rows)
    model.decoder_bias.copy_(torch.tensor([1.0, 0.0]))
    model.scale.fill_(2.0)
    return model


def random_model(kind: str = "topk", n_inputs: int = 6, n_latents: int = 24) -> Autoencoder:
    model = Autoencoder(n_inputs, n_latents, ACTIVATIONS[kind](n_latents, 3))
    generator = torch.Generator().manual_seed(1)
    for weights in (model.encoder, model.decoder, model.decoder_bias):
        weights.copy_(torch.randn(weights.shape, generator=generator))
    model.scale.fill_(1.7)
    return model


def test_hand_values() -> None:
    model, z = by_hand(), torch.tensor([[6.0, 4.0], [0.0, -2.0]])
    # x - b = (2, 2) and (-1, -1): the codes are (2, 2, 2.8) and nothing.
    np.testing.assert_allclose(to_dense(model.encode(z)), [[2, 2, 2.8], [0, 0, 0]], rtol=1e-6)
    # Without latent 2: z - 2 * 2.8 * (0.6, 0.8), to the rounding of float32; where it is silent z stays, to the bit.
    np.testing.assert_allclose(model.ablate(z, [2]), [[6 - 3.36, 4 - 4.48], [0, -2]], rtol=1e-5)
    assert torch.equal(model.ablate(z, [2])[1], z[1])
    # Latent 0 set to 5 and latent 1 off: 2 * ((5 - 2) (1, 0) + (0 - 2) (0, 1)), and 2 * 5 (1, 0) for the other row.
    np.testing.assert_allclose(model.steer(z, {0: 5.0, 1: 0.0}), [[12, 0], [10, -2]], rtol=1e-6)
    assert torch.equal(model.ablate(z, []), z)


@pytest.mark.parametrize("kind", sorted(ACTIVATIONS))
def test_the_shift_is_the_difference_of_two_reconstructions(kind: str) -> None:
    """The slow obvious way: change the dense code, decode both, and carry the error along."""
    model = random_model(kind)
    z = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    code = to_dense(model.encode(z))
    changed = code.clone()
    changed[:, 3], changed[:, 20] = 0.0, 1.5
    slow = z + (changed - code) @ model.decoder * model.scale
    torch.testing.assert_close(model.steer(z, {20: 1.5, 3: 0.0}), slow)
    assert not torch.equal(slow, z)


@given(st.sets(st.integers(0, 23), max_size=6), st.integers(0, 2**16))
def test_latents_that_are_set_to_what_they_are_change_nothing(latents: set[int], seed: int) -> None:
    model = random_model()
    z = torch.randn(1, 6, generator=torch.Generator().manual_seed(seed))
    code = to_dense(model.encode(z))[0]
    assert torch.equal(model.steer(z, {m: float(code[m]) for m in latents}), z)


def test_types_and_gradients_pass() -> None:
    model, z = by_hand(), torch.tensor([[6.0, 4.0]])
    assert model.steer(z.bfloat16(), {0: 1.0}).dtype == torch.bfloat16
    np.testing.assert_allclose(model.steer(z.long(), {0: 1.5}), [[5, 4]])
    z.requires_grad_()
    model.ablate(z, [0])[0, 0].backward()
    # z0' = z0 - 2 (z0 / 2 - 1) is constant in z0.
    np.testing.assert_allclose(z.grad, [[0, 0]], atol=1e-7)


@pytest.mark.parametrize("values", [{24: 0.0}, {-1: 0.0}, {True: 0.0}, {1.5: 0.0}, {"3": 0.0}])
def test_a_latent_that_does_not_exist_is_named(values, refuses) -> None:
    model, z = random_model(), torch.zeros(2, 6)
    for use in (model.steer, lambda z, values: model.ablate(z, list(values))):
        with refuses(next(iter(values)), "24 latents", "0 to 23"):
            use(z, values)
    with refuses("24 latents"), model.steering(torch.nn.Linear(6, 6), values):
        pass


def test_other_bad_values(refuses) -> None:
    model = random_model()
    with refuses("nan", "latent 3", "finite"):
        model.steer(torch.zeros(2, 6), {3: float("nan")})
    with refuses("(2, 5)", "(N, 6)"):
        model.ablate(torch.zeros(2, 5), [3])


@pytest.mark.parametrize(
    "make",
    [lambda: SparseAutoencoder(16, 3, n_epochs=2, batch_size=32, random_state=0), lambda: RandomDictionary(16, 3)],
)
def test_estimators_steer_embeddings(make, monkeypatch: pytest.MonkeyPatch, refuses) -> None:
    X = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
    model = make().fit(X)
    before, codes = X.copy(), model.transform(X)
    strongest = int(codes.sum(axis=0).argmax())
    monkeypatch.setattr("monosemy.sae.estimators._CHUNK", 7)
    steered = model.ablate(X, [strongest])
    assert steered.dtype == np.float32
    active = codes[:, strongest] > 0
    np.testing.assert_array_equal((steered != X).any(axis=1), active)
    shift = codes[:, [strongest]] * model.autoencoder_.decoder[[strongest]].numpy() * float(model.autoencoder_.scale)
    np.testing.assert_allclose(steered, X - shift, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.steer(X, {strongest: 0.0}), steered)
    np.testing.assert_array_equal(X, before)
    with refuses("latent 16", "0 to 15"):
        model.ablate(X, [16])


def language_model(kind: str) -> tuple[Any, torch.nn.Module]:
    """A random causal model of width 16, and its first layer; weights are large enough for distinct predictions."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": None, "pad_token_id": None}
    if kind == "gpt2":
        config = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=64, vocab_size=100, **ends)
    else:
        config = transformers.LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=100, **ends
        )
    model = transformers.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.mul_(4.0 if parameter.ndim > 1 else 1.0)
    return model, (model.transformer.h if kind == "gpt2" else model.model.layers)[0]


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_language_model_runs_with_a_latent_off(kind: str) -> None:
    model, layer = language_model(kind)
    second = (model.transformer.h if kind == "gpt2" else model.model.layers)[1]
    read: list[torch.Tensor] = []
    second.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    tokens, sae = torch.tensor([[5, 90, 17, 33]]), random_model(n_inputs=16)
    plain = model(tokens).logits
    latent = int(sae.encode(read[0][0]).indices[0])
    with sae.steering(layer, {latent: 0.0}):
        off = model(tokens).logits
    after = model(tokens).logits
    torch.testing.assert_close(read[1][0], sae.ablate(read[0][0], [latent]))
    assert (off - plain).abs().max() > 1e-3
    assert torch.equal(after, plain)
    assert not layer._forward_hooks


def test_steered_generation_with_a_cache_is_that_of_whole_passes() -> None:
    model, layer = language_model("llama")
    sae, values = random_model(n_inputs=16), {2: 30.0, 7: 0.0}
    tokens = torch.tensor([[5, 90, 17]])
    plain = model.generate(tokens, max_new_tokens=6, do_sample=False, pad_token_id=3)
    with sae.steering(layer, values):
        steered = model.generate(tokens, max_new_tokens=6, do_sample=False, pad_token_id=3)
        one = tokens
        for _ in range(steered.shape[1] - 3):
            one = torch.cat([one, model(one, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(one, steered)
    assert not torch.equal(plain, steered)


def test_layers_of_images_and_tuples_are_steered_by_their_channels() -> None:
    sae = random_model()
    maps = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0))
    with sae.steering(identity := torch.nn.Identity(), {3: 2.0}):
        steered = identity(maps)
        first, second = identity((maps[:, :, 0].transpose(1, 2), "rest"))
    torch.testing.assert_close(steered[1, :, 2, 3], sae.steer(maps[1:2, :, 2, 3], {3: 2.0})[0])
    torch.testing.assert_close(first, steered[:, :, 0].transpose(1, 2))
    assert second == "rest"


def test_a_layer_that_does_not_fit_is_refused_and_let_go(refuses) -> None:
    sae, layer = random_model(), torch.nn.Identity()
    with refuses("(4, 5)", "6 numbers"), sae.steering(layer, {0: 0.0}):
        layer(torch.zeros(4, 5))
    with refuses("type str", "6 numbers"), sae.steering(layer, {0: 0.0}):
        layer("text")
    with refuses("meta", "cpu", ".to("), sae.steering(layer, {0: 0.0}):
        layer(torch.zeros(4, 6, device="meta"))
    assert not layer._forward_hooks


def test_topk_keeps_its_other_latents_where_directions_are_orthogonal() -> None:
    """Four orthogonal latents, two active: without one, the code of the result is the other alone."""
    model = Autoencoder(4, 4, TopK(4, 2))
    model.encoder.copy_(torch.eye(4))
    model.decoder.copy_(torch.eye(4))
    z = torch.tensor([[3.0, 2.0, -1.0, -1.0]])
    np.testing.assert_allclose(to_dense(model.encode(model.ablate(z, [0]))), [[0, 2, 0, 0]])
