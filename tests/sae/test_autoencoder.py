"""The autoencoder as a module: initialisation, activations, files."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from monosemy.errors import InputError
from monosemy.functional.autoencoder import geometric_median, pre_activations
from monosemy.functional.codes import to_dense
from monosemy.sae.activations import ACTIVATIONS
from monosemy.sae.module import FORMAT, Autoencoder, initialise
from monosemy.sae.training import TrainingConfig, train

N, D, M, K = 300, 6, 24, 3
KINDS = sorted(ACTIVATIONS)


def data(scale: float = 5.0) -> torch.Tensor:
    """Sparse combinations of hidden directions, far from the origin."""
    rng = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(10, D, generator=rng), dim=1)
    codes = torch.rand(N, 10, generator=rng) * (torch.rand(N, 10, generator=rng) < 0.2)
    return scale * (codes @ directions) + 2 * scale


def fresh(z: torch.Tensor, kind: str = "topk", seed: int = 0, **more) -> tuple[Autoencoder, torch.Generator]:
    model = Autoencoder(D, M, ACTIVATIONS[kind](M, K), **more)
    rng = torch.Generator().manual_seed(seed)
    initialise(model, z, rng)
    return model, rng


def trained(z: torch.Tensor, kind: str, n_epochs: int = 4, **more) -> Autoencoder:
    model, rng = fresh(z, kind, **more)
    train(model, z, TrainingConfig(batch_size=32, lr=1e-2), rng, n_epochs=n_epochs)
    return model


def test_initialisation() -> None:
    z = data()
    model, rng = fresh(z)
    torch.testing.assert_close(model.decoder.norm(dim=1), torch.ones(M))
    torch.testing.assert_close(model.encoder, model.decoder)
    torch.testing.assert_close(model.decoder_bias * model.scale, geometric_median(z))
    assert float(((z - z.mean(dim=0)) / model.scale).pow(2).mean()) == pytest.approx(1)
    assert model.encoder_bias.abs().sum() == 0
    initialise(model, z, rng, "mean")
    torch.testing.assert_close(model.decoder_bias * model.scale, z.mean(dim=0))
    with pytest.raises(InputError, match="center='mode' is unknown; choose 'median' or 'mean'"):
        initialise(model, z, rng, "mode")  # type: ignore[arg-type]


def test_constant_columns_are_fine_and_data_that_does_not_vary_is_said() -> None:
    z = data()
    z[:, 2] = 7.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bool(fresh(z)[0].encode(z).values.isfinite().all())
    with pytest.warns(UserWarning, match="All inputs are equal"):
        model, _ = fresh(torch.full((5, D), 3.0))
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("k", [0, -1, M + 1])
@pytest.mark.parametrize("kind", KINDS)
def test_k_must_fit(kind: str, k: int) -> None:
    with pytest.raises(InputError, match=rf"k={k} is outside \[1, n_latents={M}\]"):
        ACTIVATIONS[kind](M, k)


@pytest.mark.parametrize("widths", [(), (M - 1,), (5, 5, M), (0, M), (M, 5)])
def test_widths_must_rise_to_all_latents(widths: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=f"n_latents={M}"):
        Autoencoder(D, M, ACTIVATIONS["topk"](M, K), widths)


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(InputError, match="n_inputs=0 is below 1"):
        Autoencoder(0, M, ACTIVATIONS["topk"](M, K))
    with pytest.raises(InputError, match="sparsity_weight=-1 is not a finite number"):
        ACTIVATIONS["relu"](M, K, sparsity_weight=-1)
    with pytest.raises(InputError, match="bandwidth=0 is not positive"):
        ACTIVATIONS["jumprelu"](M, K, bandwidth=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_does_not_depend_on_its_batch(kind: str) -> None:
    z = data()
    model = trained(z, kind)
    whole = to_dense(model.encode(z))
    assert float(whole.sum()) > 0
    alone = torch.cat([to_dense(model.encode(row[None])) for row in z[:40]])
    torch.testing.assert_close(alone, whole[:40], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(to_dense(model.encode(z[:40] * 1.0)), whole[:40], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_codes_in_training_are_those_after_it_at_the_same_weights(kind: str) -> None:
    # BatchTopK excepted: its threshold is an estimate; that has a test of its own.
    z = data()
    model = trained(z, kind)
    pre = pre_activations(model.weights, model.scaled(z))
    in_training = model.activation.training_code(pre, model.weights)
    if kind == "batchtopk":
        kept = in_training[in_training > 0]
        model.activation.threshold.fill_(kept.min() * (1 - 1e-6))
    torch.testing.assert_close(to_dense(model.encode(z)), in_training)


def test_the_threshold_of_batch_top_k_is_the_mean_smallest_activation_kept() -> None:
    activation = ACTIVATIONS["batchtopk"](4, 1)
    batches = [torch.tensor([[5.0, 3.0, 0.0, 1.0], [-1.0, 0.5, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0, -2.0]])]
    for pre in batches:
        activation.after_step(activation.select(pre))
    assert float(activation.threshold) == pytest.approx((3 + 1) / 2)
    activation.after_step(activation.select(torch.tensor([[-1.0, -2.0, -3.0, -4.0]])))
    assert float(activation.threshold) == pytest.approx(2), "a batch in which nothing fires says nothing"
    for _ in range(500):
        activation.after_step(activation.select(batches[1]))
    assert float(activation.threshold) == pytest.approx(1, abs=1e-4), "what was long ago is forgotten"


@pytest.mark.parametrize("kind", KINDS)
def test_files_keep_everything(tmp_path: Path, kind: str) -> None:
    z = data()
    model = trained(z, kind, n_epochs=2, widths=(6, M))
    path = tmp_path / "sub" / "sae.safetensors"
    model.save(path)
    loaded = Autoencoder.load(path)
    assert type(loaded.activation) is type(model.activation)
    assert loaded.activation.settings() == model.activation.settings()
    assert loaded.widths == (6, M)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    assert torch.equal(loaded(z), model(z))
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["sae.safetensors"]


DAMAGES = ["missing", "empty", "truncated", "text", "foreign", "other-format", "no-json", "no-tensor", "no-activation"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_are_none_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "sae.safetensors"
    model, _ = fresh(data())
    model.save(path)
    about = {"format": FORMAT, "activation": "topk", "settings": {"k": K}, "widths": [M]}
    tensors = dict(model.state_dict())
    if damage == "missing":
        path.unlink()
    elif damage in ("empty", "truncated", "text"):
        path.write_bytes({"empty": b"", "truncated": path.read_bytes()[:-9], "text": b"weights"}[damage])
    elif damage == "no-tensor":
        tensors.pop("scale")
        save_file(tensors, path, metadata={"monosemy": json.dumps(about)})
    else:
        metadata = {
            "foreign": None,
            "other-format": {"monosemy": json.dumps({"format": "x"})},
            "no-json": {"monosemy": "{"},
            "no-activation": {"monosemy": json.dumps(about | {"activation": "step"})},
        }
        save_file(tensors, path, metadata=metadata[damage])
    with pytest.raises(InputError) as caught:
        Autoencoder.load(path)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    if damage in ("foreign", "other-format"):
        assert FORMAT in str(caught.value)


def test_loading_does_not_share_memory(tmp_path: Path) -> None:
    model, _ = fresh(data())
    model.save(tmp_path / "a.safetensors")
    first, second = (Autoencoder.load(tmp_path / "a.safetensors") for _ in range(2))
    first.encoder.zero_()
    assert np.abs(second.encoder.numpy()).sum() > 0


def test_inputs_of_another_width_and_precision() -> None:
    z = data()
    model, _ = fresh(z)
    with pytest.raises(InputError, match=rf"shape \(300, 5\) do not fit .*\(N, {D}\)"):
        model.encode(z[:, 1:])
    torch.testing.assert_close(to_dense(model.encode(z.double())), to_dense(model.encode(z)))
