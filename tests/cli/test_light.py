"""Commands start quickly: what their options derive from is imported without the numerical libraries."""

import subprocess
import sys
from typing import get_args

import pytest
from pydantic import BaseModel

from monosemy.core.config import Config
from monosemy.data import config as data_config
from monosemy.encoders import augmentation, config as encoder_config
from monosemy.features.registry import FEATURE_SETS
from monosemy.functional.losses import NON_NEGATIVE, NonNegative as NonNegativeMap
from monosemy.sae import config as sae_config
from monosemy.study.probing import METHODS, Base, FeatureName
from monosemy.training import config as training_config

HEAVY = (
    "torch", "pandas", "numpy", "scipy", "sklearn", "pyarrow", "joblib", "transformers", "peft", "matplotlib",
)  # fmt: skip
LIGHT = (
    "monosemy", "monosemy.cli", "monosemy.cli.options", "monosemy.core.console", "monosemy.training.config",
    "monosemy.data.config", "monosemy.encoders.config", "monosemy.sae.config", "monosemy.lm.config",
    "monosemy.classifiers.config",
    "monosemy.study.probing", "monosemy.study.finetuning", "monosemy.study.lora",
    "monosemy.study.dpo",
)  # fmt: skip
MODELS = [
    model
    for chapter in (training_config, data_config, encoder_config, sae_config)
    for model in vars(chapter).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == chapter.__name__
]


@pytest.mark.parametrize("module", LIGHT)
def test_module_imports_none_of_the_numerical_libraries(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("words", ["finetune lm", "finetune images", "study", "align"])
def test_help_imports_none_of_the_numerical_libraries(words: str) -> None:
    code = (
        f"import sys\nsys.argv = ['monosemy', *{words.split()}, '--help']\nfrom monosemy.cli import main\n"
        f"try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr == "[]\n"


@pytest.mark.parametrize(
    "words",
    [
        "study --data nosuch.csv", "measure nosuch.npz", "embed nosuch.csv --out x.npz", "sae train nosuch.npy",
        "finetune images --data nosuch.csv", "study --set data.source=nosuch.csv",
    ],
)  # fmt: skip
def test_a_missing_file_is_refused_before_the_slow_imports(words: str) -> None:
    code = (
        f"import sys\nsys.argv = ['monosemy', *{words.split()}]\nfrom monosemy.cli import main\n"
        f"try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 2\n"
        f"print([name for name in ('torch', 'pandas', 'sklearn', 'pyarrow') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "[]\n"
    assert "nosuch." in ended.stderr
    assert "does not exist" in " ".join(ended.stderr.split())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_settings_are_strict_and_have_help_texts(model: type[BaseModel]) -> None:
    assert issubclass(model, Config)
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"]
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_names_agree_with_the_functions_that_they_choose() -> None:
    assert get_args(encoder_config.NonNegative) == get_args(NonNegativeMap) == tuple(NON_NEGATIVE)
    assert set(get_args(encoder_config.AugmentationName)) >= set(augmentation.PRESETS)
    assert set(get_args(FeatureName)) == set(FEATURE_SETS)
    assert set(METHODS) == set(get_args(Base)) == {feature.base for feature in FEATURE_SETS.values()}
    assert set(METHODS.values()) <= set(get_args(encoder_config.Method))
