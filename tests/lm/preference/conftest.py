"""Tiny random models of two architectures with a tokenizer, preference pairs, and a trainer of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from made_preference import ModelKind, made_model, made_pairs, made_trainer, saved_model


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[ModelKind, Path]:
    """A saved Llama and a saved GPT-2, each with its tokenizer."""
    root = tmp_path_factory.mktemp("models")
    kinds: tuple[ModelKind, ...] = ("llama", "gpt2")
    return {kind: saved_model(made_model(kind), root / kind) for kind in kinds}


@pytest.fixture(scope="session")
def pairs() -> Dataset:
    """24 preference pairs."""
    return made_pairs(24)


@pytest.fixture
def trainer(model_folders: dict[ModelKind, Path], pairs: Dataset, tmp_path: Path) -> Callable[..., Any]:
    """``trainer(kind, **settings)``: a DecPOTrainer, or of ``trainer_class``."""

    def make(kind: ModelKind = "llama", **settings: Any) -> Any:
        settings = {"train_dataset": pairs, "output_dir": str(tmp_path / "run")} | settings
        return made_trainer(model_folders[kind], **settings)

    return make
