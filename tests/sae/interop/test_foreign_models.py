"""Models of SAELens and dictionary_learning: files that the libraries wrote, and the codes that they computed.

The files are from record_saelens.py and record_dictionary_learning.py beside this one.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from monosemy.errors import InputError
from monosemy.functional.codes import to_dense
from monosemy.sae.activations import ACTIVATIONS, BatchTopK, Gated, JumpReLU, ReLU, TopK
from monosemy.sae.dictionary_learning import from_dictionary_learning, to_dictionary_learning
from monosemy.sae.hub import load_autoencoder
from monosemy.sae.module import Autoencoder, initialise
from monosemy.sae.saelens import from_saelens, to_saelens

HERE = Path(__file__).parent
SAELENS, DICTIONARY_LEARNING = HERE / "saelens", HERE / "dictionary_learning"
KINDS = {
    "standard": ReLU, "topk": TopK, "jumprelu": JumpReLU, "gated": Gated,
    "relu": ReLU, "batchtopk": BatchTopK, "matryoshka": BatchTopK,
}  # fmt: skip
RECORDED = sorted(path.parent for path in HERE.glob("*/*/expected.npz"))


def of_folder(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"


def same_as_recorded(model: Autoencoder, folder: Path, tolerance: float = 2e-6) -> None:
    expected = np.load(folder / "expected.npz")
    z = torch.from_numpy(expected["inputs"])
    codes = model.encode(z)
    np.testing.assert_allclose(to_dense(codes).numpy(), expected["codes"], rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(to_dense(codes).numpy() > 0, expected["codes"] > 0)
    # Reconstructions are float32 sums of terms of up to 50, each rounded by up to 2e-6, some of which cancel.
    np.testing.assert_allclose(model.decode(codes).numpy(), expected["reconstruction"], rtol=tolerance, atol=1e-5)


def test_every_variant_was_recorded() -> None:
    assert len([folder for folder in RECORDED if folder.parent == SAELENS]) == 12
    assert len([folder for folder in RECORDED if folder.parent == DICTIONARY_LEARNING]) == 7


@pytest.mark.parametrize("folder", RECORDED, ids=of_folder)
def test_codes_and_reconstructions_are_those_of_the_library(folder: Path) -> None:
    # The library computed this one in half precision, which the comparison is limited by.
    same_as_recorded(load_autoencoder(folder), folder, 2e-2 if "half" in folder.name else 2e-6)


@pytest.mark.parametrize("folder", [f for f in RECORDED if f.parent == DICTIONARY_LEARNING], ids=of_folder)
def test_safetensors_serve_in_place_of_a_torch_file(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    tensors = torch.load(copy / "ae.pt", weights_only=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, copy / "ae.safetensors")
    (copy / "ae.pt").unlink()
    same_as_recorded(from_dictionary_learning(copy), folder)
    same_as_recorded(load_autoencoder(copy / "ae.safetensors"), folder)


@pytest.mark.parametrize("name", ["batchtopk", "matryoshka"])
def test_a_checkpoint_of_a_training_does_what_the_saved_model_does(name: str) -> None:
    model = from_saelens(SAELENS / f"{name}_training")
    same_as_recorded(model, SAELENS / name)
    assert isinstance(model.activation, BatchTopK)
    assert model.activation.k == (2 if name == "batchtopk" else 3), "the mean 2.5 of the first is rounded to even"
    assert model.widths == ((12,) if name == "batchtopk" else (3, 6, 12))


def test_prefixes_and_k_are_kept() -> None:
    model = from_dictionary_learning(DICTIONARY_LEARNING / "matryoshka")
    assert model.widths == (3, 6, 12)
    assert model.activation.k == from_dictionary_learning(DICTIONARY_LEARNING / "topk").activation.k == 3
    assert from_saelens(SAELENS / "topk_before_6").activation.k == 3


def made(name: str, widths: tuple[int, ...] | None = None) -> tuple[Autoencoder, torch.Tensor]:
    """A model with nothing at its start, and inputs of another scale than 1."""
    rng = torch.Generator().manual_seed(3)
    z = torch.randn(40, 6, generator=rng) * 3 + 2
    activation = ACTIVATIONS[name](16, 4)
    model = Autoencoder(6, 16, activation, widths)
    initialise(model, z, rng)
    with torch.no_grad():
        model.encoder_bias.copy_(0.3 * torch.randn(16, generator=rng))
        model.encoder.mul_(1 + torch.rand(16, 1, generator=rng))
        if isinstance(activation, BatchTopK):
            activation.threshold.fill_(0.8)
        if isinstance(activation, JumpReLU):
            activation.set_threshold(0.2 + torch.rand(16, generator=rng))
        if isinstance(activation, Gated):
            activation.log_scale.copy_(0.2 * torch.randn(16, generator=rng))
            activation.magnitude_bias.copy_(0.2 * torch.randn(16, generator=rng))
    return model, z


WRITERS: list[tuple[Callable[[Autoencoder, Path], None], Callable[[Path], Autoencoder]]] = [
    (to_saelens, from_saelens),
    (to_dictionary_learning, from_dictionary_learning),
]


@pytest.mark.parametrize(("write", "read"), WRITERS, ids=["saelens", "dictionary_learning"])
@pytest.mark.parametrize("name", [*sorted(ACTIVATIONS), "matryoshka"])
def test_what_is_written_for_a_library_does_what_the_model_does(name: str, write, read, tmp_path: Path) -> None:
    model, z = made("batchtopk", (4, 8, 16)) if name == "matryoshka" else made(name)
    write(model, tmp_path / "out")
    back = read(tmp_path / "out")
    wanted, found = model.encode(z), back.encode(z)
    assert float(back.scale) == 1
    assert float(model.scale) != 1
    assert (to_dense(wanted) > 0).any(dim=1).float().mean() > 0.5
    torch.testing.assert_close(to_dense(found), to_dense(wanted), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(back.decode(found), model.decode(wanted), rtol=1e-5, atol=1e-5)


def test_thresholds_survive_their_logarithms() -> None:
    activation = JumpReLU(4, 1)
    wanted = torch.tensor([1e-30, 1e-3, 1.0, 300.0])
    activation.set_threshold(wanted)
    torch.testing.assert_close(activation.threshold.detach(), wanted, rtol=1e-5, atol=0)


def test_a_model_is_recognised_by_its_files(tmp_path: Path) -> None:
    model, z = made("topk")
    model.save(tmp_path / "ours.safetensors")
    torch.testing.assert_close(load_autoencoder(str(tmp_path / "ours.safetensors"))(z), model(z))
    folder = tmp_path / "folder"
    model.save(folder / "model.safetensors")
    torch.testing.assert_close(load_autoencoder(folder)(z), model(z))
    save_file({"step": torch.ones(1)}, folder / "checkpoint.safetensors")
    torch.testing.assert_close(load_autoencoder(folder)(z), model(z))
    model.save(folder / "another.safetensors")
    with pytest.raises(
        InputError, match=r"2 sparse autoencoders \(another\.safetensors, model\.safetensors\); name one"
    ):
        load_autoencoder(folder)
    weights = load_autoencoder(SAELENS / "gated" / "sae_weights.safetensors")
    assert isinstance(weights.activation, Gated)
    weights = load_autoencoder(DICTIONARY_LEARNING / "gated" / "ae.pt")
    assert isinstance(weights.activation, Gated)


@pytest.mark.parametrize("folder", RECORDED, ids=of_folder)
def test_variants_have_their_activation(folder: Path) -> None:
    kind = KINDS[folder.name.split("_")[0]]
    if folder.parent == SAELENS and kind is BatchTopK:
        kind = JumpReLU  # SAELens saves a threshold for each latent
    assert isinstance(load_autoencoder(folder).activation, kind)


class Evil:
    """Would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def changed(folder: Path, to: Path, change: dict | None = None, tensors: dict | None = None) -> Path:
    """A copy of a recorded SAELens folder with another configuration or other tensors; None drops one."""
    shutil.copytree(folder, to)
    config = json.loads((to / "cfg.json").read_text()) | (change or {})
    (to / "cfg.json").write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    found = load_file(to / "sae_weights.safetensors") | (tensors or {})
    save_file({name: t for name, t in found.items() if t is not None}, to / "sae_weights.safetensors")
    return to


