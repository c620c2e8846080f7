"""Models as folders and on the hub, with a stand-in for the hub that keeps repositories in a folder."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from monosemy.errors import InputError, MissingExtraError
from monosemy.sae.activations import BatchTopK
from monosemy.sae.hub import from_pretrained, model_card, push_to_hub, save_pretrained
from monosemy.sae.module import Autoencoder, initialise
from monosemy.sae.saelens import to_saelens


@pytest.fixture
def model() -> Autoencoder:
    rng = torch.Generator().manual_seed(0)
    made = Autoencoder(5, 12, BatchTopK(12, 3), [4, 12])
    initialise(made, torch.randn(30, 5, generator=rng) * 4, rng)
    made.activation.threshold.fill_(0.7)
    return made


def same(one: Autoencoder, other: Autoencoder) -> None:
    assert one.widths == other.widths
    assert one.activation.settings() == other.activation.settings()
    for (name, value), (again, wanted) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert name == again
        assert torch.equal(value, wanted)


class FakeHub:
    """What of huggingface_hub is used; repositories are folders under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls: list[dict] = []

    def HfApi(self, token: str | None = None) -> "FakeHub":
        self.calls.append({"token": token})
        return self

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> SimpleNamespace:
        assert exist_ok
        if "forbidden" in repo_id:
            raise RuntimeError("403 Forbidden: no rights.\nSecond line")
        whole = repo_id if "/" in repo_id else f"me/{repo_id}"
        self.calls.append({"create": whole, "private": private})
        (self.root / whole).mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(repo_id=whole)

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        self.calls.append({"message": commit_message})
        return f"https://hub/{repo_id}/commit/1"

    def snapshot_download(
        self, repo_id: str, *, revision: str | None, token: str | None, allow_patterns: list[str]
    ) -> str:
        if not (self.root / repo_id).is_dir():
            raise FileNotFoundError(f"404 {repo_id}")
        self.calls.append({"revision": revision, "patterns": allow_patterns, "token": token})
        target = self.root / "fetched" / repo_id
        shutil.rmtree(target, ignore_errors=True)
        for pattern in allow_patterns:
            for path in (self.root / repo_id).glob(pattern):
                place = target / path.relative_to(self.root / repo_id)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)
        return str(target)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    return fake


def test_a_folder_comes_back_as_it_was(model: Autoencoder, tmp_path: Path) -> None:
    save_pretrained(model, tmp_path / "folder", metrics={"explained_variance": 0.81234})
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == [
        "README.md", "config.json", "model.safetensors",
    ]  # fmt: skip
    same(from_pretrained(tmp_path / "folder"), model)
    same(from_pretrained(tmp_path, subfolder="folder"), model)
    same(from_pretrained(tmp_path / "folder" / "model.safetensors"), model)
    config = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert (config["activation"], config["n_inputs"], config["n_latents"]) == ("batchtopk", 5, 12)
    assert config["settings"] == {"k": 3}
    assert config["widths"] == [4, 12]


def test_the_card_says_what_it_is_and_what_was_measured(model: Autoencoder) -> None:
    card = model_card(model, {"explained_variance": 0.81234, "l0": 16.0})
    assert card.startswith("---\nlibrary_name: monosemy\n")
    for said in ("A BatchTopK sparse autoencoder: 12 latents of inputs with 5 numbers", "prefixes [4, 12]",
                 "| k | 3 |", "| explained_variance | 0.8123 |", "| l0 | 16 |", "from_pretrained"):  # fmt: skip
        assert said in card, said
    assert "Measured" not in model_card(model, {})


def test_the_example_on_the_card_runs(model: Autoencoder, tmp_path: Path) -> None:
    save_pretrained(model, tmp_path)
    code = (tmp_path / "README.md").read_text().split("```python\n")[1].split("```")[0]
    names: dict = {"embeddings": torch.randn(7, 5)}
    exec(code.replace("this repository", str(tmp_path)), names)
    assert names["codes"].n_samples == 7


def test_there_and_back(model: Autoencoder, hub: FakeHub) -> None:
    address = push_to_hub(model, "mine", metrics={"l0": 3.0}, private=True, token="secret")
    assert address == "https://hub/me/mine/commit/1"
    assert {"create": "me/mine", "private": True} in hub.calls
    assert {"token": "secret"} in hub.calls
    assert "| l0 | 3 |" in (hub.root / "me" / "mine" / "README.md").read_text()
    same(from_pretrained("me/mine", revision="v1"), model)
    assert hub.calls[-1]["revision"] == "v1"
    assert not (hub.root / "fetched" / "me" / "mine" / "README.md").exists(), "only what a model consists of"


def test_a_repository_of_several_models_of_another_library(model: Autoencoder, hub: FakeHub) -> None:
    to_saelens(model, hub.root / "them" / "saes" / "layer_3")
    found = from_pretrained("them/saes", subfolder="layer_3")
    assert found.n_latents == 12
    z = torch.randn(20, 5) * 4
    torch.testing.assert_close(found(z), model(z))


def test_what_the_hub_refuses(model: Autoencoder, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"repo_id='forbidden/x' cannot be written to \(403 Forbidden: no rights\)"):
        push_to_hub(model, "forbidden/x")
    with pytest.raises(InputError, match=r"nobody/nothing is neither a local path nor .*404 nobody/nothing"):
        from_pretrained("nobody/nothing")
    for source in ("nothing", "a/b/c", "models/sae.safetensors", "../up"):
        with pytest.raises(InputError, match="does not exist; give a model"):
            from_pretrained(source)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'monosemy\[hub\]'"):
        push_to_hub(model, "mine")