@pytest.mark.parametrize(
    ("variant", "change", "tensors", "says"),
    [
        ("topk", {"k": 13}, {}, r"k=13 is outside \[1, n_latents=12\]"),
        ("topk", {"k": 0}, {}, "k=0, which is not a positive whole number"),
        ("topk", {"k": None}, {}, "k=None, which is not a positive"),
        ("topk", {"k": float("inf")}, {}, "k=inf, which is not a positive"),
        ("topk", {"d_in": 6}, {}, r"'W_enc' of shape \(5, 12\) where \(6, 12\) is needed"),
        ("topk", {"d_sae": "many"}, {}, "d_sae='many', which is not a positive"),
        ("topk", {"architecture": "temporal"}, {}, "architecture='temporal', which cannot be read; give one of"),
        ("topk", {"architecture": ["topk"]}, {}, "which cannot be read"),
        ("topk", {"normalize_activations": "layer_norm"}, {}, "normalised row by row"),
        ("topk", {"normalize_activations": "expected_average_only_in"}, {}, "fold it in with SAELens"),
        ("topk", {"normalize_activations": "sphere"}, {}, "in an unknown way"),
        ("topk", {}, {"b_enc": None}, "has no tensor 'b_enc' "),
        ("topk", {}, {"b_dec": torch.full((5,), float("nan"))}, "NaN or infinity in 'b_dec'"),
        ("topk", {}, {"scaling_factor": torch.full((12,), 2.0)}, "scaling factor"),
        ("standard", {"activation_fn": "tanh-relu"}, {}, "activation 'tanh-relu', which cannot be read"),
        ("jumprelu", {}, {"threshold": torch.zeros(())}, r"'threshold' of shape \(\) where \(12\) is needed"),
        ("matryoshka_training", {"matryoshka_widths": None}, {}, "matryoshka_widths=None; give a list"),
        ("matryoshka_training", {"matryoshka_widths": [6, 3, 12]}, {}, "do not rise"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_read_is_refused_in_one_sentence(
    variant: str, change: dict, tensors: dict, says: str, tmp_path: Path
) -> None:
    folder = changed(SAELENS / variant, tmp_path / "folder", change, tensors)
    with pytest.raises(InputError, match=says) as caught:
        load_autoencoder(folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_a_scaling_factor_of_ones_says_nothing(tmp_path: Path) -> None:
    folder = changed(SAELENS / "topk", tmp_path / "folder", {}, {"scaling_factor": torch.ones(12)})
    same_as_recorded(from_saelens(folder), SAELENS / "topk")


def test_damaged_and_foreign_files(tmp_path: Path) -> None:
    cut = shutil.copytree(SAELENS / "topk", tmp_path / "cut")
    whole = (cut / "sae_weights.safetensors").read_bytes()
    for part in (b"", whole[:100], whole[:-7]):
        (cut / "sae_weights.safetensors").write_bytes(part)
        with pytest.raises(InputError, match=r"sae_weights.safetensors cannot be read \(.*; give the file"):
            load_autoencoder(cut)
    for text in ("", "{", "[1]", "\x00"):
        (cut / "cfg.json").write_text(text)
        with pytest.raises(InputError, match=r"cfg\.json (cannot be read as JSON|is not a JSON object)"):
            load_autoencoder(cut)
    with pytest.raises(InputError, match=r"nowhere does not exist; give a model"):
        load_autoencoder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty does not contain a sparse autoencoder; give a folder with a \.safetensors"
    ):
        load_autoencoder(tmp_path / "empty")
    save_file({"x": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"x\.safetensors is not a monosemy\.sparse-autoencoder\.v1 file"):
        load_autoencoder(tmp_path / "x.safetensors")
    (tmp_path / "x.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"x\.pt is not a sparse autoencoder that can be read"):
        load_autoencoder(tmp_path / "x.pt")


def test_a_torch_file_is_never_executed(tmp_path: Path) -> None:
    folder = shutil.copytree(DICTIONARY_LEARNING / "topk", tmp_path / "folder")
    trap = tmp_path / "trap"
    torch.save({"encoder.weight": Evil(trap)}, folder / "ae.pt")
    with pytest.raises(InputError, match=r"ae\.pt cannot be read as tensors \(it is damaged or contains more than"):
        load_autoencoder(folder)
    assert not trap.exists()
    whole = (DICTIONARY_LEARNING / "topk" / "ae.pt").read_bytes()
    for content in (b"", b"hello", whole[:500], whole[:-30]):
        (folder / "ae.pt").write_bytes(content)
        with pytest.raises(InputError, match=r"ae\.pt cannot be read as tensors"):
            load_autoencoder(folder)
    for content in ([torch.ones(2)], {"k": 3}, {1: torch.ones(2)}, {"k": torch.eye(2).to_sparse()}):
        torch.save(content, folder / "ae.pt")
        with pytest.raises(InputError, match=r"ae\.pt is not a plain dictionary of dense tensors"):
            load_autoencoder(folder)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({}, "has dict_class=None"),
        ({"trainer": []}, "has dict_class=None"),
        ({"trainer": {"dict_class": "IdentityDict"}}, "has dict_class='IdentityDict', which cannot be read"),
        ({"trainer": {"dict_class": "GatedAutoEncoder"}}, "has no tensor 'gate_bias'"),
        ({"trainer": {"dict_class": "JumpReluAutoEncoder"}}, "has no tensor 'W_dec'"),
    ],
)
def test_a_configuration_that_does_not_fit(config: dict, says: str, tmp_path: Path) -> None:
    folder = shutil.copytree(DICTIONARY_LEARNING / "topk", tmp_path / "folder")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=says):
        load_autoencoder(folder)
    (folder / "ae.pt").unlink()
    with pytest.raises(InputError, match=r"has dict_class=|has none of ae\.safetensors and ae\.pt"):
        from_dictionary_learning(folder)
